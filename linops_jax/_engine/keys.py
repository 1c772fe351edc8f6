"""The text by which a compiled program names what it calls, and how another process finds that again.

A key is JSON: class, hook, static values and tree structures. It holds names and plain values only, so it means the
same in every process. What cannot be said that way gets a random nonce, which no other process knows.

A key from another process is data. Its names lead to what this process has bound, and to nothing else: classes that
were made operators here, and functions that were given to ``lo.get_linear_call`` or ``lo.get_nonlinear_call`` here, as
importing the module of an exported program does. That a module merely has a function does not make it part of a program:
``shutil.rmtree`` is a function of a module, too. Names are looked up in the dictionaries of modules and classes, so that
no ``__getattr__``, descriptor or lazy import runs, and values are decoded only from what encoding makes.
"""

from __future__ import annotations

import dataclasses
import json
import re
import sys
import types
import uuid
import weakref
from typing import Any, ClassVar

import jax
import numpy as np

from linops_jax._model.fields import array_fields, is_registered, restore, static_fields

_LEAF = "*"
_DEEPEST = 200  # brackets inside of each other
_DTYPE = re.compile(r"[a-z][a-z0-9_]*(\[[0-9a-zA-Z]+\])?")


class NotPlain(Exception):
    """Carries what stands in the way of a stable key."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A function among static values, which its module and qualified name stand for in other processes."""

    function: Any

    _bound: ClassVar[weakref.WeakValueDictionary[int, Any]] = weakref.WeakValueDictionary()  # by identity
    _bound_forever: ClassVar[dict[int, Any]] = {}  # what cannot be referred to weakly, such as a ufunc

    @classmethod
    def bind(cls, function: Any) -> Named:
        """From here on, programs from other processes may call it by its name."""
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
        """How messages call it."""
        function = self.function
        if not hasattr(function, "__qualname__"):
            return repr(function)
        return f"{function.__module__}.{function.__qualname__.rpartition('<locals>.')[2]}"


def dump(data: Any) -> str:
    """Raises NotPlain for what ``load`` would refuse."""
    key = json.dumps(data, separators=(",", ":"))
    if _depth(key) > _DEEPEST:
        message = f"structures inside of each other more than {_DEEPEST} levels deep"
        raise NotPlain(message)
    return key


def load(key: str) -> dict[str, Any]:
    """Raises MalformedKeyError for what ``dump`` did not make."""
    if _depth(key) > _DEEPEST:  # neither the parser nor what comes after it is to meet its limit of recursion
        message = f"this program has a malformed key: it is nested more than {_DEEPEST} levels deep."
        raise MalformedKeyError(message)
    try:
        data = json.loads(key)
    except ValueError as error:
        message = f"this program has a malformed key, which is not JSON: {error}. It begins with {key!r:.80}"
        raise MalformedKeyError(message) from None
    if type(data) is not dict:
        message = f"this program has a malformed key: found {key!r:.80}, expected a JSON object."
        raise MalformedKeyError(message)
    return data


_NOT_A_BRACKET = re.compile(r'"(?:[^"\\]|\\.)*"|[^][{}]+', re.DOTALL)


def _depth(key: str) -> int:
    deepest = depth = 0
    for bracket in _NOT_A_BRACKET.sub("", key):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


class MalformedKeyError(ValueError):
    """For what encoding does not make."""


def _malformed(found: Any, expected: str) -> MalformedKeyError:
    return MalformedKeyError(f"this program has a malformed key: found {found!r:.80}, expected {expected}.")


def nonce() -> str:
    return dump({"nonce": uuid.uuid4().hex})


def class_name(cls: Any) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def find(name: str) -> Any:
    """The object that module and qualified name lead to in this process, or None; nothing is imported or called."""
    if type(name) is not str:
        raise _malformed(name, "the name of a class or function")
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = _namespace(found).get(part)
    # a static method is the function; other descriptors would have to be called
    return object.__getattribute__(found, "__func__") if type(found) is staticmethod else found


def _namespace(value: Any) -> Any:
    """``vars`` of a module or class, which asks neither its type nor itself: a lazy module would be imported."""
    if issubclass(type(value), types.ModuleType):
        return object.__getattribute__(value, "__dict__")
    if issubclass(type(value), type):
        return type.__dict__["__dict__"].__get__(value)
    return {}


def encode_tree(tree: Any) -> Any:
    """JSON for the structure of a pytree made of tuples, lists, dicts, None and operators.

    Raises NotPlain for other containers, live objects in static fields, and classes that their name does not lead to.
    """
    node = tree.node_data()
    if node is None:
        return _LEAF
    kind, aux = node
    children = [encode_tree(child) for child in tree.children()]
    if kind is type(None):
        return None
    if kind is tuple:
        return ["tuple", *children]
    if kind is list:
        return ["list", *children]
    if kind is dict:
        return ["dict", [encode_value(key, "a dict key") for key in aux], *children]
    if hasattr(kind, "_hooks"):
        return _encode_operator(kind, aux, children)
    message = f"a container of type {kind.__module__}.{kind.__qualname__}"
    raise NotPlain(message)


def _encode_operator(cls: type, aux: Any, children: list[Any]) -> Any:
    name = class_name(cls)
    if find(name) is not cls:
        message = f"the class {name}, which that name does not lead to (it is local, or has been defined anew)"
        raise NotPlain(message)
    statics = static_fields(cls)
    values = [
        encode_value(value, f"the static field {cls._label}.{field}")
        for field, value in zip(statics, aux.values, strict=True)
    ]
    return [
        "operator",
        name,
        list(zip(statics, values, strict=True)),
        list(zip(array_fields(cls), children, strict=True)),
    ]


