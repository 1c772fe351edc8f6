"""lo.solve(A, y): what is minimised, by which solver, and from where."""

from __future__ import annotations

import dataclasses
import importlib
import math
import numbers
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator, UnknownShapeError
from linops_jax._operators.printing import exact
from linops_jax.algebra import vstack
from linops_jax.algebra._identity import Identity
from linops_jax.solvers import _progress, _real, _watch
from linops_jax.solvers._linear import assess, minimise
from linops_jax.solvers._methods import Direct, Iteration
from linops_jax.solvers._solution import InexactAdjointWarning, Solution, report

LINEAR = ("cg", "cgls", "lsmr", "gmres", "bicgstab", "direct")
ALIASES = {"normal_cg": "cgls"}
LEAST_SQUARES = ("cgls", "lsmr", "direct")
WATCHED = ("cg", "cgls", "bicgstab")
MOST_STEPS = 10_000


def solve(
    A: Operator,
    y: Any,
    *,
    solver: Any = "auto",
    damp: Any = 0,
    regularizer: LinearOperator | None = None,
    x0: Any = None,
    preconditioner: LinearOperator | None = None,
    rtol: Any = 1e-6,
    atol: Any = 0,
    max_steps: int | None = None,
    progress: bool | None = None,
    throw: bool = False,
    callback: Callable[[int, float], Any] | None = None,
    history: bool = False,
) -> Solution:
    """The x that minimises ‖A x - y‖² + damp² ‖R x‖², as an object with ``value`` and ``stats``.

    A: operator. Linear: ``damp`` means what it does in SciPy's and PyLops' lsqr. Nonlinear: solved by optimistix, see below
    y: arrays in the structure of A's codomain; real or complex
    solver: "auto", a name below, or one of lineax's solvers (``lx.LSMR(...)``), which then has its own tolerances
    damp, regularizer: damp >= 0, a number or a differentiable scalar array; R, the identity where only damp is given
    x0: where to start; gives the domain where A has none. Tolerances are relative to what it leaves: y - A x0
    preconditioner: a square operator M on the domain. For "cg" positive, and close to A^-1. All others solve for z in
    A M z = y, x = M z: M is close to an inverse; for least squares, to one that makes the columns of A M orthonormal
    rtol, atol: stop when ‖r‖ <= rtol ‖r_0‖ + atol, in Euclidean norms; both 0 ask for exactly ``max_steps`` steps. Numbers
    or arrays, as ``damp``: another value is no new program
    max_steps: by default ten times the size of the problem, at most 10 000
    progress: show the number of steps; by default where standard error is a terminal and the call is not compiled
    throw: an error instead of a warning where the solver did not converge; in compiled code, too
    callback: ``callback(step, residual)`` is called after each step, from 1 on, with an int and a float, the ‖r‖ that is
    compared with the tolerance; what it raises ends up in the caller, once the solve is over. In compiled code, too;
    under vmap for each problem. Not by the solves of reverse-mode derivatives
    history: keep these residuals, as ``stats.history``: one per step; in compiled code ``max_steps``, nan after the last.
    Both for "cg", "cgls" and "bicgstab"

    =========== =================================================================================================
    "cg"        A positive; r = y - A x
    "cgls"      any A, least squares; r = A^H (y - A x); stops where r is rounding, too: ‖r‖ <= 4 eps ‖A‖ ‖y - A x‖. Also
                called "normal_cg"
    "lsmr"      any A, least squares, by lineax; stops when y - A x or A^H (y - A x) is small, relative to ‖A‖ too
    "gmres"     A square, the adjoint is not needed; by lineax, restarted every 30 steps; r = y - A x
    "bicgstab"  the same with less memory
    "direct"    by the singular values of the dense matrix (a diagonal one: by division, 0 for 0), for small problems
    "auto"      "direct" for a diagonal A, "cg" for a positive one, "cgls" for all others; with damp, "cgls"
    =========== =================================================================================================

    Without damping, and where solutions are many, the least-squares solvers give the one closest to x0 (zero). All work
    under jit, vmap and grad: derivatives with respect to y, damp, x0 and the parameters of A come from implicit
    differentiation, to the same tolerance, which for A's parameters takes up to three further solves. Operators that are
    linear over the reals only, or map real arrays to complex ones, are solved over pairs of reals: the answer is right.
    Units do not matter, of A and of y: other powers of two give the same digits, as long as the dtype holds y, A x and x.
    Where it does not hold x, and where anything is not finite, ``converged`` is False.

    A nonlinear A needs ``x0``. "levenberg_marquardt" (also "auto"), "gauss_newton" and "dogleg" start there and end in a
    local minimum.

    Warns ``ConvergenceWarning`` where the tolerance is not reached (compiled code: see ``stats.converged``) and
    ``InexactAdjointWarning`` where the solver relies on an adjoint that is declared inexact.

    Raises ValueError for an unknown solver and for a y that does not fit, TypeError for what is not an operator and where
    nobody knows the domain, ``ConvergenceError`` with ``throw=True``, ImportError where lineax is not installed.
    """
    if isinstance(A, NonlinearOperator):
        _check_watched(callback, history, "a nonlinear operator's solver", ())
        nonlinear = _load("_nonlinear", "optimistix")
        found = nonlinear.solve(A, y, solver, damp, regularizer, x0, preconditioner, rtol, atol, max_steps, progress)
        return report(found[1], found[0], rtol, atol, throw)
    if not isinstance(A, LinearOperator):
        is_array = shapes.is_spec(A)
        found = f"the array {shapes.describe(A)}; lo.Matrix(a) makes an operator of it" if is_array else f"{A!r:.80}"
        message = f"lo.solve expects an operator, found {found}."
        raise TypeError(message)
    A, y = fit(A, y, x0)
    limits = [as_operand(limit, y) for limit in (rtol, atol)]
    name, method = _choose(A, solver, damp, regularizer, limits, max_steps)
    _check_watched(callback, history, name, WATCHED)
    _check_adjoint(A, name, method.relies_on_adjoint)

    op, target = damped(A, y, damp, regularizer)
    if x0 is not None:
        x0 = shapes.cast_like(shapes.as_arrays(x0, "lo.solve: x0"), A.domain, "lo.solve: x0")
    inner = outer = None
    if preconditioner is not None:
        preconditioner = _square(preconditioner, A.domain)
        inner, outer = (preconditioner, None) if name == "cg" else (None, preconditioner)

    traced = shapes.is_being_traced((A, target, x0, damp, preconditioner, limits))
    # lineax 0.1 mixes precisions in the one, and there is no QR decomposition in half precision for the other
    wide = _real.is_narrower(op, {"lsmr": float, "gmres": jnp.float32}.get(name, jnp.float16))
    room = steps_allowed(A, max_steps) if history else 0
    with _progress.shown(progress, traced) as counted, _watch.watching(callback, room, traced) as watch:
        x, found = minimise(counted(op), target, method, limits, x0, inner, outer, wide, watch)
    stats = assess(A, x, y, found)
    if history and not shapes.is_being_traced((stats.steps, stats.history)):
        stats = dataclasses.replace(stats, history=stats.history[: int(stats.steps)])
    return report(Solution(x, stats), name, rtol, atol, throw)


