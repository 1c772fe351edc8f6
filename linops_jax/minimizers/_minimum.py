"""What lo.minimize returns, and what it says when it did not converge."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import jax
from jax.core import Tracer

from linops_jax._model import shapes
from linops_jax._types import Arrays
from linops_jax.solvers._solution import ConvergenceError, ConvergenceWarning, raise_when_run, stats_shown


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MinimumStats:
    """How a minimum was found: arrays, so that they pass through ``jit`` and ``vmap``.

    Attributes
    ----------
    steps : 0-d integer array
        Steps of the algorithm.
    objective : 0-d real array
        The value of the objective; infinite where x violates a constraint behind an operator by rounding.
    gap : 0-d real array
        A bound of ``objective`` minus the minimum; infinite where there is none, see ``lo.minimize``.
    residual : 0-d real array
        The change of the iterates in the last step, relative to them.
    converged : 0-d boolean array
        Whether the algorithm reached its tolerance, with finite numbers.
    step : 0-d real array, or two of them
        The step sizes, as ``lo.minimize`` takes them.
    history : dict of real arrays of shape (steps,), or None
        With ``history=True``: the ``"objective"`` and the ``"gap"`` after each step. In compiled code they have ``max_steps``
        entries, NaN after the last step.
    """

    steps: jax.Array
    objective: jax.Array
    gap: jax.Array
    residual: jax.Array
    converged: jax.Array
    step: Any = dataclasses.field(repr=False)
    history: dict[str, jax.Array] | None = None

    def __repr__(self) -> str:
        return stats_shown(self)


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Minimum:
    """What ``lo.minimize`` returns.

    Attributes
    ----------
    value : pytree of arrays
        The minimiser, in the structure of x0.
    dual : list of pytrees of arrays
        The dual variables, one for each term behind an operator, in the order of the objective: a subgradient of weight times
        functional, at the operator's result.
    stats : MinimumStats
        How it was found.
    """

    value: Arrays
    dual: list[Any]
    stats: MinimumStats

    def __repr__(self) -> str:
        is_array = all(map(shapes.is_spec, jax.tree.leaves((self.value, self.dual))))
        describe = shapes.describe_tree if is_array else repr
        dual = f", dual={describe(self.dual)}" if self.dual else ""
        return f"Minimum({describe(self.value)}{dual}, {self.stats!r})"


def report(found: Minimum, sound: Any, distance: Any, solver: str, rtol: Any, blame: Any, throw: bool) -> Minimum:
    """The minimum; warns where the algorithm did not converge, or raises. In compiled code only the latter is possible.

    ``blame()`` raises if data are no numbers.
    """
    if isinstance(found.stats.converged, Tracer):
        message = (
            f"lo.minimize: {solver} stopped before it reached its tolerance. Call it without jit to see the numbers."
        )
        return raise_when_run(found, message) if throw else found
    steps = int(found.stats.steps)
    if found.stats.history is not None:
        history = {name: values[:steps] for name, values in found.stats.history.items()}
        found = dataclasses.replace(found, stats=dataclasses.replace(found.stats, history=history))
    if not bool(sound):
        blame()
        sizes = ", ".join(f"{float(size):.3g}" for size in jax.tree.leaves(found.stats.step))
        message = (
            f"lo.minimize: {solver} diverged in {steps} steps of size {sizes}. The objective has no minimum; or the step is too "
            "large. Pass a smaller one (step=...), or none, to take it from the norms of the operators (at x0, if they are not "
            "linear). If it was taken from there, an operator's adjoint or a functional's prox or `smooth` is wrong: "
            "lo.check_operator tests them."
        )
        raise ConvergenceError(message)
    if bool(found.stats.converged):
        return found
    message = (
        f"lo.minimize: {solver} stopped after {steps} steps, before it reached rtol={float(rtol):g}; the gap relative to the "
        f"objective, or without a gap the relative change, is {float(distance):.3g}. Allow more steps (max_steps=...) or a "
        "larger rtol."
    )
    if throw:
        raise ConvergenceError(message)
    warnings.warn(message, ConvergenceWarning, stacklevel=3)
    return found
