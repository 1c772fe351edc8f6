"""Where an adjoint is wrong: bisection over the elements of both vectors, 2 log2(n m) evaluations.

The error <A u, v> - <u, A^H v> is bilinear in u and v: if it is large for the whole, it is large for one of the halves.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._subject import Subject

Vector = Any
_MOST_REPEATS = 64  # elements of y that one element of x may lead to


@dataclasses.dataclass(frozen=True)
class Entry:
    """A wrong entry of the adjoint: unit vectors in x and y, and what stands there."""

    subject: Subject
    u: Vector
    v: Vector
    forward: complex  # what apply says
    adjoint: complex

    @property
    def difference(self) -> float:
        difference = self.forward - self.adjoint
        return abs(difference.real if self.subject.real else difference)

    @functools.cached_property
    def size(self) -> float:
        """Of the row and column of A in which it stands."""
        return max(_probes.norm(self.subject.forward(self.u)), _probes.norm(self.subject.reverse(self.v)))

    def __str__(self) -> str:
        return (
            f"from y{_element(self.v)} to x{_element(self.u)} the adjoint has {_entry(self.subject, self.adjoint)}, apply "
            f"says {_entry(self.subject, self.forward)}"
        )


def locate(subject: Subject, pairs: list[tuple[Vector, Vector]]) -> Entry | None:
    """One wrong entry of the adjoint: the one that these pairs of vectors lead to."""
    u, v = max(pairs, key=lambda pair: _error(subject, *pair)[0])
    if not (_probes.all_inexact(u) and _probes.all_inexact(v)):
        return None
    for _ in range(_probes.size(u).bit_length() + _probes.size(v).bit_length()):
        parts = [(half, v) for half in halves(u)] if _count(u) >= _count(v) else [(u, half) for half in halves(v)]
        if len(parts) < 2:
            break
        u, v = max(parts, key=lambda pair: _error(subject, *pair)[0])
    if _count(u) != 1 or _count(v) != 1:
        return None
    units = itertools.product(_units(subject, u), _units(subject, v))
    e, f = max(units, key=lambda pair: _error(subject, *pair)[0])
    difference, forward, adjoint = _error(subject, e, f)
    return Entry(subject, e, f, forward, adjoint) if difference > 0 else None


def extent(entry: Entry, pairs: list[tuple[Vector, Vector]], tolerance: float) -> str:
    """How far the errors reach: empty where they are all over."""
    found = _extent(entry.subject, pairs, entry.u, entry.v, tolerance)
    return f"{found}: {entry}" if found else ""


def overwritten(entry: Entry, tolerance: float) -> str:
    """Whether the element of x gets only one of the elements of y that apply makes of it: where an index repeats."""
    subject = entry.subject
    row = _probes.flat(subject.forward(entry.u))
    places = np.flatnonzero(row)
    if abs(entry.adjoint) > tolerance * abs(entry.forward) or not 1 < len(places) <= _MOST_REPEATS:
        return ""
    units = [_probes.unflat(np.where(np.arange(len(row)) == j, 1, 0), entry.v) for j in places]
    entries = [_error(subject, entry.u, unit) for unit in units]
    right = [
        unit for unit, (error, *_) in zip(units, entries, strict=True) if error <= 10 * tolerance * abs(entry.forward)
    ]
    zero = [adjoint for _, _, adjoint in entries if abs(adjoint) <= tolerance * abs(entry.forward)]
    if len(right) != 1 or len(right) + len(zero) != len(places):
        return ""
    return (
        f"x{_element(entry.u)} gets what y{_element(right[0])} holds and nothing of the other {len(zero)} elements of y that "
        f"depend on it: where an index repeats, the adjoint overwrites instead of adding (np.add.at)? For example, {entry}"
    )


def _error(subject: Subject, u: Vector, v: Vector) -> tuple[float, complex, complex]:
    forward, adjoint = _probes.inner(subject.forward(u), v), _probes.inner(u, subject.reverse(v))
    difference = forward - adjoint
    return abs(difference.real if subject.real else difference), forward, adjoint


def _extent(subject: Subject, pairs: list[tuple[Vector, Vector]], u: Vector, v: Vector, tolerance: float) -> str:
    """What is right as soon as the element found is left out of u, of v, or of either; empty where nothing is."""

    def clean(drop_u: bool, drop_v: bool) -> bool:
        for a, b in pairs:
            a = _without(a, u) if drop_u else a
            b = _without(b, v) if drop_v else b
            scale = max(
                _probes.norm(subject.forward(a)) * _probes.norm(b), _probes.norm(a) * _probes.norm(subject.reverse(b))
            )
            if not _error(subject, a, b)[0] <= tolerance * scale:
                return False
        return True

    without_u, without_v = clean(True, False), clean(False, True)
    if without_u and without_v:
        return "one entry is wrong"
    if without_u:
        return f"only x{_element(u)} is wrong"
    if without_v:
        return f"only what comes from y{_element(v)} is wrong"
    return ""


def _count(v: Vector) -> int:
    return int(np.count_nonzero(_probes.flat(v)))


def halves(v: Vector) -> list[Vector]:
    """The two halves of the elements that are not zero; none where there are not two."""
    flat = _probes.flat(v)
    support = np.flatnonzero(flat)
    found = []
    for part in np.array_split(support, 2):
        if len(part) and len(part) < len(support):
            half = np.zeros_like(flat)
            half[part] = flat[part]
            found.append(_probes.unflat(half, v))
    return found


def _without(v: Vector, element: Vector) -> Vector:
    return _probes.unflat(np.where(_probes.flat(element) != 0, 0, _probes.flat(v)), v)


def _units(subject: Subject, v: Vector) -> list[Vector]:
    """The unit vector with the support of ``v``; also i times that, where a map need not be linear over i."""
    units = [np.where(_probes.flat(v) != 0, 1, 0)]
    if subject.real and any(np.iscomplexobj(leaf) for leaf, at in _supports(v) if len(at)):
        units.append(1j * units[0])
    return [_probes.unflat(unit, v) for unit in units]


def _supports(v: Vector) -> list[tuple[np.ndarray, np.ndarray]]:
    arrays = [_probes.double(leaf) for leaf in jax.tree.leaves(v)]
    return [(array, np.argwhere(array != 0)) for array in arrays]


def _element(v: Vector) -> str:
    """Where the one element is that is not zero: ``['a'][2, 0]``."""
    for (path, _), (_, at) in zip(jax.tree_util.tree_leaves_with_path(v), _supports(v), strict=True):
        if len(at):
            return f"{jax.tree_util.keystr(path)}[{', '.join(map(str, at[0]))}]"
    return ""


def _entry(subject: Subject, value: complex) -> str:
    return f"{value.real:.6g}" if subject.real or abs(value.imag) <= 1e-12 * abs(value) else f"{value:.6g}"
