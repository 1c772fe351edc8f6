"""Hooks that are XLA FFI handlers written by users, and their attributes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from linops_jax._model.fields import static_fields
from linops_jax._native import pointers
from linops_jax._native.native import Native


class Handler(Native):
    """A hook that is an FFI handler: the name of a registered target, or a handler that is registered at its first use."""

    def __init__(self, handler: Any, owner: Any, attributes: Any):
        self._attributes = attributes
        self._kept = (handler, owner)
        self.target = handler if isinstance(handler, str) else None  # the name under which it is registered
        self.anywhere = self.target is not None
        self.stages: dict[str, int] = {}  # the address of the handler for each stage
        if not isinstance(handler, str):
            stages = handler if isinstance(handler, Mapping) else {"execute": handler}
            self.stages = {stage: pointers.handler_pointer(value, "lo.native(ffi=)") for stage, value in stages.items()}

    @property
    def is_function(self) -> bool:
        """Whether the handler is a single function, without stages and state, so that the extension can call it."""
        return set(self.stages) == {"execute"}

    def compiled(self, label: str, signature: Any) -> int:
        return self.stages["execute"]

    def attributes(self, label: str, op: Any) -> dict[str, Any]:
        """The attributes of the call, converted by ``attribute``. By default, these are the static fields by name."""
        if self._attributes is None:
            values = {name: getattr(op, name) for name in static_fields(type(op))}
        elif inspect.isfunction(self._attributes):
            values = self._attributes(op)
        else:
            values = self._attributes
        return {name: attribute(value, f"{label}, attribute {name}") for name, value in values.items()}


def attribute(value: Any, where: str) -> Any:
    """A value as an attribute of an FFI call. Raises TypeError for values that XLA cannot pass.

    Numbers of Python have 64 bits; NumPy scalars keep their width. Strings, bytes and NumPy arrays remain what they are. A
    dtype becomes its name. A tuple of numbers of one type becomes an array.
    """
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return value
    if isinstance(value, bool | int | float | str | bytes | np.integer | np.floating | np.bool_):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            message = f"{where}: found {value}, which does not fit into 64 bits. Use a smaller number, or a string."
            raise TypeError(message)
        return value
    if isinstance(value, tuple) and value and all(type(item) is type(value[0]) for item in value):
        array = np.asarray(value)
        if array.ndim == 1 and array.dtype.kind in "iuf":
            return array
    message = (
        f"{where}: found {value!r:.80} ({type(value).__name__}); XLA's attributes are numbers, strings and arrays of numbers. "
        "Choose what the handler gets with lo.native(ffi=..., attributes=lambda op: {'name': value})."
    )
    raise TypeError(message)
