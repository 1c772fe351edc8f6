"""What is probably wrong with an adjoint: hypotheses, each tried on the probes that failed.

If B stands where A^H should be, and T(B) is A^H for a simple T (a conjugation, a flip, a shift by one), then T says
what the mistake is. A constant factor is allowed for in each.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._locate import locate
from linops_jax.testing._subject import Subject, describe_tree

Vector = Any
Hypothesis = tuple[str, Callable[[Vector], Vector]]
_PROBES = 5


def diagnose(subject: Subject, pair: tuple[Vector, Vector], tolerance: float) -> str:
    """One or two sentences on why <A u, v> = <u, A^H v> fails for this pair of vectors."""
    pairs = _like(subject, pair)
    found = "; ".join(_causes(subject, pairs, tolerance)) or "the ratio of the two numbers differs from probe to probe"
    return f"{found}{_support(pair)}"


def _like(subject: Subject, pair: tuple[Vector, Vector]) -> list[tuple[Vector, Vector]]:
    """More pairs of vectors with the same arrays zero."""
    rng = subject.rng("diagnosis")

    def another(v: Vector, drawn: Vector) -> Vector:
        return jax.tree.map(lambda a, b: b if np.any(np.asarray(a)) else jnp.zeros_like(b), v, drawn)

    draws = [(subject.point(rng), subject.cotangent(rng)) for _ in range(_PROBES - 1)]
    return [pair, *((another(pair[0], u), another(pair[1], v)) for u, v in draws)]


def _support(pair: tuple[Vector, Vector]) -> str:
    """Which arrays are not zero, where some are."""
    texts = []
    for letter, vector in zip("uv", pair, strict=True):
        leaves = jax.tree_util.tree_leaves_with_path(vector)
        kept = [jax.tree_util.keystr(path) for path, leaf in leaves if np.any(np.asarray(leaf))]
        if len(kept) < len(leaves):
            texts.append(f"{letter}{', '.join(kept)}")
    return f" (seen where only {' and '.join(texts)} is not zero)" if texts else ""


def _causes(subject: Subject, pairs: list[tuple[Vector, Vector]], tolerance: float) -> list[str]:
    forwards = [subject.forward(u) for u, _ in pairs]
    reverses = [subject.reverse(v) for _, v in pairs]
    if not all(map(_is_finite, (*forwards, *reverses))):
        which = "A u" if not all(map(_is_finite, forwards)) else "A^H v"
        return [f"a result is not finite: {which} holds NaN or infinity for random input"]
    if all(_probes.norm(x) == 0 for x in reverses):
        return ["the adjoint returns zero"]
    if zero := _probes.norm(subject.reverse(jax.tree.map(jnp.zeros_like, pairs[0][1]))):
        return [f"the adjoint has an offset: A^H 0 has norm {zero:.2e} instead of 0"]
    if found := _by_hypotheses(subject, pairs, forwards, tolerance) or _not_linear(subject, pairs[0][1], tolerance):
        return [found]
    if causes := [*_lost_part(subject, reverses), *_another_map(subject, pairs[0][0], tolerance)]:
        return causes
    entry, extent = locate(subject, pairs, tolerance)
    if extent:
        return [f"{extent}: {entry}"]
    return [*_lost_precision(subject, pairs, tolerance), *([f"for example, {entry}"] if entry else [])]


def _is_finite(tree: Vector) -> bool:
    return all(np.all(np.isfinite(_probes.double(leaf))) for leaf in jax.tree.leaves(tree))


# ---- hypotheses ---------------------------------------------------------------------------------------------------------


def _by_hypotheses(
    subject: Subject, pairs: list[tuple[Vector, Vector]], forwards: list[Vector], tolerance: float
) -> str:
    expected = [_product(subject, au, v) for au, (_, v) in zip(forwards, pairs, strict=True)]
    scale = max(_probes.norm(au) * _probes.norm(v) for au, (_, v) in zip(forwards, pairs, strict=True))
    for sentence, reverse in _hypotheses(subject):
        found = [_product(subject, u, reverse(v)) for u, v in pairs]
        factor = _common_factor(found, expected, 10 * tolerance * scale)
        if factor is None:
            continue
        if abs(factor - 1) <= 100 * tolerance:
            if sentence:
                return sentence
        elif not sentence:
            return f"<u, A^H v> is {_factor(factor, subject)} times <A u, v> in every probe: a constant factor"
        else:
            return f"{sentence}, and it is {_factor(factor, subject)} times as large"
    return ""


def _product(subject: Subject, u: Vector, v: Vector) -> complex:
    value = _probes.inner(u, v)
    return complex(value.real) if subject.real else value


def _common_factor(found: list[complex], expected: list[complex], difference: float) -> complex | None:
    """c with found = c expected in all probes, up to the given difference."""
    f, e = np.array(found), np.array(expected)
    if not np.vdot(e, e) > 0:
        return None
    c = complex(np.vdot(e, f) / np.vdot(e, e))
    return c if c and np.max(np.abs(f - c * e)) <= max(abs(c), 1.0) * difference else None


def _factor(c: complex, subject: Subject) -> str:
    """The number, and where it may come from."""
    c = complex(*(0.0 if abs(part) < 1e-6 * abs(c) else part for part in (c.real, c.imag)))
    shown = f"{c.real:.6g}" if c.imag == 0 else f"{c:.6g}"
    if abs(c - 1) < 0.1 and c.imag == 0:
        shown = f"1 {'+' if c.real > 1 else '-'} {abs(c.real - 1):.3g}"
    n, m = _probes.size(subject.spec), _probes.size(subject.out)
    known = {"the number of elements of the input": n, "the number of elements of the result": m}
    for name, value in known.items():
        for text, power in (
            (name, 1),
            (f"one over {name}", -1),
            (f"the root of {name}", 0.5),
            (f"one over the root of {name}", -0.5),
        ):
            if value > 2 and math.isclose(abs(c), value**power, rel_tol=1e-4):
                return f"{shown} ({text}: a normalisation?)"
    return f"{shown} (the sign)" if abs(c + 1) < 1e-3 else shown


def _hypotheses(subject: Subject) -> Iterator[Hypothesis]:
    b, x, y = subject.reverse, subject.spec, subject.out
    yield "", b
    if not all(map(_is_real, (x, y))):
        yield (
            "the adjoint is the plain transpose: a conjugation is missing (A^H = conj A^T)",
            lambda v: _conj(b(_conj(v))),
        )
        yield "the result of the adjoint must be conjugated", lambda v: _conj(b(v))
        yield "the argument of the adjoint must be conjugated", lambda v: b(_conj(v))
    for what, tree, before in (("result", x, False), ("argument", y, True)):
        for sentence, move in _rearrangements(tree):
            moved = (lambda v, t=move: b(t(v))) if before else (lambda v, t=move: t(b(v)))
            yield f"the {what} of the adjoint {sentence}", moved


def _is_real(tree: Vector) -> bool:
    return not any(map(_probes.is_complex, jax.tree.leaves(tree)))


def _conj(tree: Vector) -> Vector:
    return jax.tree.map(jnp.conj, tree)


def _rearrangements(tree: Vector) -> Iterator[tuple[str, Callable[[Vector], Vector]]]:
    """Maps of a vector with this structure to itself: what a slip with an axis or an index does."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    for index, (path, leaf) in enumerate(leaves):
        at = f" in {jax.tree_util.keystr(path)}" if path else ""
        for axis in range(leaf.ndim):
            if leaf.shape[axis] > 1:
                yield f"is flipped along axis {axis}{at}", _on_leaf(index, lambda a, k=axis: jnp.flip(a, k))
                for shift in (1, -1):
                    yield (
                        f"is shifted by one along axis {axis}{at}",
                        _on_leaf(index, lambda a, k=axis, s=shift: jnp.roll(a, s, k)),
                    )
        for i, j in itertools.combinations(range(leaf.ndim), 2):
            if leaf.shape[i] == leaf.shape[j] > 1:
                yield f"has axes {i} and {j} swapped{at}", _on_leaf(index, lambda a, i=i, j=j: jnp.swapaxes(a, i, j))
    for (i, (path_i, a)), (j, (path_j, b)) in itertools.combinations(enumerate(leaves), 2):
        if (a.shape, a.dtype) == (b.shape, b.dtype):
            names = " and ".join(map(jax.tree_util.keystr, (path_i, path_j)))
            yield f"has the arrays {names} swapped", _swap_leaves(i, j)


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


