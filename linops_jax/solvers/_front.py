"""lo.solve(A, y): what is minimised, by which solver, and from where."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Callable
from typing import Any

from linops_jax._model import shapes
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator
from linops_jax.solvers import _named, _progress, _real, _watch
from linops_jax.solvers._linear import assess, minimise
from linops_jax.solvers._problem import as_operand, damped, fit, is_zero, square, steps_allowed
from linops_jax.solvers._solution import InexactAdjointWarning, Solution, report


@renamed_arguments("lo.solve", "0.1", "0.2", A="op")
def solve(
    op: Operator,
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

    op: the operator A. Linear: ``damp`` means what it does in SciPy's and PyLops' lsqr. Nonlinear: by optimistix, see below
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

    Raises ValueError for an unknown solver and for a y that does not fit, TypeError if A is not an operator
    or its domain is unknown, ``ConvergenceError`` with ``throw=True``, ImportError where lineax is not installed.
    """
    is_watched = callback is not None or history
    if isinstance(op, NonlinearOperator):
        if is_watched:
            _named.refuse_to_watch("a nonlinear operator's solver")
        nonlinear = _named.load("_nonlinear", "optimistix")
        found = nonlinear.solve(op, y, solver, damp, regularizer, x0, preconditioner, rtol, atol, max_steps, progress)
        return report(found[1], found[0], rtol, atol, throw)
    _check_operator(op)
    A, y = fit(op, y, x0)
    limits = [as_operand(limit, y) for limit in (rtol, atol)]
    chosen, method = _named.choose(A, solver, regularizer is not None or not is_zero(damp), limits, max_steps)
    if is_watched and not chosen.is_watched:
        _named.refuse_to_watch(chosen.name)
    _check_adjoint(A, chosen.name, method.relies_on_adjoint)

    both, target = damped(A, y, damp, regularizer)
    if x0 is not None:
        x0 = shapes.cast_like(shapes.as_arrays(x0, "lo.solve: x0"), A.domain, "lo.solve: x0")
    if preconditioner is not None:
        preconditioner = square(preconditioner, A.domain)
    inner, outer = (preconditioner, None) if chosen.preconditions else (None, preconditioner)

    traced = shapes.is_being_traced((A, target, x0, damp, preconditioner, limits))
    wide = _real.is_narrower(both, chosen.narrowest)
    room = steps_allowed(A, max_steps) if history else 0
    with _progress.shown(progress, traced) as counted, _watch.watching(callback, room, traced) as watch:
        x, found = minimise(counted(both), target, method, limits, x0, inner, outer, wide, watch)
    stats = assess(A, x, y, found)
    if history and not shapes.is_being_traced((stats.steps, stats.history)):
        stats = dataclasses.replace(stats, history=stats.history[: int(stats.steps)])
    return report(Solution(x, stats), chosen.name, rtol, atol, throw)


def _check_operator(A: Any) -> None:
    if not isinstance(A, LinearOperator):
        is_array = shapes.is_spec(A)
        found = f"the array {shapes.describe(A)}; lo.Matrix(a) makes an operator of it" if is_array else f"{A!r:.80}"
        message = f"lo.solve expects an operator, found {found}."
        raise TypeError(message)


def _check_adjoint(A: Any, name: str, relies_on_adjoint: bool) -> None:
    if relies_on_adjoint and A.properties.adjoint_rtol is not None:
        message = (
            f"lo.solve: {name} relies on the adjoint of {A!r}, which is declared inexact "
            f"(adjoint_rtol={A.properties.adjoint_rtol:g}): it may stall or diverge. For a square operator, 'gmres' and "
            "'bicgstab' do without."
        )
        warnings.warn(message, InexactAdjointWarning, stacklevel=4)
