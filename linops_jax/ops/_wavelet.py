"""Wavelet: the discrete wavelet transform, with all discrete wavelets of PyWavelets."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments


class Wavelet(lo.LinearOperator):
    r"""The discrete wavelet transform of an array, periodic, with all coefficients in one array.

    Parameters
    ----------
    shape : int or tuple of int
        The sizes of the last axes of the input. Axes in front of them are batch axes.
    wavelet : str, optional
        A discrete wavelet of PyWavelets, ``"haar"`` by default: one of ``pywt.wavelist(kind="discrete")``.
    level : int, optional
        How often the coarse part is split. By default, until the filter would be longer than the coarse part of the shortest axis
        (``pywt.dwt_max_level``), which can be 0.
    axes : int or tuple of int, optional
        The axes of ``shape`` to transform, all by default. Negative ones count from the end.

    Raises
    ------
    ImportError
        If PyWavelets is not installed.
    ValueError
        If there is no such wavelet, if ``level`` is negative or an axis has too few samples for it, or if ``shape`` does not have
        the axes. When the operator is applied, if the last axes of the input do not have these sizes.

    Notes
    -----
    Each level splits the coarse part along each axis, of even length n, with the filters h and g of L taps:

    .. math::
        a_k = \sum_j h_j\, x_{(2 k + L/2 - j) \bmod n}, \qquad d_k = \sum_j g_j\, x_{(2 k + L/2 - j) \bmod n} .

    The coarse part a comes first along the axis, the details d second: the array of ``pywt.coeffs_to_array`` for the coefficients
    of ``pywt.wavedecn`` with ``mode="periodization"``.

    An axis whose length is not a multiple of 2^level is first padded with zeros at its end, so that the result is longer than
    the input. (PyWavelets repeats the last sample instead, which makes orthogonal wavelets lose their orthogonality; PyLops
    pads to powers of two.)

    The adjoint is the transpose of this matrix, and removes the padding. For orthogonal wavelets Aᴴ A = I, and without padding
    the adjoint is the inverse. For biorthogonal wavelets the adjoint has the analysis filters, too; ``A.inv`` has the synthesis
    filters, as ``pywt.waverecn``, and also removes the padding: then it inverts A on the range of A only. The filters of
    ``"dmey"`` in PyWavelets are orthogonal to 2e-3 only, those of ``"sym2"`` to ``"sym20"`` to 1e-11; where the error exceeds
    rounding, they do not count as orthogonal here.

    PyWavelets gives the filters, and XLA computes the transform, as products of short blocks and small matrices.

    References
    ----------
    * Mallat, S. (1989). A theory for multiresolution signal decomposition: the wavelet representation. IEEE Trans. Pattern Anal.
      Mach. Intell. 11, 674-693.
    * Lee, G. R. and others (2019). PyWavelets: a Python package for wavelet analysis. J. Open Source Softw. 4, 1237.

    Examples
    --------
    >>> A = lo.ops.Wavelet(4, "haar", level=1)
    >>> (A(jnp.array([1.0, 1.0, 3.0, 1.0])) * 2**0.5).round(3).tolist()
    [2.0, 4.0, 0.0, 2.0]
    """

    shape: tuple[int, ...] = lo.static()
    wavelet: str = lo.static(default="haar")
    level: int = lo.static(default=0)
    axes: tuple[int, ...] = lo.static(default=())

    def __init__(
        self,
        shape: int | tuple[int, ...],
        wavelet: str = "haar",
        level: int | None = None,
        axes: int | tuple[int, ...] | None = None,
    ):
        self.shape = _arguments.as_integers(shape, "Wavelet.shape", least=1)
        self.wavelet = _known(wavelet)
        spec = jax.ShapeDtypeStruct(self.shape, jnp.float32)
        self.axes = _arguments.axes_of(spec, _arguments.as_axes(axes, "Wavelet.axes"), "Wavelet.axes")
        sizes = [self.shape[axis] for axis in self.axes]
        if level is None:
            taps = _filters(wavelet).shape[1]
            level = min((_pywt().dwt_max_level(size, taps) for size in sizes), default=0)
        self.level = _arguments.as_integer(level, "Wavelet.level", least=0)
        most = min(((size - 1).bit_length() for size in sizes), default=0)
        if self.level > most:
            message = f"Wavelet.level is {level}; axes of sizes {tuple(sizes)} can be split {most} times."
            raise ValueError(message)

    @lo.traced
    def apply(self, x: Any) -> Any:
        dtype = self.infer_shape(x).dtype
        x = x.astype(_arguments.single(x.dtype))
        widths = [(0, p - n) for n, p in zip(self.shape, self._padded(), strict=True)]
        x = jnp.pad(x, [(0, 0)] * (x.ndim - len(widths)) + widths)
        return _split(x, _filters(self.wavelet), [axis + x.ndim for axis in self.axes], self.level).astype(dtype)

    @lo.traced
    def gram(self, x: Any) -> Any:
        return x if _is_orthogonal(self.wavelet) else self.H(self(x))

    @lo.traced
    def inverse(self, y: Any) -> Any:
        return self._dual().H(y)

    @lo.traced
    def inverse_adjoint(self, x: Any) -> Any:
        return self._dual()(x)

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(unitary=self._padded() == self.shape and _is_orthogonal(self.wavelet))

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "Wavelet")
        return jax.ShapeDtypeStruct((*lead, *self._padded()), _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, self._padded(), "Wavelet.H")
        return jax.ShapeDtypeStruct((*lead, *self.shape), _arguments.inexact(y.dtype))

    def _padded(self) -> tuple[int, ...]:
        shape = list(self.shape)
        for axis in self.axes:
            shape[axis] += -shape[axis] % 2**self.level
        return tuple(shape)

    def _dual(self) -> Wavelet:
        """The transform whose adjoint is the inverse."""
        if self.wavelet == "dmey":
            message = (
                "Wavelet.wavelet is 'dmey', whose filters have no exact inverse. Use another wavelet, or lo.solve."
            )
            raise ValueError(message)
        family = {"bior": "rbio", "rbio": "bior"}.get(self.wavelet[:4], self.wavelet[:4])
        return Wavelet(self.shape, family + self.wavelet[4:], self.level, self.axes)

    @classmethod
    def examples(cls) -> Any:
        yield cls((4, 6), "haar", level=1), jax.ShapeDtypeStruct((4, 6), jnp.complex64)
        yield cls((5, 3), "db2", level=2, axes=0), jax.ShapeDtypeStruct((5, 3), jnp.float32)
        yield cls(8, "bior2.2", level=2), jax.ShapeDtypeStruct((2, 8), jnp.float32)


# ---- the filters ---------------------------------------------------------------------------------------------------------


def _pywt() -> Any:
    try:
        import pywt
    except ImportError as error:
        message = 'lo.ops.Wavelet needs PyWavelets, which is not installed: pip install "linops-jax[wavelets]"'
        raise ImportError(message, name="pywt") from error
    return pywt


def _known(wavelet: Any) -> str:
    names = _pywt().wavelist(kind="discrete")
    if wavelet not in names:
        message = (
            f"Wavelet.wavelet is {wavelet!r}; expected the name of a discrete wavelet, one of pywt.wavelist(kind='discrete'), "
            "such as 'haar', 'db4', 'sym8' or 'bior4.4'."
        )
        raise ValueError(message)
    return wavelet


@functools.cache
def _filters(wavelet: str) -> np.ndarray:
    """The filters of the analysis, low and high."""
    bank = _pywt().Wavelet(wavelet)
    return np.array([bank.dec_lo, bank.dec_hi])


@functools.cache
def _is_orthogonal(wavelet: str) -> bool:
    """Whether the filters are orthogonal up to rounding; PyWavelets says so of some that are not."""
    both = _filters(wavelet)
    taps = both.shape[1]
    shifted = [np.pad(both, ((0, 0), (shift, taps - 2 - shift))) for shift in range(0, taps, 2)]
    rows = np.concatenate(shifted)
    return bool(np.abs(rows @ rows.T - np.eye(len(rows))).max() < 1e-14)


# ---- the transform -------------------------------------------------------------------------------------------------------


def _split(x: Any, filters: Any, axes: list[int], level: int) -> Any:
    """The coefficients of all levels; axes count from the start."""
    if level == 0 or not axes:
        return x
    for axis in axes:
        x = _split_once(x, filters, axis)
    corner = tuple(slice(n // 2 if axis in axes else n) for axis, n in enumerate(x.shape))
    return jax.lax.dynamic_update_slice(x, _split(x[corner], filters, axes, level - 1), (0,) * x.ndim)


def _split_once(x: Any, filters: Any, axis: int) -> Any:
    """The coarse half and the details along one axis: each block of the result is a matrix times a few blocks of x.

    A few products of matrices compile much faster than sums over all taps, and run about as fast.
    """
    size, taps = x.shape[axis], filters.shape[1]
    block = min(size, 16 if taps <= 16 else 32)
    matrices = _matrices(filters, block).astype(x.dtype)
    count, more = -(-size // block), len(matrices) - 1
    before, after = taps // 2 - 1, (count + more) * block - size - (taps // 2 - 1)
    x = jnp.pad(x, [(before, after) if a == axis else (0, 0) for a in range(x.ndim)], mode="wrap")
    blocks = x.reshape(*x.shape[:axis], count + more, block, *x.shape[axis + 1 :])
    y = sum(
        jnp.tensordot(
            jax.lax.slice_in_dim(blocks, k, k + count, axis=axis),
            matrix,
            ((axis + 1,), (0,)),
            precision=jax.lax.Precision.HIGHEST,
        )
        for k, matrix in enumerate(matrices)
    )
    y = jnp.moveaxis(y, (-2, -1), (axis, axis + 2))  # coarse or details, block, place in the block
    y = y.reshape(*y.shape[:axis], 2, count * block // 2, *y.shape[axis + 3 :])
    y = jax.lax.slice_in_dim(y, 0, size // 2, axis=axis + 1)
    return y.reshape(*y.shape[:axis], size, *y.shape[axis + 2 :])


def _matrices(filters: Any, block: int) -> np.ndarray:
    """The matrix of one block of results, split like its input: (blocks, block, 2, block // 2)."""
    taps = filters.shape[1]
    matrix = np.zeros((-(-(block + taps - 2) // block) * block, 2, block // 2))
    for k in range(block // 2):
        matrix[2 * k : 2 * k + taps, :, k] = filters[:, ::-1].T
    return matrix.reshape(-1, block, 2, block // 2)
