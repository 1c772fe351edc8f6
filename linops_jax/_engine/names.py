"""The safe lookup of the classes and functions that are named in a key.

A key may come from another process, so it is not trusted. Its names can only refer to operator classes of this process, and
to functions that were passed to ``lo.get_linear_call`` or ``lo.get_nonlinear_call`` in this process, for example when the
module of an exported program was imported. Other functions of modules, such as ``shutil.rmtree``, cannot be called. Names
are looked up in the dictionaries of modules and classes, so that no ``__getattr__``, descriptor or lazy import runs.
"""

from __future__ import annotations

import dataclasses
import sys
import types
import weakref
from typing import Any, ClassVar

from linops_jax._model.fields import is_registered


class MalformedKeyError(ValueError):
    """Raised for a key, or a part of one, that encoding cannot have made."""


def malformed(found: Any, expected: str) -> MalformedKeyError:
    """The error for a part of a key."""
    return MalformedKeyError(f"this program has a malformed key: found {found!r:.80}, expected {expected}.")


@dataclasses.dataclass(frozen=True)
class Named:
    """A function as a static value. In keys, its module and qualified name represent it."""

    function: Any

    _bound: ClassVar[weakref.WeakValueDictionary[int, Any]] = weakref.WeakValueDictionary()  # by identity
    _bound_forever: ClassVar[dict[int, Any]] = {}  # functions without weak references, such as ufuncs

    @classmethod
    def bind(cls, function: Any) -> Named:
        """The function as a static value; from now on, programs from other processes may call it by its name."""
        try:
            cls._bound[id(function)] = function
        except TypeError:
            cls._bound_forever[id(function)] = function
        return cls(function)

    @classmethod
    def is_bound(cls, value: Any) -> bool:
        found = cls._bound.get(id(value), cls._bound_forever.get(id(value)))
        return value is not None and found is value

    @property
    def name(self) -> str:
        return class_name(self.function)

    @property
    def label(self) -> str:
        """The name of the function in messages."""
        function = self.function
        if not hasattr(function, "__qualname__"):
            return repr(function)
        return f"{function.__module__}.{function.__qualname__.rpartition('<locals>.')[2]}"


def class_name(cls: Any) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def find(name: str) -> Any:
    """The object with this module and qualified name in this process, or None. Nothing is imported or called."""
    if type(name) is not str:
        raise malformed(name, "the name of a class or function")
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = _namespace(found).get(part)
    # For a static method, this is its function. Other descriptors would have to be called, so they are returned unchanged.
    return object.__getattribute__(found, "__func__") if type(found) is staticmethod else found


def _namespace(value: Any) -> Any:
    """``vars`` of a module or class, without running code of either: a lazy module would be imported by such code."""
    if issubclass(type(value), types.ModuleType):
        return object.__getattribute__(value, "__dict__")
    if issubclass(type(value), type):
        return type.__dict__["__dict__"].__get__(value)
    return {}


def require_function(name: str) -> Named:
    """The bound function with this name. Raises LookupError if there is none."""
    found = find(name)
    if Named.is_bound(found):
        return Named(found)
    module, _, qualname = name.partition(":")
    if module not in sys.modules:
        why = f"which this process has not imported: run `import {_clip(module)}` before running the program."
    elif found is None:
        why = "which no longer exists. Export the program again."
    else:
        why = (
            "which this process has not bound, so it was not called: pass it to lo.get_linear_call or lo.get_nonlinear_call "
            "before running the program, as the exporting process did."
        )
    message = f"this program calls the function {_clip(qualname)} of module {_clip(module)}, {why}"
    raise LookupError(message)


def require_class(name: str) -> Any:
    """The operator class with this name. Raises LookupError if there is none."""
    cls = find(name)
    if is_registered(cls):
        return cls
    module, _, qualname = name.partition(":")
    why = (
        "which is not an operator class in this process. Export the program again."
        if module in sys.modules
        else f"which this process has not imported: run `import {_clip(module)}` before running the program."
    )
    message = f"this program calls the operator class {_clip(qualname)} of module {_clip(module)}, {why}"
    raise LookupError(message)


def _clip(name: str) -> str:
    return name if len(name) <= 200 else name[:200] + "..."
