"""Nonlinear least squares by optimistix, over the reals. Imported on first use: needs optimistix and lineax."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jax.custom_derivatives import SymbolicZero

from linops_jax import _compat, _vectors
from linops_jax._engine.compiled import compiled, plain
from linops_jax._model import shapes
from linops_jax.solvers import _problem, _progress, _steps, _watch
from linops_jax.solvers._linear import assess
from linops_jax.solvers._named import refuse_to_watch
from linops_jax.solvers._real import from_reals, to_reals
from linops_jax.solvers._solution import Solution
from linops_jax.solvers._watched import Watched

SOLVERS: dict[str, Any] = {
    "levenberg_marquardt": (optx.LevenbergMarquardt, _steps.Damped),
    "gauss_newton": (optx.GaussNewton, _steps.Newton),
    "dogleg": (optx.Dogleg, _steps.Dogleg),
}
STEPS = 256


def solve(
    A: Any, y: Any, solver: Any, damp: Any, R: Any, x0: Any, preconditioner: Any, rtol: Any, atol: Any, max_steps: Any,
    progress: Any, callback: Any, history: bool,
) -> tuple[str, Solution]:  # fmt: skip
    """As ``lo.solve``, with the solver's name.

    Stops when x and the loss, relative to |y|², change by less than rtol times themselves + atol, which is rtol at least.
    """
    if x0 is None:
        message = f"lo.solve: {A!r} is nonlinear: say where to start, x0=..."
        raise ValueError(message)
    if preconditioner is not None:
        message = "lo.solve: preconditioners are for linear operators only."
        raise ValueError(message)
    x0 = _problem.as_inexact(shapes.as_arrays(x0, "lo.solve: x0"))
    _refuse_placed(A, y, x0)
    A, y = _problem.fit(A, y, x0)
    _vectors.refuse_over_a_batch(A, x0, "lo.solve")
    rtol, atol = (_problem.as_operand(limit, y) for limit in (rtol, atol))
    name, method = _choose(solver, rtol, jnp.maximum(atol, rtol))
    is_watched = isinstance(method, optx.AbstractGaussNewton)
    if not is_watched and (callback is not None or history):
        refuse_to_watch(name, SOLVERS)
    R = _problem.damping(shapes.specs(x0), damp, R)
    damp = None if R is None else _problem.as_operand(damp, x0)
    traced = shapes.is_being_traced((A, y, x0, damp))
    steps = STEPS if max_steps is None else max_steps
    room = steps if history else 0
    with _progress.shown(progress, traced) as counted, _watch.watching(callback, room, traced) as watch:
        if is_watched and steps > 0:  # without a step there is nothing to see
            method = Watched(method, watch)
        x, found = _least_squares(method, x0, (counted(A), y, damp, R), steps, _steps.Implicit())
    return name, Solution(x, assess(A, x, y, found, ()))


def _refuse_placed(*trees: Any) -> None:
    """Raises NotImplementedError for arrays whose types say where on a mesh they are, which optimistix does not take."""
    if any(map(_compat.place, jax.tree.leaves(trees))):
        message = (
            "lo.solve: the solvers for nonlinear operators do not take arrays that differ between the devices of a shard_map or "
            "are sharded over an explicit mesh. Make an operator on whole arrays, lo.sharded(F, mesh, ...), on a mesh with "
            "automatic axes, and solve outside of shard_map."
        )
        raise NotImplementedError(message)


@compiled
def _least_squares(
    method: Any, x0: Any, problem: Any, max_steps: int, adjoint: Any
) -> tuple[Any, dict[str, jax.Array]]:
    """The solution, and what the method says of it."""
    A, y, damp, R = problem
    size = _vectors.norm(jax.lax.stop_gradient(y))
    problem = A, y, jnp.where(size > 0, size, 1), damp, R
    found = plain(optx.least_squares)(
        _residual, method, to_reals(x0), problem, {}, max_steps=max_steps, throw=False, adjoint=adjoint
    )
    eqx.clear_caches()  # of shapes, by jaxprs that hold A
    known = "num_steps", "residual", "simulations", "history"
    stats = {name: found.stats[name] for name in known if found.stats.get(name) is not None}
    stats["converged"] = found.result == optx.RESULTS.successful
    return from_reals(found.value, shapes.specs(x0)), stats


def _residual(x: Any, problem: Any) -> Any:
    A, y, size, damp, R = problem
    like = shapes.specs(A.domain) if A.domain is not None else x
    x = from_reals(x, like)
    rest = [jax.tree.map(jnp.subtract, _evaluate(A, x), y)]
    if damp is not None:
        rest.append(jax.tree.map(lambda leaf: damp * leaf, R(x)))
    return jax.tree.map(lambda leaf: leaf / size.astype(leaf.dtype), to_reals(rest))


def _evaluate(A: Any, x: Any) -> Any:
    """A(x); where A has one mode of differentiation only, by its dense Jacobian, which has both."""
    if not (_lacks(A, "jacobian_apply") or _lacks(A, "jacobian_adjoint")):
        return A(x)
    packing = _vectors.Packing(shapes.specs(x), pairs=True)
    derive = jax.jacrev if _lacks(A, "jacobian_apply") else jax.jacfwd

    def apply(A: Any, v: Any) -> Any:
        return to_reals(A(packing.unpack(v)))

    def jacobian(A: Any, v: Any) -> tuple[Any, Any]:
        """The Jacobian, and the value, by one evaluation."""
        return derive(lambda v: (lambda y: (y, y))(apply(A, v)), has_aux=True)(v)

    def differentiate(primals: Any, tangents: Any) -> Any:
        (A, v), (dA, dv) = primals, tangents
        if not all(isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(dA)):
            message = f"lo.solve: derivatives with respect to parameters of {A!r} need both of its Jacobian hooks."
            raise NotImplementedError(message)
        dense, y = both(A, v)
        return y, jax.tree.map(lambda J: J @ jnp.asarray(dv), dense)

    def differentiate_both(primals: Any, tangents: Any) -> Any:
        (A, v), (_, dv) = primals, tangents
        y, dy = differentiate(primals, tangents)
        dense, moved = jax.jvp(lambda v: jacobian(A, v)[0], (v,), (jnp.asarray(dv),))
        return (dense, y), (moved, dy)

    both, evaluate = jax.custom_jvp(jacobian), jax.custom_jvp(apply)
    both.defjvp(differentiate_both, symbolic_zeros=True)
    evaluate.defjvp(differentiate, symbolic_zeros=True)
    return from_reals(evaluate(A, packing.pack(x)), A._infer_shape(x))


def _lacks(A: Any, hook: str) -> bool:
    return getattr(type(A), hook, True) is None or (hasattr(A, "op") and _lacks(A.op, hook))


def _choose(solver: Any, rtol: Any, atol: Any) -> tuple[str, Any]:
    if isinstance(solver, optx.AbstractLeastSquaresSolver | optx.AbstractMinimiser):
        return type(solver).__name__, solver
    name = "levenberg_marquardt" if solver == "auto" else solver
    if not isinstance(name, str) or name not in SOLVERS:
        message = (
            f"lo.solve: unknown solver {solver!r}. For a nonlinear operator there are "
            f"{', '.join(map(repr, ('auto', *SOLVERS)))}, and those of optimistix."
        )
        raise ValueError(message)
    make, descent = SOLVERS[name]
    method = eqx.tree_at(lambda method: method.descent, make(rtol, atol), descent())
    if isinstance(method.search, optx.ClassicalTrustRegion):
        method = eqx.tree_at(lambda method: method.search, method, _steps.TrustRegion())
    return name, method
