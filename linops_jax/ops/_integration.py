"""CausalIntegration: the integral from the first sample up to each one, along an axis of an array."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments

KINDS = ("full", "half", "trapezoidal")


class CausalIntegration(lo.LinearOperator):
    r"""The integral of one array from its first sample up to each sample, along an axis.

    Parameters
    ----------
    axis : int, optional
        The axis, the last by default. Negative ones count from the end.
    step : float, optional
        The distance h between samples, 1 by default.
    kind : str, optional
        ``"full"``, the default, ``"half"`` or ``"trapezoidal"``.

    Raises
    ------
    TypeError
        If ``axis`` is not an integer or ``step`` not a number.
    ValueError
        If an argument has another value. When the operator is applied, if the array has no such axis.

    Notes
    -----
    ``"full"`` is the running sum, ``"half"`` takes half of the last sample, and ``"trapezoidal"`` half of the first and the last:

    .. math::
        y_i = h \sum_{j \le i} x_j, \qquad
        y_i = h \Big(\sum_{j < i} x_j + \frac{x_i}{2}\Big), \qquad
        y_i = h \Big(\frac{x_0}{2} + \sum_{0 < j < i} x_j + \frac{x_i}{2}\Big) .

    The first entry of ``"half"`` and ``"trapezoidal"`` is h x_0 / 2. The adjoint sums from the last sample back to each one.
    NumPy computes the sums on the CPU, by ``cumsum``.

    References
    ----------
    * The documentation of ``pylops.CausalIntegration``, for the first entries.

    Examples
    --------
    >>> x = jnp.array([2.0, 4.0, 6.0])
    >>> lo.ops.CausalIntegration()(x).tolist()
    [2.0, 6.0, 12.0]
    >>> lo.ops.CausalIntegration(kind="trapezoidal")(x).tolist()
    [1.0, 3.0, 8.0]
    >>> lo.ops.CausalIntegration().H(x).tolist()
    [12.0, 10.0, 6.0]
    """

    axis: int = lo.static(default=-1)
    step: float = lo.static(default=1.0)
    kind: str = lo.static(default="full")

    def __init__(self, axis: int = -1, step: float = 1.0, kind: str = "full"):
        self.axis = _arguments.as_integer(axis, "CausalIntegration.axis")
        self.step = _arguments.as_positive(step, "CausalIntegration.step")
        self.kind = _arguments.one_of(kind, KINDS, "CausalIntegration.kind")

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "CausalIntegration")
        axis = _arguments.axis_of(x, self.axis, "CausalIntegration.axis")
        dtype = jnp.result_type(x.dtype, float) if not jnp.issubdtype(x.dtype, jnp.inexact) else x.dtype
        x = (self.step if self.kind == "full" else self.step / 2) * x.astype(_arguments.single(dtype))
        if self.kind != "full":
            x = x + _previous(x, axis, skipped=int(self.kind == "trapezoidal"))
        op = RunningSum(axis)
        for _ in range(x.ndim + axis):  # as a batch, arrays that are split between devices along these axes stay so
            op = jax.vmap(op)
        return op(x).astype(dtype)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(step=0.5, kind="half"), jax.ShapeDtypeStruct((3, 5), jnp.float32)
        yield cls(axis=0, kind="trapezoidal"), jax.ShapeDtypeStruct((4, 2), jnp.complex64)


class RunningSum(lo.LinearOperator, batched=True):
    """The sum of all samples up to each one, along an axis counted from the end."""

    axis: int = lo.static()

    def _on_cpu(self, x: Any, *, out: Any) -> None:
        _accumulate(x, self.axis, out)

    def _back_on_cpu(self, y: Any, *, out: Any) -> None:
        _accumulate(np.flip(y, self.axis), self.axis, np.flip(out, self.axis))

    apply = lo.per_platform(cpu=_on_cpu, default=lo.traced(lambda self, x: jax.lax.cumsum(x, x.ndim + self.axis)))
    adjoint = lo.per_platform(
        cpu=_back_on_cpu, default=lo.traced(lambda self, y: jax.lax.cumsum(y, y.ndim + self.axis, reverse=True))
    )

    def infer_shape(self, x: Any) -> Any:
        return x

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(-1), jax.ShapeDtypeStruct((3, 5), jnp.complex64)
        yield cls(-2), jax.ShapeDtypeStruct((3, 64), jnp.float32)


def _previous(x: Any, axis: int, skipped: int) -> Any:
    """The sample before each one; zero for the first, and where it would be one of the first ``skipped``."""
    size = x.shape[axis]
    start = min(skipped, size)
    kept = jax.lax.slice_in_dim(x, start, max(size - 1, start), axis=axis)
    return jnp.pad(kept, [(size - kept.shape[axis] if i == axis % x.ndim else 0, 0) for i in range(x.ndim)])


def _accumulate(x: Any, axis: int, out: Any) -> None:
    if math.prod(x.shape[x.ndim + axis + 1 :]) < 64:
        np.cumsum(x, axis=axis, out=out)
        return
    # NumPy would make one sum after the other, with steps through the memory. Adding rows is ten times as fast.
    rows, sums = np.moveaxis(x, axis, 0), np.moveaxis(out, axis, 0)
    sums[:1] = rows[:1]
    for last, row, total in zip(sums[:-1], rows[1:], sums[1:], strict=True):
        np.add(last, row, out=total)
