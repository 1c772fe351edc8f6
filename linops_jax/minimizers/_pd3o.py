"""PD3O: a primal-dual algorithm for smooth terms, one with a prox, and terms behind operators."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._vectors import Axes, add, times
from linops_jax.minimizers import _smooth
from linops_jax.minimizers._measures import Seen, gap, relative
from linops_jax.minimizers._problem import Problem, number


class State(NamedTuple):
    """The vectors that are iterated, z and the dual u with Kᴴ u; and x = prox(z)."""

    x: Any
    z: Any
    u: list[Any]
    pulled: Any


@dataclasses.dataclass(frozen=True)
class PD3O:
    """The primal-dual three-operator splitting of Yan (2018).

    Without terms behind operators it is proximal gradients, without smooth ones the algorithm of Chambolle and Pock (2011). A
    step applies each A and its adjoint once, each K twice and its adjoint once.
    """

    problem: Problem
    axes: Axes
    steps: tuple[Any, Any]

    def begin(self, x: Any) -> State:
        u = [jax.tree.map(jnp.zeros_like, term.inside(x)) for term in self.problem.duals]
        return State(x, x, u, jax.tree.map(jnp.zeros_like, x))

    def advance(self, state: State) -> tuple[State, Seen]:
        _, z, u, pulled = state
        (tau, sigma), axes, problem = self.steps, self.axes, self.problem
        x, simple = (z, jnp.zeros((), number(z))) if problem.simple is None else problem.simple.prox(z, tau)
        at = _smooth.images(problem.smooth, x)
        slope = _smooth.gradient(problem.smooth, at, x)
        target = add(add(times(2 * jnp.ones_like(tau), x), -1, z), -tau, add(slope, 1, pulled))
        pairs = [term.conjugate_prox(v, term.inside(target), sigma) for term, v in zip(problem.duals, u, strict=True)]
        new_u, nearest = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
        pulled = pull_back(problem, new_u, x)
        new_z = add(x, -tau, add(slope, 1, pulled))

        images = [term.inside(x) for term in problem.duals]
        parts = [_smooth.value(problem.smooth, at, x, axes), _smooth.total([simple], x, axes)]
        dual = _smooth.value(problem.duals, images, x, axes)
        linear = dual - _smooth.value(problem.duals, nearest, x, axes)
        linear = linear - sum(
            _vectors.dot(v, add(y, -1, p), axes) for v, y, p in zip(new_u, images, nearest, strict=True)
        )
        change, size = add(z, -1, new_z), _vectors.norm(x, axes)
        moved = _vectors.norm(change, axes)
        residual = relative(moved, _vectors.norm(new_z, axes))
        if new_u:
            dual_moved, dual_size = _vectors.norm(add(new_u, -1, u), axes), _vectors.norm(new_u, axes)
            residual = jnp.maximum(residual, relative(dual_moved, dual_size))
        bound = gap(x, change, (size, moved), tau, linear, axes) if problem.is_convex else jnp.full_like(moved, jnp.inf)
        return State(x, new_z, new_u, pulled), Seen(sum(parts) + dual, bound, residual, moved).as_number(x)

    def result(self, state: State) -> tuple[Any, list[Any]]:
        return state.x, state.u


def pull_back(problem: Problem, u: list[Any], x: Any) -> Any:
    """Kᴴ u."""
    found = jax.tree.map(jnp.zeros_like, x)
    for term, v in zip(problem.duals, u, strict=True):
        found = add(found, 1, term.pull_back(v, x))
    return found
