"""Axes that become longer or shorter: Pad, Crop and Downsample."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments

Pairs = tuple[tuple[int, int], ...]


class Pad(lo.LinearOperator):
    r"""Zeros before and after the entries along some axes. The adjoint is ``Crop``.

    Parameters
    ----------
    widths : int or nested sequence of int
        How many zeros, as in ``np.pad``: one number for both ends of all axes, a pair ``(before, after)`` for all axes, or a
        pair for each axis.
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.

    Raises
    ------
    ValueError
        If a width is negative, or if there is not one pair for each axis. When the operator is applied, if the input does not
        have the axes.

    Notes
    -----
    Along one axis of n entries, with b zeros before:

    .. math:: y_i = \begin{cases} x_{i - b} & b \le i < b + n \\ 0 & \text{otherwise,} \end{cases}
        \qquad (A^H y)_j = y_{j + b} .

    References
    ----------
    * The documentation of ``numpy.pad``.

    Examples
    --------
    >>> A = lo.ops.Pad((1, 2))
    >>> A(jnp.ones(2)).tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    """

    widths: Pairs = lo.static()
    axes: tuple[int, ...] | None = lo.static(default=None)

    def __init__(self, widths: Any, axes: int | tuple[int, ...] | None = None):
        self.axes = _arguments.as_axes(axes, "Pad.axes")
        self.widths = _as_pairs(widths, self.axes, "Pad.widths")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.pad(x, _all_pairs(x, self, "Pad"))

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return _cropped(y, _all_pairs(y, self, "Pad"))

    def infer_shape(self, x: Any) -> Any:
        return _longer(x, self, "Pad")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _shorter(y, self, "Pad")

    @classmethod
    def examples(cls) -> Any:
        yield cls((2, 1), axes=-1), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls(((0, 1), (3, 0))), jax.ShapeDtypeStruct((3, 2), jnp.complex64)


class Crop(lo.LinearOperator):
    r"""The entries without those at the ends of some axes. The adjoint is ``Pad``.

    Parameters
    ----------
    widths : int or nested sequence of int
        How many entries are removed, in the forms that ``Pad`` takes.
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.

    Raises
    ------
    ValueError
        If a width is negative, or if there is not one pair for each axis. When the operator is applied, if the input does not
        have the axes, or too few entries along them.

    Notes
    -----
    Along one axis of n entries, with b removed before and a after:

    .. math:: y_i = x_{i + b}, \quad 0 \le i < n - b - a .

    The adjoint puts zeros there.

    References
    ----------
    * The documentation of ``numpy.pad``, for the forms of ``widths``.

    Examples
    --------
    >>> A = lo.ops.Crop((1, 2))
    >>> A(jnp.arange(5.0)).tolist()
    [1.0, 2.0]
    """

    widths: Pairs = lo.static()
    axes: tuple[int, ...] | None = lo.static(default=None)

    def __init__(self, widths: Any, axes: int | tuple[int, ...] | None = None):
        self.axes = _arguments.as_axes(axes, "Crop.axes")
        self.widths = _as_pairs(widths, self.axes, "Crop.widths")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return _cropped(x, _all_pairs(x, self, "Crop"))

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return jnp.pad(y, _all_pairs(y, self, "Crop"))

    def infer_shape(self, x: Any) -> Any:
        return _shorter(x, self, "Crop")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _longer(y, self, "Crop")

    @classmethod
    def examples(cls) -> Any:
        yield cls(1), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls((0, 2), axes=0), jax.ShapeDtypeStruct((5, 2), jnp.complex64)


class Downsample(lo.LinearOperator):
    r"""Each n-th entry along some axes, from the first one on.

    Parameters
    ----------
    factor : int or tuple of int
        The step n: one number for all axes, or one for each.
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.

    Raises
    ------
    ValueError
        If a factor is not positive, or if there is not one factor for each axis. When the operator is applied, if the input
        does not have the axes.

    Notes
    -----
    Along one axis:

    .. math:: y_i = x_{n i}, \qquad (A^H y)_{n i} = y_i ,

    and the other entries of the adjoint are zero. An axis of N entries has ⌈N / n⌉ in the result, so only the domain says N:
    ``A.H(y)`` needs ``with_domain``.

    References
    ----------
    * Oppenheim, A. V. and R. W. Schafer (2010). Discrete-Time Signal Processing, section 4.6.

    Examples
    --------
    >>> lo.ops.Downsample(2)(jnp.arange(5.0)).tolist()
    [0.0, 2.0, 4.0]
    """

    factor: tuple[int, ...] = lo.static()
    axes: tuple[int, ...] | None = lo.static(default=None)

    def __init__(self, factor: int | tuple[int, ...], axes: int | tuple[int, ...] | None = None):
        self.factor = _arguments.as_integers(factor, "Downsample.factor", least=1)
        self.axes = _arguments.as_axes(axes, "Downsample.axes")
        if self.axes is not None:
            _arguments.one_for_each(self.factor, self.axes, "Downsample.factor")

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Downsample")
        axes = _arguments.axes_of(x, self.axes, "Downsample.axes")
        steps = dict(zip(axes, _arguments.one_for_each(self.factor, axes, "Downsample.factor"), strict=True))
        return x[tuple(slice(None, None, steps.get(axis, 1)) for axis in range(-x.ndim, 0))]

    @classmethod
    def examples(cls) -> Any:
        yield cls(2, axes=-1), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls((3, 2)), jax.ShapeDtypeStruct((4, 4), jnp.complex64)


def _as_pairs(widths: Any, axes: tuple[int, ...] | None, where: str) -> Pairs:
    """The widths as pairs: one for all axes, or one for each."""
    pairs = np.atleast_1d(widths)
    pairs = pairs[None] if pairs.ndim == 1 else pairs
    is_fit = pairs.ndim == 2 and pairs.shape[1] in (1, 2) and pairs.dtype.kind in "iu" and (pairs >= 0).all()
    if not is_fit or (axes is not None and len(pairs) not in (1, len(axes))):
        message = (
            f"{where} is {widths!r}; expected an integer, a pair (before, after) or a pair for each axis"
            f"{'' if axes is None else f' of {axes}'}, not negative."
        )
        raise ValueError(message)
    return tuple((int(pair[0]), int(pair[-1])) for pair in pairs)


def _all_pairs(x: Any, op: Any, where: str) -> list[tuple[int, int]]:
    """The pairs of all axes of an array, zero for those that are not listed."""
    _arguments.require_array(x, where)
    axes = _arguments.axes_of(x, op.axes, f"{where}.axes")
    if len(op.widths) not in (1, len(axes)):
        message = f"{where}.widths {op.widths} are not a pair for each axis of an array of shape {x.shape}."
        raise ValueError(message)
    pairs = dict(zip(axes, op.widths * (len(axes) if len(op.widths) == 1 else 1), strict=True))
    return [pairs.get(axis, (0, 0)) for axis in range(-len(x.shape), 0)]


def _longer(x: Any, op: Any, where: str) -> Any:
    pairs = _all_pairs(x, op, where)
    return jax.ShapeDtypeStruct(tuple(n + sum(pair) for n, pair in zip(x.shape, pairs, strict=True)), x.dtype)


def _shorter(y: Any, op: Any, where: str) -> Any:
    pairs = _all_pairs(y, op, where)
    shape = tuple(n - sum(pair) for n, pair in zip(y.shape, pairs, strict=True))
    if any(n < 0 for n in shape):
        message = f"{where}.widths {op.widths} are wider than an array of shape {y.shape}."
        raise ValueError(message)
    return jax.ShapeDtypeStruct(shape, y.dtype)


def _cropped(x: Any, pairs: list[tuple[int, int]]) -> Any:
    return x[tuple(slice(before, n - after) for n, (before, after) in zip(x.shape, pairs, strict=True))]
