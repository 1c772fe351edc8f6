"""Addresses of native functions and of their data, from the pointer objects of ctypes, cffi, Numba, SciPy and Cython."""

from __future__ import annotations

import ctypes
import inspect
import re
import sys
from typing import Any

import numpy as np

from linops_jax._model.kinds import is_traced

CAPSULE = "linops_jax.native.v1"
_XLA_CAPSULES = (None, "xla._CUSTOM_CALL_TARGET")
_SIGNATURE = re.compile(r"int\s*\(\s*(struct\s+)?linops_call\s*\*\s*\)(\s*(noexcept|nogil))*")
_FUNCTION_TYPES = (
    "a function of a ctypes library, a cffi function pointer, a PyCapsule, a scipy.LowLevelCallable, a compiled "
    "numba.cfunc, or an address"
)


def is_capsule(value: Any) -> bool:
    return type(value).__name__ == "PyCapsule"


def is_handler(value: Any) -> bool:
    """Whether a value is a capsule of an XLA FFI handler, as made by ``jax.ffi.pycapsule``: these have no name."""
    return is_capsule(value) and capsule_name(value) in _XLA_CAPSULES


def capsule_name(capsule: Any) -> str | None:
    name = _capsule_call("PyCapsule_GetName", ctypes.c_char_p, capsule)
    return None if name is None else name.decode()


def _capsule_call(function: str, restype: Any, capsule: Any, *arguments: Any) -> Any:
    prototype = ctypes.PYFUNCTYPE(restype, ctypes.py_object, *(ctypes.c_char_p for _ in arguments))
    return prototype((function, ctypes.pythonapi))(capsule, *arguments)


def capsule_pointer(capsule: Any) -> int:
    name = capsule_name(capsule)
    return _capsule_call("PyCapsule_GetPointer", ctypes.c_void_p, capsule, None if name is None else name.encode())


def function_pointer(value: Any, where: str) -> tuple[int, int]:
    """The address of a C function, and the address of the user data that belongs to it (0 if there is none).

    Raises
    ------
    TypeError
        If the value is not a pointer to a function, or is known to have another signature than ``int f(linops_call *)``.
    ValueError
        If the pointer is null.
    """
    if hasattr(value, "user_data") and hasattr(value, "signature") and hasattr(value, "function"):  # LowLevelCallable
        address, data = function_pointer(value.function, where)
        return address, data if value.user_data is None else _void_pointer(value.user_data, f"{where}, user_data")
    if is_capsule(value):
        _check_capsule(value, where)
        return capsule_pointer(value), _capsule_call("PyCapsule_GetContext", ctypes.c_void_p, value) or 0
    address = _address(value)
    if address is None:
        message = f"{where}: expected {_FUNCTION_TYPES}; found {type(value).__name__} {value!r:.80}.{_advice(value)}"
        raise TypeError(message)
    _check_signature(value, where)
    return _not_null(address, where), 0


def _check_signature(function: Any, where: str) -> None:
    """Raises TypeError for a wrong signature, if ctypes, cffi or Numba know the signature of the function."""
    if isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined]
        takes, gives = function.argtypes, function.restype
    elif (cffi := sys.modules.get("_cffi_backend")) is not None and isinstance(function, cffi.FFI.CData):
        kind = cffi.FFI().typeof(function)
        takes, gives = (kind.args, kind.result.cname) if kind.kind == "function" else (None, "int")
    elif hasattr(function, "_sig"):  # numba.cfunc
        takes, gives = function._sig.args, str(function._sig.return_type)
    else:
        return
    wrong_result = gives not in (ctypes.c_int, ctypes.c_int32, "int", "int32_t", "int32")
    if (takes is None or len(takes) == 1) and not wrong_result:
        return
    names = [getattr(t, "cname", None) or getattr(t, "__name__", str(t)) for t in takes or ()]
    result = getattr(gives, "__name__", str(gives))
    message = f"{where}: found {result} {function!r:.60}({', '.join(names)}); expected int (linops_call *)."
    raise TypeError(message)


