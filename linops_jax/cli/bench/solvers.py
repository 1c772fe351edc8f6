"""Loops of iterative solvers: a fixed number of steps from zero, the same operator in every library."""

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
from ._problems import PROBLEMS, Problem

TITLE = "Solvers"
GOALS = {("blur", "sums in JAX", 512): {"PyLops": Goal(0.3)}}  # of CGLS, the fastest form of the operator
BY_LSMR = "blur", "sparse matrix"
BY_FISTA = "FFTs in JAX", "ducc0"  # of the blur
SOFT = 0.01  # weight of the absolute values in FISTA


def cases(effort: Effort) -> Iterator[Case]:
    for name, make in PROBLEMS.items():
        problem = make(effort.pixels)
        for variant, build in list(problem.ours.items())[: effort.variants]:
            contestants = {
                OURS: partial(_ours, "cgls", build, problem, effort.steps),
                "PyLops": partial(_pylops, problem, effort.steps),
                "lineax": partial(_lineax, "cgls", problem, effort.steps),
                "SCICO": partial(_scico, problem, effort.steps),
            }
            goals = GOALS.get((name, variant, effort.pixels), {})
            yield _case("CGLS", name, variant, problem, contestants, goals, effort)
    for name in BY_LSMR:
        problem = PROBLEMS[name](effort.pixels)
        variant, build = next(iter(problem.ours.items()))
        contestants = {
            OURS: partial(_ours, "lsmr", build, problem, effort.steps),
            "SciPy on PyLops": partial(_scipy_lsmr, problem, effort.steps),
            "lineax": partial(_lineax, "lsmr", problem, effort.steps),
        }
        yield _case("LSMR", name, variant, problem, contestants, {}, effort)
    for variant in BY_FISTA[: effort.variants]:
        problem = PROBLEMS["blur"](effort.pixels)
        contestants = {
            OURS: partial(_fista, problem.ours[variant], problem, effort.steps),
            "PyLops": partial(_pylops_fista, problem, effort.steps),
        }
        yield _case("FISTA", "blur", variant, problem, contestants, {}, effort)


def _case(
    solver: str,
    name: str,
    variant: str,
    problem: Problem,
    contestants: dict[str, Callable[[], Callable[[], Any]]],
    goals: dict[str, Goal],
    effort: Effort,
) -> Case:
    size = " x ".join(map(str, problem.shape))
    title = f"{effort.steps} {solver} steps, {name} {size}, {variant}"
    answers: list[np.ndarray] = []
    checked = {who: partial(_checked, build, answers) for who, build in contestants.items()}
    return Case(title, checked, goals=goals, slow=True)


def _checked(build: Callable[[], Callable[[], Any]], answers: list[np.ndarray]) -> Run:
    """A run that was seen to come to the same answer as the one before it."""
    run = build()
    answers.append(np.asarray(run()).ravel())
    np.testing.assert_allclose(answers[-1], answers[0], rtol=0, atol=1e-5 * np.abs(answers[0]).max())
    return run


# ---- CGLS and LSMR --------------------------------------------------------------------------------------------------


def _ours(solver: str, build: Callable[[], Any], problem: Problem, steps: int) -> Run:
    y = jnp.asarray(problem.y())
    op = build().with_domain(jax.ShapeDtypeStruct(problem.shape, y.dtype))
    options = {"solver": solver, "max_steps": steps, "rtol": 0, "atol": 0, "progress": False}
    solve = jax.jit(lambda op, y: lo.solve(op, y, **options).value)
    return lambda: solve(op, y).block_until_ready()


def _pylops(problem: Problem, steps: int) -> Run:
    op, y = problem.pylops(), problem.y().ravel()
    from pylops.optimization.basic import cgls

    return lambda: cgls(op, y, x0=np.zeros(op.shape[1], y.dtype), niter=steps, tol=0.0, preallocate=True)[0]


def _scipy_lsmr(problem: Problem, steps: int) -> Run:
    from scipy.sparse.linalg import aslinearoperator, lsmr

    op, y = problem.pylops(), problem.y().ravel()
    wrapped = aslinearoperator(op)
    return lambda: lsmr(wrapped, y, atol=0, btol=0, conlim=0, maxiter=steps)[0]


def _lineax(solver: str, problem: Problem, steps: int) -> Run:
    import lineax as lx

    parameters, function = _present("lineax", problem, problem.function)()
    y = jnp.asarray(problem.y())
    spec = jax.ShapeDtypeStruct(problem.shape, y.dtype)
    method: Any = {
        "cgls": lambda: lx.Normal(lx.CG(rtol=0, atol=0, stabilise_every=None, max_steps=steps)),
        "lsmr": lambda: lx.LSMR(rtol=0, atol=0, conlim=np.inf, max_steps=steps),
    }[solver]()

    @jax.jit
    def solve(parameters: Any, y: jax.Array) -> jax.Array:
        op = lx.FunctionLinearOperator(partial(function, parameters), spec)
        return lx.linear_solve(op, y, method, throw=False).value

    return lambda: solve(parameters, y).block_until_ready()


def _scico(problem: Problem, steps: int) -> Run:
    make = _present("SCICO", problem, problem.scico)
    with warnings.catch_warnings(action="ignore"):  # on import, about names that newer JAX does not have
        from scico.solver import cg  # pyright: ignore[reportMissingImports]

        op: Any = make()
    target = op.adj(jnp.asarray(problem.y()))
    return lambda: cg(op.gram_op, target, tol=0.0, maxiter=steps)[0].block_until_ready()


def _present(who: str, problem: Problem, make: Callable[[], Any] | None) -> Callable[[], Any]:
    if make is None:
        msg = problem.why_not[who]
        raise Missing(msg)
    return make


# ---- FISTA ----------------------------------------------------------------------------------------------------------


def _soft(x: Any, threshold: float) -> Any:
    return jnp.sign(x) * jnp.maximum(jnp.abs(x) - threshold, 0)


def _fista(build: Callable[[], Any], problem: Problem, steps: int) -> Run:
    """Beck and Teboulle's iteration for |A x - y|² / 2 + SOFT |x|_1 with steps of length 1."""
    y = jnp.asarray(problem.y())
    op = build().with_domain(y)

    def step(_: int, state: Any) -> Any:
        x, z, t = state
        new = _soft(z + op.H(y - op(z)), SOFT)
        larger = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return new, new + (t - 1) / larger * (new - x), larger

    start = jnp.zeros(problem.shape), jnp.zeros(problem.shape), jnp.asarray(1.0)
    run = jax.jit(lambda start: jax.lax.fori_loop(0, steps, step, start)[0])
    return lambda: run(start).block_until_ready()


def _pylops_fista(problem: Problem, steps: int) -> Run:
    op, y = problem.pylops(), problem.y().ravel()
    from pylops.optimization.sparsity import fista

    return lambda: fista(op, y, niter=steps, eps=2 * SOFT, alpha=1.0, tol=0.0, preallocate=True)[0]
