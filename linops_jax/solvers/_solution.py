"""What lo.solve returns, and what it says when it did not converge."""

from __future__ import annotations

import dataclasses
import numbers
import warnings
from typing import Any

import jax
from jax.core import Tracer

from linops_jax._model import shapes
from linops_jax._types import Arrays


class ConvergenceWarning(UserWarning):
    """A solver stopped before it reached its tolerance."""


class ConvergenceError(RuntimeError):
    """A solver stopped before it reached its tolerance, and ``throw=True`` asked for an error."""


class InexactAdjointWarning(UserWarning):
    """A solver that relies on the adjoint got an operator whose adjoint is declared inexact."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stats:
    """How a solution was found: arrays, so that they pass through ``jit`` and ``vmap``.

    Attributes
    ----------
    steps : 0-d integer array
        Steps of the solver; 0 for a direct one.
    residual : 0-d real array
        ‖A x - y‖ / ‖y‖, without damping; where y is zero, ‖A x - y‖.
    converged : 0-d boolean array
        Whether the solver reached its tolerance, with finite numbers.
    history : real array of shape (steps,), or None
        With ``history=True``: after each step the residual that is compared with the tolerance; for a nonlinear operator
        ‖A x - y‖ / ‖y‖. In compiled code it has ``max_steps`` entries, NaN after the last step.
    simulations : 0-d integer array, or None
        Of a nonlinear operator: how often it was evaluated, by ``linearize`` or, in a class without that hook, by ``apply``.
        Products with its Jacobian do not count, nor do further derivatives of the solution. None for linear operators, and
        for minimisers of optimistix.
    """

    steps: jax.Array
    residual: jax.Array
    converged: jax.Array
    history: jax.Array | None = None
    simulations: jax.Array | None = None

    def __repr__(self) -> str:
        return stats_shown(self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Solution:
    """What ``lo.solve`` returns.

    Attributes
    ----------
    value : pytree of arrays
        The solution, in the structure of the domain.
    stats : Stats
        How it was found.
    """

    value: Arrays
    stats: Stats

    def __repr__(self) -> str:
        is_array = all(map(shapes.is_spec, jax.tree.leaves(self.value)))
        value = shapes.describe_tree(self.value) if is_array else repr(self.value)
        return f"Solution({value}, {self.stats!r})"


def stats_shown(stats: Any) -> str:
    """The numbers that there are, and of a history only the shapes."""
    shown = []
    for field in dataclasses.fields(stats):
        value = getattr(stats, field.name)
        if field.repr and value is not None:
            described = shapes.describe_tree(value) if field.name == "history" else f"{value!s:.40}"
            shown.append(f"{field.name}={described}")
    return f"{type(stats).__name__}({', '.join(shown)})"


def report(solution: Solution, solver: str, rtol: Any, atol: Any, throw: bool) -> Solution:
    """The solution; warns where the solver did not converge, or raises. In compiled code only the latter is possible."""
    converged = solution.stats.converged
    if isinstance(converged, Tracer):
        message = f"lo.solve: {solver} stopped before it reached its tolerance. Call it without jit to see the numbers."
        return raise_when_run(solution, message) if throw else solution
    solution = dataclasses.replace(solution, stats=_shortened(solution.stats))
    asked_for_steps = isinstance(rtol, numbers.Real) and isinstance(atol, numbers.Real) and rtol == atol == 0
    if bool(converged) or asked_for_steps:
        return solution
    message = (
        f"lo.solve: {solver} stopped after {int(solution.stats.steps)} steps, before it reached rtol={float(rtol):g}, "
        f"atol={float(atol):g}; the relative residual ‖A x - y‖ / ‖y‖ is {float(solution.stats.residual):.3g}. Allow more "
        "steps (max_steps=...) or a larger rtol, give a preconditioner, or damp."
    )
    if throw:
        raise ConvergenceError(message)
    warnings.warn(message, ConvergenceWarning, stacklevel=4)
    return solution


def _shortened(stats: Stats) -> Stats:
    """With as many residuals as there were steps."""
    return stats if stats.history is None else dataclasses.replace(stats, history=stats.history[: int(stats.steps)])


def raise_when_run(solution: Any, message: str) -> Any:
    """The same solution, of a program that raises the message if the solver did not converge."""
    import equinox as eqx  # lineax depends on it

    return eqx.error_if(solution, ~solution.stats.converged, message)
