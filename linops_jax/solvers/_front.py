"""lo.solve(A, y): what is minimised, by which solver, and from where."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator
from linops_jax._types import Arrays, Real
from linops_jax._vectors import coupled_axes, fitted, refuse_shared
from linops_jax.solvers import _named, _progress, _real, _watch
from linops_jax.solvers._limits import require_limits, require_steps
from linops_jax.solvers._linear import assess, minimise
from linops_jax.solvers._problem import as_operand, damped, fit, is_zero, square, steps_allowed
from linops_jax.solvers._solution import InexactAdjointWarning, Solution, report


@renamed_arguments("lo.solve", "0.1", "0.2", A="op")
def solve(
    op: Operator,
    y: Arrays,
    *,
    solver: Any = "auto",
    damp: Real = 0,
    regularizer: LinearOperator | None = None,
    x0: Arrays | None = None,
    preconditioner: LinearOperator | None = None,
    rtol: Real = 1e-6,
    atol: Real = 0,
    max_steps: int | None = None,
    progress: bool | None = None,
    throw: bool = False,
    callback: Callable[[int, float], Any] | None = None,
    history: bool = False,
) -> Solution:
    r"""The x that minimises ‖A x - y‖² + damp² ‖R x‖².

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator A. A nonlinear one needs ``x0``, and is solved by optimistix.
    y : pytree of arrays
        The data, in the structure and shapes of the codomain of ``op``; real or complex.
    solver : str or solver object, optional
        One of the names in the tables below, ``"auto"`` by default; or a solver of lineax (``lx.LSMR(...)``) or, for a
        nonlinear operator, of optimistix, which then has its own tolerances.
    damp : float or 0-d array, optional
        How much a large ``R x`` costs; real and not negative, 0 by default. May be differentiated.
    regularizer : LinearOperator, optional
        R; the identity where only ``damp`` is given.
    x0 : pytree of arrays, optional
        Where to start; zero by default. It gives the domain where ``op`` has none. Tolerances are relative to what it leaves,
        y - A x0.
    preconditioner : LinearOperator, optional
        A square operator M on the domain. For ``"cg"`` it is positive and close to A⁻¹. All other solvers solve A M z = y for
        z, with x = M z: there M is close to an inverse, or for least squares to an operator that makes the columns of A M
        orthonormal.
    rtol : float or 0-d array, optional
        Stop when ‖r‖ <= rtol ‖r₀‖ + atol, in Euclidean norms; 1e-6 by default. What r is depends on the solver. Other values of
        ``rtol``, ``atol`` and ``damp`` do not compile the solver again.
    atol : float or 0-d array, optional
        See ``rtol``; 0 by default. Where both are 0, the solver takes exactly ``max_steps`` steps.
    max_steps : int, optional
        By default ten times the number of unknowns, at most 10 000; for a nonlinear operator 256.
    progress : bool, optional
        Whether to show the number of steps; by default where standard error is a terminal and the call is not compiled.
    throw : bool, optional
        Whether to raise an error in place of a warning where the solver did not converge; in compiled code, too.
    callback : callable, optional
        ``callback(step, residual)`` is called after each step, with an int from 1 on and a float, the ‖r‖ that is compared with
        the tolerance; for a nonlinear operator ‖A x - y‖ / ‖y‖ at the last x that was accepted. What it raises is raised by
        ``lo.solve`` once the solve is over. It works in compiled code, and under ``vmap`` for each problem; the solves of
        reverse-mode derivatives do not call it. For ``"cg"``, ``"cgls"`` and ``"bicgstab"``, and for all solvers of nonlinear
        operators except minimisers of optimistix.
    history : bool, optional
        Whether to keep these residuals, as ``stats.history``: one for each step; in compiled code ``max_steps`` of them, NaN
        after the last step. For the same solvers as ``callback``.

    Returns
    -------
    Solution
        With ``value``, x in the structure of the domain, and ``stats``. Where anything is not finite, or x does not fit into its
        dtype, ``stats.converged`` is False.

    Raises
    ------
    TypeError
        If ``A`` is not an operator, its domain is unknown, or its numbers are integers; if a tolerance is no real number, or
        ``max_steps`` no integer.
    ValueError
        If ``y`` does not fit the codomain, the solver is unknown or does not fit the problem, a nonlinear operator has no
        ``x0``, or a tolerance or ``max_steps`` is negative.
    ConvergenceError
        If the solver did not converge and ``throw`` is True.
    NotImplementedError
        In ``jax.shard_map``, if the operator communicates between devices and all of them share the unknowns, or the solver is
        not ``"cg"``, ``"cgls"`` or ``"bicgstab"``. If arrays are sharded over an explicit mesh or differ between the devices of
        a ``shard_map``, and the solver is one of lineax's or optimistix's.
    ImportError
        If the solver is one of lineax's or optimistix's and that is not installed.

    Warns
    -----
    ConvergenceWarning
        If the solver did not converge. Compiled code cannot warn; see ``stats.converged``.
    InexactAdjointWarning
        If the solver relies on an adjoint that is declared inexact.

    Notes
    -----
    A linear operator is solved by one of these. A⁻¹ and Aᴴ stand for inverse and adjoint, r for what the tolerance is about.

    ============== =================================================================================================
    ``"cg"``       Conjugate gradients (Hestenes and Stiefel, 1952). A is positive; r = y - A x.
    ``"cgls"``     Conjugate gradients on Aᴴ A x = Aᴴ y (Björck, 1996), in exact arithmetic the steps of LSQR (Paige
                   and Saunders, 1982). Any A, least squares; r = Aᴴ (y - A x). It also stops where r is rounding,
                   ‖r‖ <= 4 eps ‖A‖ ‖y - A x‖. Also called ``"normal_cg"``.
    ``"lsmr"``     LSMR (Fong and Saunders, 2011), by lineax. Any A, least squares. It stops when y - A x or
                   Aᴴ (y - A x) is small, relative to ‖A‖, too.
    ``"gmres"``    GMRES (Saad and Schultz, 1986), by lineax, restarted every 30 steps. A is square, and its adjoint
                   is not needed; r = y - A x.
    ``"bicgstab"`` BiCGSTAB (van der Vorst, 1992). As ``"gmres"``, with less memory.
    ``"direct"``   Singular values of the dense matrix, for small problems; of a diagonal A, division, with 0 for 0.
                   Any A, least squares.
    ``"auto"``     ``"direct"`` for a diagonal A, ``"cg"`` for a positive one, ``"cgls"`` for all others. With
                   ``damp``, ``"cgls"``.
    ============== =================================================================================================

    With ``damp``, the least squares are those of two operators on top of each other, as in SciPy's and PyLops' ``lsqr``:

    .. math::
        \left\| \begin{pmatrix} A \\ \mathrm{damp}\, R \end{pmatrix} x - \begin{pmatrix} y \\ 0 \end{pmatrix} \right\|^2

    Without it, and where there are many solutions, the least-squares solvers find the one closest to ``x0``, or to zero.

    A nonlinear operator is solved by ``"levenberg_marquardt"`` (also ``"auto"``), ``"gauss_newton"`` or ``"dogleg"`` (Nocedal
    and Wright, 2006), which end in a local minimum. They stop when x and the loss, relative to ‖y‖², change by less than
    ``rtol`` times themselves plus ``atol``; ``atol`` is at least ``rtol``. Each step evaluates the operator once, the first one
    at ``x0``; a step that does not make the loss smaller is rejected, and counts. With at most 32 real unknowns or, without
    ``damp``, data (a complex number is two), a step that is accepted forms the Jacobian, by one product for each of them, and
    finds the next step from its singular values, if it has at most 2²⁴ entries. Otherwise there are products with the Jacobian
    and its adjoint, in up to 1000 steps of CGLS.

    All of them work under ``jit``, ``vmap`` and ``grad``. Derivatives with respect to y, ``damp``, ``x0`` and the parameters of A
    come from implicit differentiation (Golub and Pereyra, 1973), to the same tolerance; those with respect to A's parameters
    take up to three more solves.

    In ``jax.shard_map``, each device solves a problem of its own, in its own number of steps. If the operator communicates
    between devices, as ``lo.Halo`` does, their parts are one problem: all take the same steps, and each gets its part of x. In a
    step of ``"cg"`` and ``"cgls"`` they send what the operator sends, and two sums.

    An operator that is linear over the reals only, or maps real arrays to complex ones, is solved over pairs of real numbers.
    Units do not matter: A or y times a power of two gives the same digits, as long as the dtype holds y, A x and x.

    References
    ----------
    * Hestenes, M. R. and E. Stiefel (1952). Methods of conjugate gradients for solving linear systems. J. Res. Natl. Bur.
      Stand. 49, 409-436.
    * Björck, Å. (1996). Numerical Methods for Least Squares Problems, section 7.4. SIAM.
    * Paige, C. C. and M. A. Saunders (1982). LSQR: An algorithm for sparse linear equations and sparse least squares. ACM
      Trans. Math. Softw. 8, 43-71.
    * Fong, D. C.-L. and M. Saunders (2011). LSMR: An iterative algorithm for sparse least-squares problems. SIAM J. Sci.
      Comput. 33, 2950-2971.
    * Saad, Y. and M. H. Schultz (1986). GMRES: A generalized minimal residual algorithm for solving nonsymmetric linear
      systems. SIAM J. Sci. Stat. Comput. 7, 856-869.
    * van der Vorst, H. A. (1992). Bi-CGSTAB: A fast and smoothly converging variant of Bi-CG for the solution of nonsymmetric
      linear systems. SIAM J. Sci. Stat. Comput. 13, 631-644.
    * Nocedal, J. and S. J. Wright (2006). Numerical Optimization, chapters 4 and 10. Springer.
    * Golub, G. H. and V. Pereyra (1973). The differentiation of pseudo-inverses and nonlinear least squares problems whose
      variables separate. SIAM J. Numer. Anal. 10, 413-432.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    >>> found = lo.solve(A, jnp.array([1.0, 4.0, 3.0]))
    >>> print(found.value.round(3), found.stats.converged)
    [1. 2.] True
    """
    require_limits("lo.solve", rtol=rtol, atol=atol)
    if max_steps is not None:
        require_steps("lo.solve", least=0, max_steps=max_steps)
    if isinstance(op, NonlinearOperator):
        problem = op, y, solver, damp, regularizer, x0, preconditioner, rtol, atol, max_steps
        name, solution = _named.load("_nonlinear", "optimistix").solve(*problem, progress, callback, history)
        return report(solution, name, rtol, atol, throw)
    _check_operator(op)
    A, y = fit(op, y, x0)
    limits = [as_operand(limit, y) for limit in (rtol, atol)]
    chosen, method = _named.choose(A, solver, regularizer is not None or not is_zero(damp), limits, max_steps)
    if (callback is not None or history) and not chosen.is_watched:
        _named.refuse_to_watch(chosen.name)
    _check_adjoint(A, chosen.name, method.relies_on_adjoint)

    both, target = damped(A, y, damp, regularizer)
    if x0 is not None:
        x0 = shapes.cast_like(shapes.as_arrays(x0, "lo.solve: x0"), A.domain, "lo.solve: x0")
    if preconditioner is not None:
        preconditioner = square(preconditioner, A.domain)
    inner, outer = (preconditioner, None) if chosen.preconditions else (None, preconditioner)
    ops = [both] if preconditioner is None else [both, preconditioner]
    axes = coupled_axes(ops, "lo.solve", needs_adjoint=method.relies_on_adjoint)
    if axes:
        method = _named.over(axes, both, method, chosen.name)
        _refuse_different(limits, axes)
        y = fitted(A, y, axes, "lo.solve")
        refuse_shared(both, target, axes, "lo.solve")
        target = fitted(both, target, axes, "lo.solve")

    traced = shapes.is_being_traced((A, target, x0, damp, preconditioner, limits))
    wide = _real.is_narrower(both, chosen.narrowest)
    room = steps_allowed(A, max_steps) if history else 0
    with _progress.shown(progress, traced) as counted, _watch.watching(callback, room, traced) as watch:
        x, found = minimise(counted(both), target, method, limits, x0, inner, outer, wide, watch)
    return report(Solution(x, assess(A, x, y, found, axes)), chosen.name, rtol, atol, throw)


def _refuse_different(limits: Any, axes: Any) -> None:
    """Raises ValueError for tolerances of which each device has its own: the first to stop would let the others wait."""
    if different := _compat.all_axes(limits) & set(axes):
        message = (
            f"lo.solve: rtol and atol must be the same on all devices along {', '.join(map(repr, sorted(different)))}, whose "
            "parts are one problem. Pass for example their jax.lax.pmin."
        )
        raise ValueError(message)


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
