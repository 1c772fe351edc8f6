"""Checks of hooks when a class is defined: their kinds and signatures."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from linops_jax._model.kinds import DEVICE, Code, kind_of
from linops_jax._model.marks import STREAM, keywords_of, takes_out, takes_plan, takes_state, takes_stream
from linops_jax._model.rules import INFER, OPTIONAL, TAKE_STATE


def check_hook(cls: Any, name: str, arguments: tuple[str, ...], value: Any) -> None:
    """Raises TypeError for a hook that cannot be called with its arguments, or is of a kind that it cannot have."""
    where = f"{cls._label}.{name}"
    if value is None:
        _check_declared_missing(where, name)
    elif isinstance(value, Code):
        _check_may_be(where, name, arguments, "native")
        for variant in value.variants.values():
            check_hook(cls, name, arguments, variant)
    elif not inspect.isfunction(value):
        message = f"{where} must be a plain method `def {name}({', '.join(arguments)})`, not {type(value).__name__}."
        raise TypeError(message)
    else:
        if kind_of(value) == DEVICE:
            _check_may_be(where, name, arguments, "a device hook")
        _check_signature(where, name, arguments, value)
        _check_keywords(where, name, arguments, value)


def _check_declared_missing(where: str, name: str) -> None:
    if name not in OPTIONAL:
        message = f"{where} = None is not possible: only {', '.join(sorted(OPTIONAL))} may be declared missing."
        raise TypeError(message)


def _check_may_be(where: str, name: str, arguments: tuple[str, ...], what: str) -> None:
    if name in INFER:
        plain = f"a plain method `def {name}({', '.join(arguments)})`"
        message = f"{where} is called while JAX traces, so it must be {plain}, not {what}."
        raise TypeError(message)


def _check_signature(where: str, name: str, arguments: tuple[str, ...], function: Callable[..., Any]) -> None:
    expected = ", ".join(arguments)
    signature = inspect.signature(function)
    for keyword in ("out", "state", "plan", *([STREAM] if kind_of(function) == DEVICE else [])):
        given = signature.parameters.get(keyword)
        if given is not None and keyword not in arguments and given.kind is not inspect.Parameter.KEYWORD_ONLY:
            message = f"{where} takes {keyword} as a positional argument: write `def {name}({expected}, *, {keyword})`."
            raise TypeError(message)
    keywords = {"out": None} if takes_out(function) and name not in INFER else {}
    keywords |= {"state": None} if takes_state(function) and name in TAKE_STATE else {}
    keywords |= {"plan": None} if takes_plan(function) and name not in INFER else {}
    keywords |= {STREAM: None} if takes_stream(function) else {}
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        message = f"{where} must accept ({expected}), but {where}{signature} does not: {error}."
        raise TypeError(message) from None


def _check_keywords(where: str, name: str, arguments: tuple[str, ...], function: Callable[..., Any]) -> None:
    kind, taken = kind_of(function), keywords_of(function)
    for keyword, what in kind.refuses.items():
        if keyword in taken:
            message = f"{where} {what}"
            raise TypeError(message)
    for keyword, what in kind.requires.items():
        if keyword not in taken:
            message = f"{where} {what.format(name=name, arguments=', '.join(arguments))}"
            raise TypeError(message)
