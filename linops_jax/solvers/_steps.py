"""The steps of optimistix's solvers, by models of our own, and its implicit derivative, by conjugate gradients of our own."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import equinox as eqx
import equinox.internal as eqxi
import jax
import jax.numpy as jnp
import optimistix as optx

from linops_jax._vectors import dot, norm, times
from linops_jax.solvers._linear_model import Limits, least_squares, linear_model, minus


class _At(NamedTuple):
    """What a descent knows of the last point that was accepted."""

    model: Any
    path: Any = None


class Newton(optx.AbstractDescent):
    """Newton's step: the least squares of J d = -r."""

    def init(self, y: Any, f_info_struct: Any) -> _At:
        found = eqx.filter_eval_shape(self.query, y, f_info_struct, None)
        return jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype) if isinstance(x, jax.ShapeDtypeStruct) else x, found)

    def query(self, y: Any, f_info: Any, state: Any) -> _At:
        return _At(linear_model(y, f_info))

    def step(self, step_size: Any, state: _At) -> tuple[Any, Any]:
        return state.model.best(), optx.RESULTS.successful


class Damped(Newton):
    """Newton's step with damping, the inverse of the size of the step."""

    def step(self, step_size: Any, state: _At) -> tuple[Any, Any]:
        info = jnp.finfo(step_size.dtype)
        valid = step_size > info.eps
        damp = jnp.sqrt(jnp.where(valid, 1 / jnp.where(valid, step_size, 1), info.max))
        return state.model.best(damp), optx.RESULTS.successful


class Dogleg(Newton):
    """A step between steepest descent, as far as the linear model falls, and Newton's step."""

    path: Any = optx.DoglegDescent()

    def query(self, y: Any, f_info: Any, state: Any) -> _At:
        model = linear_model(y, f_info)
        grad = model.gradient()
        falls, bends = (dot(v, v) for v in (grad, model.product(grad)))
        bent = bends > jnp.finfo(bends.dtype).eps
        cauchy = times(-jnp.where(bent, falls / jnp.where(bent, bends, 1), 0), grad)
        newton = model.best()
        known = {"newton": newton, "newton_norm": norm(newton), "cauchy": cauchy, "cauchy_norm": norm(cauchy)}
        return _At(model, dataclasses.replace(self.path.init(y, None), **known))

    def step(self, step_size: Any, state: _At) -> tuple[Any, Any]:
        return self.path.step(step_size, state.path)


class _Trusted(NamedTuple):
    """The size of the next step, and by how much the loss should change in the step that was taken."""

    step_size: Any
    expected: Any


class TrustRegion(optx.ClassicalTrustRegion):
    """The trust region of optimistix, which is told how good a step should be when the step is taken, by ``expecting``.

    It would otherwise need a product at the first step, at which there is no linearization yet: under ``vmap`` Jacobian hooks
    would be called at a point of zeros, with a state of zeros. The region grows where the loss fell by three quarters of what
    was expected (Nocedal and Wright, algorithm 4.1), not only by all of it: this takes fewer steps.
    """

    high_cutoff: Any = 0.75
    expected: Any = None

    def init(self, y: Any, f_info_struct: Any) -> _Trusted:
        return _Trusted(jnp.array(1.0), jnp.array(0.0))

    def predict_reduction(self, y_diff: Any, f_info: Any) -> Any:
        return self.expected

    def step(
        self, first_step: Any, y: Any, y_eval: Any, f_info: Any, f_eval_info: Any, state: Any
    ) -> tuple[Any, Any, Any, Any]:
        told = dataclasses.replace(self, expected=state.expected)
        given = first_step, y, y_eval, f_info, f_eval_info, state
        size, accept, result, _ = optx.ClassicalTrustRegion.step(told, *given)
        return size, accept, result, _Trusted(size, state.expected)


def expecting(state: Any, x: Any) -> Any:
    """The state of a solver with a trust region, with what its next step, from x, should do."""
    d = jax.tree.map(jnp.subtract, state.y_eval, x)
    expected = state.descent_state.model.change(d).astype(state.search_state.expected.dtype)
    return eqx.tree_at(lambda state: state.search_state.expected, state, expected)


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
    solve = lambda apply, b: least_squares(apply, root, b, limits)  # noqa: E731
    moved = minus(jax.lax.custom_linear_solve(hessian, change, solve, symmetric=True))
    eqx.clear_caches()
    return (root, rest), (moved, jax.custom_derivatives.zero_from_primal(rest, symbolic_zeros=True))
