"""Rows of finite differences along one axis, for the operators made of them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.ops import _arguments

# Coefficients from the shortest stencil to the longest. The first serves "forward" and "backward", the last serves "centered",
# and with edge=True the others serve the ends, as far as they fit.
Stencils = tuple[tuple[float, ...], ...]
FIRST: Stencils = ((-1.0, 1.0), (-0.5, 0.0, 0.5))
FIRST_OF_ORDER_5: Stencils = (*FIRST, (1 / 12, -2 / 3, 0.0, 2 / 3, -1 / 12))
SECOND: Stencils = ((1.0, -2.0, 1.0), (1.0, -2.0, 1.0))

KINDS = ("forward", "backward", "centered")
BOUNDARIES = ("zero", "periodic")


def checked_rows(where: str, kind: str, edge: bool, boundary: str | None) -> tuple[str, bool, str | None]:
    """The options that say what the rows are. Raises ValueError for others."""
    _arguments.one_of(kind, KINDS, f"{where}.kind")
    _arguments.one_of(edge, (False, True), f"{where}.edge")
    _arguments.one_of(boundary, (None, *BOUNDARIES), f"{where}.boundary")
    if edge and boundary is not None:
        message = f"{where}.edge is True and {where}.boundary is {boundary!r}; expected one of them only. Drop one."
        raise ValueError(message)
    return kind, bool(edge), boundary


def checked_steps(steps: Any, where: str) -> tuple[float, ...]:
    """One number above zero for all axes, or one for each."""
    return tuple(_arguments.as_positive(step, where) for step in (steps if np.ndim(steps) else (steps,)))


def some_axes_of(x: Any, axes: tuple[int, ...] | None, where: str) -> tuple[int, ...]:
    """The axes of one array counted from the end. Raises ValueError if there are none."""
    found = _arguments.axes_of(x, axes, where)
    if not found:
        message = f"{where} is {axes} for an array of shape {x.shape}; expected at least one axis."
        raise ValueError(message)
    return found


def derivatives(
    x: Any, axis: int, stencils: Stencils, step: float, kind: str, edge: bool, boundary: str | None, where: str
) -> Any:
    """A row of differences for each sample along the axis, over the step, or over its square for a second derivative.

    Steps that half precision does not have are no reason to lose the result: it computes in single precision.
    """
    is_inexact = jnp.issubdtype(x.dtype, jnp.inexact)
    rows = _differences(
        x.astype(_arguments.single(x.dtype)) if is_inexact else x, axis, stencils, kind, edge, boundary, where
    )
    return _over(rows, step, 2 if stencils is SECOND else 1).astype(x.dtype if is_inexact else rows.dtype)


def _over(rows: Any, step: float, power: int) -> Any:
    """The rows over a power of the step. Where that is out of range, one factor after the other, which XLA would combine."""
    info = jnp.finfo(rows.dtype)
    if float(info.tiny) <= step**power <= float(info.max):
        return rows / step**power
    for _ in range(power):
        rows = jax.lax.optimization_barrier(rows / step)
    return rows


def _differences(x: Any, axis: int, stencils: Stencils, kind: str, edge: bool, boundary: str | None, where: str) -> Any:
    stencil = stencils[-1 if kind == "centered" else 0]
    if edge and kind == "centered":
        return _with_ends(x, axis, stencils, where)
    before = {"forward": 0, "backward": len(stencil) - 1, "centered": len(stencil) // 2}[kind]
    after = len(stencil) - 1 - before
    if boundary is not None and x.size:
        widths = _widths(x, axis, before, after)
        return _inside(jnp.pad(x, widths, mode=_arguments.PAD_MODES[boundary]), axis, stencil)
    rows, size = _inside(x, axis, stencil), x.shape[axis]
    before = min(before, size)
    return jnp.pad(rows, _widths(x, axis, before, size - rows.shape[axis] - before))


def _with_ends(x: Any, axis: int, stencils: Stencils, where: str) -> Any:
    *short, longest = stencils
    size, least = x.shape[axis], max(2 * len(short), len(short[-1]))
    if size < least:
        message = f"{where}.edge=True needs at least {least} samples, found {size} along axis {axis} of {x.shape}."
        raise ValueError(message)
    first = [_inside(_samples(x, axis, 0, len(stencil)), axis, stencil) for stencil in short]
    last = [_inside(_samples(x, axis, size - len(stencil), size), axis, stencil) for stencil in short]
    return jnp.concatenate([*first, _inside(x, axis, longest), *reversed(last)], axis)


def _inside(x: Any, axis: int, stencil: tuple[float, ...]) -> Any:
    """The rows whose samples all exist."""
    rows = max(x.shape[axis] - len(stencil) + 1, 0)
    # The multiplication makes floating point numbers of integers.
    terms = [c * _samples(x, axis, i, i + rows) for i, c in enumerate(stencil) if c]
    return sum(terms[1:], terms[0])


def _samples(x: Any, axis: int, start: int, stop: int) -> Any:
    size = x.shape[axis]
    return jax.lax.slice_in_dim(x, min(start, size), min(stop, size), axis=axis)


def _widths(x: Any, axis: int, before: int, after: int) -> list[tuple[int, int]]:
    return [(before, after) if i == axis % x.ndim else (0, 0) for i in range(x.ndim)]
