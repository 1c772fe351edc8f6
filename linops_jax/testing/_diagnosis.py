"""What is probably wrong with an adjoint: hypotheses, each tried on the probes that failed.

If B stands where A^H should be, and T(B) is A^H for a simple T (a conjugation, a flip, a shift by one), then T says
what the mistake is. A constant factor is allowed for in each.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._hypotheses import (
    Hypothesis,
    Pairs,
    Trials,
    Vector,
    borders,
    conjugations,
    number,
    rearrangements,
    shifts_with_loss,
    varying_factors,
)
from linops_jax.testing._locate import Entry, extent, halves, locate, overwritten
from linops_jax.testing._subject import Subject, describe_tree

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
        return jax.tree.map(lambda a, b: b if _probes.norm(a) else jnp.zeros_like(b), v, drawn)

    draws = [(subject.point(rng), subject.cotangent(rng)) for _ in range(_PROBES - 1)]
    return [pair, *((another(pair[0], u), another(pair[1], v)) for u, v in draws)]


def _support(pair: tuple[Vector, Vector]) -> str:
    """Which arrays are not zero, where some are."""
    texts = []
    for letter, vector in zip("uv", pair, strict=True):
        leaves = jax.tree_util.tree_leaves_with_path(vector)
        kept = [jax.tree_util.keystr(path) for path, leaf in leaves if _probes.norm(leaf)]
        if len(kept) < len(leaves):
            texts.append(f"{letter}{', '.join(kept)}")
    return f" (seen where only {' and '.join(texts)} is not zero)" if texts else ""


def _causes(subject: Subject, pairs: Pairs, tolerance: float) -> list[str]:
    trials = Trials(subject, pairs, tolerance)
    if not all(map(_is_finite, (*trials.forwards, *trials.reverses))):
        which = "A u" if not all(map(_is_finite, trials.forwards)) else "A^H v"
        return [f"a result is not finite: {which} holds NaN or infinity for random input"]
    if all(_probes.norm(x) == 0 for x in trials.reverses):
        return ["the adjoint returns zero"]
    if zero := _probes.norm(subject.reverse(jax.tree.map(jnp.zeros_like, pairs[0][1]))):
        return [f"the adjoint has an offset: A^H 0 has norm {zero:.2e} instead of 0"]
    if subject.is_spread:
        return [_of_parts(trials)]
    if found := _simple(trials) or _not_linear(subject, pairs[0][1], tolerance):
        return [found]
    if causes := [*_lost_part(subject, trials.reverses), *_ignored_part(trials)]:
        return causes
    if causes := [*_another_map(subject, pairs[0][0], tolerance)]:
        return causes
    entry = locate(subject, pairs)
    if entry is None:
        return list(varying_factors(trials))[:1]
    if found := overwritten(entry, tolerance) or extent(entry, pairs, tolerance) or _with_loss(trials):
        return [found]
    if causes := [*_border(trials, entry), *varying_factors(trials)]:
        return causes[:1]
    return [*_lost_precision(trials, entry), f"for example, {entry}"]


def _is_finite(tree: Vector) -> bool:
    return math.isfinite(_probes.norm(tree))


# ---- hypotheses ---------------------------------------------------------------------------------------------------------


def _simple(trials: Trials) -> str:
    """The hypothesis that makes the adjoint right, or right but for a constant factor."""
    subject = trials.subject
    factor = trials.factor(Hypothesis("", subject.reverse))
    conjugated = _first(trials, conjugations(subject)) if factor is None or _is_phase(factor) else ""
    if conjugated and (factor is None or "times" not in conjugated):
        also = "" if factor is None else f" (or multiplied by {number(factor)}, which is the same for these numbers)"
        return f"{conjugated}{also}"
    if factor is not None and _everywhere(trials, factor):
        said = _factor(factor, subject)
        return f"<u, A^H v> is {said} times <A u, v> in every probe: a constant factor{_of_a_phase(factor)}"
    return _first(trials, rearrangements(subject))


def _of_parts(trials: Trials) -> str:
    """What can be said where no process has whole vectors."""
    subject = trials.subject
    if (factor := trials.factor(Hypothesis("", subject.reverse))) is not None:
        return f"<u, A^H v> is {_factor(factor, subject)} times <A u, v> in every probe: a constant factor"
    found = _first(trials, conjugations(subject)) or "the two numbers have no common factor"
    return f"{found} (one process with all parts of the arrays could say where)"


def _first(trials: Trials, hypotheses: Iterator[Hypothesis]) -> str:
    """The first of them that explains the error; a constant factor is allowed for."""
    for tried in hypotheses:
        if (factor := trials.factor(tried)) is not None:
            exact = abs(factor - 1) <= 100 * trials.tolerance
            return (
                tried.sentence
                if exact
                else f"{tried.sentence}, and it is {_factor(factor, trials.subject)} times as large"
            )
    return ""


def _is_phase(c: complex) -> bool:
    return abs(abs(c) - 1) < 1e-3


def _of_a_phase(c: complex) -> str:
    angle = math.atan2(c.imag, c.real)
    if not _is_phase(c) or abs(c.imag) < 1e-6:
        return ""
    return f" of modulus 1, exp({angle:.6g} i): is a factor of apply to be conjugated?"


def _everywhere(trials: Trials, factor: complex) -> bool:
    """Whether the wrong entry that the probes lead to has this factor as well: few wrong entries look like one close to 1."""
    entry = locate(trials.subject, trials.pairs)
    if entry is None:
        return True
    slack = 100 * trials.tolerance + 1e-3 * abs(factor - 1)
    return abs(entry.adjoint - factor * entry.forward) <= slack * max(
        abs(entry.forward), abs(entry.adjoint), entry.size * trials.tolerance
    )


def _with_loss(trials: Trials) -> str:
    return _first(trials, shifts_with_loss(trials.subject))


def _border(trials: Trials, entry: Entry) -> Iterator[str]:
    """What is said where all is right but for a border: which one, and a wrong entry at each end of it."""
    for tried, border in borders(trials.subject):
        factor = trials.factor(tried)
        if factor is None or abs(factor - 1) > 100 * trials.tolerance or not _probes.norm(border(entry.u)):
            continue
        outside = [(border(u), v) for u, v in trials.pairs]
        others = [locate(trials.subject, [(half, v) for u, v in outside for half in [_end(u, end)]]) for end in (0, 1)]
        named = list(dict.fromkeys(str(found) for found in (entry, *others) if found is not None))
        yield f"the adjoint is {tried.sentence}: {'; '.join(named[:2])}"
        return


def _end(v: Vector, end: int) -> Vector:
    """The first or the last half of the elements that are not zero."""
    found = halves(v)
    return found[end] if len(found) == 2 else v


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


# ---- what no rearrangement explains ---------------------------------------------------------------------------------


def _not_linear(subject: Subject, v: Vector, tolerance: float) -> str:
    """What is said of an adjoint that is not linear."""
    if not _probes.all_inexact(v):
        return ""
    once, twice = subject.reverse(v), subject.reverse(jax.tree.map(lambda leaf: -2 * leaf, v))
    difference = _probes.norm(_probes.combine((1, twice), (2, once)))
    if difference <= 10 * tolerance * _probes.norm(twice):
        return ""
    return f"the adjoint is not linear: A^H(-2 v) and -2 A^H v differ by {difference:.2e}"


def _lost_part(subject: Subject, reverses: list[Vector]) -> Iterator[str]:
    """What is said where a part of the adjoint's result is always zero."""
    for i, (path, spec) in enumerate(jax.tree_util.tree_leaves_with_path(subject.spec)):
        values = [_probes.double(jax.tree.leaves(x)[i]) for x in reverses]
        at = f" in {jax.tree_util.keystr(path)}" if path else ""
        if spec.size and all(np.all(value == 0) for value in values):
            yield f"the adjoint returns zero{at}"
        elif _probes.is_complex(spec) and all(np.all(value.imag == 0) for value in values):
            yield f"the imaginary part of the adjoint's result is zero everywhere{at}"


