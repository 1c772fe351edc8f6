"""What lo.solve returns, and what it says when it did not converge."""

from __future__ import annotations

import dataclasses
import numbers
import warnings
from typing import Any

import jax
from jax.core import Tracer

from linops_jax._model import shapes


class ConvergenceWarning(UserWarning):
    """A solver stopped before it reached its tolerance."""


class ConvergenceError(RuntimeError):
    """A solver stopped before it reached its tolerance, and ``throw=True`` asked for an error."""


class InexactAdjointWarning(UserWarning):
    """A solver that relies on the adjoint got an operator whose adjoint is declared inexact."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Stats:
    """How a solution was found: arrays, so that they pass through jit and vmap.

    steps:     int; iterations of the solver, 0 for a direct one
    residual:  float; ‖A x - y‖ / ‖y‖, without damping
    converged: bool; whether the solver reached its tolerance, with finite numbers
    history:   floats, with ``history=True``: the residual after each step, the one that is compared with the tolerance
    """

    steps: Any
    residual: Any
    converged: Any
    history: Any = None

    def __repr__(self) -> str:
        shown = [f"{name}={getattr(self, name)!s:.40}" for name in ("steps", "residual", "converged")]
        if self.history is not None:
            shown.append(f"history={shapes.describe(self.history)}")
        return f"Stats({', '.join(shown)})"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Solution:
    """``value``, in the structure of the domain, and ``stats``."""

    value: Any
    stats: Stats

    def __repr__(self) -> str:
        is_array = all(map(shapes.is_spec, jax.tree.leaves(self.value)))
        value = shapes.describe_tree(self.value) if is_array else repr(self.value)
        return f"Solution({value}, {self.stats!r})"


def report(solution: Solution, solver: str, rtol: Any, atol: Any, throw: bool) -> Solution:
    """Warns of a solver that did not converge, or raises; in compiled code only the latter is possible."""
    converged = solution.stats.converged
    if isinstance(converged, Tracer):
        return _raise_when_run(solution, solver) if throw else solution
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


def _raise_when_run(solution: Solution, solver: str) -> Solution:
    import equinox as eqx  # lineax depends on it

    message = f"lo.solve: {solver} stopped before it reached its tolerance. Call it without jit to see the numbers."
    return eqx.error_if(solution, ~solution.stats.converged, message)
