"""At a kink: whether J d is what a derivative there can be.

It can be anything between the one-sided derivatives. Where many kinks meet, as in a sort of equal numbers, these say too
little: there it can be what J d is at points close by, of which some lie on each side of each kink.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import require
from linops_jax.testing._taylor import STEPS, rounding

_EXISTS = 0.1  # relative error up to which a one-sided derivative exists
_SLACK = 3.0  # times the error of one-sided derivatives
_CLOSE = 0.4  # power of eps: how close points around x are, relative to x
_CLOSER = 16.0  # times as close
_RANDOM = 4  # pairs of points
_TIGHT = 0.1  # relative difference up to which slopes may be one
_SHRINKS = 0.25  # so much of that difference is left closer to x, where there is no kink


def kink_test(
    function: Callable[[Any], Any],
    slope: Callable[[Any], Any],
    x: Any,
    d: Any,
    derivative: Any,
    what: str,
    *,
    rng: np.random.Generator,
    rtol: float | None = None,
) -> bool:
    """Whether the derivative could be judged at a point that may be a kink.

    It cannot where a one-sided derivative does not exist: where the value is not finite, jumps or has an infinite slope. Raises
    AssertionError if ``function`` cannot have the derivative ``slope(x)`` at ``x`` in direction ``d``.
    """
    try:
        y = function(x)
        left, right, error = _one_sided(function, x, d, y)
    except Exception:  # outside of the function's domain
        return False
    if not error <= _EXISTS * max(_norm(left), _norm(right)):
        return False
    found = _reals(derivative)
    require(bool(np.all(np.isfinite(found))), f"{what}: the derivative is not finite, where the one-sided ones are")
    slack = max(rtol or 0.0, _probes.LOOSE * _probes.eps(x, derivative)) * _norm(found) + _SLACK * error
    wrong = ~_is_between(found, np.minimum(left, right), np.maximum(left, right), slack)
    if not np.any(wrong):
        return True
    wrong &= _is_outside_of_all(found, slope, x, rng, slack)
    at = int(np.argmax(wrong))
    require(
        not np.any(wrong),
        f"{what}: in {np.count_nonzero(wrong)} of {found.size} numbers it is not between the one-sided ones: "
        f"for example {found[at]:.6g}, where differences say {left[at]:.6g} on one side and {right[at]:.6g} on the other",
    )
    return True


def _is_between(found: np.ndarray, low: np.ndarray, high: np.ndarray, slack: Any) -> np.ndarray:
    return (low - slack <= found) & (found <= high + slack)


def _one_sided(function: Any, x: Any, d: Any, y: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """The two derivatives at x in direction d, from the steps at which they are most certain, and their error."""
    floor = rounding(function, x, y, _probes.norm(y))
    best: tuple[np.ndarray, np.ndarray, float] = (np.zeros(0), np.zeros(0), math.inf)
    before = None
    for h in STEPS[2::2]:
        if floor / h >= best[2]:
            break
        left, right = (s * (_reals(function(_probes.add(x, d, s * h))) - _reals(y)) / h for s in (-1.0, 1.0))
        if before is not None:
            error = _norm(left - before[0]) + _norm(right - before[1]) + floor / h
            if error < best[2]:
                best = left, right, error
        before = left, right
    return best


# ---- close by -------------------------------------------------------------------------------------------------------


def _is_outside_of_all(found: np.ndarray, slope: Callable[[Any], Any], x: Any, rng: Any, slack: float) -> np.ndarray:
    """Where ``found`` is far from what the slope is at points around x. Nowhere, where F is not defined at these.

    Where the slope is one, the more so the closer the points are, there is no kink. At a kink it may be beyond all of
    them by their size: some sides have not been seen, and of what is dropped at zero (``(x > 0) * a + (x < 0) * b``)
    nothing is left.
    """
    distance = _probes.eps(x) ** _CLOSE
    seed = int(rng.integers(2**32))
    try:
        around, closer = (
            np.stack([_reals(slope(point)) for point in _points_around(x, h, np.random.default_rng(seed))])
            for h in (distance, distance / _CLOSER)
        )
    except Exception:
        return np.zeros(found.shape, bool)
    low, high = np.min(around, axis=0), np.max(around, axis=0)
    size, width = np.maximum(np.abs(low), np.abs(high)), high - low
    rounding_errors = _probes.LOOSE * _probes.eps(x) * size
    shrinks = np.ptp(closer, axis=0) <= _SHRINKS * width + rounding_errors
    beyond = np.where((width <= _TIGHT * size) & shrinks, width + rounding_errors, size)
    return np.isfinite(width) & ~_is_between(found, low - beyond, high + beyond, slack)


def _points_around(x: Any, distance: float, rng: np.random.Generator) -> Iterator[Any]:
    """Points on both sides of x, in random directions and in some that are not.

    In these all elements are a little larger, smaller or further from the mean, the first or the last one most: what is said of
    equal numbers, or of zeros, mostly holds in one of them.
    """
    directions: list[Callable[[Any], np.ndarray]] = [lambda leaf: rng.standard_normal(leaf.shape)] * _RANDOM
    directions += [_ramp, lambda leaf: 3.0 - _ramp(leaf)]
    directions += [lambda leaf: _side(leaf) * _ramp(leaf), lambda leaf: _side(leaf) * (3.0 - _ramp(leaf))]
    for direction in directions:
        step = jax.tree.map(direction, x)
        for sign in (1.0, -1.0):
            yield jax.tree.map(lambda a, s, h=sign * distance: _moved(a, h * s), x, step)


def _ramp(leaf: Any) -> np.ndarray:
    return 1.0 + np.arange(leaf.size).reshape(leaf.shape) / max(leaf.size, 1)


def _side(leaf: Any) -> np.ndarray:
    values = np.real(_probes.double(leaf))
    return np.where(values > np.mean(values), 1.0, -1.0) if leaf.size else values


def _moved(a: Any, step: np.ndarray) -> Any:
    if not _probes.is_inexact(a):
        return a
    values = _probes.double(a)
    sizes = np.abs(values)
    scale = np.where(sizes > 0, sizes, np.mean(sizes) if np.any(sizes) else 1.0)
    return _probes.place(values + scale * step, a)


def _reals(tree: Any) -> np.ndarray:
    return _probes.flat(tree, pairs=True)


def _norm(reals: np.ndarray) -> float:
    return float(np.linalg.norm(reals))
