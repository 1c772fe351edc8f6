"""ADMM: a linear equation for the quadratic terms, and a prox for each of the others."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._vectors import Axes, add, times
from linops_jax.minimizers import _smooth
from linops_jax.minimizers._measures import Seen, gap, relative
from linops_jax.minimizers._problem import Problem
from linops_jax.solvers._iterate import cg, ratio

PENALTY = 1.0  # at first, relative to the units
RELAXATION = 1.7  # between 1 and 2: Eckstein and Bertsekas (1992)
INNER_RTOL, INNER_STEPS = 0.1, 30  # of conjugate gradients, relative to the residual that the last step has left
LARGEST_CHANGE = 4  # of the penalty


class State(NamedTuple):
    """An iterate x, its gradient and its images, the points z that the proxes returned, and the dual variables u at them."""

    x: Any
    slope: Any
    images: list[Any]
    z: list[Any]
    u: list[Any]
    penalty: Any
    step: Any


@dataclasses.dataclass(frozen=True)
class ADMM:
    """The alternating direction method of multipliers (Gabay and Mercier, 1976; Boyd et al., 2011), relaxed.

    Each term that is not quadratic gets a copy z of its K x + b, at the price of penalty unit |K x + b - z|² / 2. A step solves
    for x by conjugate gradients from the last x, up to a fraction of what the step before has left, and applies the proxes.
    The penalty is relative to the units, and balances the residuals relative to what they are residuals of (Wohlberg, 2017), at
    steps that are powers of two: ever more rarely, so that it converges. None of this depends on units.

    The last copy is that of the simple term. It is the result: it fulfils a constraint exactly, where x does so up to rounding.
    """

    problem: Problem
    axes: Axes
    tau: Any
    units: list[Any]

    def begin(self, x: Any, penalty: Any) -> State:
        images = self._images(x)
        u = [jax.tree.map(jnp.zeros_like, y) for y in images]
        return State(x, self._slope(x)[0], images, images, u, penalty, jnp.int32(0))

    def advance(self, state: State) -> tuple[State, Seen]:
        penalties = [state.penalty * unit for unit in self.units]
        x = self._solve(state, penalties)
        images = self._images(x)
        ahead = [add(a, RELAXATION, add(y, -1, a)) for y, a in zip(images, state.z, strict=True)]
        u, z, simple = self._proxes(state.u, ahead, penalties)
        slope, at = self._slope(x)
        new = State(x, slope, images, z, u, state.penalty, state.step + 1)
        moves, (primal, dual) = self._residuals(state, new, penalties)
        due = new.step & (new.step - 1) == 0
        change = jnp.where(due & (primal > 0) & (dual > 0), jnp.sqrt(ratio(primal, dual)), 1)
        change = jnp.clip(change, 1 / LARGEST_CHANGE, LARGEST_CHANGE).astype(state.penalty.dtype)
        return new._replace(penalty=state.penalty * change), self._seen(state, new, at, simple, moves)

    def result(self, state: State) -> tuple[Any, list[Any]]:
        return self._best(state), state.u[: len(self.problem.duals)]

    # ---- a step

    def _slope(self, x: Any) -> tuple[Any, list[Any]]:
        """The gradient of the quadratic terms, and their images."""
        at = _smooth.images(self.problem.quadratic, x)
        return _smooth.gradient(self.problem.quadratic, at, x), at

    def _solve(self, state: State, penalties: list[Any]) -> Any:
        """The x where the quadratic terms and the prices are least, to the inner tolerance."""
        pairs = zip(state.u, penalties, state.images, state.z, strict=True)
        pulled = self._pull_back([add(v, p, add(y, -1, a)) for v, p, y, a in pairs], state.x)
        rest = add(state.slope, 1, pulled)
        change, _ = cg(
            lambda d: self._curvature(d, penalties), rest, lambda r: r, INNER_RTOL, 0, INNER_STEPS, axes=self.axes
        )
        return add(state.x, -1, change)

    def _curvature(self, d: Any, penalties: list[Any]) -> Any:
        """The second derivative of the quadratic terms and of the prices, times d."""
        quadratic, split = self.problem.quadratic, self.problem.split
        weights = [term.weight for term in quadratic] + penalties
        grams = [term.gram(d) for term in (*quadratic, *split)] + self._last(d)
        found = jax.tree.map(jnp.zeros_like, d)
        for weight, gram in zip(weights, grams, strict=True):
            found = add(found, weight, gram)
        return found

    def _proxes(self, u: list[Any], y: list[Any], penalties: list[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """The new dual variables, the points of which they are subgradients, and the value of the simple term there."""
        pairs = [
            term.conjugate_prox(*of_one) for term, *of_one in zip(self.problem.split, u, y, penalties, strict=False)
        ]
        values = []
        if self.problem.simple is not None:
            q = add(y[-1], 1 / penalties[-1], u[-1])
            nearest, value = self.problem.simple.prox(q, 1 / penalties[-1])
            pairs.append((times(penalties[-1], add(q, -1, nearest)), nearest))
            values.append(value)
        return [pair[0] for pair in pairs], [pair[1] for pair in pairs], values

    # ---- what is seen

    def _residuals(self, old: State, new: State, penalties: list[Any]) -> tuple[Any, tuple[Any, Any]]:
        """The relative change of z + u / penalty, which the method iterates, and the relative primal and dual residuals."""
        if not penalties:  # only quadratic terms
            nothing = jnp.zeros_like(old.penalty)
            return nothing, (nothing, nothing)
        roots = [jnp.sqrt(penalty) for penalty in penalties]
        of_z = lambda trees: [times(root, tree) for root, tree in zip(roots, trees, strict=True)]  # noqa: E731
        of_u = lambda trees: [times(1 / root, tree) for root, tree in zip(roots, trees, strict=True)]  # noqa: E731
        size = lambda tree: _vectors.norm(tree, self.axes)  # noqa: E731
        dz, du = of_z(add(new.z, -1, old.z)), of_u(add(new.u, -1, old.u))
        z, u = of_z(new.z), of_u(new.u)
        moved = relative(size(add(dz, 1, du)), size(add(z, 1, u)))
        primal = ratio(size(du), jnp.maximum(size(of_z(new.images)), size(z)))
        return moved, (primal, ratio(size(dz), size(u)))

    def _seen(self, old: State, new: State, at: list[Any], simple: list[Any], moves: Any) -> Seen:
        best, axes, quadratic, split = self._best(new), self.axes, self.problem.quadratic, self.problem.split
        images, inside = _smooth.images(quadratic, best), [term.inside(best) for term in split]
        values = _smooth.value(split, inside, best, axes)
        objective = _smooth.value(quadratic, images, best, axes) + _smooth.total(simple, best, axes) + values
        bregman = values - _smooth.value(split, new.z[: len(split)], best, axes)
        for v, y, a in zip(new.u, inside, new.z, strict=False):
            bregman = bregman - _vectors.dot(v, add(y, -1, a), axes)
        for term, a, b in zip(quadratic, images, at, strict=True):
            apart = add(a, -1, b)
            bregman = bregman + term.weight * _vectors.dot(apart, apart, axes) / 2
        change = times(self.tau, add(new.slope, 1, self._pull_back(new.u, best)))
        size = _vectors.norm(best, axes)
        bound = gap(best, change, (size, _vectors.norm(change, axes)), self.tau, bregman, axes)
        moved = _vectors.norm(add(best, -1, self._best(old)), axes)
        moves = jnp.where(new.step == 1, 1, moves)  # which begins with copies that are no results of proxes
        residual = jnp.maximum(relative(moved, size), moves)
        return Seen(objective, bound, residual, moved).as_number(best)

    def _best(self, state: State) -> Any:
        return state.x if self.problem.simple is None else state.z[-1]

    # ---- the operators on top of each other; the last one, of the simple term, is the identity

    def _last(self, x: Any) -> list[Any]:
        return [] if self.problem.simple is None else [x]

    def _images(self, x: Any) -> list[Any]:
        return [term.inside(x) for term in self.problem.split] + self._last(x)

    def _pull_back(self, u: list[Any], x: Any) -> Any:
        found = jax.tree.map(jnp.zeros_like, x) if self.problem.simple is None else u[-1]
        for term, v in zip(self.problem.split, u, strict=False):
            found = add(found, 1, term.pull_back(v, x))
        return found
