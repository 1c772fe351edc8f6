"""Shift: by fractions of a sample, in Fourier space."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments


class Shift(lo.LinearOperator):
    r"""Shift of a periodic array by any number of samples, along one axis.

    Parameters
    ----------
    shift : float or array
        By how many samples; positive numbers delay: what was at n is then at n + shift. It can be differentiated.
    axis : int, optional
        The axis, the last one by default. Negative ones count from the end.

    Raises
    ------
    ValueError
        If ``shift`` is not one real number. When the operator is applied, if the input does not have the axis, or no samples
        along it.

    Notes
    -----
    The array along the axis, of length N, is a sum of waves of frequencies f from -1/2 to 1/2 per sample. With the shift d:

    .. math:: y = F^{-1} e^{-2 \pi i f d} F x .

    For even N the wave with f = 1/2 is half at each end of the frequencies, so that its factor is cos(π d). Hence real arrays
    stay real, and whole numbers give ``jnp.roll``. The adjoint is the shift by -d. It is the inverse too, if N is odd or d is
    whole.

    References
    ----------
    * Laakso, T. I., V. Välimäki, M. Karjalainen and U. K. Laine (1996). Splitting the unit delay. IEEE Signal Process. Mag. 13,
      30-60.

    Examples
    --------
    >>> A = lo.ops.Shift(1.0)
    >>> A(jnp.array([1.0, 2.0, 3.0])).round(5).tolist()
    [3.0, 1.0, 2.0]
    """

    shift: jax.Array
    axis: int = lo.static(default=-1)

    def __init__(self, shift: Any, axis: int = -1):
        shift = jnp.asarray(shift, dtype=float) if isinstance(shift, int | float) else shift
        self.shift = _arguments.as_field(shift, "Shift.shift")
        if hasattr(self.shift, "dtype") and (self.shift.shape or jnp.iscomplexobj(self.shift)):
            message = (
                f"Shift.shift is {self.shift.dtype} of shape {self.shift.shape}; expected one real number. jax.vmap makes "
                "operators with several."
            )
            raise ValueError(message)
        self.axis = _arguments.as_integer(axis, "Shift.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self._moved(x, -1)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return self._moved(y, 1)

    def _moved(self, x: Any, sign: int) -> Any:
        """The array with the factors exp(± 2 π i f d)."""
        axis, dtype = _arguments.axis_of(x, self.axis, "Shift.axis"), self.infer_shape(x).dtype
        x, size = x.astype(_arguments.single(x.dtype)), x.shape[axis]
        if jnp.iscomplexobj(x):
            y = jnp.fft.ifft(self._factors(x, axis, np.arange(size), sign) * jnp.fft.fft(x, axis=axis), axis=axis)
        else:
            bins = np.arange(size // 2 + 1)
            y = jnp.fft.irfft(self._factors(x, axis, bins, sign) * jnp.fft.rfft(x, axis=axis), size, axis=axis)
        return y.astype(dtype)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Shift")
        _arguments.require_samples(x, (_arguments.axis_of(x, self.axis, "Shift.axis"),), 1, "Shift")
        return jax.ShapeDtypeStruct(x.shape, _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    def _factors(self, x: Any, axis: int, bins: Any, sign: int) -> Any:
        """The factors of these bins, along the axis."""
        size, shift = x.shape[axis], jnp.asarray(self.shift)
        shift = shift.astype(jnp.result_type(shift.dtype, x.real.dtype))
        angle = 2 * np.pi * _turns(bins, shift, size).astype(x.real.dtype)
        sine = jnp.where(2 * bins == size, 0, sign * jnp.sin(angle))
        return _arguments.with_ndim(jax.lax.complex(jnp.cos(angle), sine).reshape(-1, *[1] * (-1 - axis)), x.ndim)

    @classmethod
    def examples(cls) -> Any:
        yield cls(jnp.float32(0.3)), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls(jnp.float32(-1.6), axis=0), jax.ShapeDtypeStruct((4, 3), jnp.complex64)
        yield cls(jnp.float32(2.5)), jax.ShapeDtypeStruct((6,), jnp.float32)


def _turns(bins: Any, shift: Any, size: int) -> Any:
    """How often the wave of each bin turns within the shift, without whole turns.

    The whole samples are counted in integers: in single precision, the product of bin and shift has lost the phase.
    """
    whole = jnp.floor(shift)
    samples, turned = jnp.mod(whole, size).astype(jnp.int32), jnp.zeros(len(bins), jnp.int32)
    for place in range(0, size.bit_length(), 4)[::-1]:  # of hexadecimal digits: below 2**31 for sizes up to 2**26
        turned = (16 * turned + (bins >> place) % 16 * samples) % size
    frequencies = np.where(2 * bins > size, bins - size, bins).astype(shift.dtype)
    return turned.astype(shift.dtype) / size + frequencies / size * (shift - whole)
