"""Keys: the texts by which compiled programs name the hooks that they call, also in other processes.

A key is JSON with class, hook, static values and tree structures. It contains names and plain values only, so it means the
same in every process. A hook that cannot be described in this way gets a random nonce, which no other process knows.

Decoding accepts nothing but what encoding produces. Names are looked up in ``names``.
"""

from __future__ import annotations

import json
import re
import uuid
from typing import Any

import jax
import numpy as np

from linops_jax._engine.names import (
    MalformedKeyError,
    Named,
    class_name,
    find,
    malformed,
    require_class,
    require_function,
)
from linops_jax._model.fields import array_fields, restore, static_fields

_UNFINDABLE = "defined inside a function, or no longer in its module under this name"
_LEAF = "*"
_DEEPEST = 200  # nested brackets
_DTYPE = re.compile(r"[a-z][a-z0-9_]*(\[[0-9a-zA-Z]+\])?")


class NotPlain(Exception):
    """Raised for what has no stable key. Its text says which part is the reason."""


def dump(data: Any) -> str:
    """The key of these data. Raises NotPlain if ``load`` would refuse it."""
    key = json.dumps(data, separators=(",", ":"))
    if _depth(key) > _DEEPEST:
        message = f"structures that are nested more than {_DEEPEST} levels deep"
        raise NotPlain(message)
    return key


def load(key: str) -> dict[str, Any]:
    """The data of a key. Raises MalformedKeyError for a text that ``dump`` cannot have made."""
    if _depth(key) > _DEEPEST:  # so that neither the parser nor the code after it reaches Python's recursion limit
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


def nonce() -> str:
    """A random key, for a hook that only this process can run."""
    return dump({"nonce": uuid.uuid4().hex})


def encode_tree(tree: Any) -> Any:
    """JSON for the structure of a pytree of tuples, lists, dicts, None and operators.

    Raises NotPlain for other containers, for live objects in static fields, and for classes that cannot be found by their
    names.
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
        message = f"the class {name}, because it is {_UNFINDABLE}"
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
    """JSON for a plain static value, which preserves its type, its sign and every bit."""
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
        message = f"{value.function!r:.80}, which is not a function with a name"
        raise NotPlain(message)
    if find(value.name) is not value.function:
        message = f"the function {value.name}, because it is {_UNFINDABLE}"
        raise NotPlain(message)
    return ["function", value.name]


def _plain(kind: type) -> Any:
    def decode(value: Any) -> Any:
        if type(value) is not kind:
            raise malformed(value, f"a value of type {kind.__name__}")
        return value

    return decode


_text = _plain(str)


def _decode_dtype(name: Any) -> Any:
    if not _DTYPE.fullmatch(_text(name)) or (dtype := jax.numpy.dtype(name)).name != name:
        raise malformed(name, "the name of a dtype")
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
    "function": require_function,
}


def decode_value(data: Any) -> Any:
    """The plain value that was encoded.

    Raises LookupError for a function that is not bound in this process, and ValueError for data that encoding cannot have
    made.
    """
    kind, rest = _kind(data, _DECODERS)
    try:
        return _DECODERS[kind](*rest)
    except MalformedKeyError:
        raise
    except (TypeError, OverflowError, ValueError):
        raise malformed(data, f"a value of kind {kind}") from None


def _kind(data: Any, known: Any) -> tuple[str, list[Any]]:
    if type(data) is list and data and type(data[0]) is str and data[0] in known:
        return data[0], data[1:]
    raise malformed(data, f"a list that begins with one of {', '.join(known)}")


def decode_tree(data: Any) -> Any:
    """A pytree with the structure that was encoded; every leaf is 0. Raises the same errors as ``decode_value``."""
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
            raise malformed(data, "a list of keys and a value for each")
        return dict(zip(map(decode_value, rest[0]), map(decode_tree, rest[1:]), strict=True))
    if len(rest) != 3 or not all(map(_are_pairs, rest[1:])):
        raise malformed(data, "an operator with its fields by name")
    return _decode_operator(*rest)


def _are_pairs(data: Any) -> bool:
    return type(data) is list and all(type(pair) is list and len(pair) == 2 for pair in data)


def _decode_operator(name: str, statics: list[Any], arrays: list[Any]) -> Any:
    # Static values before the class, because the errors of functions among them say what to import.
    values = tuple(decode_value(value) for _, value in statics)
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
