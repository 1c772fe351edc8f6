"""Smoothing, GaussianBlur: averages over neighbours, along one axis after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer

import linops_jax as lo
from linops_jax.ops import _arguments, _convolving


class Smoothing(lo.LinearOperator):
    r"""The mean of neighbouring samples of one array, along one axis after the other.

    Parameters
    ----------
    size : int or tuple of int
        The number K of samples in a mean: one for all axes, or one for each.
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.
    boundary : str, optional
        What lies beyond the ends: ``"zero"``, the default, or ``"periodic"``, the other end.

    Raises
    ------
    TypeError
        If ``size`` or ``axes`` are not integers.
    ValueError
        If ``size`` is below 1, or ``boundary`` has another value. When the operator is applied, if the array has no such axes,
        or not as many as ``size`` has numbers.

    Notes
    -----
    Along each axis:

    .. math:: y_n = \frac{1}{K} \sum_{k=0}^{K-1} x_{n - k + c}, \qquad c = \Big\lfloor \frac{K - 1}{2} \Big\rfloor .

    Means near the ends have the factor 1/K as well. The operator is symmetric if all K are odd. For even K the adjoint has the
    center K - 1 - c.

    References
    ----------
    * The documentation of ``pylops.Smoothing1D``, which is this with ``boundary="zero"`` and odd K.

    Examples
    --------
    >>> lo.ops.Smoothing(3)(jnp.array([3.0, 0.0, 3.0, 6.0])).tolist()
    [1.0, 2.0, 3.0, 3.0]
    """

    size: tuple[int, ...] = lo.static()
    axes: tuple[int, ...] | None = lo.static(default=None)
    boundary: str = lo.static(default="zero")

    def __init__(self, size: int | tuple[int, ...], axes: int | tuple[int, ...] | None = None, boundary: str = "zero"):
        self.size = _arguments.as_integers(size, "Smoothing.size", 1)
        self.axes = _arguments.as_axes(axes, "Smoothing.axes")
        self.boundary = _arguments.one_of(boundary, ("zero", "periodic"), "Smoothing.boundary")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return _along_axes(_convolving.convolved, x, self._kernels(x), self.boundary)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return _along_axes(_convolving.adjoint, y, self._kernels(y), self.boundary)

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=all(size % 2 for size in self.size))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    def _kernels(self, x: Any) -> dict[int, Any]:
        _arguments.require_array(x, "Smoothing")
        axes = _arguments.axes_of(x, self.axes, "Smoothing.axes")
        sizes = _arguments.one_for_each(self.size, axes, "Smoothing.size")
        return {axis: jnp.full(size, 1 / size, _dtype_of_kernels(x)) for axis, size in zip(axes, sizes, strict=True)}

    @classmethod
    def examples(cls) -> Any:
        yield cls((3, 4), axes=(-1, 0)), jax.ShapeDtypeStruct((5, 2, 4), jnp.complex64)
        yield cls(3, boundary="periodic"), jax.ShapeDtypeStruct((4, 5), jnp.float32)


class GaussianBlur(lo.LinearOperator):
    r"""The convolution of one array with a Gaussian, along one axis after the other.

    Parameters
    ----------
    width : float or array
        The standard deviation σ of the Gaussian in samples, above zero: one for all axes, or one for each. It can be
        differentiated.
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.
    boundary : str, optional
        What lies beyond the ends: ``"zero"``, the default; ``"periodic"``, the other end; ``"edge"``, the last sample;
        ``"reflect"``, the samples in reverse order, without the last one; ``"symmetric"``, with it. As ``np.pad`` with the modes
        ``"constant"``, ``"wrap"``, ``"edge"``, ``"reflect"`` and ``"symmetric"``.
    truncate : float, optional
        How many standard deviations the Gaussian reaches, 4 by default.
    radius : int, optional
        How many samples it reaches at most. Default: ``int(truncate * width + 0.5)``. If it is given, ``truncate`` does not
        count.

    Raises
    ------
    TypeError
        If ``width`` holds operators, ``axes`` or ``radius`` are not integers, or ``truncate`` is not a number.
    ValueError
        If an argument has another value. When the operator is applied, if the array has no such axes, or not as many as ``width``
        has numbers.

    Notes
    -----
    Along each axis, with radius r:

    .. math:: y_n = \sum_{k=-r}^r h_k\, x_{n-k}, \qquad h_k = \frac{e^{-k^2 / 2 \sigma^2}}{\sum_{j=-r}^r e^{-j^2 / 2 \sigma^2}} .

    The operator is symmetric for the boundaries ``"zero"``, ``"periodic"`` and ``"symmetric"``. The result has the dtype of the
    input.

    The compiled program has room for a certain r. If ``width`` is a number or an array, there is room for a little more than
    it needs. If JAX traces it, as in a gradient, there is room for the length of the array, and for 64 samples. A width that
    needs more, such as one that an optimiser has changed in an existing operator, makes the result NaN: make a new operator, or
    give ``radius``.

    References
    ----------
    * The documentation of ``scipy.ndimage.gaussian_filter``, which computes the same. Its modes are called ``"constant"``,
      ``"wrap"``, ``"nearest"``, ``"mirror"`` and ``"reflect"``, in the order of the boundaries here.

    Examples
    --------
    >>> y = lo.ops.GaussianBlur(0.5)(jnp.array([0.0, 0.0, 1.0, 0.0, 0.0]))
    >>> [round(value, 4) for value in y.tolist()]
    [0.0003, 0.1065, 0.7866, 0.1065, 0.0003]
    """

    width: jax.Array
    axes: tuple[int, ...] | None = lo.static(default=None)
    boundary: str = lo.static(default="zero")
    truncate: float = lo.static(default=4.0)
    radius: int | None = lo.static(default=None)
    reach: tuple[int, ...] | None = lo.static(
        init=False
    )  # how far the kernel reaches; None: not known when it was made

    def __init__(
        self,
        width: Any,
        axes: int | tuple[int, ...] | None = None,
        boundary: str = "zero",
        truncate: float = 4.0,
        radius: int | None = None,
    ):
        number = isinstance(width, int | float | tuple) and not isinstance(width, bool)
        self.width = _arguments.as_field(jnp.asarray(width) if number else width, "GaussianBlur.width")
        self.axes = _arguments.as_axes(axes, "GaussianBlur.axes")
        self.boundary = _arguments.one_of(boundary, _arguments.PAD_MODES, "GaussianBlur.boundary")
        self.truncate = _arguments.as_positive(truncate, "GaussianBlur.truncate")
        self.radius = radius if radius is None else _arguments.as_integer(radius, "GaussianBlur.radius", 0)
        self.reach = self._found_reach() if hasattr(self.width, "ndim") else None

    @lo.traced
    def apply(self, x: Any) -> Any:
        return _along_axes(_convolving.convolved, x, self._kernels(x), self.boundary)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return _along_axes(_convolving.adjoint, y, self._kernels(y), self.boundary)

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=self.boundary in ("zero", "periodic", "symmetric"))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    def _found_reach(self) -> tuple[int, ...] | None:
        if self.width.ndim > 1:
            _arguments.require_ndim(self.width, 1, "GaussianBlur.width")
        if isinstance(self.width, Tracer):
            return None if self.radius is None else (self.radius,)
        widths = np.atleast_1d(np.asarray(self.width, np.float64))
        for width in widths:
            _arguments.as_positive(width, "GaussianBlur.width")
        if self.radius is not None:
            return (self.radius,)
        # Up to the next multiple, more entries cost nothing, because products are added in groups.
        return tuple(-(-int(self.truncate * width + 2.5) // 8) * 8 - 1 for width in widths)

    def _kernels(self, x: Any) -> dict[int, Any]:
        _arguments.require_array(x, "GaussianBlur")
        axes = _arguments.axes_of(x, self.axes, "GaussianBlur.axes")
        if self.width.size not in (1, n := len(axes)):
            message = (
                f"GaussianBlur.width has shape {self.width.shape}; expected one value, or one for each of the {n} axes."
            )
            raise ValueError(message)
        widths = jnp.broadcast_to(self.width, n)
        longest = tuple(max(x.shape[axis] - 1, 64) for axis in axes)
        reach = longest if self.reach is None else _arguments.one_for_each(self.reach, axes, "GaussianBlur.width")
        dtype = _dtype_of_kernels(x)
        return {axis: self._gaussian(width, r, dtype) for axis, width, r in zip(axes, widths, reach, strict=True)}

    def _gaussian(self, width: Any, reach: int, dtype: Any) -> Any:
        width = width.astype(jnp.promote_types(dtype, np.float32))
        k = jnp.arange(-reach, reach + 1, dtype=width.dtype)
        h = jnp.exp(-((k / width) ** 2) / 2)
        if self.radius is None:
            radius = jnp.floor(self.truncate * width + 0.5)
            h = jnp.where(jnp.abs(k) > radius, 0, h)
            h = jnp.where(radius > reach, jnp.nan, h)
        return (h / h.sum()).astype(dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls(0.7), jax.ShapeDtypeStruct((4, 3), jnp.complex64)
        yield cls(jnp.array([0.5, 1.0]), axes=(-1, 0), boundary="reflect"), jax.ShapeDtypeStruct((5, 2, 3), jnp.float32)


Step = Callable[..., Any]  # _convolving.convolved or _convolving.adjoint


def _along_axes(step: Step, x: Any, kernels: dict[int, Any], boundary: str) -> Any:
    for axis, kernel in kernels.items():
        widths = _convolving.centered(kernel.shape, ((kernel.size - 1) // 2,))
        x = step(x, *_convolving.aligned(kernel, widths, (axis,), x.ndim), boundary, "auto")
    return x


def _dtype_of_kernels(x: Any) -> Any:
    return jnp.finfo(x.dtype if jnp.issubdtype(x.dtype, np.inexact) else jnp.result_type(float)).dtype
