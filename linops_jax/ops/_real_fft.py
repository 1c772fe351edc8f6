"""Fourier transforms of real arrays: RFFT with half of the spectrum, Hartley with real numbers only."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments
from linops_jax.ops._fft import ADJOINT_NORMS


class RFFT(lo.LinearOperator, real_linear=True):
    r"""The discrete Fourier transform of a real array along one axis: the bins of frequencies that are not negative.

    Parameters
    ----------
    axis : int, optional
        The axis to transform, the last one by default. Negative ones count from the end.
    norm : str, optional
        As in NumPy: ``"ortho"``, the default (s = 1/√N), ``"backward"`` (s = 1) or ``"forward"`` (s = 1/N).

    Raises
    ------
    ValueError
        If ``norm`` has another value. When the operator is applied, if the input does not have the axis, or
        has no samples along it.
    TypeError
        When the operator is applied, if the input is complex.

    Notes
    -----
    Along an axis of length N, which has N//2 + 1 bins:

    .. math:: X_k = s \sum_n x_n e^{-2 \pi i k n / N}, \qquad 0 \le k \le N / 2 .

    The adjoint is that of a map from real to complex arrays, for the inner product Re⟨x, y⟩:

    .. math:: x_n = s \, \mathrm{Re} \sum_{k=0}^{\lfloor N/2 \rfloor} X_k e^{2 \pi i k n / N} .

    NumPy's ``irfft`` is something else: it counts each bin twice that has a negative twin, all but k = 0 and k = N/2. So the
    adjoint is not the inverse, also for ``norm="ortho"``. It does not see the imaginary parts of k = 0 and k = N/2.

    Two lengths N have the same number of bins. So ``A.H(y)`` on its own needs ``A.with_domain(x)``.

    References
    ----------
    * The documentation of ``numpy.fft.rfft``, for the conventions.

    Examples
    --------
    >>> A = lo.ops.RFFT(norm="backward")
    >>> A(jnp.array([1.0, 0.0, 0.0, 0.0])).real.tolist()
    [1.0, 1.0, 1.0]
    >>> A.with_domain(jnp.zeros(4)).H(jnp.array([0.0, 1.0, 0.0])).tolist()
    [1.0, 0.0, -1.0, 0.0]
    """

    axis: int = lo.static(default=-1)
    norm: str = lo.static(default="ortho")

    def __init__(self, axis: int = -1, norm: str = "ortho"):
        self.axis = _arguments.as_integer(axis, "RFFT.axis")
        self.norm = _arguments.one_of(norm, ADJOINT_NORMS, "RFFT.norm")

    @lo.traced
    def apply(self, x: Any) -> Any:
        axis = _arguments.axis_of(x, self.axis, "RFFT.axis")
        x = x.astype(jnp.result_type(x.dtype, jnp.float32))
        return SizedRFFT(x.shape[axis], axis, self.norm)(x)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "RFFT")
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            message = f"RFFT takes a real array, found {x.dtype}. lo.FFT transforms complex arrays."
            raise TypeError(message)
        axis = _arguments.axis_of(x, self.axis, "RFFT.axis")
        _arguments.require_samples(x, (axis,), 1, "RFFT")
        return _arguments.resized(x, (axis,), (x.shape[axis] // 2 + 1,), jnp.result_type(x.dtype, jnp.complex64))

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3, 6), jnp.float32)
        yield cls(axis=0, norm="backward"), jax.ShapeDtypeStruct((5, 2), jnp.float32)


class SizedRFFT(lo.LinearOperator, real_linear=True):
    """The same along an axis of known size. JAX's own transpose of ``rfft`` takes a complex transform of all bins."""

    size: int = lo.static()
    axis: int = lo.static()  # counted from the end
    norm: str = lo.static()

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.fft.rfft(x, axis=self.axis, norm=self.norm)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        has_twin = np.arange(self.size // 2 + 1) * 2 % self.size != 0  # at the negative frequency, which irfft adds
        half = np.where(has_twin, 0.5, 1.0).astype(y.real.dtype).reshape(-1, *[1] * (-1 - self.axis))
        return jnp.fft.irfft(
            _arguments.with_ndim(half, y.ndim) * y, self.size, axis=self.axis, norm=ADJOINT_NORMS[self.norm]
        )

    def infer_shape(self, x: Any) -> Any:
        return _arguments.resized(x, (self.axis,), (self.size // 2 + 1,), jnp.result_type(x.dtype, jnp.complex64))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _arguments.resized(y, (self.axis,), (self.size,), jnp.finfo(y.dtype).dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls(5, -2, "ortho"), jax.ShapeDtypeStruct((5, 2), jnp.float32)
        yield cls(4, -1, "backward"), jax.ShapeDtypeStruct((4,), jnp.float32)


class Hartley(lo.LinearOperator, symmetric=True):
    r"""The discrete Hartley transform of one array, real or complex: a Fourier transform with real numbers only.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes to transform, all by default. Negative ones count from the end.
    kind : str, optional
        With several axes, ``"genuine"``, the default, has the function cas of the sum of all phases, and ``"separable"`` has the
        product of one cas for each axis.
    norm : str, optional
        As in NumPy: ``"ortho"``, the default (s = 1/√N), ``"backward"`` (s = 1) or ``"forward"`` (s = 1/N).

    Raises
    ------
    ValueError
        If ``kind`` or ``norm`` has another value. When the operator is applied, if the input does not have the axes.

    Notes
    -----
    With cas t = cos t + sin t, along one axis of length N:

    .. math:: y_k = s \sum_n x_n \, \mathrm{cas}(2 \pi k n / N) .

    This is Re F x - Im F x with the Fourier transform F of a real x. Other libraries have a transform Re F x + Im F x of the
    same name, in which all k have the opposite sign. Complex arrays are transformed part by part.

    The matrix is real and symmetric, so the operator is its own adjoint, and for ``norm="ortho"`` its own inverse.

    References
    ----------
    * Bracewell, R. N. (1983). Discrete Hartley transform. J. Opt. Soc. Am. 73, 1832-1835.
    * The documentation of ``ducc0.fft.genuine_fht`` and ``ducc0.fft.separable_fht``, for the two kinds.

    Examples
    --------
    >>> lo.ops.Hartley(norm="backward")(jnp.array([0.0, 1.0, 0.0, 0.0])).round(3).tolist()
    [1.0, 1.0, -1.0, -1.0]
    """

    axes: tuple[int, ...] | None = lo.static(default=None)
    kind: str = lo.static(default="genuine")
    norm: str = lo.static(default="ortho")

    def __init__(self, axes: int | tuple[int, ...] | None = None, kind: str = "genuine", norm: str = "ortho"):
        self.axes = _arguments.as_axes(axes, "Hartley.axes")
        self.kind = _arguments.one_of(kind, ("genuine", "separable"), "Hartley.kind")
        self.norm = _arguments.one_of(norm, ADJOINT_NORMS, "Hartley.norm")

    @lo.traced
    def apply(self, x: Any) -> Any:
        if jnp.iscomplexobj(x):
            return jax.lax.complex(self.apply(x.real), self.apply(x.imag))
        axes = _arguments.axes_of(x, self.axes, "Hartley.axes")
        together = (axes,) if self.kind == "genuine" else [(axis,) for axis in axes]
        return functools.reduce(self._cas, together, x).astype(self.infer_shape(x).dtype)

    def _cas(self, x: Any, axes: tuple[int, ...]) -> Any:
        y = jnp.fft.fftn(x, axes=axes, norm=self.norm)
        return y.real - y.imag

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=True, unitary=self.norm == "ortho")

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Hartley")
        _arguments.axes_of(x, self.axes, "Hartley.axes")
        return jax.ShapeDtypeStruct(x.shape, _arguments.inexact(x.dtype))

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4, 5), jnp.float32)
        yield cls(axes=(0, -1), kind="separable", norm="backward"), jax.ShapeDtypeStruct((3, 2), jnp.complex64)
