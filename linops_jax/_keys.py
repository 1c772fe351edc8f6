"""The text by which a compiled program names what it calls, and how another process finds that again.

A key is JSON: class, hook, static values and tree structures. It holds names and plain values only, so it means the
same in every process. What cannot be said that way gets a random nonce, which no other process knows.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import uuid
from typing import Any

import jax
import numpy as np

from linops_jax._fields import array_fields, restore, static_fields

_LEAF = "*"


class NotPlain(Exception):
    """Carries what stands in the way of a stable key."""


@dataclasses.dataclass(frozen=True)
class Named:
    """A function among static values, which its module and qualified name stand for in other processes."""

    function: Any

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
    return json.dumps(data, separators=(",", ":"))


def load(key: str) -> Any:
    return json.loads(key)


def nonce() -> str:
    return dump({"nonce": uuid.uuid4().hex})


def class_name(cls: Any) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def find_class(name: str) -> Any:
    """The object that module and qualified name lead to in this process, or None; nothing is imported."""
    module, _, qualname = name.partition(":")
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    return found


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
    if find_class(name) is not cls:
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
    if find_class(value.name) is not value.function:
        message = f"the function {value.name}, which that name does not lead to (it is local, or has been defined anew)"
        raise NotPlain(message)
    return ["function", value.name]


def _require_function(name: str) -> Named:
    found = find_class(name)
    if found is not None:
        return Named(found)
    module, _, qualname = name.partition(":")
    why = (
        "which is not there any more. Export the program again."
        if module in sys.modules
        else f"which this process has not imported: run `import {module}` before the program."
    )
    message = f"this program calls the function {qualname} of module {module}, {why}"
    raise LookupError(message)


def decode_value(data: Any) -> Any:
    kind, *rest = data
    decoders: dict[str, Any] = {
        "none": lambda: None,
        "bool": lambda value: value,
        "int": lambda value: value,
        "str": lambda value: value,
        "float": float.fromhex,
        "complex": lambda real, imag: complex(float.fromhex(real), float.fromhex(imag)),
        "bytes": bytes.fromhex,
        "tuple": lambda *items: tuple(map(decode_value, items)),
        "dtype": jax.numpy.dtype,
        "scalar type": lambda name: jax.numpy.dtype(name).type,
        "function": _require_function,
    }
    return decoders[kind](*rest)


def decode_tree(data: Any) -> Any:
    """A pytree with the structure that was encoded; every leaf is 0."""
    if data == _LEAF:
        return 0
    if data is None:
        return None
    kind, *rest = data
    if kind == "tuple":
        return tuple(map(decode_tree, rest))
    if kind == "list":
        return list(map(decode_tree, rest))
    if kind == "dict":
        keys, *values = rest
        return dict(zip(map(decode_value, keys), map(decode_tree, values), strict=True))
    return _decode_operator(*rest)


def _decode_operator(name: str, statics: list[Any], arrays: list[Any]) -> Any:
    cls = require_class(name)
    found = (list(static_fields(cls)), list(array_fields(cls)))
    expected = ([field for field, _ in statics], [field for field, _ in arrays])
    if found != expected:
        message = (
            f"this program was made for {name} with static fields {expected[0]} and array fields {expected[1]}, but the "
            f"class now has {found[0]} and {found[1]}. Export the program again."
        )
        raise TypeError(message)
    return restore(
        cls, tuple(decode_value(value) for _, value in statics), tuple(decode_tree(tree) for _, tree in arrays)
    )


def require_class(name: str) -> Any:
    cls = find_class(name)
    module, _, qualname = name.partition(":")
    if isinstance(cls, type) and hasattr(cls, "_hooks"):
        return cls
    message = (
        f"this program calls the operator class {qualname} of module {module}, which this process has not imported: "
        f"run `import {module}` before the program."
    )
    raise LookupError(message)
