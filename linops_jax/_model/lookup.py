"""Lookup of a hook on a class, also if the hook and an attribute of operators have the same name, as ``gram`` does."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable
from typing import Any

from linops_jax import _compat
from linops_jax._model.kinds import is_hook


class AlsoAttribute:
    """A descriptor for a name that is both a hook and an attribute of operators, such as ``gram`` and ``prox``.

    ``Blur.gram`` and ``super().gram`` are the hook, and so is ``self.gram`` inside of host hooks. Everywhere else ``A.gram``
    is the attribute: an operator for ``gram``, a function of JAX arrays for ``prox``.

    Parameters
    ----------
    name : str
        The name.
    make : callable
        The attribute of an operator.
    instead : str
        What to write in the place of ``super().name`` if no class above defines the hook.
    hook : function or native hook, optional
        The hook of the class that has the descriptor. Default: it has none.
    """

    def __init__(self, name: str, make: Callable[[Any], Any], instead: str, hook: Any = None):
        self.name, self.make, self.instead, self.hook = name, make, instead, hook

    def put_on(self, cls: type) -> None:
        """Replaces the hook in the body of a class by such a descriptor."""
        if is_hook(hook := cls.__dict__.get(self.name)):
            setattr(cls, self.name, AlsoAttribute(self.name, self.make, self.instead, hook))

    def __get__(self, op: Any, cls: Any = None) -> Any:
        if op is None:
            return self if self.hook is None else self.hook
        by_super = inspect.getattr_static(type(op), self.name) is not self
        if self.hook is not None and (by_super or _compat.inside_hook()):
            return types.MethodType(self.hook, op)
        if by_super:
            message = (
                f"{type(op)._label}: super().{self.name} is no hook, since no class above defines one. {self.instead}"
            )
            raise AttributeError(message)
        return self.make(op)


def find(cls: type, name: str, default: Any) -> Any:
    """The value of a hook as it was written in a class body, or ``default``."""
    value = inspect.getattr_static(cls, name, default)
    if isinstance(value, AlsoAttribute):
        return default if value.hook is None else value.hook
    return value
