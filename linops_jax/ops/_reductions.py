"""Sum, Mean and Broadcast: many entries become one, and one becomes many."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Sum(lo.LinearOperator):
    r"""The sum of the entries along some axes.

    Parameters
    ----------
    axis : int, tuple of int or None
        The axes that are summed; all for None. Negative ones count from the end.
    keepdims : bool, optional
        Whether these axes remain, with size 1. Default: False.

    Raises
    ------
    ValueError
        When the operator is applied, if the input does not have the axes.

    Notes
    -----
    .. math:: y_j = \sum_i x_{ij}, \qquad (A^H y)_{ij} = y_j .

    The adjoint copies its input along the axes. How often, only the domain says: ``A.H(y)`` needs ``with_domain``. As an
    operator that knows its sizes, the adjoint is ``Broadcast``. Small integers are summed as in ``jnp.sum``.

    References
    ----------
    * The documentation of ``numpy.sum``, for ``axis`` and ``keepdims``.

    Examples
    --------
    >>> A = lo.ops.Sum(0)
    >>> A(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [4.0, 6.0]
    """

    axis: tuple[int, ...] | None = lo.static()
    keepdims: bool = lo.static(default=False)

    def __init__(self, axis: int | tuple[int, ...] | None, keepdims: bool = False):
        self.axis, self.keepdims = _arguments.as_axes(axis, "Sum.axis"), bool(keepdims)

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Sum")
        return jnp.sum(x, _arguments.axes_of(x, self.axis, "Sum.axis"), keepdims=self.keepdims)

    @classmethod
    def examples(cls) -> Any:
        yield cls(-1), jax.ShapeDtypeStruct((3, 5), jnp.float32)
        yield cls((0, 2), keepdims=True), jax.ShapeDtypeStruct((2, 3, 5), jnp.complex64)


class Mean(lo.LinearOperator):
    r"""The mean of the entries along some axes.

    Parameters
    ----------
    axis : int, tuple of int or None
        The axes along which the mean is taken; all for None. Negative ones count from the end.
    keepdims : bool, optional
        Whether these axes remain, with size 1. Default: False.

    Raises
    ------
    ValueError
        When the operator is applied, if the input does not have the axes, or no entries along them.

    Notes
    -----
    With n entries along the axes:

    .. math:: y_j = \frac{1}{n} \sum_i x_{ij}, \qquad (A^H y)_{ij} = \frac{1}{n} y_j .

    As for ``Sum``, ``A.H(y)`` needs ``with_domain``.

    References
    ----------
    * The documentation of ``numpy.mean``, for ``axis`` and ``keepdims``.

    Examples
    --------
    >>> A = lo.ops.Mean(0)
    >>> A(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [2.0, 3.0]
    """

    axis: tuple[int, ...] | None = lo.static()
    keepdims: bool = lo.static(default=False)

    def __init__(self, axis: int | tuple[int, ...] | None, keepdims: bool = False):
        self.axis, self.keepdims = _arguments.as_axes(axis, "Mean.axis"), bool(keepdims)

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Mean")
        axes = _arguments.axes_of(x, self.axis, "Mean.axis")
        if not all(x.shape[axis] for axis in axes):
            message = (
                f"Mean.axis {self.axis}: there is nothing to average along these axes of an array of shape {x.shape}."
            )
            raise ValueError(message)
        return jnp.mean(x, axes, keepdims=self.keepdims)

    @classmethod
    def examples(cls) -> Any:
        yield cls(None), jax.ShapeDtypeStruct((3, 5), jnp.float32)
        yield cls(1, keepdims=True), jax.ShapeDtypeStruct((2, 3, 5), jnp.complex64)


class Broadcast(lo.LinearOperator):
    r"""Copies along new axes, the adjoint of ``Sum``.

    Parameters
    ----------
    axis : int or tuple of int
        The places of the new axes in the result. Negative ones count from the end.
    size : int or tuple of int
        The sizes of these axes: one number for all, or one for each.
    keepdims : bool, optional
        Whether the input has these axes already, with size 1. Default: False.

    Raises
    ------
    ValueError
        If there are neither one size nor one for each axis. When the operator is applied, if the result does not have the axes;
        with ``keepdims``, if their size is not 1.

    Notes
    -----
    .. math:: y_{ij} = x_j, \qquad (A^H y)_j = \sum_i y_{ij} .

    References
    ----------
    * The documentation of ``numpy.expand_dims``, for the places of new axes.

    Examples
    --------
    >>> A = lo.ops.Broadcast(0, 3)
    >>> A(jnp.array([1.0, 2.0])).tolist()
    [[1.0, 2.0], [1.0, 2.0], [1.0, 2.0]]
    >>> A.H(A(jnp.array([1.0, 2.0]))).tolist()
    [3.0, 6.0]
    """

    axis: tuple[int, ...] = lo.static()
    size: tuple[int, ...] = lo.static()
    keepdims: bool = lo.static(default=False)

    def __init__(self, axis: int | tuple[int, ...], size: int | tuple[int, ...], keepdims: bool = False):
        self.axis = _arguments.as_integers(axis, "Broadcast.axis")
        sizes = _arguments.as_integers(size, "Broadcast.size", least=0)
        self.size = _arguments.one_for_each(sizes, self.axis, "Broadcast.size")
        self.keepdims = bool(keepdims)

    @lo.traced
    def apply(self, x: Any) -> Any:
        y = self.infer_shape(x)
        kept = x if self.keepdims else jnp.expand_dims(x, _arguments.axes_of(y, self.axis, "Broadcast.axis"))
        return jnp.broadcast_to(kept, y.shape)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        axes = _arguments.axes_of(y, self.axis, "Broadcast.axis")
        return jnp.sum(y, axes, dtype=y.dtype, keepdims=self.keepdims)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Broadcast")
        shape = x.shape if self.keepdims else (1,) * len(self.axis) + x.shape
        axes = _arguments.axes_of(jax.ShapeDtypeStruct(shape, x.dtype), self.axis, "Broadcast.axis")
        if self.keepdims:
            _arguments.require_sizes(x, axes, (1,) * len(axes), "Broadcast with keepdims=True")
            return _arguments.resized(x, axes, self.size)
        sizes = dict(zip(axes, self.size, strict=True))
        old = iter(x.shape)
        places = range(-len(shape), 0)
        return jax.ShapeDtypeStruct(tuple(sizes[i] if i in sizes else next(old) for i in places), x.dtype)

    def infer_adjoint_shape(self, y: Any) -> Any:
        _arguments.require_array(y, "Broadcast.H")
        axes = _arguments.axes_of(y, self.axis, "Broadcast.axis")
        _arguments.require_sizes(y, axes, self.size, "Broadcast.H")
        x = _arguments.resized(y, axes, (1,) * len(axes))
        if self.keepdims:
            return x
        kept = (n for i, n in zip(range(-len(y.shape), 0), y.shape, strict=True) if i not in axes)
        return jax.ShapeDtypeStruct(tuple(kept), y.dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls((0, -1), (2, 5)), jax.ShapeDtypeStruct((3,), jnp.float32)
        yield cls(1, 4, keepdims=True), jax.ShapeDtypeStruct((2, 1, 3), jnp.complex64)
