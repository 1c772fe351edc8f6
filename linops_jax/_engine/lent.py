"""Arrays in the memory of a device, which device hooks have for the time of a call."""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from linops_jax._engine import kept

_ON_CPU = 1  # the code of DLPack for the memory of the host
_PAUSES = (0.0, 0.001, 0.002, 0.004, 0.008, 0.016)  # seconds


class DeviceArray:
    """An array in the memory of a device, as a device hook gets it. It is valid until the hook returns."""

    __slots__ = ("__weakref__", "_array", "_buffer", "_is_on_cpu", "_label", "_writeable")

    def __init__(self, buffer: Any, label: str, is_on_cpu: bool, writeable: bool):
        self._buffer, self._label, self._is_on_cpu, self._writeable = buffer, label, is_on_cpu, writeable
        self._array: np.ndarray | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self._given.shape)

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(self._given.dtype)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))

    @property
    def nbytes(self) -> int:
        return self.size * self.dtype.itemsize

    def __repr__(self) -> str:
        if self._buffer is None:
            return f"DeviceArray of {self._label}, which has returned"
        return f"DeviceArray(shape={self.shape}, dtype={self.dtype})"

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        if not self._is_on_cpu:
            message = (
                f"{self._label}: NumPy cannot read the memory of a GPU. Use the array with a library of the GPU, such as "
                "cupy.asarray(x) and torch.from_dlpack(x); or make it a host hook, for which JAX copies the arrays."
            )
            raise TypeError(message)
        seen = self._seen()
        return seen if dtype is None and not copy else np.array(seen, dtype=dtype, copy=copy)

    def __dlpack__(self, **options: Any) -> Any:
        options = {name: value for name, value in options.items() if value is not None}
        if not self._is_on_cpu or self.dtype.kind not in "biufc":  # NumPy exports no others
            return self._given.__dlpack__(**options)
        knows_read_only = options.get("max_version", (0, 0)) >= (1, 0)
        return (self._seen() if knows_read_only else self._on_host()).__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._given.__dlpack_device__()

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        if self._is_on_cpu:
            message = f"{self._label}: this array is in the memory of the host, not of a GPU."
            raise AttributeError(message)
        return self._given.__cuda_array_interface__

    @property
    def _given(self) -> Any:
        if self._buffer is None:
            message = (
                f"{self._label} has returned, and with it went the memory of this array, which it kept. Keep a copy of the "
                "array instead."
            )
            raise RuntimeError(message)
        return self._buffer

    def _on_host(self) -> np.ndarray:
        """The one array of NumPy, to which all others of this memory refer, and can be written to."""
        if self._array is None:
            self._array = np.asarray(self._given)
        return self._array

    def _seen(self) -> np.ndarray:
        """The array of NumPy that the hook may see."""
        if self._writeable:
            return self._on_host()
        view = self._on_host()[...]
        view.setflags(write=False)
        return view


def place_of(buffer: Any) -> tuple[bool, int]:
    """Whether a buffer of JAX is in the memory of the host; and the number of its device."""
    kind, number = buffer.__dlpack_device__()
    return kind == _ON_CPU, number


def take_back(arrays: Sequence[DeviceArray]) -> bool:
    """Ends the use of the arrays. Returns whether NumPy, or a library that got one from it, still refers to the memory.

    This is known of the memory of the host. What NumPy has kept is then pointed at copies.
    """
    hosts = []
    for array in arrays:
        if array._array is not None:
            hosts.append(array._array)
        array._array = array._buffer = None
    if not hosts or max(_references(hosts)) <= _ALONE or not _still_kept(hosts):
        return False
    for array in hosts:
        for derived in (*kept.derived_arrays(array), array):
            _detach(derived)
    return True


def _references(arrays: list[np.ndarray]) -> list[int]:
    return [sys.getrefcount(array) for array in arrays]


_ALONE = max(_references([np.empty(0)]))  # of an array in a list and nowhere else


def _still_kept(hosts: list[np.ndarray]) -> bool:
    """Whether it is so after a garbage collection, too: cycles and threads that are about to let go are no offence."""
    for pause in _PAUSES:
        time.sleep(pause)
        gc.collect()
        if max(_references(hosts)) <= _ALONE:
            return False
    return True


def _detach(array: np.ndarray) -> None:
    """Gives the array memory of its own, with the same values."""
    array.__setstate__((1, array.shape, array.dtype, False, array.tobytes()))  # type: ignore[arg-type]
