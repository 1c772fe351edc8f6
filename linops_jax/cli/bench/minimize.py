"""Minimisation beside PyProximal and SCICO: the time to an objective within 1e-4 of the minimum, the same for all."""

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from ._measure import Case, Effort, Goal, Missing, Run
from ._negation import OURS
from ._problems.objectives import Objective, deblurring, denoising, lasso

TITLE = "Minimisation"
GAP = 1e-4  # above the minimum, relative to it
LIMIT = 2000  # steps
TAU = 0.05  # of primal-dual methods for denoising: 0.1 and 0.2 take more steps
PENALTY = 0.03  # rho of ADMM: 0.1 takes half as many steps again, 0.3 many more
GOALS = {"PyProximal": Goal(0.5), "SCICO": Goal(0.5)}
BY_ITSELF = f"{OURS}, steps and stop by itself"

Solve = Callable[
    [int, Callable[[Any], Any] | None], Any
]  # of a number of steps and of what is called after each with x


def cases(effort: Effort) -> Iterator[Case]:
    pixels = max(effort.pixels // 4, 8)
    side = f"{pixels} x {pixels}"
    names = {
        "lasso": f"lasso, {4 * pixels} x {8 * pixels}",
        "denoising": f"total variation, denoising {side}",
        "deblurring": f"total variation, deblurring {side}",
    }
    for name, (make, of_pyproximal, of_scico) in PROBLEMS.items():
        objective = make(pixels)
        contestants = {
            OURS: partial(_ours, objective),
            BY_ITSELF: partial(_by_itself, objective),
            "PyProximal": partial(_peer, of_pyproximal, objective),
            "SCICO": partial(_peer, of_scico, objective),
        }
        yield Case(f"{names[name]}, to {GAP:g}", contestants, goals=GOALS, slow=True)


# ---- ours -----------------------------------------------------------------------------------------------------------


def _ours(objective: Objective) -> Run:
    """As many steps as needed, of a size that is given: for denoising that of the others, otherwise its own."""
    start = jnp.asarray(objective.start)
    options: Any = {"rtol": 0, "progress": False, "differentiate": "no"}
    with warnings.catch_warnings(action="ignore", category=lo.ConvergenceWarning):
        found = lo.minimize(objective.f, start, max_steps=LIMIT, history=True, step=objective.step, **options)
    history: Any = found.stats.history
    near = (history["objective"] - objective.least) / objective.least <= GAP
    options |= {"max_steps": int(np.argmax(near)) + 1, "step": found.stats.step}
    run = jax.jit(lambda f, x: lo.minimize(f, x, **options).value)
    return _checked(lambda: run(objective.f, start).block_until_ready(), objective)


def _by_itself(objective: Objective) -> Run:
    """With the norms of the operators, until its own bound of the gap is small enough."""
    start = jnp.asarray(objective.start)
    options: Any = {"rtol": GAP, "progress": False, "differentiate": "no", "max_steps": 10 * LIMIT}
    run = jax.jit(lambda f, x: lo.minimize(f, x, **options).value)
    return _checked(lambda: run(objective.f, start).block_until_ready(), objective)


# ---- the others -----------------------------------------------------------------------------------------------------


class _Reached(Exception):
    pass


def _peer(make: Callable[[Objective], Solve], objective: Objective) -> Run:
    """As many steps as needed of another library."""
    solve, count = make(objective), 0

    def see(x: Any) -> None:
        nonlocal count
        count += 1
        if objective.gap(x) <= GAP:
            raise _Reached

    try:
        solve(LIMIT, see)
    except _Reached:
        return _checked(lambda: solve(count, None), objective)
    msg = f"is not within {GAP:g} after {LIMIT} steps"
    raise Missing(msg)


def _checked(run: Run, objective: Objective) -> Run:
    """A run that was seen to come as close to the minimum as it must, and not below."""
    gap = objective.gap(run())
    if not -GAP / 10 <= gap <= 1.01 * GAP:
        msg = f"the objective is {gap:.2g} above the minimum, relative to it; it must be within {GAP:g}"
        raise AssertionError(msg)
    return run


# ---- PyProximal -----------------------------------------------------------------------------------------------------


def _pyproximal_lasso(objective: Objective) -> Solve:
    import pylops
    import pyproximal
    from pyproximal.optimization.primal import ProximalGradient

    misfit = pyproximal.L2(pylops.MatrixMult(objective.matrix), objective.y)
    penalty, start = pyproximal.L1(objective.weight), objective.start
    options: Any = {"tau": 1 / np.linalg.norm(objective.matrix, 2) ** 2, "acceleration": "fista"}
    return lambda steps, see: ProximalGradient(misfit, penalty, start, niter=steps, callback=see, **options)


def _pyproximal_denoising(objective: Objective) -> Solve:
    import pyproximal
    from pyproximal.optimization.primaldual import PrimalDual

    misfit = pyproximal.L2(b=objective.y.ravel())
    penalty = pyproximal.L21(ndim=2, sigma=objective.weight)
    gradient, start, tau = _pylops_gradient(objective), objective.start.ravel(), TAU
    options: Any = {"tau": tau, "mu": 1 / (8 * tau)}
    return lambda steps, see: PrimalDual(misfit, penalty, gradient, start, niter=steps, callback=see, **options)


def _pyproximal_deblurring(objective: Objective) -> Solve:
    """ADMM with a few steps of LSQR: faster than its primal-dual method here."""
    import pyproximal
    from pyproximal.optimization.primal import ADMML2

    op, data, start = objective.pylops(), objective.y.ravel(), objective.start.ravel()
    penalty, gradient = pyproximal.L21(ndim=2, sigma=objective.weight), _pylops_gradient(objective)
    options: Any = {"tau": 1 / PENALTY, "iter_lim": 4}
    return lambda steps, see: ADMML2(penalty, op, data, gradient, x0=start, niter=steps, callback=see, **options)[0]


def _pylops_gradient(objective: Objective) -> Any:
    import pylops

    return pylops.Gradient(objective.start.shape, kind="forward")


# ---- SCICO ----------------------------------------------------------------------------------------------------------


def _scico_lasso(objective: Objective) -> Solve:
    scico = _scico()
    misfit = scico.loss.SquaredL2Loss(
        jnp.asarray(objective.y), scico.linop.MatrixOperator(jnp.asarray(objective.matrix))
    )
    most = np.linalg.norm(objective.matrix, 2) ** 2
    penalty = objective.weight * scico.functional.L1Norm()
    return _stepped(scico.optimize.AcceleratedPGM(misfit, penalty, L0=most, x0=jnp.asarray(objective.start)))


def _scico_denoising(objective: Objective) -> Solve:
    scico, tau = _scico(), TAU
    misfit = scico.loss.SquaredL2Loss(jnp.asarray(objective.y))
    gradient, penalty = _scico_total_variation(scico, objective)
    return _stepped(
        scico.optimize.PDHG(misfit, penalty, gradient, tau=tau, sigma=1 / (8 * tau), x0=jnp.asarray(objective.start))
    )


def _scico_deblurring(objective: Objective) -> Solve:
    """ADMM with a few steps of conjugate gradients."""
    scico = _scico()
    from scico.optimize.admm import LinearSubproblemSolver  # pyright: ignore[reportMissingImports]

    misfit = scico.loss.SquaredL2Loss(jnp.asarray(objective.y), objective.scico())
    gradient, penalty = _scico_total_variation(scico, objective)
    inner = LinearSubproblemSolver(cg_kwargs={"tol": 0.0, "maxiter": 4})
    return _stepped(
        scico.optimize.ADMM(
            misfit, [penalty], [gradient], [PENALTY], x0=jnp.asarray(objective.start), subproblem_solver=inner
        )
    )


def _scico_total_variation(scico: Any, objective: Objective) -> tuple[Any, Any]:
    gradient = scico.linop.FiniteDifference(objective.start.shape, input_dtype=np.float64, append=0, jit=True)
    return gradient, objective.weight * scico.functional.L21Norm()


def _scico() -> Any:
    with warnings.catch_warnings(action="ignore"):  # on import, about names that newer JAX does not have
        import scico.functional  # pyright: ignore[reportMissingImports]
        import scico.linop  # pyright: ignore[reportMissingImports]
        import scico.loss  # pyright: ignore[reportMissingImports]
        import scico.optimize  # pyright: ignore[reportMissingImports]

        return scico


def _stepped(solver: Any) -> Solve:
    """The solver from its start on, without the statistics that `solve` gathers. What it has compiled stays."""
    start = {name: list(value) if isinstance(value, list) else value for name, value in vars(solver).items()}

    def solve(steps: int, see: Callable[[Any], Any] | None) -> Any:
        vars(solver).update({name: list(value) if isinstance(value, list) else value for name, value in start.items()})
        for _ in range(steps):
            solver.step()
            if see is not None:
                see(solver.minimizer())
        return solver.minimizer().block_until_ready()

    return solve


PROBLEMS = {
    "lasso": (lasso, _pyproximal_lasso, _scico_lasso),
    "denoising": (denoising, _pyproximal_denoising, _scico_denoising),
    "deblurring": (deblurring, _pyproximal_deblurring, _scico_deblurring),
}
