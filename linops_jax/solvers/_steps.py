"""The steps of optimistix's solvers, and its implicit derivative, by conjugate gradients of our own.

``lineax.linear_solve`` is compiled by equinox, with donated arguments: the operator of every step, and A with all that
it holds, would stay in a cache that ``jax.clear_caches()`` does not empty. See ``_engine/compiled``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optimistix as optx

from linops_jax.solvers._iterate import cgls

Limits = tuple[float, float, int]  # rtol, atol, max_steps
INNER: Limits = 1e-4, 0, 1000


def _least_squares(apply: Callable[[Any], Any], like: Any, target: Any, limits: Limits) -> Any:
    """The x in the structure of ``like`` that minimises |apply(x) - target|, over the reals."""
    transpose = jax.linear_transpose(apply, like)
    return cgls(apply, lambda y: transpose(y)[0], target, *limits)[0]


def _minus(tree: Any) -> Any:
    return jax.tree.map(jnp.negative, tree)


class Newton(optx.NewtonDescent):
    """Newton's step: the least squares of J d = r."""

    limits: Limits = INNER

    def query(self, y: Any, f_info: Any, state: Any) -> Any:
        return dataclasses.replace(state, newton=_least_squares(f_info.jac.mv, y, f_info.residual, self.limits))


class Damped(optx.DampedNewtonDescent):
    """Newton's step with damping, the inverse of the size of the step."""

    limits: Limits = INNER

    def step(self, step_size: Any, state: Any) -> tuple[Any, Any]:
        jac, info = state.f_info.jac, jnp.finfo(step_size.dtype)
        valid = step_size > info.eps
        root = jnp.sqrt(jnp.where(valid, 1 / jnp.where(valid, step_size, 1), info.max))
        zero = jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), jac.in_structure())

        def stacked(d: Any) -> Any:
            return jac.mv(d), jax.tree.map(lambda leaf: root.astype(leaf.dtype) * leaf, d)

        found = _least_squares(stacked, zero, (state.f_info.residual, zero), self.limits)
        return _minus(found), optx.RESULTS.successful


class TrustRegion(optx.ClassicalTrustRegion):
    """The trust region of optimistix, without a product at the first step.

    The first step is always accepted, and before it there is no linearization. A product there would call the Jacobian hooks at
    a point of zeros, with a state of zeros.
    """

    def step(
        self, first_step: Any, y: Any, y_eval: Any, f_info: Any, f_eval_info: Any, state: Any
    ) -> tuple[Any, Any, Any, Any]:
        def others() -> tuple[Any, Any]:
            given = first_step, y, y_eval, f_info, f_eval_info, state
            return optx.ClassicalTrustRegion.step(self, *given)[:2]

        size, accept = jax.lax.cond(first_step, lambda: (state.step_size, jnp.array(True)), others)
        return size, accept, optx.RESULTS.successful, dataclasses.replace(state, step_size=size)


class Dogleg(optx.DoglegDescent):
    """A step between steepest descent, as far as the linear model falls, and Newton's step."""

    limits: Limits = INNER

    def query(self, y: Any, f_info: Any, state: Any) -> Any:
        grad = f_info.compute_grad()
        falls, bends = (optx.two_norm(v) ** 2 for v in (grad, f_info.jac.mv(grad)))
        bent = bends > jnp.finfo(bends.dtype).eps
        length = jnp.where(bent, falls / jnp.where(bent, bends, 1), 0)
        cauchy = jax.tree.map(lambda g: -length.astype(g.dtype) * g, grad)
        newton = _minus(_least_squares(f_info.jac.mv, y, f_info.residual, self.limits))
        sizes = {"newton_norm": self.trust_region_norm(newton), "cauchy_norm": self.trust_region_norm(cauchy)}
        return dataclasses.replace(state, newton=newton, cauchy=cauchy, **sizes)


class Implicit(optx.AbstractAdjoint):
    """Derivatives of the solution from those of the gradient, which is zero there."""

    limits: Limits = (1e-6, 0, 1000)

    def apply(self, primal_fn: Any, rewrite_fn: Any, inputs: Any, tags: Any) -> Any:
        inputs = (*inputs, functools.partial(eqxi.while_loop, kind="lax"))
        root, rest = _implicit(inputs, primal_fn, rewrite_fn, self.limits)
        return root, jax.tree.map(eqxi.nondifferentiable_backward, rest)


@eqx.filter_custom_jvp
def _implicit(inputs: Any, primal_fn: Any, rewrite_fn: Any, limits: Any) -> Any:
    return jax.tree.map(jnp.asarray, primal_fn(inputs))


@_implicit.def_jvp
def _implicit_jvp(primals: Any, tangents: Any) -> Any:
    inputs, primal_fn, rewrite_fn, limits = primals
    moves = jax.tree.map(lambda t: t is not None, tangents[0], is_leaf=lambda t: t is None)
    moving, fixed = eqx.partition(inputs, moves, is_leaf=lambda t: t is None)
    root, rest = _implicit(inputs, primal_fn, rewrite_fn, limits)

    def gradient(root: Any, moving: Any) -> Any:
        return rewrite_fn(root, rest, eqx.combine(moving, fixed))

    _, change = jax.jvp(functools.partial(gradient, root), (moving,), (tangents[0],))
    _, hessian = jax.linearize(lambda root: gradient(root, moving), root)
    solve = lambda apply, b: _least_squares(apply, root, b, limits)  # noqa: E731
    moved = _minus(jax.lax.custom_linear_solve(hessian, change, solve, symmetric=True))
    eqx.clear_caches()
    return (root, rest), (moved, jax.custom_derivatives.zero_from_primal(rest, symbolic_zeros=True))