def fit(A: Any, y: Any, x0: Any) -> tuple[Any, Any]:
    """A with a domain, and y as its codomain has it."""
    y = as_inexact(shapes.as_arrays(y, "lo.solve: y"))
    if A.domain is None:
        A = A.with_domain(_domain(A, y, x0))
    codomain = A.codomain
    if difference := shapes.mismatch(y, codomain):
        message = f"lo.solve: y does not fit the codomain of {exact(A)}: {difference}."
        raise ValueError(message)
    for side, specs in (("domain", A.domain), ("codomain", codomain)):
        if not all(shapes.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(specs)):
            message = (
                f"lo.solve: the {side} of {A!r} is {shapes.describe_tree(specs)}; solvers need floating point numbers. "
                "Fix another domain with with_domain(spec)."
            )
            raise TypeError(message)
    if any(
        shapes.is_complex(a.dtype) and not shapes.is_complex(b.dtype)
        for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(codomain), strict=True)
    ):
        message = (
            f"lo.solve: y is {shapes.describe_tree(shapes.specs(y))}, but the codomain of {exact(A)} is real: "
            f"{shapes.describe_tree(codomain)}. Pass y.real, or fix a complex domain with with_domain(spec)."
        )
        raise ValueError(message)
    return A, shapes.cast_like(y, codomain, "lo.solve: y")


def as_inexact(tree: Any) -> Any:
    return jax.tree.map(lambda x: x if shapes.is_inexact(x.dtype) else x.astype(jnp.result_type(float)), tree)


def _domain(A: Any, y: Any, x0: Any) -> Any:
    if x0 is not None:
        return shapes.specs(as_inexact(shapes.as_arrays(x0, "lo.solve: x0")))
    try:
        return A._infer_adjoint_shape(y)
    except UnknownShapeError as error:
        message = (
            f"lo.solve: nobody knows the domain of {exact(A)}. Fix it with A.with_domain(spec), pass x0, or define "
            "infer_adjoint_shape."
        )
        raise TypeError(message) from error


