"""What makes a prox that of its functional, and a conjugate that of the same one."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close, require, stack
from linops_jax.testing._subject import Subject
from linops_jax.testing._taylor import at_several_points, taylor_test

WHOLE = "it compares values at single points"
STEPS = (0.5, 1.7)
_SHARES = (1.0, 0.1, 0.01)  # of a direction
_ELEMENTS = 8  # that are moved alone


def has_prox(subject: Subject) -> bool:
    return subject.is_functional and subject.has_hook("prox") and _probes.all_inexact(subject.spec)


def is_convex(subject: Subject) -> bool:
    return has_prox(subject) and subject.op.convex


def _has_jacobian(subject: Subject) -> bool:
    return has_prox(subject) and subject.has_hook("prox_jacobian")


def _anywhere(subject: Subject, rng: Any) -> list[Any]:
    """Two points: one of the domain, and one that may lie outside of it, where the prox must lead into it."""
    wide = jax.tree.map(lambda leaf: (2 * leaf).astype(leaf.dtype), subject.tangent(rng))
    return [subject.point(rng), wide]


def _proxes(subject: Subject, rng: Any) -> Iterator[tuple[Any, float, Any]]:
    """Triples of a point, a step and the prox there."""
    for x, step in zip(_anywhere(subject, rng), STEPS, strict=True):
        yield x, step, subject.op.prox(x, step)


def _value(subject: Subject, x: Any) -> float:
    return float(subject.op(x))


def _step(subject: Subject, rng: Any) -> jax.Array:
    """A step with the precision of the input."""
    dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(subject.spec)))
    return jnp.asarray(rng.uniform(0.5, 1.0), jnp.finfo(dtype).dtype)


def _real_inner(u: Any, v: Any) -> float:
    return _probes.inner(u, v).real


def _tolerance(subject: Subject, values: tuple[float, ...], step: float, *vectors: Any) -> float:
    """How large rounding errors are in a sum of values of f and of products of vectors, divided by the step."""
    size = sum(map(_probes.norm, vectors)) ** 2 / step + sum(map(abs, values))
    return _probes.LOOSE * _probes.eps(subject.spec, subject.out) * size


def _others(subject: Subject, rng: Any, x: Any, p: Any) -> Iterator[Any]:
    """Points to compare p = prox(x) with: on the ways to x and to 0, in random directions, one element away, other proxes."""
    size = max(_probes.norm(p), _probes.norm(x)) / max(_probes.size(p), 1) ** 0.5
    moves = [_probes.subtract(x, p), p]
    moves += [_probes.combine((size, subject.tangent(rng))) for _ in range(2)]
    moves += [_alone(rng, _probes.combine((size, subject.tangent(rng)))) for _ in range(_ELEMENTS)]
    for move, share, sign in itertools.product(moves, _SHARES, (1, -1)):
        yield _probes.add(p, move, sign * share)
    for y in _anywhere(subject, rng):
        yield subject.op.prox(y, 1.0)


def _alone(rng: Any, move: Any) -> Any:
    """The move with all elements zero but one."""
    flat = _probes.flat(move)
    kept = np.zeros_like(flat)
    if flat.size:
        at = rng.integers(flat.size)
        kept[at] = flat[at]
    return _probes.unflat(kept, move)


# ---- the prox -----------------------------------------------------------------------------------------------------------


@check(needs=("repeatable",), when=has_prox, whole=WHOLE)
def check_prox(subject: Subject) -> None:
    """f(u) + |u - x|^2 / (2 step) is least at u = prox(x, step), among many points."""
    rng = subject.rng("prox")
    for x, step, p in _proxes(subject, rng):
        value = _value(subject, p)
        require(math.isfinite(value), f"f(prox(x, {step})) is {value}, and must be finite")
        least = value + _distance(p, x, step)
        for u in _others(subject, rng, x, p):
            found = _value(subject, u)
            total = found + _distance(u, x, step)
            if not math.isfinite(found):
                require(not found < 0 and found == found, f"f is {found} at a point close to prox(x, {step})")
                continue
            require(
                total >= least - _tolerance(subject, (found, value), step, x, p, u),
                f"f(u) + |u - x|^2 / (2 step) is {least:.8g} at u = prox(x, step), but {total:.8g} at another u, for "
                f"step = {step}: prox must give the least",
            )


def _distance(u: Any, x: Any, step: float) -> float:
    return _probes.norm(_probes.subtract(u, x)) ** 2 / (2 * step)


@check(needs=("prox",), when=is_convex, whole=WHOLE)
def check_prox_nonexpansive(subject: Subject) -> None:
    """|prox(x) - prox(z)|^2 <= Re <prox(x) - prox(z), x - z> for a convex f: the prox is firmly nonexpansive."""
    rng = subject.rng("nonexpansive")
    for step in STEPS:
        for x, z in itertools.combinations([*_anywhere(subject, rng), *_anywhere(subject, rng)], 2):
            p, q = subject.op.prox(x, step), subject.op.prox(z, step)
            left = _probes.norm(_probes.subtract(p, q)) ** 2
            right = _real_inner(_probes.subtract(p, q), _probes.subtract(x, z))
            require(
                left <= right + _tolerance(subject, (), 1.0, x, z),
                f"|prox(x) - prox(z)|^2 = {left:.6g} is more than Re <prox(x) - prox(z), x - z> = {right:.6g}, for step = "
                f"{step}, so f is not convex: declare the class with convex = False",
            )


@check(needs=("prox", "prox_nonexpansive"), when=is_convex, whole=WHOLE)
def check_prox_subgradient(subject: Subject) -> None:
    """f(z) >= f(p) + Re <u, z - p> for a convex f, where p = prox(x, step), u = (x - p) / step: u is a subgradient at p."""
    rng = subject.rng("subgradient")
    for x, step, p in _proxes(subject, rng):
        value, u = _value(subject, p), _probes.combine((1 / step, x), (-1 / step, p))
        for z in _others(subject, rng, x, p):
            found = _value(subject, z)
            bound = value + _real_inner(u, _probes.subtract(z, p))
            require(
                found >= bound - _tolerance(subject, (found, value), step, x, p, z),
                f"f(z) = {found:.8g} is less than f(p) + Re <(x - p) / step, z - p> = {bound:.8g} with p = prox(x, {step}): "
                "prox is not exact, or f is not convex",
            )


@check(needs=("prox",), when=lambda subject: has_prox(subject) and subject.is_indicator, whole=WHOLE)
def check_projection(subject: Subject) -> None:
    """f(prox(x)) = 0, prox(prox(x)) = prox(x), for every step, where f is 0 in a set and infinite elsewhere."""
    rng = subject.rng("projection")
    for x, step, p in _proxes(subject, rng):
        value = _value(subject, p)
        require(
            value == 0,
            f"f(prox(x, {step})) is {value:g}, and must be 0, since the class is declared with indicator = True",
        )
        _close(subject, subject.op.prox(x, 3 * step), p, f"prox(x, {3 * step}) and prox(x, {step})", x)
        _close(subject, subject.op.prox(p, step), p, "prox(prox(x)) and prox(x)", x)


def _close(subject: Subject, found: Any, expected: Any, what: str, *vectors: Any) -> None:
    """Two vectors that are equal but for rounding, which is relative to the size of all that they come from."""
    error = _probes.norm(_probes.subtract(found, expected))
    size = max(map(_probes.norm, (found, expected, *vectors)))
    tolerance = _probes.LOOSE * _probes.eps(subject.spec) * size
    require(error <= tolerance, f"{what}: they differ by {error:.2e}, which exceeds {tolerance:.2e}")


@check(needs=("prox", "vmap"), when=has_prox, whole=WHOLE)
def check_vmap_of_prox(subject: Subject) -> None:
    """vmap(prox) = a loop over prox: over points, and over points and steps together, under jit."""
    rng = subject.rng("vmap of prox")
    xs, steps = _anywhere(subject, rng), np.asarray(STEPS, np.float32)
    same = jax.vmap(lambda x: subject.op.prox(x, STEPS[0]))(stack(xs))
    close(same, stack([subject.op.prox(x, STEPS[0]) for x in xs]), "vmap(prox) over x and a loop", subject)
    both = jax.jit(jax.vmap(lambda x, step: subject.op.prox(x, step)))(stack(xs), steps)
    expected = stack([subject.op.prox(x, step) for x, step in zip(xs, steps, strict=True)])
    close(both, expected, "jit(vmap(prox)) over x and step, and a loop", subject)


# ---- its derivative -----------------------------------------------------------------------------------------------------


@check(needs=("prox",), when=_has_jacobian, whole=WHOLE)
def check_prox_jacobian(subject: Subject) -> None:
    """Taylor tests: prox_jacobian is the derivative of prox in x, and (prox(x) - x) / step leads to that in the step."""
    rng = subject.rng("prox jacobian")

    def derivative(function: Callable[[Any], Any], at: Any, direction: Any, of: str) -> None:
        found = jax.jvp(function, (at,), (direction,))[1]
        taylor_test(function, at, direction, found, f"prox_jacobian is not the derivative of prox in {of}", of="prox")

    def in_x() -> None:
        x, dx = _anywhere(subject, rng)[1], subject.tangent(rng)
        derivative(lambda x: subject.op.prox(x, STEPS[0]), x, dx, "x")

    def in_step() -> None:
        x, step = _anywhere(subject, rng)[1], _step(subject, rng)
        derivative(lambda step: subject.op.prox(x, step), step, jnp.ones_like(step), "the step")

    at_several_points(in_x)
    at_several_points(in_step)


# ---- the conjugate ------------------------------------------------------------------------------------------------------


@check(needs=("prox",), when=lambda subject: has_prox(subject) and subject.overrides("conjugate_prox"), whole=WHOLE)
def check_conjugate_prox(subject: Subject) -> None:
    """conjugate_prox(u, step) = u - step prox(u / step, 1 / step): Moreau's identity."""
    rng = subject.rng("conjugate prox")
    for u, step in zip(_anywhere(subject, rng), STEPS, strict=True):
        found = jax.jit(subject.op.conjugate_prox)(u, step)
        inner = subject.op.prox(jax.tree.map(lambda leaf: (leaf / step).astype(leaf.dtype), u), 1 / step)  # noqa: B023
        expected = _probes.combine((1, u), (-step, inner))
        what = f"conjugate_prox(u, {step}) and u - step prox(u / step, 1 / step)"
        _close(subject, found, expected, what, u, _probes.combine((step, inner)))


