"""The hook ``prepare``, which makes what other hooks of the class take as ``plan``, and the errors for wrong uses of it."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from linops_jax._model import lookup
from linops_jax._model.declarations import is_static
from linops_jax._model.fields import array_fields
from linops_jax._model.kinds import codes_of, is_traced
from linops_jax._model.marks import keywords_of, takes_plan

PLAN = "plan"
PREPARE = "prepare"


def check_prepare(cls: Any, given: Mapping[str, Any]) -> None:
    """Checks the hook ``prepare`` of a class; ``given`` holds the other hooks that it defines.

    Raises
    ------
    TypeError
        If a hook takes a plan that nothing makes, or no hook takes the plan; if ``prepare`` cannot be called as it must be; or
        if it asks for the values of anything but array fields.
    """
    taking = [name for name, value in given.items() if any(map(takes_plan, codes_of(value)))]
    prepare = lookup.find(cls, PREPARE, None)
    where = f"{cls._label}.{PREPARE}"
    if taking and prepare is None:
        message = (
            f"{cls._label}.{taking[0]} takes plan, but {cls._label} has no prepare. Define {where}(self, x), which returns the "
            "plan: any Python object."
        )
        raise TypeError(message)
    if not taking and "apply" in given and inspect.isfunction(prepare):
        message = (
            f"{where} is of no use: no host or native hook of {cls._label} takes the plan. Write `def apply(self, x, *, plan)`, "
            "or lo.native(function, plan=True)."
        )
        raise TypeError(message)
    if taking:
        _check_signature(where, prepare)
        _check_fields(cls, where, prepare)


def _check_signature(where: str, prepare: Any) -> None:
    expected = (
        "a plain method `def prepare(self, x)`, or `def prepare(self, x, *, field)` for the values of array fields"
    )
    is_late = inspect.iscoroutinefunction(prepare) or inspect.isgeneratorfunction(prepare)
    if not inspect.isfunction(prepare) or is_traced(prepare) or is_late:
        found = (
            "traced code" if is_traced(prepare) else "a coroutine or generator" if is_late else type(prepare).__name__
        )
        message = f"{where} must be {expected}, not {found}."
        raise TypeError(message)
    try:
        inspect.signature(prepare).bind("self", "x", **dict.fromkeys(keywords_of(prepare)))
    except TypeError as error:
        message = f"{where} must be {expected}, but {where}{inspect.signature(prepare)} is not: {error}."
        raise TypeError(message) from None


def _check_fields(cls: Any, where: str, prepare: Any) -> None:
    known = array_fields(cls)
    for name in keywords_of(prepare):
        if name in known:
            continue
        field = getattr(cls, "__dataclass_fields__", {}).get(name)
        remedy = (
            f"{name} is static: read self.{name}."
            if field is not None and is_static(field)
            else f"The array fields are {', '.join(known) or 'none'}."
        )
        message = (
            f"{where} takes the keyword-only argument {name}, which is not an array field of {cls._label}. {remedy}"
        )
        raise TypeError(message)
