"""lo.minimize(f, x0): the public function, and its program."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._engine.compiled import compiled
from linops_jax._model import shapes
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._types import Arrays, Real
from linops_jax.minimizers import _sizes
from linops_jax.minimizers._admm import ADMM, PENALTY
from linops_jax.minimizers._arguments import as_start, as_step, require_derivatives
from linops_jax.minimizers._fista import FISTA
from linops_jax.minimizers._implicit import attach
from linops_jax.minimizers._loop import Options, iterate
from linops_jax.minimizers._minimum import Minimum, MinimumStats, report
from linops_jax.minimizers._pd3o import PD3O
from linops_jax.minimizers._problem import Problem, arrange, number
from linops_jax.solvers import _progress, _watch
from linops_jax.solvers._limits import require_limits, require_steps


def minimize(
    f: NonlinearOperator,
    x0: Arrays,
    *,
    solver: str = "auto",
    rtol: Real = 1e-6,
    max_steps: int = 10_000,
    step: Any = None,
    progress: bool | None = None,
    callback: Callable[[int, float], Any] | None = None,
    history: bool = False,
    throw: bool = False,
    differentiate: str = "implicit",
    adjoint_rtol: Real = 1e-6,
    adjoint_steps: int = 1000,
) -> Minimum:
    r"""The x that minimises f(x), a sum of functionals of operators.

    Parameters
    ----------
    f : NonlinearOperator
        The objective, an expression of functionals and operators: ``lo.SquaredL2(y) @ A + 0.1 * lo.L1()``. Weights are real
        numbers or 0-d arrays.
    x0 : pytree of arrays
        Where to start. It says the structure, the shapes and the dtypes of x: real arrays for a real x, even if operators
        take complex ones.
    solver : str, optional
        ``"fista"``, ``"pd3o"``, ``"admm"`` or ``"auto"``, the default: see below.
    rtol : float or 0-d array, optional
        Stop when the primal-dual gap is at most rtol times the objective; 1e-6 by default. Other values do not compile again,
        nor do other weights and data.
    max_steps : int, optional
        By default 10 000.
    step : float or 0-d array, or two of them, optional
        The step of FISTA; of PD3O tau, or the pair of tau and sigma; of ADMM where its penalty starts, relative to the norms of
        the operators. By default from these norms, which takes products with the operators in each call; ``stats.step`` has
        the sizes for the next one.
    progress : bool, optional
        Whether to show the number of steps; by default where standard error is a terminal and the call is not compiled.
    callback : callable, optional
        ``callback(step, distance)`` is called after each step, with an int from 1 on and a float, which is compared with
        ``rtol``. As that of ``lo.solve``, it works in compiled code, and what it raises is raised once all steps are done.
    history : bool, optional
        Whether to keep the objective and the gap of each step, in ``stats.history``.
    throw : bool, optional
        Whether to raise an error in place of a warning where the algorithm did not converge; in compiled code, too.
    differentiate : str, optional
        Where derivatives of the minimum come from: ``"implicit"``, the default, from the optimality conditions at the minimum;
        ``"unroll"`` from the steps, always ``max_steps`` of them, with the memory of all; ``"no"``, they are zero.
    adjoint_rtol, adjoint_steps : float, int, optional
        For implicit derivatives: the tolerance of the linear equation of each, and the most steps of its solver; 1e-6 and
        1000 by default.

    Returns
    -------
    Minimum
        With ``value``, x in the structure of x0, ``dual``, the dual variables, and ``stats``.

    Raises
    ------
    TypeError
        If f has a part that is no functional of an operator, or is not one real number; if a tolerance is no real number, or a
        number of steps no integer.
    ValueError
        If a functional without a gradient has a negative weight, x0 or a weight is not finite, x0 has no numbers, f(x0) is NaN,
        a tolerance is negative, no step is allowed, or ``solver``, ``step`` or ``differentiate`` is none of the values above, or
        does not fit the objective. In compiled code ``stats.converged`` is False where only the
        program knows the numbers.
    NotImplementedError
        If no algorithm takes a term: it has neither a prox nor a gradient, or has no gradient and a nonlinear operator; or, in
        ``jax.shard_map``, if it is not known to be a sum over the parts of the devices.
    ConvergenceError
        If the iterates diverge; and if ``throw`` is True and the algorithm did not converge.

    Warns
    -----
    ConvergenceWarning
        If the algorithm did not converge, and if a derivative is inexact. Compiled code cannot warn of the former; see
        ``stats.converged``.

    Notes
    -----
    The expression is taken apart into terms, weight f(A x + b). Those with a gradient, whose functional is ``smooth``, may have
    any operators, also nonlinear ones. One term without a gradient may be without an operator; of several the last one is
    taken, so write constraints last: x fulfils this one exactly. An operator that is known to be unitary counts as none. All
    other terms get a dual variable each, and need linear operators.

    =========== ====================================================================================================
    ``"fista"`` Accelerated proximal gradients (Beck and Teboulle, 2009), restarted where they go uphill (O'Donoghue
                and Candès, 2015). No term has a dual variable. With a nonlinear operator, steps shrink where needed
                and the result is a stationary point.
    ``"pd3o"``  The primal-dual splitting of Yan (2018). Any of these terms.
    ``"admm"``  Alternating directions of multipliers (Gabay and Mercier, 1976; Boyd et al., 2011). All operators are linear,
                and no weight is negative; a smooth functional that is not ``lo.SquaredL2`` has a prox. A step solves a linear
                equation by conjugate gradients, with the ``gram`` of the operators: fewer steps, of more products each.
    ``"auto"``  ``"fista"`` where it takes the objective, otherwise ``"pd3o"``.
    =========== ====================================================================================================

    The gap bounds f(x) - min f if some minimiser is at most twice as long as x: the conjugates' values come from the equality
    of Fenchel and Young, so functionals need none, and what the dual point lacks to be feasible counts with this length (the
    restricted gap of Chambolle and Pock, 2011). There is no gap where f is not known to be convex, and where x violates a
    constraint behind an operator, so that f(x) is infinite. Then the algorithm stops when the iterates change by at most rtol
    times themselves. With a gap they must change by at most the square root of rtol: in the first steps from zero, x is much
    shorter than a minimiser. It also stops where nothing changes but rounding, 4 eps.

    The penalty of ADMM, of \|K x + b - z\|² / 2 for a term f(K x + b), is ``step`` times L / \|K\|², where L is the Lipschitz
    constant of the smooth terms' gradient. It is balanced on the way (Wohlberg, 2017).

    Multiples of f take the same steps to the same x, as do powers of two in the units of x, if there is a smooth term.

    All of this works under ``jit``, ``vmap``, where each problem stops by itself, and in forward and reverse mode, with respect
    to weights, data and fields of operators, not ``x0``. Implicit derivatives are those of a fixed point of the map of Condat
    (2013) and Vũ (2013), with the proxes' derivatives. They need a minimum that is found well, have the error of a linear
    solver, of which a warning tells, and at a kink, where a threshold is just reached, are those of one side.

    In ``jax.shard_map`` an operator that communicates makes the parts of all devices one problem. Then functionals must be
    ``separable``, the axis of ``lo.L21`` must not be the one that is cut, and there are no implicit derivatives.

    References
    ----------
    * Beck, A. and M. Teboulle (2009). A fast iterative shrinkage-thresholding algorithm for linear inverse problems. SIAM J.
      Imaging Sci. 2, 183-202.
    * O'Donoghue, B. and E. Candès (2015). Adaptive restart for accelerated gradient schemes. Found. Comput. Math. 15, 715-732.
    * Gabay, D. and B. Mercier (1976). A dual algorithm for the solution of nonlinear variational problems via finite element
      approximation. Comput. Math. Appl. 2, 17-40.
    * Boyd, S., N. Parikh, E. Chu, B. Peleato and J. Eckstein (2011). Distributed optimization and statistical learning via the
      alternating direction method of multipliers. Found. Trends Mach. Learn. 3, 1-122.
    * Wohlberg, B. (2017). ADMM penalty parameter selection by residual balancing. arXiv:1704.06209.
    * Yan, M. (2018). A new primal-dual algorithm for minimizing the sum of three functions with a linear operator. J. Sci.
      Comput. 76, 1698-1717.
    * Chambolle, A. and T. Pock (2011). A first-order primal-dual algorithm for convex problems with applications to imaging.
      J. Math. Imaging Vis. 40, 120-145.
    * Condat, L. (2013). A primal-dual splitting method for convex optimization involving Lipschitzian, proximable and linear
      composite terms. J. Optim. Theory Appl. 158, 460-479.
    * Vũ, B. C. (2013). A splitting algorithm for dual monotone inclusions involving cocoercive operators. Adv. Comput. Math.
      38, 667-681.

    Examples
    --------
    >>> A, y = lo.Matrix([[2.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), jnp.array([4.0, 0.1, 2.0])
    >>> found = lo.minimize(lo.SquaredL2(y) @ A + 1.0 * lo.L1(), jnp.zeros(2))
    >>> print(found.value.round(3), found.stats.converged)
    [1.8 0. ] True
    """
    x0 = as_start(x0)
    require_limits("lo.minimize", rtol=rtol, adjoint_rtol=adjoint_rtol)
    require_steps("lo.minimize", max_steps=max_steps, adjoint_steps=adjoint_steps)
    problem, name = arrange(f, x0, solver)
    require_derivatives(differentiate, name)
    limits = [jnp.asarray(limit, number(x0)) for limit in (rtol, adjoint_rtol)]
    given = as_step(step, name, x0)
    traced = shapes.is_being_traced((problem, x0, limits, given))
    room = max_steps if history else 0
    shows = _progress.steps_shown(progress, traced, "lo.minimize: {task.completed} steps")
    with shows as counts, _watch.watching(callback, room, traced, "lo.minimize") as watch:
        how = name, max_steps, counts, differentiate, adjoint_steps
        x, dual, found = _program(problem, x0, given, limits, watch, *how)
    sound, distance = found.pop("sound"), found.pop("distance")
    minimum = Minimum(x, dual, MinimumStats(**found))
    return report(minimum, sound, distance, name, rtol, lambda: _blame(problem, x0), throw)


@compiled
def _program(
    problem: Problem, x0: Any, given: Any, limits: list[Any], watch: Any, name: str, max_steps: int, counts: bool,
    differentiate: str, adjoint_steps: int,
) -> tuple[Any, list[Any], dict[str, Any]]:  # fmt: skip
    """The minimum, the dual variables, and how they were found."""
    fixed, x0, given, (rtol, adjoint_rtol) = jax.lax.stop_gradient((problem, x0, given, limits))
    axes = fixed.axes(x0, "lo.minimize")
    unrolled = differentiate == "unroll"
    used = problem if unrolled else fixed
    options = Options(rtol, max_steps, watch, counts, unrolled)
    method: Any
    if name == "fista":
        step = _sizes.of_fista(fixed, x0, given)
        backtracks = given is None and not unrolled and not all(term.is_linear for term in fixed.smooth)
        method = FISTA(used, axes, backtracks)
        state, found = iterate(method, method.begin(x0, step), x0, options)
        step = state.step
        pair = step, step
    elif name == "admm":
        pair, units = _sizes.of_admm(fixed, x0)
        method = ADMM(used, axes, pair[0], units)
        start = jnp.asarray(PENALTY if given is None else given, number(x0))
        state, found = iterate(method, method.begin(x0, start), x0, options)
        step = state.penalty
    else:
        step = pair = _sizes.of_pd3o(fixed, x0, given)
        method = PD3O(used, axes, pair)
        state, found = iterate(method, method.begin(x0), x0, options)
    if name != "fista":
        pair = pair[0] / 2, pair[1]  # what the map of the derivatives takes
    root = method.result(state)
    if differentiate == "implicit":
        root = attach(problem, root, pair, axes, adjoint_rtol, adjoint_steps)
    elif differentiate == "no":
        root = jax.lax.stop_gradient(root)
    return *root, jax.lax.stop_gradient(found | {"step": step})


def _blame(problem: Problem, x0: Any) -> None:
    """Raises ValueError where the start or a term is no number."""
    if not bool(_vectors.is_finite(x0)):
        message = "lo.minimize: x0 has entries that are infinite or NaN. Start at finite numbers, as zeros."
        raise ValueError(message)
    for term in problem.terms:
        if not math.isfinite(term.weight):
            message = (
                f"lo.minimize: the weight of {term.functional!r} is {float(term.weight):g}. Weights are finite numbers."
            )
            raise ValueError(message)
        value = float(term.value(term.inside(x0)))
        if math.isnan(value) or (term.is_smooth and math.isinf(value)):
            message = (
                f"lo.minimize: {term!r} is {value:g} at x0, which is finite: the data, or fields of operators or functionals, "
                "are not finite. Look for NaN and infinity in them."
            )
            raise ValueError(message)
