"""A hand-written XLA FFI handler, and what it is given as attributes."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import numpy as np

from linops_jax._model.fields import static_fields
from linops_jax._model.kinds import Native
from linops_jax._native import pointers


class Handler(Native):
    """The name of a registered target, or a handler that we register when it is first lowered."""

    what = "an XLA FFI handler"

    def __init__(self, handler: Any, owner: Any, attributes: Any):
        self._attributes = attributes
        self._kept = (handler, owner)
        self.target = handler if isinstance(handler, str) else None  # its stable name
        self.anywhere = self.target is not None
        self.stages: dict[str, int] = {}  # addresses
        if not isinstance(handler, str):
            stages = handler if isinstance(handler, Mapping) else {"execute": handler}
            self.stages = {stage: pointers.handler_pointer(value, "lo.native(ffi=)") for stage, value in stages.items()}

    @property
    def is_function(self) -> bool:
        """Whether it is a bare function, which we can call ourselves, without stages or state of its own."""
        return set(self.stages) == {"execute"}

    def compiled(self, label: str, signature: Any) -> int:
        return self.stages["execute"]

    def attributes(self, label: str, op: Any) -> dict[str, Any]:
        """The attributes of the call. By default the static fields by name, as ``attribute`` converts them."""
        if self._attributes is None:
            values = {name: getattr(op, name) for name in static_fields(type(op))}
        elif inspect.isfunction(self._attributes):
            values = self._attributes(op)
        else:
            values = self._attributes
        return {name: attribute(value, f"{label}, attribute {name}") for name, value in values.items()}


def attribute(value: Any, where: str) -> Any:
    """bool, int (64 bits), float (64 bits), str and bytes as they are, NumPy scalars with their own width, a dtype as its
    name, a tuple of ints, floats or NumPy scalars of one kind as an array, a NumPy array as it is.

    Raises TypeError for anything else: XLA has no such attributes.
    """
    if isinstance(value, np.dtype):
        return value.name
    if isinstance(value, type) and issubclass(value, np.generic):
        return np.dtype(value).name
    if isinstance(value, np.ndarray) and value.dtype.kind in "iuf":
        return value
    if isinstance(value, bool | int | float | str | bytes | np.integer | np.floating | np.bool_):
        if isinstance(value, int) and not -(2**63) <= value < 2**63:
            message = f"{where}: {value} does not fit into 64 bits."
            raise TypeError(message)
        return value
    if isinstance(value, tuple) and value and all(type(item) is type(value[0]) for item in value):
        array = np.asarray(value)
        if array.ndim == 1 and array.dtype.kind in "iuf":
            return array
    message = (
        f"{where}: XLA has no attributes like {value!r:.80} ({type(value).__name__}); it has numbers, strings and arrays "
        "of numbers. Say what the handler is to get: lo.native(ffi=..., attributes=lambda op: {'name': value})."
    )
    raise TypeError(message)
