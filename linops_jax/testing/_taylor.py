"""The Taylor test: whether |F(x + h d) - F(x) - h J d| falls faster than h."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import require
from linops_jax.testing._subject import change

STEPS = [4.0**-k for k in range(20)]
# Order 2 where the derivative is right, 1 where it is not. In between lie functions with kinks, whose remainder falls
# with order 1.5 on average.
_LEAST_ORDER = 1.3
_ENOUGH = 3  # orders in a row
_POINTS, _MORE_POINTS, _FAILURES = 2, 6, 3
_ROUNDING = 30.0  # times what a change of the input in its last digit does
_SEED = 0  # of those changes


def taylor_test(
    function: Callable[[Any], Any],
    x: Any,
    d: Any,
    derivative: Any,
    what: str,
    *,
    of: str = "apply",
    scale: float | None = None,
    rtol: float | None = None,
) -> None:
    """Raises AssertionError if ``derivative`` is not that of ``function`` at ``x`` in direction ``d``.

    The remainder is followed over step sizes a factor 4 apart, until it drowns in rounding; its order of convergence is
    judged at the smallest steps that say something.

    Parameters
    ----------
    function : callable
        F, of a pytree of arrays.
    x : pytree of arrays
        The point.
    d : pytree of arrays
        The direction.
    derivative : pytree of arrays
        That of F at ``x`` in direction ``d``.
    what : str
        What a failure begins with.
    of : str
        The hook behind ``function``.
    scale : float, optional
        The size of the numbers that rounding is relative to, where the value is a sum in which they cancel.
    rtol : float, optional
        Up to which the derivative is declared inexact, relative to its norm.
    """
    y = function(x)
    require(
        _is_finite(y),
        f"{what}: the value at the point of the test is not finite. Pass example arrays that are in its domain",
    )
    require(_is_finite(derivative), f"{what}: the derivative is not finite")
    floor = rounding(function, x, y, _probes.norm(y) if scale is None else scale)
    size = _probes.norm(derivative)
    remainders = []
    for h in STEPS:
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
    require(not (found := _growth(remainders, orders)), f"{of} {found}, where rounding is {floor:.1e}{_NOISE}")
    h, r = [(h, r) for h, r in remainders if r > floor][-1]
    declared = "" if rtol is None else f", more than jacobian_rtol={rtol:g} of it"
    message = (
        f"{what}: the remainder |F(x + h d) - F(x) - h F'(x) d| falls with order {max(orders[-_ENOUGH:]):.2f} instead of 2: "
        f"it is {r:.2e} at h = {h:.1e}, where rounding is {floor:.1e}, so the derivative in direction d is off by {r / h:.2e} "
        f"(its norm is {size:.2e}{declared})"
    )
    raise AssertionError(message)


_NOISE = ". Do large numbers cancel in it, or does it stop too early? The derivative is right at the larger steps"
_FLAT = 0.25  # order up to which nothing falls


def _growth(remainders: list[tuple[float, float]], orders: list[float]) -> str:
    """What to say where the remainder falls as it must, but no more at smaller steps: the function is not accurate then.

    The remainder of a wrong derivative may grow once, where two errors cancel, and falls again at the next step.
    """
    for i in range(2, len(orders) - 1):
        if min(orders[i - 2 : i]) >= _LEAST_ORDER and max(orders[i : i + 2]) <= _FLAT:
            h, r = remainders[i]
            worst = max(r for _, r in remainders[i:])
            return (
                f"loses precision close to this point: the remainder |F(x + h d) - F(x) - h F'(x) d| falls as it must down "
                f"to {r:.1e} at h = {h:.1e}, and grows to {worst:.1e} at smaller steps"
            )
    return ""


def at_several_points(attempt: Callable[[], None]) -> None:
    """Runs a Taylor test at two random points, and at more if one fails, which may be a kink. Three failures count."""
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


def _orders(remainders: list[tuple[float, float]], floor: float) -> list[float]:
    """Observed orders between neighbouring steps; the first remainder in the noise counts as the noise."""
    orders = []
    for (h1, r1), (h2, r2) in itertools.pairwise(remainders):
        if not r1 > floor:
            break
        left = max(r2, floor)
        orders.append(math.log(r1 / left) / math.log(h1 / h2) if left else math.inf)
    return orders


def _remainder(function: Any, x: Any, d: Any, derivative: Any, y: Any, h: float) -> float:
    moved = _probes.add(x, d, h)
    step = _probes.subtract(moved, x)  # what the rounding of x + h d has left of it
    loss = _probes.norm(_probes.combine((1, step), (-h, d))) / max(h * _probes.norm(d), 1e-300)
    if loss > 1e-2:
        return math.nan
    try:
        value = function(moved)
    except Exception:  # outside of the function's domain
        return math.nan
    change = _probes.subtract(value, y)
    return _probes.norm(_probes.combine((1, change), (-h, derivative)))


def rounding(function: Any, x: Any, y: Any, scale: float) -> float:
    """How much of a change in the value is rounding: of the value itself, and of the input."""
    changed = change(function, x, y, np.random.default_rng(_SEED))
    return _ROUNDING * max(_probes.eps(x, y) * scale, changed)


def _is_finite(tree: Any) -> bool:
    return math.isfinite(_probes.norm(tree))