def _check_capsule(capsule: Any, where: str) -> None:
    name = capsule_name(capsule)
    if name == CAPSULE or (name is not None and _SIGNATURE.fullmatch(name)):
        return
    if name in _XLA_CAPSULES:
        why = "this looks like an XLA FFI handler: pass it as lo.native(ffi=...)"
    elif name is not None and name.startswith("linops_jax.native."):
        why = (
            "it was compiled for another version of the interface: compile it again with the header in lo.get_include()"
        )
    else:
        why = "the name says what the capsule points to: create it with this name"
    message = (
        f"{where}: found a capsule named {name!r}; expected {CAPSULE!r} or the signature 'int (linops_call *)': {why}."
    )
    raise TypeError(message)


def handler_pointer(value: Any, where: str) -> int:
    """The address of an XLA FFI handler."""
    if is_capsule(value):
        if (name := capsule_name(value)) not in _XLA_CAPSULES:
            message = (
                f"{where}: found a capsule named {name!r}; expected an XLA FFI handler, in a capsule without a name, as "
                "jax.ffi.pycapsule makes it. For a function of linops_jax/native.h write lo.native(function)."
            )
            raise TypeError(message)
        return capsule_pointer(value)
    address = _address(value)
    if address is None:
        message = (
            f"{where}: expected an XLA FFI handler: the name of a registered target, a capsule of jax.ffi.pycapsule, a "
            f"function of a ctypes library, or a dict of these by stage; found {type(value).__name__} {value!r:.80}."
        )
        raise TypeError(message)
    return _not_null(address, where)


def symbol(library: Any, name: Any, where: str) -> Any:
    """A function of a shared library, which is given as a ``ctypes.CDLL`` or by its path."""
    if not isinstance(name, str):
        message = (
            f"{where}: with library=, give the name of a function in it; found {type(name).__name__} {name!r:.80}."
        )
        raise TypeError(message)
    loaded = library if isinstance(library, ctypes.CDLL) else ctypes.CDLL(str(library))
    try:
        return loaded[name]
    except AttributeError:
        message = (
            f"{where}: {loaded._name} has no function {name!r}. Check its spelling, that it is not static, and that C++ code "
            'declares it as `extern "C"`. `nm -D` lists the functions of a library.'
        )
        raise AttributeError(message) from None


def data_pointer(value: Any, where: str) -> int:
    """The address of user data: bytes, an array, a ctypes structure or pointer, a cffi pointer, or an address."""
    if value is None:
        return 0
    if isinstance(value, bytes):
        return ctypes.cast(ctypes.c_char_p(value), ctypes.c_void_p).value or 0
    if isinstance(value, np.ndarray):
        if not value.flags.c_contiguous or value.dtype.hasobject:
            what = "Python objects" if value.dtype.hasobject else "an array that is not C-contiguous"
            message = f"{where}: found {what} of shape {value.shape}; expected numbers in C order: np.ascontiguousarray(array)."
            raise TypeError(message)
        return value.ctypes.data
    if isinstance(value, ctypes.Structure | ctypes.Union | ctypes.Array):
        return ctypes.addressof(value)
    return _void_pointer(value, where)


def _void_pointer(value: Any, where: str) -> int:
    if is_capsule(value):
        return capsule_pointer(value)
    address = _address(value)
    if address is None:
        message = (
            f"{where} must be bytes, a NumPy array, a ctypes structure or pointer, a cffi pointer, a PyCapsule, an address, or "
            f"a function that returns one; found {type(value).__name__} {value!r:.80}."
        )
        raise TypeError(message)
    return address


def _address(value: Any) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**64:
        return value
    if isinstance(value, ctypes._CFuncPtr | ctypes._Pointer | ctypes.c_void_p):  # type: ignore[attr-defined]
        return ctypes.cast(value, ctypes.c_void_p).value or 0
    if (cffi := sys.modules.get("_cffi_backend")) is not None and isinstance(value, cffi.FFI.CData):
        return int(cffi.FFI().cast("uintptr_t", value))
    address = getattr(value, "address", None)  # numba.cfunc
    return address if isinstance(address, int) else None


def _not_null(address: int, where: str) -> int:
    if address <= 0:
        message = f"{where}: found the address {address}, which is not a function. Give the address of a C function."
        raise ValueError(message)
    return address


def _advice(value: Any) -> str:
    if is_traced(value):
        return (
            " It is traced, which is another kind of hook: use lo.traced alone, or combine both with lo.per_platform."
        )
    if inspect.isfunction(value):
        return " Write a Python function as a plain method of the class, or compile it with lo.native(numba=function)."
    if inspect.isbuiltin(value):
        return " In cffi's API mode, pass the pointer: ffi.addressof(lib, name)."
    return ""