def encode_value(value: Any, where: str) -> Any:
    """JSON for a plain static value that keeps its type, sign and every bit."""
    kind = type(value)
    if value is None:
        return ["none"]
    if kind in (bool, int, str):
        return [kind.__name__, value]
    if kind is float:
        return ["float", value.hex()]
    if kind is complex:
        return ["complex", value.real.hex(), value.imag.hex()]
    if kind is bytes:
        return ["bytes", value.hex()]
    if kind is tuple:
        return ["tuple", *(encode_value(item, where) for item in value)]
    if isinstance(value, np.dtype) and jax.numpy.dtype(value.name) == value:
        return ["dtype", value.name]
    if isinstance(value, type) and issubclass(value, np.generic):
        return ["scalar type", np.dtype(value).name]
    if isinstance(value, Named):
        return _encode_function(value)
    message = f"{where}, which holds {value!r:.80} ({kind.__qualname__})"
    raise NotPlain(message)


def _encode_function(value: Named) -> Any:
    if not hasattr(value.function, "__qualname__"):
        message = f"{value.function!r:.80}, which is no function with a name"
        raise NotPlain(message)
    if find(value.name) is not value.function:
        message = f"the function {value.name}, which that name does not lead to (it is local, or has been defined anew)"
        raise NotPlain(message)
    return ["function", value.name]


def _require_function(name: str) -> Named:
    found = find(name)
    if Named.is_bound(found):
        return Named(found)
    module, _, qualname = name.partition(":")
    if module not in sys.modules:
        why = f"which this process has not imported: run `import {_clip(module)}` before the program."
    elif found is None:
        why = "which is not there any more. Export the program again."
    else:
        why = (
            "which this process has not bound, and it was not called: give it to lo.get_linear_call or "
            "lo.get_nonlinear_call before the program, as the process did that exported it."
        )
    message = f"this program calls the function {_clip(qualname)} of module {_clip(module)}, {why}"
    raise LookupError(message)


def _clip(name: str) -> str:
    return name if len(name) <= 200 else name[:200] + "..."


def _plain(kind: type) -> Any:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise _malformed(value, f"a value of type {kind.__name__}")
        return value

    return decode


_text = _plain(str)


def _decode_dtype(name: Any) -> Any:
    if not _DTYPE.fullmatch(_text(name)) or (dtype := jax.numpy.dtype(name)).name != name:
        raise _malformed(name, "the name of a dtype")
    return dtype


_DECODERS: dict[str, Any] = {
    "none": lambda: None,
    "bool": _plain(bool),
    "int": _plain(int),
    "str": _text,
    "float": lambda value: float.fromhex(_text(value)),
    "complex": lambda real, imag: complex(float.fromhex(_text(real)), float.fromhex(_text(imag))),
    "bytes": lambda value: bytes.fromhex(_text(value)),
    "tuple": lambda *items: tuple(map(decode_value, items)),
    "dtype": _decode_dtype,
    "scalar type": lambda name: _decode_dtype(name).type,
    "function": _require_function,
}


def decode_value(data: Any) -> Any:
    """A plain value. Raises LookupError for a function that is not bound, ValueError for what encoding does not make."""
    kind, rest = _kind(data, _DECODERS)
    try:
        return _DECODERS[kind](*rest)
    except MalformedKeyError:
        raise
    except (TypeError, OverflowError, ValueError):
        raise _malformed(data, f"a value of kind {kind}") from None


def _kind(data: Any, known: Any) -> tuple[str, list[Any]]:
    if type(data) is list and data and type(data[0]) is str and data[0] in known:
        return data[0], data[1:]
    raise _malformed(data, f"a list that begins with one of {', '.join(known)}")


def decode_tree(data: Any) -> Any:
    """A pytree with the structure that was encoded; every leaf is 0. Raises as ``decode_value``."""
    if data == _LEAF:
        return 0
    if data is None:
        return None
    kind, rest = _kind(data, ("tuple", "list", "dict", "operator"))
    if kind == "tuple":
        return tuple(map(decode_tree, rest))
    if kind == "list":
        return list(map(decode_tree, rest))
    if kind == "dict":
        if not rest or type(rest[0]) is not list or len(rest[0]) != len(rest) - 1:
            raise _malformed(data, "a list of keys and a value for each")
        return dict(zip(map(decode_value, rest[0]), map(decode_tree, rest[1:]), strict=True))
    if len(rest) != 3 or not all(map(_are_pairs, rest[1:])):
        raise _malformed(data, "an operator with its fields by name")
    return _decode_operator(*rest)


def _are_pairs(data: Any) -> bool:
    return type(data) is list and all(type(pair) is list and len(pair) == 2 for pair in data)


def _decode_operator(name: str, statics: list[Any], arrays: list[Any]) -> Any:
    values = tuple(decode_value(value) for _, value in statics)  # functions first: they say what to import
    cls = require_class(name)
    found = (list(static_fields(cls)), list(array_fields(cls)))
    expected = ([field for field, _ in statics], [field for field, _ in arrays])
    if found != expected:
        message = (
            f"this program was made for {name} with static fields {expected[0]!r:.200} and array fields "
            f"{expected[1]!r:.200}, but the class now has {found[0]} and {found[1]}. Export the program again."
        )
        raise TypeError(message)
    op = restore(cls, values, tuple(decode_tree(tree) for _, tree in arrays))
    return op._unfold() if hasattr(cls, "_unfold") else op


def require_class(name: str) -> Any:
    cls = find(name)
    if is_registered(cls):
        return cls
    module, _, qualname = name.partition(":")
    why = (
        "which is no operator class here. Export the program again."
        if module in sys.modules
        else f"which this process has not imported: run `import {_clip(module)}` before the program."
    )
    message = f"this program calls the operator class {_clip(qualname)} of module {_clip(module)}, {why}"
    raise LookupError(message)