def _choose(A: Any, solver: Any, damp: Any, regularizer: Any, limits: Any, steps: Any) -> Any:
    """The name to print, and the method."""
    is_damped = regularizer is not None or not is_zero(damp)
    if "lineax" in sys.modules and (foreign := _load("_lineax", "lineax").foreign(solver)):
        return type(solver).__name__, foreign
    name = ALIASES.get(solver, solver) if isinstance(solver, str) else None
    if name == "auto":
        known = A.properties
        name = "cgls" if is_damped else "direct" if known.diagonal else "cg" if known.positive else "cgls"
    if name not in LINEAR:
        message = (
            f"lo.solve: unknown solver {solver!r}. For a linear operator there are "
            f"{', '.join(map(repr, ('auto', *LINEAR, *ALIASES)))}, and those of lineax."
        )
        raise ValueError(message)
    if is_damped and name not in LEAST_SQUARES:
        message = f"lo.solve: {name!r} does not damp. Use one of {', '.join(map(repr, LEAST_SQUARES))}."
        raise ValueError(message)
    if name not in LEAST_SQUARES and (difference := shapes.mismatch(A.codomain, A.domain)):
        message = (
            f"lo.solve: {name!r} needs an operator from a space to itself; the codomain of {exact(A)} is not its domain: "
            f"{difference}. Use one of {', '.join(map(repr, LEAST_SQUARES))}."
        )
        raise ValueError(message)
    if name == "direct":
        return name, Direct(A.properties.diagonal and not is_damped)
    limits = [*limits, steps_allowed(A, steps)]
    if name in WATCHED:
        return name, Iteration(name, *limits, full_rank=name != "cgls")
    return name, _load("_lineax", "lineax").Library(name, *limits)


def steps_allowed(A: Any, max_steps: int | None) -> int:
    return default_steps(A) if max_steps is None else max_steps


def default_steps(A: Any) -> int:
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(A.domain))
    return min(10 * max(size, 1), MOST_STEPS)


def _check_watched(callback: Any, history: bool, name: str, known: tuple[str, ...]) -> None:
    if (callback is not None or history) and name not in known:
        message = (
            f"lo.solve: {name} does not tell its residuals step by step. callback and history need one of "
            f"{', '.join(map(repr, WATCHED))}, as solver=..."
        )
        raise ValueError(message)


def _check_adjoint(A: Any, name: str, relies_on_adjoint: bool) -> None:
    if relies_on_adjoint and A.properties.adjoint_rtol is not None:
        message = (
            f"lo.solve: {name} relies on the adjoint of {A!r}, which is declared inexact "
            f"(adjoint_rtol={A.properties.adjoint_rtol:g}): it may stall or diverge. For a square operator, 'gmres' and "
            "'bicgstab' do without."
        )
        warnings.warn(message, InexactAdjointWarning, stacklevel=3)


def damped(A: Any, y: Any, damp: Any, regularizer: Any) -> tuple[Any, Any]:
    """[A; damp R] and [y; 0], whose least squares are those of A with damping."""
    if is_zero(damp):
        if regularizer is None:
            return A, y
        message = "lo.solve: a regularizer has no effect without damp. Pass damp=..., the factor in front of it."
        raise ValueError(message)
    if regularizer is not None and not isinstance(regularizer, LinearOperator):
        message = f"lo.solve: regularizer must be a linear operator, found {type(regularizer).__name__}."
        raise TypeError(message)
    if jnp.ndim(damp) or shapes.is_complex(jnp.result_type(damp)):
        message = f"lo.solve: damp must be a real number, found {shapes.describe(jnp.asarray(damp))}."
        raise ValueError(message)
    R = (Identity() if regularizer is None else regularizer).with_domain(A.domain)
    op = vstack([A, as_operand(damp, A.domain) * R])
    return op, [y, jax.tree.map(shapes.zeros, op.codomain[1])]


def is_zero(damp: Any) -> bool:
    return isinstance(damp, numbers.Real) and damp == 0


def as_operand(number: Any, like: Any) -> Any:
    """A real number as an array, so that another one is no new program; in the precision of these arrays."""
    return jnp.asarray(number, jnp.finfo(jnp.result_type(*jax.tree.leaves(like))).dtype)


def _square(M: Any, domain: Any) -> Any:
    if not isinstance(M, LinearOperator):
        message = f"lo.solve: preconditioner must be a linear operator, found {type(M).__name__}."
        raise TypeError(message)
    M = M.with_domain(domain)
    if difference := shapes.mismatch(M.codomain, domain):
        message = f"lo.solve: the preconditioner {M!r} must map the domain of A to itself: {difference}."
        raise ValueError(message)
    return M


def _load(module: str, package: str) -> Any:
    try:
        return importlib.import_module(f"linops_jax.solvers.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("linops_jax"):
            raise
        message = f'lo.solve needs {error.name or package}, which is not installed: pip install "linops-jax[interop]"'
        raise ImportError(message, name=error.name) from error
