"""Exact comparison of static values: equal types and signs, at every depth."""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import math
import weakref
from typing import Any

import jax
import numpy as np

_PLAIN = frozenset({int, bool, str, bytes, type(None)})  # for these types == is exact
NUMBERS_AND_TEXT = _PLAIN | {float, complex}


def exact(value: Any) -> Any:
    """A hashable key of a static value: two keys are equal if and only if the values are the same.

    The values 1, True and 1.0 differ, and so do 0.0 and -0.0. This holds for numbers of any kind, tuples, named tuples,
    frozensets, slices, ranges, frozen dataclasses and tree structures. All NaNs of one type are equal. Objects of other
    classes are the same if they have the same type and their ``__eq__`` says that they are equal.
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
    if isinstance(value, datetime.datetime | datetime.time):  # == ignores time zones
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
    if isinstance(value, np.datetime64 | np.timedelta64 | np.void):  # == ignores units, and NaT is not equal to itself
        return (kind, value.dtype, value.tobytes())
    return _of_real(kind, value) if value.dtype.kind in "fV" else (kind, value)  # V: the dtypes of ml_dtypes


def _of_keys(tree: Any) -> Any:
    """The exact keys of everything that JAX compares by ``==`` in a tree structure: dict keys and auxiliary data."""
    node = tree.node_data()
    if node is not None:
        keys = node[1]
        yield exact(tuple(keys) if isinstance(keys, list) else keys)
        for child in tree.children():
            yield from _of_keys(child)


_compared: weakref.WeakKeyDictionary[type, tuple[str, ...] | None] = weakref.WeakKeyDictionary()


def compared_fields(kind: type) -> tuple[str, ...] | None:
    """The fields that the generated ``__eq__`` of a dataclass compares.

    None for a dataclass without a generated ``__eq__``, and for other classes.
    """
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
