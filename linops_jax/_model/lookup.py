"""Lookup of a hook on a class, also if the hook and an attribute of operators have the same name, as ``gram`` does."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from linops_jax import _compat


class AlsoOperator:
    """A descriptor for a name that is both a hook and an operator-valued attribute, such as ``gram``.

    ``Blur.gram`` and ``super().gram`` are the hook, and so is ``self.gram`` inside of hooks. Everywhere else ``A.gram`` is
    the operator.
    """

    def __init__(self, name: str, make: Callable[[Any], Any], hook: Any = None):
        self.name, self.make, self.hook = name, make, hook

    def __get__(self, op: Any, cls: Any = None) -> Any:
        if op is None:
            return self if self.hook is None else self.hook
        by_super = inspect.getattr_static(type(op), self.name) is not self
        if self.hook is not None and (by_super or _compat.inside_hook()):
            return types.MethodType(self.hook, op)
        if by_super:
            message = (
                f"{type(op)._label}: super().{self.name} is no hook, since no class above defines one. Write "
                "self.adjoint(self.apply(x)), or what is faster."
            )
            raise AttributeError(message)
        return self.make(op)


def find(cls: type, name: str, default: Any) -> Any:
    """The value of a hook as it was written in a class body, or ``default``."""
    value = inspect.getattr_static(cls, name, default)
    if isinstance(value, AlsoOperator):
        return default if value.hook is None else value.hook
    return value
