"""The hooks of a class that take the state of ``linearize``, and the errors for wrong uses of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from linops_jax._model.kinds import Code, variants_of
from linops_jax._model.marks import takes_state
from linops_jax._model.rules import MODES, TAKE_STATE

_MUST = TAKE_STATE[:2]


def takers(cls: Any, given: Mapping[str, Any]) -> frozenset[str]:
    """The names of the hooks that take the state, including transposes of such hooks that the class does not define.

    Raises
    ------
    TypeError
        If a hook takes the state but the class has no ``linearize``; if ``infer_state_shape`` is missing; or if a hook that
        needs the state does not take it.
    """
    written = {name: value for name, value in given.items() if name in TAKE_STATE and value is not None}
    taking = {name: _takes(f"{cls._label}.{name}", value) for name, value in written.items()}
    if given.get("linearize") is None:
        _refuse_without_linearize(cls, written)
        return frozenset()
    _refuse_incomplete(cls, given, taking)
    partners = [(a, b) for a, _, b in MODES if a in TAKE_STATE and b in TAKE_STATE]
    for one, other in partners:
        if {one, other} <= set(taking) and taking[one] and not taking[other]:
            message = (
                f"{cls._label}.{one} takes state and {cls._label}.{other} does not, but each is the transpose of the other. Let "
                "both take it, or neither."
            )
            raise TypeError(message)
    found = {name for name, takes in taking.items() if takes}
    return frozenset(found | {other for one, other in partners if one in found and other not in taking})


def _takes(where: str, value: Any) -> bool:
    """Whether a hook takes the state. Native hooks have no signature to look at, and always take it."""
    variants = {_takes(where, variant) for variant in variants_of(value).values()}
    if len(variants) > 1:
        message = f"{where}: some variants of lo.per_platform take state and some do not. Let all take it, or none."
        raise TypeError(message)
    return variants.pop() if variants else isinstance(value, Code) or takes_state(value)


def _refuse_without_linearize(cls: Any, written: Mapping[str, Any]) -> None:
    for name, value in written.items():
        if takes_state(value):
            message = (
                f"{cls._label}.{name} takes state, but {cls._label} has no linearize. Define {cls._label}.linearize(self, x), "
                "which returns (y, state), and infer_state_shape(self, x)."
            )
            raise TypeError(message)


def _refuse_incomplete(cls: Any, given: Mapping[str, Any], taking: Mapping[str, bool]) -> None:
    where = cls._label
    if "infer_state_shape" not in given:
        message = f"{where}.linearize needs {where}.infer_state_shape(self, x), which says the shapes and dtypes of the state."
        raise TypeError(message)
    if not any(name in taking for name in _MUST):
        message = (
            f"{where}.linearize is of no use without Jacobian hooks that take its state: define {where}.jacobian_apply or "
            f"{where}.jacobian_adjoint with a keyword-only state."
        )
        raise TypeError(message)
    for name in _MUST:
        if not taking.get(name, True):
            message = (
                f"{where}.{name} must take a keyword-only state, since {where} has linearize: write "
                f"`def {name}(self, x, ..., *, state)`."
            )
            raise TypeError(message)
