"""Interning: equal values become one object, so that JAX compares them by identity, in C.

JAX's caches compare the parameters of programs while other threads may change the caches. If an ``__eq__`` written in
Python ran during such a comparison, another thread could run and free the objects that are being compared. So this module
compares the values when they enter the library, and JAX only compares identities.

No lock is held while Python code runs, because that code (``__eq__`` and ``__hash__`` of users, finalizers run by the
garbage collector) may construct operators and come back here. Instead, each change of the table is a single operation of a
built-in type on numbers and weak references, which no other code can interrupt. The table holds only weak references, so
it keeps nothing alive.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from typing import Any, TypeVar

_T = TypeVar("_T", bound="Interned")


class Interned:
    """Base of interned classes, which compare by identity. Two objects with equal ``_value`` are made one by ``intern``."""

    __slots__ = ("__weakref__", "_peers", "_value")

    _value: Any
    _peers: _Peers


class _Peers(list):
    """Weak references to the objects whose values have the same hash, oldest first.

    The objects own this list; the table refers to it weakly.
    """

    __slots__ = ("__weakref__",)


_table: dict[int, weakref.ref[_Peers]] = {}


def intern(new: _T) -> _T:
    """The interned object with the value of ``new``: an older object or ``new``. Raises what comparing values raises."""
    key = hash((type(new), new._value))
    known = _table.get(key)
    peers = None if known is None else known()
    if peers is not None and (found := _first_equal(peers, new)) is not None:
        return found
    # If several threads get here with equal values, the object that was appended first is the interned one.
    new._peers = _enter(key)
    new._peers.append(weakref.ref(new))
    found = _first_equal(new._peers, new)
    assert found is not None
    return found


def _enter(key: int) -> _Peers:
    while True:
        peers = _Peers()
        entry = _table.setdefault(key, weakref.ref(peers, functools.partial(_table.pop, key)))
        found = entry()
        if found is not None:
            return found


def _first_equal(peers: _Peers, new: _T) -> _T | None:
    for reference in tuple(peers):
        found: Any = reference()
        if found is None:
            with contextlib.suppress(ValueError):  # another thread did the same
                peers.remove(reference)
        elif found is new or (type(found) is type(new) and found._value == new._value):
            return found
    return None
