"""How a hook is found on a class, also where an operator has the same name."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from linops_jax import _compat


class AlsoOperator:
    """A hook with the name of an operator: ``Blur.gram`` and, inside of hooks, ``self.gram`` are the plain method, as is
    ``super().gram`` wherever it is called; everywhere else ``A.gram`` is the operator."""

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
    """A hook as the class statement has it."""
    value = inspect.getattr_static(cls, name, default)
    if isinstance(value, AlsoOperator):
        return default if value.hook is None else value.hook
    return value
