"""The same entries in another order or shape: Reshape, Transpose, Flip and Roll. All of them are unitary."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Reshape(lo.LinearOperator, unitary=True):
    """The same entries in an array of another shape, in C order.

    Parameters
    ----------
    shape : int or tuple of int
        The shape of the result. One size may be -1: then it follows from the others.

    Raises
    ------
    ValueError
        When the operator is applied, if the input has another number of entries.

    Notes
    -----
    The adjoint, which is the inverse, gives the array its old shape, which only the domain says: ``A.H(y)`` needs
    ``with_domain``.

    References
    ----------
    * The documentation of ``numpy.reshape``, for C order.

    Examples
    --------
    >>> lo.ops.Reshape((2, -1))(jnp.arange(4.0)).tolist()
    [[0.0, 1.0], [2.0, 3.0]]
    """

    shape: tuple[int, ...] = lo.static()

    def __init__(self, shape: int | tuple[int, ...]):
        self.shape = _arguments.as_integers(shape, "Reshape.shape", least=-1)
        if self.shape.count(-1) > 1:
            message = f"Reshape.shape is {self.shape}; expected sizes, of which at most one is -1."
            raise ValueError(message)

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Reshape")
        known = math.prod(n for n in self.shape if n != -1)
        if not (known and x.size % known == 0 if -1 in self.shape else x.size == known):
            message = f"Reshape.shape {self.shape} does not fit an array of shape {x.shape} with {x.size} entries."
            raise ValueError(message)
        return jnp.reshape(x, self.shape)

    @classmethod
    def examples(cls) -> Any:
        yield cls((5, -1)), jax.ShapeDtypeStruct((2, 5, 3), jnp.float32)
        yield cls(6), jax.ShapeDtypeStruct((2, 3), jnp.complex64)


class Transpose(lo.LinearOperator, unitary=True):
    """The same entries with the axes in another order.

    Parameters
    ----------
    axes : tuple of int, optional
        The axes in their new order. Default: all, from the last to the first. Axes that are not listed keep their places:
        the others are permuted among the places that they have. Negative ones count from the end.

    Raises
    ------
    ValueError
        When the operator is applied, if the input does not have the axes.

    Notes
    -----
    Axis ``i`` of the result is axis ``axes[i]`` of the input, as in NumPy. The adjoint, which is the inverse, is the inverse
    permutation.

    References
    ----------
    * The documentation of ``numpy.transpose``.

    Examples
    --------
    >>> lo.ops.Transpose()(jnp.array([[1.0, 2.0], [3.0, 4.0]])).tolist()
    [[1.0, 3.0], [2.0, 4.0]]
    >>> lo.ops.Transpose((-1, -2))(jnp.ones((2, 3, 4))).shape
    (2, 4, 3)
    """

    axes: tuple[int, ...] | None = lo.static(default=None)

    def __init__(self, axes: tuple[int, ...] | None = None):
        self.axes = _arguments.as_axes(axes, "Transpose.axes")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.transpose(x, self._order(x))

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return jnp.transpose(y, _inverse(self._order(y)))

    def infer_shape(self, x: Any) -> Any:
        return self._permuted(x, self._order(x))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._permuted(y, _inverse(self._order(y)))

    def _order(self, x: Any) -> list[int]:
        """All axes in their new order, counted from the start."""
        _arguments.require_array(x, "Transpose")
        ndim = len(x.shape)
        axes = _arguments.axes_of(x, self.axes, "Transpose.axes")
        order = list(range(ndim))
        for place, axis in zip(sorted(axes), axes[::-1] if self.axes is None else axes, strict=True):
            order[place] = axis + ndim
        return order

    def _permuted(self, x: Any, order: list[int]) -> Any:
        return jax.ShapeDtypeStruct(tuple(x.shape[axis] for axis in order), x.dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls((1, -1, 0)), jax.ShapeDtypeStruct((2, 3, 5), jnp.complex64)


class Flip(lo.LinearOperator, unitary=True, symmetric=True):
    """The entries in reverse order along some axes.

    Parameters
    ----------
    axis : int, tuple of int or None
        The axes that are reversed; all for None. Negative ones count from the end.

    Raises
    ------
    ValueError
        When the operator is applied, if the input does not have the axes.

    Notes
    -----
    Along an axis of length n, entry i of the result is entry n - 1 - i of the input. The operator is its own adjoint and
    its own inverse.

    References
    ----------
    * The documentation of ``numpy.flip``.

    Examples
    --------
    >>> lo.ops.Flip(0)(jnp.arange(3.0)).tolist()
    [2.0, 1.0, 0.0]
    """

    axis: tuple[int, ...] | None = lo.static()

    def __init__(self, axis: int | tuple[int, ...] | None):
        self.axis = _arguments.as_axes(axis, "Flip.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Flip")
        return jnp.flip(x, _arguments.axes_of(x, self.axis, "Flip.axis"))

    @classmethod
    def examples(cls) -> Any:
        yield cls(0), jax.ShapeDtypeStruct((5, 2), jnp.float32)
        yield cls(None), jax.ShapeDtypeStruct((2, 3), jnp.complex64)


class Roll(lo.LinearOperator, unitary=True):
    r"""A circular shift: what leaves the array at one end comes in again at the other.

    Parameters
    ----------
    shift : int or tuple of int
        By how many entries: one number for all axes, or one for each. Positive numbers shift towards larger indices.
    axis : int, tuple of int or None
        The axes that are shifted; all for None. Negative ones count from the end.

    Raises
    ------
    ValueError
        If there is not one shift for each axis. When the operator is applied, if the input does not have the axes.

    Notes
    -----
    Along an axis of length n, with the shift s:

    .. math:: y_i = x_{(i - s) \bmod n}, \qquad (A^H y)_i = y_{(i + s) \bmod n} .

    The adjoint is the inverse. ``Shift`` shifts by fractions of an entry.

    References
    ----------
    * The documentation of ``numpy.roll``.

    Examples
    --------
    >>> lo.ops.Roll(1, 0)(jnp.arange(3.0)).tolist()
    [2.0, 0.0, 1.0]
    """

    shift: tuple[int, ...] = lo.static()
    axis: tuple[int, ...] | None = lo.static()

    def __init__(self, shift: int | tuple[int, ...], axis: int | tuple[int, ...] | None):
        self.shift = _arguments.as_integers(shift, "Roll.shift")
        self.axis = _arguments.as_axes(axis, "Roll.axis")
        if self.axis is not None:
            _arguments.one_for_each(self.shift, self.axis, "Roll.shift")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self._rolled(x, 1)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return self._rolled(y, -1)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    def _rolled(self, x: Any, sign: int) -> Any:
        _arguments.require_array(x, "Roll")
        axes = _arguments.axes_of(x, self.axis, "Roll.axis")
        shifts = _arguments.one_for_each(self.shift, axes, "Roll.shift")
        # Indexing is twice as fast along rows, but gathers an array that is split between devices; this permutes its parts.
        return jnp.roll(x, tuple(sign * shift for shift in shifts), axes)

    @classmethod
    def examples(cls) -> Any:
        yield cls(2, -1), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls((1, -4), (0, 1)), jax.ShapeDtypeStruct((2, 3), jnp.complex64)


def _inverse(order: list[int]) -> list[int]:
    return sorted(range(len(order)), key=order.__getitem__)