# ---- what no rearrangement explains ---------------------------------------------------------------------------------


def _not_linear(subject: Subject, v: Vector, tolerance: float) -> str:
    if not _probes.all_inexact(v):
        return ""
    once, twice = subject.reverse(v), subject.reverse(jax.tree.map(lambda leaf: -2 * leaf, v))
    difference = _probes.norm(_probes.subtract(twice, jax.tree.map(lambda leaf: -2 * _probes.double(leaf), once)))
    if difference <= 10 * tolerance * _probes.norm(twice):
        return ""
    return f"the adjoint is not linear: A^H(-2 v) and -2 A^H v differ by {difference:.2e}"


def _lost_part(subject: Subject, reverses: list[Vector]) -> Iterator[str]:
    for i, (path, spec) in enumerate(jax.tree_util.tree_leaves_with_path(subject.spec)):
        values = [_probes.double(jax.tree.leaves(x)[i]) for x in reverses]
        at = f" in {jax.tree_util.keystr(path)}" if path else ""
        if spec.size and all(np.all(value == 0) for value in values):
            yield f"the adjoint returns zero{at}"
        elif _probes.is_complex(spec) and all(np.all(value.imag == 0) for value in values):
            yield f"the imaginary part of the adjoint's result is zero everywhere{at}"


def _another_map(subject: Subject, u: Vector, tolerance: float) -> Iterator[str]:
    au = subject.forward(u)
    if _differs_little(subject.reverse(au), u, tolerance):
        yield "the adjoint is the inverse: A^H A u = u for random u"
    elif describe_tree(subject.spec) == describe_tree(subject.out) and _differs_little(
        subject.reverse(u), au, tolerance
    ):
        yield "the adjoint does what apply does: A^H u = A u for random u"


def _differs_little(found: Vector, expected: Vector, tolerance: float) -> bool:
    return _probes.norm(_probes.subtract(found, expected)) <= 100 * tolerance * _probes.norm(expected)


def _lost_precision(subject: Subject, pairs: list[tuple[Vector, Vector]], tolerance: float) -> Iterator[str]:
    eps = _probes.eps(subject.spec, subject.out)
    errors = []
    for u, v in pairs:
        au, ahv = subject.forward(u), subject.reverse(v)
        scale = max(_probes.norm(au) * _probes.norm(v), _probes.norm(u) * _probes.norm(ahv))
        errors.append(abs(_product(subject, au, v) - _product(subject, u, ahv)) / scale)
    for name, coarse in (("float32", 2.0**-23), ("bfloat16 or float16", 2.0**-8)):
        if eps < coarse and tolerance < min(errors) and max(errors) <= _probes.MARGIN * coarse:
            yield f"the error is of the size of rounding in {name}: a lost precision?"
            return
