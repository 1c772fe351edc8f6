"""Interpolation: the values of an array between its samples; its adjoint is gridding."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments

BOUNDARIES = ("zero", "edge", "reflect", "periodic")
_POLE = math.sqrt(3) - 2  # of the filter that turns samples into coefficients of cubic B-splines
_REACH = 31  # of this filter: _POLE ** 32 is below the precision of float64


class Interpolation(lo.LinearOperator):
    r"""The values of an array at positions between its samples.

    Parameters
    ----------
    positions : array or nested lists of numbers
        The positions in samples, of shape (points, ndim): 0 is the first sample of an axis, n - 1 the last one. They can be
        differentiated.
    shape : int or tuple of int
        The sizes of the axes between whose samples is interpolated: the last axes of the input. Axes in front of them are batch
        axes.
    order : int, optional
        1, the default, for linear interpolation (bilinear in two dimensions), or 3 for splines.
    boundary : str, optional
        What is beyond the first and the last sample: ``"zero"``, the default; ``"edge"``, the value at the nearest position in
        the array; ``"reflect"``, the array in reverse order, without its last sample; ``"periodic"``, the array again.

    Raises
    ------
    ValueError
        If ``positions`` does not have two axes, the second as long as ``shape``, or another argument has another value. When the
        operator is applied, if the last axes of the input do not have these sizes.

    Notes
    -----
    For a position t and the samples k in its neighbourhood, in each dimension:

    .. math:: y(t) = \sum_k c_k \beta(t - k), \qquad c = P x .

    For order 1, β is the triangle max(0, 1 - abs(t)), and P = I. For order 3, β is the cubic B-spline with four samples, and P
    gives the coefficients for which y(k) = x_k: interpolation by a cubic spline with continuous second derivatives. The array
    is continued by reflection for P, or periodically with ``boundary="periodic"``.

    The adjoint is gridding. It adds the value of each point to the samples around it, with the same weights, and adds up what
    comes from points at the same place; then it applies the transpose of P.

    With ``"zero"``, y is zero at positions below 0 or above n - 1, also between -1 and 0, so that y jumps there. With the other
    boundaries y is a continuous function of the positions. For order 1 its derivative at a sample is that of one side.

    The results are those of ``scipy.ndimage.map_coordinates`` with the modes ``"constant"``, ``"mirror"`` and ``"grid-wrap"`` for
    ``"zero"``, ``"reflect"`` and ``"periodic"``.

    References
    ----------
    * Unser, M. (1999). Splines: a perfect fit for signal and image processing. IEEE Signal Process. Mag. 16, 22-38.

    Examples
    --------
    >>> A = lo.ops.Interpolation([[0.5], [2.0]], 3)
    >>> A(jnp.array([1.0, 2.0, 4.0])).tolist()
    [1.5, 4.0]
    >>> A.H(jnp.array([1.0, 1.0])).tolist()
    [0.5, 0.5, 1.0]
    """

    positions: jax.Array
    shape: tuple[int, ...] = lo.static()
    order: int = lo.static(default=1)
    boundary: str = lo.static(default="zero")

    def __init__(self, positions: Any, shape: int | tuple[int, ...], order: int = 1, boundary: str = "zero"):
        self.positions = _arguments.as_field(positions, "Interpolation.positions")
        self.shape = _arguments.as_integers(shape, "Interpolation.shape", least=1)
        self.order = int(_arguments.one_of(order, (1, 3), "Interpolation.order"))
        self.boundary = _arguments.one_of(boundary, BOUNDARIES, "Interpolation.boundary")
        found = getattr(
            self.positions, "shape", (0, len(self.shape))
        )  # what is no array is left to the field's own check
        if len(found) != 2 or found[1] != len(self.shape):
            message = (
                f"Interpolation.positions has shape {found}; expected (points, {len(self.shape)}), one column for each axis of "
                f"the shape {self.shape}."
            )
            raise ValueError(message)

    @lo.traced
    def apply(self, x: Any) -> Any:
        dtype = self.infer_shape(x).dtype
        x = jax.lax.optimization_barrier(
            self._extended(x.astype(_arguments.single(x.dtype)))
        )  # made once, not for each point
        at, weights = self._neighbours(x)
        flat = x.reshape(*x.shape[: x.ndim - len(self.shape)], math.prod(x.shape[x.ndim - len(self.shape) :]))
        values = flat.at[..., at.reshape(at.size)].get(mode="promise_in_bounds").reshape(*flat.shape[:-1], *at.shape)
        # jnp.sum over the neighbours takes several times as long on the CPU
        y: Any = sum(_arguments.with_ndim(weights[k], flat.ndim) * values[..., k, :] for k in range(len(at)))
        return y.astype(dtype)

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "Interpolation")
        return jax.ShapeDtypeStruct((*lead, self.positions.shape[0]), _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, self.positions.shape[:1], "Interpolation.H")
        return jax.ShapeDtypeStruct((*lead, *self.shape), _arguments.inexact(y.dtype))

    def _extended(self, x: Any) -> Any:
        """The samples, or the coefficients of the splines, and of their continuation: one in front, order // 2 + 1 behind."""
        mode = "wrap" if self.boundary == "periodic" else "reflect"
        reach = _REACH if self.order == 3 else 0
        for axis in range(-len(self.shape), 0):
            widths = [(0, 0)] * x.ndim
            widths[axis] = (reach + 1, reach + self.order // 2 + 1)
            x = jnp.pad(x, widths, mode=mode)
            x = _coefficients(x, axis + x.ndim) if self.order == 3 else x
        return x

    def _neighbours(self, x: Any) -> tuple[Any, Any]:
        """The places of the neighbours of each point in the extended array, and their weights: both (neighbours, points)."""
        positions, inside = jnp.asarray(self.positions), jnp.ones(len(self.positions), bool)
        positions = positions.astype(_arguments.single(positions.dtype))
        at, weights = jnp.zeros((1, len(positions)), jnp.int32), jnp.ones((1, len(positions)), positions.dtype)
        for t, size, extended in zip(positions.T, self.shape, x.shape[-len(self.shape) :], strict=True):
            inside = inside & ~((t < 0) | (t > size - 1))  # a NaN is to be seen
            t = _folded(t, size, self.boundary)
            start = jnp.clip(jnp.floor(jax.lax.stop_gradient(t)), 0, size - 1)  # t may be rounded up to the size
            first = start.astype(jnp.int32) + 1 - self.order // 2
            each = first[None] + np.arange(self.order + 1, dtype=np.int32)[:, None]
            at = jax.lax.collapse(at[:, None] * extended + each[None], 0, 2)
            weights = jax.lax.collapse(weights[:, None] * _weights(t - start, self.order)[None], 0, 2)
        if self.boundary == "zero":
            weights = jnp.where(inside[None], weights, 0)
        return at, weights.astype(x.real.dtype)

    @classmethod
    def examples(cls) -> Any:
        points = jnp.array([[0.3, 1.6], [2.0, 0.1], [2.0, 0.1], [-0.4, 3.3]], jnp.float32)
        yield cls(points, (4, 3)), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(points[:, :1], 5, order=3, boundary="periodic"), jax.ShapeDtypeStruct((2, 5), jnp.complex64)


def _folded(t: Any, size: int, boundary: str) -> Any:
    """The position in the array that has the value of position t."""
    if boundary == "periodic":
        return jnp.mod(t, size)
    if boundary == "reflect":
        t = jnp.mod(t, max(2 * size - 2, 1))
        return jnp.minimum(t, 2 * size - 2 - t) if size > 1 else t
    return jnp.clip(t, 0, size - 1)


def _weights(t: Any, order: int) -> Any:
    """The weights of the order + 1 samples around a position that is t behind one of them, 0 <= t <= 1."""
    if order == 1:
        return jnp.stack([1 - t, t])
    u = 1 - t
    return jnp.stack([u**3, 4 - 6 * t**2 + 3 * t**3, 4 - 6 * u**2 + 3 * u**3, t**3]) / 6


def _coefficients(x: Any, axis: int) -> Any:
    """The coefficients of cubic B-splines that interpolate x, without _REACH samples at both ends.

    The filter 1 / (1 - z q), in both directions, is the product of all 1 + (z q)^(2^j).
    """
    x = x * (-6 * _POLE)
    for step in (1, 2, 4, 8, 16):
        for factors in ((1, _POLE**step), (_POLE**step, 1)):
            size = x.shape[axis] - step
            front, back = (jax.lax.slice_in_dim(x, start, start + size, axis=axis) for start in (0, step))
            x = factors[0] * front + factors[1] * back
    return x
