"""When two static values are the same: with equal types and signs, at every depth."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import weakref
from typing import Any

import jax
import numpy as np

_PLAIN = frozenset({int, bool, str, bytes, type(None)})  # equal values of one type are the same
NUMBERS_AND_TEXT = _PLAIN | {float, complex}


def exact(value: Any) -> Any:
    """A hashable stand-in that is equal where the values are the same.

    It tells 1, True and 1.0 apart, and 0.0 and -0.0, in numbers of any kind, tuples, named tuples, frozensets, slices, ranges,
    frozen dataclasses and tree structures; every NaN equals one of its own type. Other objects are equal where their own
    ``__eq__`` says so and they have the same type.
    """
    kind = type(value)
    if kind in _PLAIN:
        return (kind, value)
    if isinstance(value, tuple) and kind.__eq__ is tuple.__eq__:
        return (kind, *map(exact, value))
    if isinstance(value, float):
        return _of_real(kind, value)
    if isinstance(value, complex | np.complexfloating):
        return (kind, exact(value.real), exact(value.imag))
    if isinstance(value, np.generic):
        return _of_scalar(kind, value)
    if isinstance(value, frozenset) and kind.__eq__ is frozenset.__eq__:
        return (kind, frozenset(map(exact, value)))
    if isinstance(value, slice | range):
        return (kind, exact((value.start, value.stop, value.step)))
    if isinstance(value, datetime.datetime | datetime.time):  # equal to the same moment elsewhere
        return (kind, value.replace(tzinfo=None), value.fold, exact(value.tzinfo))
    if isinstance(value, decimal.Decimal):
        return (kind, value.as_tuple())
    if isinstance(value, jax.tree_util.PyTreeDef):
        return (kind, value, *_of_keys(value))
    if (names := compared_fields(kind)) is not None:
        return (kind, *(exact(getattr(value, name)) for name in names))
    return (kind, value)


def _of_real(kind: type, value: Any) -> Any:
    return (kind, "nan") if value != value else (kind, value, math.copysign(1.0, value))


def _of_scalar(kind: type, value: np.generic) -> Any:
    if isinstance(value, np.datetime64 | np.timedelta64 | np.void):  # equal in units of their own, and NaT to nothing
        return (kind, value.dtype, value.tobytes())
    return _of_real(kind, value) if value.dtype.kind in "fV" else (kind, value)  # V: those of ml_dtypes


def _of_keys(tree: Any) -> Any:
    """What JAX compares by ``==`` in a tree structure: the keys of dicts, and what else its nodes say of themselves."""
    node = tree.node_data()
    if node is not None:
        keys = node[1]
        yield exact(tuple(keys) if isinstance(keys, list) else keys)
        for child in tree.children():
            yield from _of_keys(child)


_compared: weakref.WeakKeyDictionary[type, tuple[str, ...] | None] = weakref.WeakKeyDictionary()


def compared_fields(kind: type) -> tuple[str, ...] | None:
    """The fields of a dataclass that its ``__eq__`` compares, and nothing else; None where a person wrote ``__eq__``, or
    nobody, and for other classes."""
    if not dataclasses.is_dataclass(kind):
        return None
    try:
        return _compared[kind]
    except KeyError:
        names = tuple(field.name for field in dataclasses.fields(kind) if field.compare)
        generated = dataclasses.make_dataclass("Model", names).__eq__
        _compared[kind] = found = names if _code(kind.__eq__) == _code(generated) else None
        return found


def _code(function: Any) -> Any:
    code = getattr(function, "__code__", None)
    return code and (code.co_code, code.co_names, code.co_consts)
