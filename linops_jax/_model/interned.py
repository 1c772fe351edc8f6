"""One object for each value, held weakly: equal values are the same object, and that is compared in C.

JAX's caches compare what programs are made of while they are being changed. Python code that runs there, an ``__eq__`` of
ours or of a user, lets other threads in, which free what is being compared. So values are compared here, where they
enter the library, and nowhere else.

Nothing is locked while Python code runs: ``__eq__`` and ``__hash__`` of users, and what a garbage collection calls, may
construct operators themselves. What is done instead is one operation of a built-in type on numbers and weak references,
which no other code can interrupt. The table holds no value, so it keeps nothing alive, in cycles neither.
"""

from __future__ import annotations

import contextlib
import functools
import weakref
from typing import Any, TypeVar

_T = TypeVar("_T", bound="Interned")


class Interned:
    """Subclasses have no ``__eq__`` and no ``__hash__`` of their own. ``_value`` is what makes two of them the same."""

    __slots__ = ("__weakref__", "_peers", "_value")

    _value: Any
    _peers: _Peers


class _Peers(list):
    """Weak references to objects whose values have the same hash, in order of arrival. They own it, the table does not."""

    __slots__ = ("__weakref__",)


_table: dict[int, weakref.ref[_Peers]] = {}


def intern(new: _T) -> _T:
    """The one object with the value of ``new``: an older one, or ``new`` itself. Raises what comparing values raises."""
    key = hash((type(new), new._value))
    known = _table.get(key)
    peers = None if known is None else known()
    if peers is not None and (found := _first_equal(peers, new)) is not None:
        return found
    # Of several threads that come this far with one value, the first to have entered it has made the one object.
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
