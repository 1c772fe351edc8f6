"""The Taylor test: does |F(x + h d) - F(x) - h J d| fall faster than h?"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import require
from linops_jax.testing._subject import change

_STEPS = [4.0**-k for k in range(20)]
# Order 2 where the derivative is right, 1 where it is not. In between lie functions with kinks, whose remainder falls
# with order 1.5 on average.
_LEAST_ORDER = 1.3
_ENOUGH = 3  # orders in a row
_POINTS, _MORE_POINTS, _FAILURES = 2, 6, 3
_ROUNDING = 30.0  # times what a change of the input in its last digit does
_SEED = 0  # of those changes
_EXISTS = 0.1  # relative error up to which a one-sided derivative exists
_SLACK = 3.0  # times the error of one-sided derivatives


def taylor_test(
    function: Callable[[Any], Any],
    x: Any,
    d: Any,
    derivative: Any,
    what: str,
    *,
    scale: float | None = None,
    rtol: float | None = None,
) -> None:
    """Raises AssertionError if ``derivative`` is not that of ``function`` at ``x`` in direction ``d``.

    scale: size of the numbers that rounding is relative to, where the value is a sum in which they cancel
    rtol: up to which the derivative is declared inexact, relative to its norm

    The remainder is followed over step sizes a factor 4 apart, until it drowns in rounding; its order of convergence
    is judged at the smallest steps that say something.
    """
    y = function(x)
    require(
        _is_finite(y),
        f"{what}: the value at the point of the test is not finite. Pass example arrays that are in its domain",
    )
    require(_is_finite(derivative), f"{what}: the derivative is not finite")
    floor = _rounding(function, x, y, _probes.norm(y) if scale is None else scale)
    size = _probes.norm(derivative)
    remainders = []
    for h in _STEPS:
        r = _remainder(function, x, d, derivative, y, h)
        if math.isfinite(r):
            if rtol is not None and r <= rtol * h * size:
                return
            remainders.append((h, r))
            if r <= floor:
                break
    orders = _orders(remainders, floor)
    if len(orders) < _ENOUGH or max(orders[-_ENOUGH:]) >= _LEAST_ORDER:
        return
    h, r = [(h, r) for h, r in remainders if r > floor][-1]
    declared = "" if rtol is None else f", more than jacobian_rtol={rtol:g} of it"
    message = (
        f"{what}: the remainder |F(x + h d) - F(x) - h F'(x) d| falls with order {max(orders[-_ENOUGH:]):.2f} instead of 2: "
        f"it is {r:.2e} at h = {h:.1e}, where rounding is {floor:.1e}, so the derivative in direction d is off by {r / h:.2e} "
        f"(its norm is {size:.2e}{declared})"
    )
    raise AssertionError(message)


def kink_test(
    function: Callable[[Any], Any], x: Any, d: Any, derivative: Any, what: str, *, rtol: float | None = None
) -> None:
    """Raises AssertionError if ``derivative`` is finite nowhere between the one-sided ones at ``x`` in direction ``d``.

    Says nothing where one of these does not exist: where the value is not finite, jumps or has an infinite slope.
    """
    try:
        y = function(x)
        left, right, error = _one_sided(function, x, d, y)
    except Exception:  # outside of the function's domain
        return
    if not error <= _EXISTS * max(_norm(left), _norm(right)):
        return
    found = _flat(derivative)
    require(bool(np.all(np.isfinite(found))), f"{what}: the derivative is not finite, where the one-sided ones are")
    slack = (rtol or 0.0) * _norm(found) + _SLACK * error
    wrong = [
        f"{f:.6g}, where differences say {a:.6g} on one side and {b:.6g} on the other"
        for f, a, b in zip(*map(_reals, (found, left, right)), strict=True)
        if not min(a, b) - slack <= f <= max(a, b) + slack
    ]
    require(
        not wrong,
        f"{what}: in {len(wrong)} of {_reals(found).size} numbers it is not between the one-sided ones: "
        f"for example {wrong[0] if wrong else ''}",
    )


def _one_sided(function: Any, x: Any, d: Any, y: Any) -> tuple[np.ndarray, np.ndarray, float]:
    """The two derivatives at x in direction d, from the steps at which they are most certain, and their error."""
    floor = _rounding(function, x, y, _probes.norm(y))
    best: tuple[np.ndarray, np.ndarray, float] = (np.zeros(0), np.zeros(0), math.inf)
    before = None
    for h in _STEPS[2::2]:
        if floor / h >= best[2]:
            break
        left, right = (s * (_flat(function(_probes.add(x, d, s * h))) - _flat(y)) / h for s in (-1.0, 1.0))
        if before is not None:
            error = _norm(left - before[0]) + _norm(right - before[1]) + floor / h
            if error < best[2]:
                best = left, right, error
        before = left, right
    return best


def _flat(tree: Any) -> np.ndarray:
    return np.concatenate([_probes.double(leaf).ravel() for leaf in jax.tree.leaves(tree)] or [np.zeros(0)])


def _norm(flat: np.ndarray) -> float:
    return float(np.linalg.norm(flat))


def _reals(flat: np.ndarray) -> np.ndarray:
    return np.concatenate([np.real(flat), np.imag(flat)]) if np.iscomplexobj(flat) else flat


def at_several_points(attempt: Callable[[], None]) -> None:
    """Runs a Taylor test at random points: two, and more if one fails, which may stand at a kink. Three failures count."""
    failures: list[AssertionError] = []
    for number in range(_POINTS + _MORE_POINTS):
        if len(failures) == _FAILURES or (number >= _POINTS and not failures):
            break
        try:
            attempt()
        except AssertionError as error:
            failures.append(error)
    if len(failures) == _FAILURES:
        raise failures[0]


def in_some_direction(attempt: Callable[[bool], None]) -> None:
    """Runs a test at a point that may be a kink of many functions at once: in one random direction, then along single
    elements, where differences are certain. Three failures count."""
    failures: list[AssertionError] = []
    for alone in (False, True, True):
        try:
            return attempt(alone)
        except AssertionError as error:
            failures.append(error)
    raise failures[0]


def _orders(remainders: list[tuple[float, float]], floor: float) -> list[float]:
    """Observed orders between neighbouring steps; the first remainder in the noise counts as the noise."""
    orders = []
    for (h1, r1), (h2, r2) in itertools.pairwise(remainders):
        if not r1 > floor:
            break
        orders.append(math.log(r1 / max(r2, floor)) / math.log(h1 / h2))
    return orders


def _remainder(function: Any, x: Any, d: Any, derivative: Any, y: Any, h: float) -> float:
    moved = _probes.add(x, d, h)
    step = _probes.subtract(moved, x)  # what the rounding of x + h d has left of it
    loss = _probes.norm(jax.tree.map(lambda s, t: s - h * _probes.double(t), step, d)) / max(
        h * _probes.norm(d), 1e-300
    )
    if loss > 1e-2:
        return math.nan
    try:
        value = function(moved)
    except Exception:  # outside of the function's domain
        return math.nan
    change = _probes.subtract(value, y)
    return _probes.norm(jax.tree.map(lambda c, t: c - h * _probes.double(t), change, derivative))


def _rounding(function: Any, x: Any, y: Any, scale: float) -> float:
    """How much of a change in the value is rounding: of the value itself, and of the input."""
    changed = change(function, x, y, np.random.default_rng(_SEED))
    return _ROUNDING * max(_probes.eps(x, y) * scale, changed)


def _is_finite(tree: Any) -> bool:
    return math.isfinite(_probes.norm(tree))
