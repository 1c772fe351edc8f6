"""Simple maps T such that T(B) is A^H, where B stands in its place: T says what the mistake is.

A constant factor is allowed for in each, and where something is lost at the ends of an axis these are left out.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._subject import Subject

Vector = Any
Pairs = list[tuple[Vector, Vector]]
_WIDTHS = (1, 2, 4, 8)  # of borders


@dataclasses.dataclass(frozen=True)
class Hypothesis:
    """What may be wrong with an adjoint.

    Parameters
    ----------
    sentence : str
        What is wrong, in words.
    reverse : callable
        The adjoint as it would be without that.
    keep_u : callable
        What of u takes part in the comparison.
    keep_v : callable
        What of v does.
    """

    sentence: str
    reverse: Callable[[Vector], Vector]
    keep_u: Callable[[Vector], Vector] = lambda u: u
    keep_v: Callable[[Vector], Vector] = lambda v: v


class Trials:
    """Tries hypotheses on pairs of vectors for which <A u, v> = <u, A^H v> fails."""

    def __init__(self, subject: Subject, pairs: Pairs, tolerance: float):
        self.subject, self.pairs, self.tolerance = subject, pairs, tolerance
        self.forwards = [subject.forward(u) for u, _ in pairs]
        self.reverses = [subject.reverse(v) for _, v in pairs]
        self.scale = max(_probes.norm(au) * _probes.norm(v) for au, (_, v) in zip(self.forwards, pairs, strict=True))
        self.misfit = max(
            abs(self.product(au, v) - self.product(u, ahv))
            for au, ahv, (u, v) in zip(self.forwards, self.reverses, pairs, strict=True)
        )

    def product(self, u: Vector, v: Vector) -> complex:
        value = _probes.inner(u, v)
        return complex(value.real) if self.subject.real else value

    def factor(self, tried: Hypothesis) -> complex | None:
        """c with <u, T(B) v> = c <A u, v> for all pairs; None if there is no such number."""
        found: list[complex] = []
        expected: list[complex] = []
        for (u, v), au in zip(self.pairs, self.forwards, strict=True):
            kept_u, kept_v = tried.keep_u(u), tried.keep_v(v)
            expected.append(self.product(au if kept_u is u else self.subject.forward(kept_u), kept_v))
            found.append(self.product(kept_u, tried.reverse(kept_v)))
            if len(found) > 1 and self._common(found, expected) is None:
                return None
        return self._common(found, expected)

    def _common(self, found: list[complex], expected: list[complex]) -> complex | None:
        f, e = np.array(found), np.array(expected)
        if not np.vdot(e, e) > 0:
            return None
        c = complex(np.vdot(e, f) / np.vdot(e, e))
        left = min(10 * self.tolerance * self.scale, 0.3 * self.misfit)  # or it explains nothing
        return c if c and np.max(np.abs(f - c * e)) <= max(abs(c), 1.0) * left else None


def conjugations(subject: Subject) -> Iterator[Hypothesis]:
    """Conjugations that are missing, or are there and should not be."""
    b = subject.reverse
    if any(map(_probes.is_complex, jax.tree.leaves((subject.spec, subject.out)))):
        yield Hypothesis(
            "the adjoint is the plain transpose: a conjugation is missing (A^H = conj A^T)",
            lambda v: _conj(b(_conj(v))),
        )
        yield Hypothesis("the result of the adjoint must be conjugated", lambda v: _conj(b(v)))
        yield Hypothesis("the argument of the adjoint must be conjugated", lambda v: b(_conj(v)))


def _conj(tree: Vector) -> Vector:
    return jax.tree.map(jnp.conj, tree)


def rearrangements(subject: Subject) -> Iterator[Hypothesis]:
    """What a slip with an axis or an index does to the result of the adjoint, or to its argument."""
    b = subject.reverse
    for sentence, move in _moves(subject.spec):
        yield Hypothesis(f"the result of the adjoint {sentence}", lambda v, t=move: t(b(v)))
    for sentence, move in _moves(subject.out):
        yield Hypothesis(f"the argument of the adjoint {sentence}", lambda v, t=move: b(t(v)))


def _moves(tree: Vector) -> Iterator[tuple[str, Callable[[Vector], Vector]]]:
    """Maps of a vector with this structure to itself."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for index, path, axis, length in _axes(tree):
        at = f" in {jax.tree_util.keystr(path)}" if path else ""
        yield f"is flipped along axis {axis}{at}", _on_leaf(index, lambda a, k=axis: jnp.flip(a, k))
        for shift in (1, -1):
            yield f"is shifted by one along axis {axis}{at}", _roll(index, axis, shift)
        if length > 3:
            half = f"is shifted by half its length along axis {axis}{at}: fftshift or ifftshift?"
            yield half, _roll(index, axis, length // 2)
            if length % 2:
                yield half, _roll(index, axis, -(length // 2))
        if length > 2:
            yield (
                f"is taken at (-i) mod n along axis {axis}{at}",
                _on_leaf(index, lambda a, k=axis: jnp.roll(jnp.flip(a, k), 1, k)),
            )
    for index, (path, leaf) in enumerate(leaves):
        at = f" in {jax.tree_util.keystr(path)}" if path else ""
        for i, j in itertools.combinations(range(leaf.ndim), 2):
            if leaf.shape[i] == leaf.shape[j] > 1:
                yield f"has axes {i} and {j} swapped{at}", _on_leaf(index, lambda a, i=i, j=j: jnp.swapaxes(a, i, j))
    for (i, (path_i, a)), (j, (path_j, b)) in itertools.combinations(enumerate(leaves), 2):
        if (a.shape, a.dtype) == (b.shape, b.dtype):
            names = " and ".join(map(jax.tree_util.keystr, (path_i, path_j)))
            yield f"has the arrays {names} swapped", _swap_leaves(i, j)


def shifts_with_loss(subject: Subject) -> Iterator[Hypothesis]:
    """Shifts that do not go around: what was shifted out is lost."""
    b = subject.reverse
    for what, tree in (("result", subject.spec), ("argument", subject.out)):
        for index, path, axis, length in _axes(tree):
            at = f" in {jax.tree_util.keystr(path)}" if path else ""
            sentence = f"the {what} of the adjoint is shifted by one along axis {axis}{at}, and not around its end"
            keep = _on_leaf(index, functools.partial(_inside, axis=axis, width=1))
            for move in (_roll(index, axis, 1), _roll(index, axis, -1)) if length > 3 else ():
                if what == "result":
                    yield Hypothesis(sentence, lambda v, t=move: t(b(v)), keep_u=keep)
                else:
                    yield Hypothesis(sentence, lambda v, t=move: b(t(v)), keep_v=keep)


def borders(subject: Subject) -> Iterator[tuple[Hypothesis, Callable[[Vector], Vector]]]:
    """That nothing is wrong inside of a border of x; with what takes x to that border."""
    axes = list(_axes(subject.spec))
    single = [([axis], f"along axis {axis[2]}") for axis in axes]
    for chosen, where in [*single, *([(axes, "of x")] if len(axes) > 1 else [])]:
        for width in _WIDTHS:
            if all(length > 4 * width for *_, length in chosen):
                keep = _inside_all(chosen, width)
                sentence = (
                    f"right but for a border of width {width} {where}: it is handled in another way than by apply"
                )
                yield Hypothesis(sentence, subject.reverse, keep_u=keep), _without(keep)


def _axes(tree: Vector) -> Iterator[tuple[int, Any, int, int]]:
    for index, (path, leaf) in enumerate(jax.tree_util.tree_leaves_with_path(tree)):
        for axis, length in enumerate(leaf.shape):
            if length > 1:
                yield index, path, axis, length


def _inside(a: Any, axis: int, width: int) -> Any:
    i = np.arange(a.shape[axis]).reshape([-1 if k == axis else 1 for k in range(a.ndim)])
    return jnp.where((i >= width) & (i < a.shape[axis] - width), a, jnp.zeros_like(a))


def _inside_all(axes: list[tuple[int, Any, int, int]], width: int) -> Callable[[Vector], Vector]:
    def keep(v: Vector) -> Vector:
        for index, _, axis, _ in axes:
            v = _on_leaf(index, functools.partial(_inside, axis=axis, width=width))(v)
        return v

    return keep


def _without(keep: Callable[[Vector], Vector]) -> Callable[[Vector], Vector]:
    return lambda v: jax.tree.map(lambda a, b: a - b, v, keep(v))


def _roll(index: int, axis: int, shift: int) -> Callable[[Vector], Vector]:
    return _on_leaf(index, lambda a: jnp.roll(a, shift, axis))


def _on_leaf(index: int, function: Callable[[Any], Any]) -> Callable[[Vector], Vector]:
    def move(v: Vector) -> Vector:
        leaves, tree = jax.tree.flatten(v)
        leaves[index] = function(leaves[index])
        return jax.tree.unflatten(tree, leaves)

    return move


def _swap_leaves(i: int, j: int) -> Callable[[Vector], Vector]:
    def move(v: Vector) -> Vector:
        leaves, tree = jax.tree.flatten(v)
        leaves[i], leaves[j] = leaves[j], leaves[i]
        return jax.tree.unflatten(tree, leaves)

    return move


# ---- a factor that varies -------------------------------------------------------------------------------------------

_MOST_SLABS = 12


def varying_factors(trials: Trials) -> Iterator[str]:
    """Factors by which the result of the adjoint, or its argument, must have been multiplied, index by index of one axis."""
    subject = trials.subject
    for tree, letter in ((subject.spec, "x"), (subject.out, "y")):
        for index, path, axis, length in _axes(tree):
            chosen = sorted({round(i) for i in np.linspace(0, length - 1, min(length, _MOST_SLABS))})
            factors: dict[int, complex] = {}
            for i in chosen:
                keep = _slab(index, axis, i)
                kept = {"keep_u": keep} if letter == "x" else {"keep_v": keep}
                factor = trials.factor(Hypothesis("", subject.reverse, **kept))
                if factor is None:
                    break
                factors[i] = factor
            if len(factors) == len(chosen) > 2 and (said := _profile(factors)):
                at = f"{letter}{jax.tree_util.keystr(path)}"
                yield f"the adjoint multiplies by a factor that varies along axis {axis} of {at}: {said}"


def _slab(index: int, axis: int, at: int) -> Callable[[Vector], Vector]:
    def only(a: Any) -> Any:
        i = np.arange(a.shape[axis]).reshape([-1 if k == axis else 1 for k in range(a.ndim)])
        return jnp.where(i == at, a, jnp.zeros_like(a))

    def keep(v: Vector) -> Vector:
        leaves, tree = jax.tree.flatten(v)
        return jax.tree.unflatten(
            tree, [only(leaf) if k == index else jnp.zeros_like(leaf) for k, leaf in enumerate(leaves)]
        )

    return keep


def _profile(factors: dict[int, complex]) -> str:
    """What to say of the factors; nothing where all are the same."""
    shown = {i: number(c, 4) for i, c in factors.items()}
    values = list(shown.values())
    common = max(values, key=values.count)
    others = {i: text for i, text in shown.items() if text != common}
    if not others:
        return ""
    if len(others) <= len(shown) // 2 and len(others) <= 3:
        return f"it is {common}, but {', '.join(f'{text} at index {i}' for i, text in others.items())}"
    some = list(shown.items())[:4]
    phase = all(abs(abs(c) - 1) < 1e-3 for c in factors.values()) and any(c.imag for c in factors.values())
    why = " (phases, which are to be conjugated?)" if phase else " (a weight?)"
    return f"{', '.join(f'{text} at index {i}' for i, text in some)} and so on{why}"


def number(c: complex, digits: int = 6) -> str:
    c = complex(*(0.0 if abs(part) < 1e-6 * abs(c) else part for part in (c.real, c.imag)))
    return f"{c.real:.{digits}g}" if c.imag == 0 else f"{c:.{digits}g}"
