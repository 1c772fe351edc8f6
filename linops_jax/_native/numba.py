"""``lo.native(numba=kernel)``: a Python function of arrays, which Numba compiles to a C function."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linops_jax._model.kinds import is_traced
from linops_jax._native.native import Arrays, Native

# The layout of linops_call and linops_buffer in native.h as arrays of 64-bit words: the index of each member.
_INPUTS, _OUTPUTS, _ERROR = 2, 3, 5
_MOST_AXES = 48
_BUFFER, _DATA, _SHAPE = 5, 0, 1
_FAILED = (
    b"the kernel raised an exception. Compiled code cannot say which one: to see it, call the kernel as a Python function "
    b"with NumPy arrays.\0"
)
_TYPES = frozenset({"bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64", "float32",
                    "float64", "complex64", "complex128"})  # fmt: skip


class NumbaKernel(Native):
    """A hook that Numba compiles once for each combination of dtypes and ranks. The code lives as long as the hook."""

    def __init__(self, kernel: Any, parallel: bool):
        if is_traced(kernel) or not callable(kernel):
            message = (
                f"lo.native(numba=...) takes a Python function kernel(x, out) of arrays; found {type(kernel).__name__} "
                f"{kernel!r:.80}, which {'is traced' if callable(kernel) else 'cannot be called'}."
            )
            raise TypeError(message)
        numba = _import_numba()
        self.kernel = kernel if numba.extending.is_jitted(kernel) else numba.njit(kernel)
        self.parallel = parallel
        self._functions: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def signature(self, label: str, inputs: Arrays, outputs: Arrays) -> Any:
        for dtype, _ in (*inputs, *outputs):
            if dtype not in _TYPES:
                message = (
                    f"{label} is a Numba kernel; found an array of {dtype}, which Numba does not support. Convert with "
                    "astype before the call."
                )
                raise TypeError(message)
        return tuple(inputs), tuple(outputs)

    def refuse_misfit(self, label: str, signature: Any, inputs: int, outputs: int) -> None:
        lengths = [len(part) for part in signature if type(part) is tuple] if type(signature) is tuple else []
        if lengths == [inputs, outputs] and all(_is_array_type(item) for part in signature for item in part):
            return
        message = (
            f"this program was made for another kind of {label}: found {signature!r:.80}, expected the dtype and rank of "
            f"{inputs} operands and {outputs} results. Export the program again."
        )
        raise ValueError(message)

    def takes(self, signature: Any, arrays: int) -> list[tuple[Sequence[str], int]]:
        return [((dtype,), rank) for part in signature for dtype, rank in part]

    def compiled(self, label: str, signature: Any) -> int:
        with self._lock:
            if signature not in self._functions:
                self._functions[signature] = self._compile(label, *signature)
            return self._functions[signature].address

    def _compile(self, label: str, inputs: Arrays, outputs: Arrays) -> Any:
        numba = _import_numba()
        types = numba.types
        try:
            return numba.cfunc(types.int32(types.CPointer(types.int64)))(_wrapper(self.kernel, inputs, outputs))
        except (numba.core.errors.NumbaError, TypeError) as error:
            arrays = ", ".join(f"{dtype}[{', '.join(':' * rank)}]" for dtype, rank in (*inputs, *outputs))
            message = f"{label}: Numba cannot compile the kernel for ({arrays}): {error}"
            raise TypeError(message) from error


def _is_array_type(item: Any) -> bool:
    if type(item) is not tuple or len(item) != 2:
        return False
    dtype, rank = item
    return type(dtype) is str and dtype in _TYPES and type(rank) is int and 0 <= rank <= _MOST_AXES


def _import_numba() -> Any:
    try:
        return importlib.import_module("numba")
    except ImportError as error:
        message = "lo.native(numba=...) needs the package numba: run `pip install numba`."
        raise ImportError(message) from error


def _wrapper(kernel: Any, inputs: Arrays, outputs: Arrays) -> Callable[..., Any]:
    """A function ``int f(linops_call *)`` that calls the kernel.

    In Numba the rank is part of an array's type, so the source code is generated for the ranks of the arrays.
    """
    lines = ["def wrapper(call):"]
    names = []
    for word, signature in ((_INPUTS, inputs), (_OUTPUTS, outputs)):
        lines.append(f"    buffers = carray(pointer(call[{word}]), ({_BUFFER * len(signature)},), int64)")
        for i, (dtype, rank) in enumerate(signature):
            name = f"array{len(names)}"
            names.append(name)
            lines.append(f"    shape = carray(pointer(buffers[{_BUFFER * i + _SHAPE}]), ({max(rank, 1)},), int64)")
            sizes = "".join(f"shape[{axis}], " for axis in range(rank))
            lines.append(f"    {name} = carray(pointer(buffers[{_BUFFER * i + _DATA}]), ({sizes}), {dtype}_)")
    lines += [
        "    try:",
        f"        kernel({', '.join(names)})",
        "    except Exception:",
        f"        text = carray(pointer(call[{_ERROR}]), ({len(_FAILED)},), uint8_)",
        f"        for i in range({len(_FAILED)}):",
        "            text[i] = failed[i]",
        "        return 1",
        "    return 0",
    ]
    numba = _import_numba()
    namespace = {
        "carray": numba.carray,
        "pointer": _pointer_intrinsic(),
        "int64": np.dtype(np.int64),
        "kernel": kernel,
        "failed": np.frombuffer(_FAILED, np.uint8),
        **{f"{name}_": np.dtype(name) for name in _TYPES},
    }
    exec("\n".join(lines), namespace)
    return namespace["wrapper"]


@functools.cache
def _pointer_intrinsic() -> Any:
    """A Numba intrinsic that converts an integer to a pointer."""
    extending = importlib.import_module("numba.extending")
    types = importlib.import_module("numba").types
    voidptr = importlib.import_module("numba.core.cgutils").voidptr_t

    def pointer(context: Any, address: Any) -> Any:
        def generate(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            return builder.inttoptr(values[0], voidptr)

        return types.voidptr(types.int64), generate

    return extending.intrinsic(pointer)
