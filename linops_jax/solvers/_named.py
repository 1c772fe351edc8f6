"""The solvers by their names: what the front must know of each, and how it is made."""

from __future__ import annotations

import dataclasses
import importlib
import sys
from collections.abc import Callable, Iterable
from typing import Any

import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._operators.printing import exact
from linops_jax._vectors import Axes, sides
from linops_jax.solvers._methods import Direct, Iteration
from linops_jax.solvers._problem import steps_allowed


@dataclasses.dataclass(frozen=True)
class Solver:
    """A solver for linear operators.

    Parameters
    ----------
    name : str
        Its name in ``lo.solve``.
    make : callable
        ``make(A, is_damped, (rtol, atol, max_steps))`` returns the method.
    least_squares : bool
        Whether it takes any operator, and so can damp; others need one from a space to itself.
    is_watched : bool
        Whether it tells its residuals step by step.
    preconditions : bool
        Whether it takes a preconditioner itself, close to A^-1; for all others, A M z = y is solved.
    narrowest : dtype
        The dtype in which it computes at least.
    """

    name: str
    make: Callable[[Any, bool, tuple[Any, ...]], Any]
    least_squares: bool = False
    is_watched: bool = False
    preconditions: bool = False
    narrowest: Any = jnp.float16


def _iteration(name: str, **known: Any) -> Solver:
    full_rank = not known.get("least_squares", False)
    return Solver(
        name, lambda A, is_damped, limits: Iteration(name, *limits, full_rank=full_rank), is_watched=True, **known
    )


def _of_lineax(name: str, **known: Any) -> Solver:
    return Solver(name, lambda A, is_damped, limits: load("_lineax", "lineax").Library(name, *limits), **known)


def _direct(A: Any, is_damped: bool, limits: tuple[Any, ...]) -> Direct:
    return Direct(A.properties.diagonal and not is_damped)


_ALL = (
    _iteration("cg", preconditions=True),
    _iteration("cgls", least_squares=True),
    _of_lineax("lsmr", least_squares=True, narrowest=float),  # lineax 0.1 mixes precisions
    _of_lineax("gmres", narrowest=jnp.float32),  # there is no QR decomposition in half precision
    _iteration("bicgstab"),
    Solver("direct", _direct, least_squares=True),
)
SOLVERS = {solver.name: solver for solver in _ALL}
WATCHED = [solver.name for solver in _ALL if solver.is_watched]
ALIASES = {"normal_cg": "cgls"}


def choose(A: Any, solver: Any, is_damped: bool, limits: Any, max_steps: int | None) -> tuple[Solver, Any]:
    """The solver that was asked for, and its method.

    Raises ValueError for an unknown solver, and for one that does not fit the problem.
    """
    if "lineax" in sys.modules and (foreign := load("_lineax", "lineax").foreign(solver)):
        return Solver(type(solver).__name__, lambda *_: foreign), foreign
    found = _by_name(A, solver, is_damped)
    _check_fits(A, found, is_damped)
    return found, found.make(A, is_damped, (*limits, steps_allowed(A, max_steps)))


def _by_name(A: Any, solver: Any, is_damped: bool) -> Solver:
    name = ALIASES.get(solver, solver) if isinstance(solver, str) else None
    if name == "auto":
        known = A.properties
        name = "cgls" if is_damped else "direct" if known.diagonal else "cg" if known.positive else "cgls"
    if name not in SOLVERS:
        message = (
            f"lo.solve: unknown solver {solver!r}. For a linear operator there are "
            f"{_listed('auto', *SOLVERS, *ALIASES)}, and those of lineax."
        )
        raise ValueError(message)
    return SOLVERS[name]


def _check_fits(A: Any, solver: Solver, is_damped: bool) -> None:
    if solver.least_squares:
        return
    others = _listed(*(other.name for other in _ALL if other.least_squares))
    if is_damped:
        message = f"lo.solve: {solver.name!r} does not damp. Use one of {others}."
        raise ValueError(message)
    if difference := shapes.shape_difference(A.codomain, A.domain):
        message = (
            f"lo.solve: {solver.name!r} needs an operator from a space to itself; the codomain of {exact(A)} is not its "
            f"domain: {difference}. Use one of {others}."
        )
        raise ValueError(message)


def over(axes: Axes, op: Any, method: Any, name: str) -> Any:
    """The method for an operator whose vectors are spread over these axes of a mesh."""
    if not isinstance(method, Iteration):
        message = (
            f"lo.solve: in shard_map {name!r} does not take an operator that communicates, here over "
            f"{_listed(*axes)}. {_listed(*WATCHED)} do; all solvers take lo.sharded(...), outside of shard_map."
        )
        raise NotImplementedError(message)
    return dataclasses.replace(method, axes=axes, sides=sides(op, axes))


def refuse_to_watch(name: str, others: Iterable[str] = WATCHED) -> None:
    """Raises ValueError: this solver does not tell what ``callback`` and ``history`` need, and others do."""
    message = (
        f"lo.solve: {name} does not tell its residuals step by step. callback and history need one of "
        f"{_listed(*others)}, as solver=..."
    )
    raise ValueError(message)


def _listed(*names: str) -> str:
    return ", ".join(map(repr, names))


def load(module: str, package: str) -> Any:
    try:
        return importlib.import_module(f"linops_jax.solvers.{module}")
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("linops_jax"):
            raise
        message = f'lo.solve needs {error.name or package}, which is not installed: pip install "linops-jax[interop]"'
        raise ImportError(message, name=error.name) from error
