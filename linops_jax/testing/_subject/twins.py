"""The same operator once more, counting the calls of its host hooks."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterable
from typing import Any

from linops_jax.testing._subject.hands import Hand


def counting(op: Any, hands: Iterable[Hand], calls: dict[str, int]) -> Any:
    """An operator that is this one, and counts the calls of these hooks in ``calls``."""
    cls: Any = type(op)
    inside = threading.local()
    namespace = {hand.name: _counted(hand.function, hand.name, calls, inside) for hand in hands}
    own: Any = type(cls)(cls.__name__, (cls,), {**namespace, "__module__": cls.__module__})
    twin = object.__new__(own)
    twin.__dict__.update(op.__dict__)
    return twin


def _counted(function: Callable[..., Any], name: str, calls: dict[str, int], inside: threading.local) -> Any:
    """Counts the calls from outside: hooks may call each other."""

    @functools.wraps(function)
    def counted(*arguments: Any, **keywords: Any) -> Any:
        if getattr(inside, "hook", False):
            return function(*arguments, **keywords)
        calls[name] = calls.get(name, 0) + 1
        inside.hook = True
        try:
            return function(*arguments, **keywords)
        finally:
            inside.hook = False

    return counted