@check(
    needs=("prox", "prox_subgradient"),
    when=lambda subject: has_prox(subject) and subject.overrides("conjugate"),
    whole=WHOLE,
)
def check_conjugate(subject: Subject) -> None:
    """f(p) + f*(u) = Re <p, u>, where p = prox(x, step), u = (x - p) / step: equality in the Fenchel-Young inequality."""
    rng = subject.rng("conjugate")
    for x, step, p in _proxes(subject, rng):
        u = _probes.unflat(_probes.flat(_probes.combine((1 / step, x), (-1 / step, p))), subject.spec)
        value, dual, inner = _value(subject, p), float(jax.jit(subject.op.conjugate)(u)), _real_inner(p, u)
        require(
            abs(value + dual - inner) <= _tolerance(subject, (value, dual, inner), step, x, p),
            f"f(p) + f*(u) = {value:.8g} + {dual:.8g}, but Re <p, u> = {inner:.8g}, where p = prox(x, {step}) and "
            "u = (x - p) / step",
        )


# ---- the gradient -------------------------------------------------------------------------------------------------------


@check(
    needs=("jacobian_adjoint",),
    when=lambda subject: subject.is_functional and subject.op.smooth is not None and _probes.all_inexact(subject.spec),
    whole=WHOLE,
)
def check_smooth(subject: Subject) -> None:
    """|grad f(x) - grad f(z)| <= smooth |x - z|, in directions in which the gradient changes most."""
    rng, constant = subject.rng("smooth"), float(subject.op.smooth)
    eps = _probes.eps(subject.spec, subject.out)
    for _ in range(2):
        x, d = subject.point(rng), subject.tangent(rng)
        before = subject.op.gradient(x)
        for share in (1.0, 0.1, 0.1, 0.1):  # as in the power method
            size = share * max(_probes.norm(x), 1.0)
            z = _probes.add(x, d, size / max(_probes.norm(d), 1e-30))
            change, moved = _probes.subtract(subject.op.gradient(z), before), _probes.norm(_probes.subtract(z, x))
            rate = _probes.norm(change) / max(moved, 1e-30)
            rounding = _probes.LOOSE * eps * (_probes.norm(before) + constant * _probes.norm(x)) / max(moved, 1e-30)
            require(
                rate <= constant * (1 + _probes.LOOSE * eps) + rounding,
                f"the gradient changes by {rate:.6g} |x - z| between two points, but smooth = {constant:.6g} "
                "promises no more than that",
            )
            d = change if _probes.norm(change) > 0 else subject.tangent(rng)