def _ignored_part(trials: Trials) -> Iterator[str]:
    """What is said where the adjoint ignores one part of its argument, and apply gives it both."""
    subject = trials.subject
    if not any(map(_probes.is_complex, jax.tree.leaves(subject.out))):
        return
    u, v = trials.pairs[0]
    for i, (path, _) in enumerate(jax.tree_util.tree_leaves_with_path(subject.spec)):
        leaves, tree = jax.tree.flatten(u)
        alone = [leaf if k == i else jnp.zeros_like(leaf) for k, leaf in enumerate(leaves)]
        forward = subject.forward(jax.tree.unflatten(tree, alone))
        for name, part in (("real", _real), ("imaginary", _imaginary)):
            found = jax.tree.leaves(subject.reverse(jax.tree.map(part, v)))[i]
            if _probes.norm(found) == 0 and _probes.norm(jax.tree.map(part, forward)) > 0:
                at = f" for {jax.tree_util.keystr(path)}" if path else ""
                yield f"the adjoint ignores the {name} part of its argument{at}"


def _real(leaf: Vector) -> Vector:
    return leaf.real.astype(leaf.dtype)


def _imaginary(leaf: Vector) -> Vector:
    return leaf - _real(leaf)


def _another_map(subject: Subject, u: Vector, tolerance: float) -> Iterator[str]:
    """What is said where the adjoint is the inverse, or does what apply does."""
    au = subject.forward(u)
    if _differs_little(subject.reverse(au), u, tolerance):
        yield "the adjoint is the inverse: A^H A u = u for random u"
    elif describe_tree(subject.spec) == describe_tree(subject.out):
        found = subject.reverse(u)
        c = _probes.inner(au, found) / max(_probes.norm(au) ** 2, 1e-300)
        if abs(c) > 1e-3 and _differs_little(found, _probes.combine((c, au)), tolerance):
            times = "" if abs(c - 1) < 1e-3 else "minus " if abs(c + 1) < 1e-3 else f"{number(c)} times "
            sign = {"": "", "minus ": "-"}.get(times, f"{number(c)} ")
            yield f"the adjoint does {times}what apply does: A^H u = {sign}A u for random u"


def _differs_little(found: Vector, expected: Vector, tolerance: float) -> bool:
    return _probes.norm(_probes.subtract(found, expected)) <= 100 * tolerance * _probes.norm(expected)


def _lost_precision(trials: Trials, entry: Entry) -> Iterator[str]:
    """What is said where rounding in a coarser dtype explains the error, and no single entry is off by more."""
    eps, errors = _probes.eps(trials.subject.spec, trials.subject.out), []
    for (u, v), au, ahv in zip(trials.pairs, trials.forwards, trials.reverses, strict=True):
        scale = max(_probes.norm(au) * _probes.norm(v), _probes.norm(u) * _probes.norm(ahv))
        errors.append(abs(trials.product(au, v) - trials.product(u, ahv)) / scale)
    for name, coarse in (("float32", 2.0**-23), ("bfloat16 or float16", 2.0**-8)):
        if (
            eps < coarse
            and max(errors) <= _probes.MARGIN * coarse
            and entry.difference <= _probes.MARGIN * coarse * entry.size
        ):
            yield f"the error is of the size of rounding in {name}: a lost precision?"
            return
