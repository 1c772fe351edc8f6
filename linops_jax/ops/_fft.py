"""FFT: the discrete Fourier transform, of arrays on any device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments

# The norm with the same factor in the other direction.
ADJOINT_NORMS: dict[str, Any] = {"ortho": "ortho", "backward": "forward", "forward": "backward"}


class FFT(lo.LinearOperator):
    r"""The discrete Fourier transform of one array, real or complex; the result is complex.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes to transform, all by default. Negative ones count from the end.
    norm : str, optional
        As in NumPy: ``"ortho"``, the default (s = 1/√N), ``"backward"`` (s = 1) or ``"forward"`` (s = 1/N).

    Raises
    ------
    ValueError
        If ``norm`` has another value. When the operator is applied, if the input does not have the axes.

    Notes
    -----
    Along each axis of length N, with NumPy's sign of the exponent:

    .. math:: X_k = s \sum_n x_n e^{-2 \pi i k n / N} .

    The adjoint has the same factor s, so it is the inverse for ``norm="ortho"`` only:

    .. math:: x_n = s \sum_k X_k e^{2 \pi i k n / N} .

    XLA computes both: by DUCC on the CPU, by the library of the vendor on other devices.

    References
    ----------
    * Cooley, J. W. and J. W. Tukey (1965). An algorithm for the machine calculation of complex Fourier series. Math.
      Comput. 19, 297-301.
    * The documentation of ``numpy.fft``, for the conventions.

    Examples
    --------
    >>> lo.FFT(norm="backward")(jnp.ones(4)).real.tolist()
    [4.0, 0.0, 0.0, 0.0]
    """

    axes: tuple[int, ...] | None = lo.static(default=None)
    norm: str = lo.static(default="ortho")

    def __init__(self, axes: int | tuple[int, ...] | None = None, norm: str = "ortho"):
        self.axes = _arguments.as_axes(axes, "FFT.axes")
        self.norm = _arguments.one_of(norm, ADJOINT_NORMS, "FFT.norm")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.fft.fftn(x, axes=_arguments.axes_of(x, self.axes, "FFT.axes"), norm=self.norm)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return jnp.fft.ifftn(y, axes=_arguments.axes_of(y, self.axes, "FFT.axes"), norm=ADJOINT_NORMS[self.norm])

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(unitary=self.norm == "ortho")

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "FFT")
        _arguments.axes_of(x, self.axes, "FFT.axes")
        return jax.ShapeDtypeStruct(x.shape, jnp.result_type(x.dtype, jnp.complex64))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((6, 5), jnp.complex64)
        yield cls(axes=0, norm="backward"), jax.ShapeDtypeStruct((4, 3), jnp.complex64)
        yield cls(axes=-1, norm="forward"), jax.ShapeDtypeStruct((2, 7), jnp.float32)
