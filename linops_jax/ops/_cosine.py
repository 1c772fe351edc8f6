"""DCT and DST: the discrete cosine and sine transforms."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

import linops_jax as lo
from linops_jax.ops import _arguments

_NORMS = ("ortho", "backward", "forward")
_ADJOINT_TYPES = {1: 1, 2: 3, 3: 2, 4: 4}
# The sum over cos(π (n + a) (k + b) / M), or sin, of each type: a, b, and M - N.
_SUMS = {
    ("dct", 1): (0, 0, -1),
    ("dct", 2): (0.5, 0, 0),
    ("dct", 3): (0, 0.5, 0),
    ("dct", 4): (0.5, 0.5, 0),
    ("dst", 1): (1, 1, 1),
    ("dst", 2): (0.5, 1, 0),
    ("dst", 3): (1, 0.5, 0),
    ("dst", 4): (0.5, 0.5, 0),
}
# The samples of the input and of the result at which the matrix is orthogonal only with a factor 1 / √2.
_ENDS = {
    ("dct", 1): ((0, -1), (0, -1)),
    ("dct", 2): ((), (0,)),
    ("dct", 3): ((0,), ()),
    ("dst", 2): ((), (-1,)),
    ("dst", 3): ((-1,), ()),
}


class _Transform(lo.LinearOperator):
    """What both transforms share: a multiple of an orthogonal matrix along each axis, between factors for its ends."""

    type: int = lo.static(default=2)
    axes: tuple[int, ...] | None = lo.static(default=None)
    norm: str = lo.static(default="ortho")

    def __init__(self, type: int = 2, axes: int | tuple[int, ...] | None = None, norm: str = "ortho"):
        name = self.__class__.__name__
        self.type = _arguments.one_of(type, _ADJOINT_TYPES, f"{name}.type")
        self.axes = _arguments.as_axes(axes, f"{name}.axes")
        self.norm = _arguments.one_of(norm, _NORMS, f"{name}.norm")

    @lo.traced
    def apply(self, x: Any) -> Any:
        axes, dtype = self._axes(x), self.infer_shape(x).dtype
        of_input, of_result = _ends(self._kind, self.type)
        transform = Orthogonal(self._kind, self.type, axes)
        x = x.astype(_arguments.single(x.dtype))
        if self.norm == "ortho":
            return transform(x).astype(dtype)
        more, power = _SUMS[self._kind, self.type][2], 0.5 if self.norm == "backward" else -0.5
        for axis in axes:
            x = _times(_weights(x.shape[axis], of_input, 0.5**0.5), x, axis)
        y = transform(x)
        for axis in axes:
            size = y.shape[axis]
            y = _times((2 * (size + more)) ** power * _weights(size, of_result, 2**0.5), y, axis)
        return y.astype(dtype)

    @property
    def properties(self) -> lo.Properties:
        is_ortho = self.norm == "ortho"
        return lo.Properties(
            symmetric=_ADJOINT_TYPES[self.type] == self.type and (is_ortho or (self._kind, self.type) not in _ENDS),
            unitary=is_ortho,
        )

    def infer_shape(self, x: Any) -> Any:
        name = self.__class__.__name__
        _arguments.require_array(x, name)
        _arguments.require_samples(x, self._axes(x), 2 if (self._kind, self.type) == ("dct", 1) else 1, name)
        return jax.ShapeDtypeStruct(x.shape, _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    def _axes(self, x: Any) -> tuple[int, ...]:
        return _arguments.axes_of(x, self.axes, f"{self.__class__.__name__}.axes")


class DCT(_Transform):
    r"""The discrete cosine transform of one array, real or complex.

    Parameters
    ----------
    type : int, optional
        The type, 1 to 4; 2 by default.
    axes : int or tuple of int, optional
        The axes to transform, all by default. Negative ones count from the end.
    norm : str, optional
        As in ``scipy.fft.dctn``: ``"ortho"``, the default, which makes the matrix orthogonal, ``"backward"`` or ``"forward"``.

    Raises
    ------
    ValueError
        If ``type`` or ``norm`` has another value. When the operator is applied, if the input does not have the axes, or too few
        samples along them: type 1 needs two.

    Notes
    -----
    Type 2 along one axis of length N, with s = √(2/N), and 1/√2 of it for k = 0:

    .. math:: y_k = s_k \sum_n x_n \cos(\pi k (2 n + 1) / 2 N) .

    Type 3 is its adjoint and inverse; types 1 and 4 are symmetric, and their own inverses. With ``norm="backward"`` or
    ``"forward"`` the matrix is that of SciPy, without the 1/√2, and the adjoint is its transpose: it is neither the inverse nor
    another type, as the first or last entries differ. Complex arrays are transformed part by part.

    SciPy computes it on the CPU, a complex FFT of double length on other devices.

    References
    ----------
    * Makhoul, J. (1980). A fast cosine transform in one and two dimensions. IEEE Trans. Acoust. Speech Signal Process. 28,
      27-34.
    * The documentation of ``scipy.fft.dct``, for the conventions.

    Examples
    --------
    >>> A = lo.ops.DCT()
    >>> A(jnp.ones(4)).round(5).tolist()
    [2.0, 0.0, 0.0, 0.0]
    >>> A.H(A(jnp.arange(3.0))).round(5).tolist()
    [0.0, 1.0, 2.0]
    """

    _kind = "dct"

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(type=1, axes=0, norm="backward"), jax.ShapeDtypeStruct((3, 2), jnp.complex64)


class DST(_Transform):
    r"""The discrete sine transform of one array, real or complex.

    Parameters
    ----------
    type : int, optional
        The type, 1 to 4; 2 by default.
    axes : int or tuple of int, optional
        The axes to transform, all by default. Negative ones count from the end.
    norm : str, optional
        As in ``scipy.fft.dstn``: ``"ortho"``, the default, which makes the matrix orthogonal, ``"backward"`` or ``"forward"``.

    Raises
    ------
    ValueError
        If ``type`` or ``norm`` has another value. When the operator is applied, if the input does not have the axes, or no
        samples along them.

    Notes
    -----
    Type 2 along one axis of length N, with s = √(2/N), and 1/√2 of it for k = N - 1:

    .. math:: y_k = s_k \sum_n x_n \sin(\pi (k + 1) (2 n + 1) / 2 N) .

    Adjoints, norms and complex arrays are as for ``DCT``.

    References
    ----------
    * The documentation of ``scipy.fft.dst``, for the conventions.

    Examples
    --------
    >>> A = lo.ops.DST(type=1)
    >>> A(A(jnp.arange(3.0))).round(5).tolist()
    [0.0, 1.0, 2.0]
    """

    _kind = "dst"

    @classmethod
    def examples(cls) -> Any:
        yield cls(axes=-1), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls(type=3, norm="forward"), jax.ShapeDtypeStruct((3,), jnp.complex64)


# ---- the orthogonal transforms -------------------------------------------------------------------------------------------


def _by_scipy(self: Any, x: Any, *, out: Any) -> None:
    """In place, as SciPy does not write into arrays that it is given."""
    transform = scipy.fft.dctn if self.kind == "dct" else scipy.fft.dstn
    out[...] = x
    y = transform(out, self.type, axes=self.axes, norm="ortho", overwrite_x=True, workers=os.cpu_count())
    if not np.may_share_memory(y, out):
        out[...] = y


def _by_fft(self: Any, x: Any) -> Any:
    if jnp.iscomplexobj(x):
        return jax.lax.complex(_by_fft(self, x.real), _by_fft(self, x.imag))
    return functools.reduce(lambda x, axis: _sum(self.kind, self.type, x, axis), self.axes, x)


def _sum(kind: str, type: int, x: Any, axis: int) -> Any:
    """The transform along one axis: (n + a) (k + b) = n k + n b + a (k + b), a Fourier transform between two phases."""
    a, b, more = _SUMS[kind, type]
    size, k = x.shape[axis], np.arange(x.shape[axis])
    m, (of_input, of_result) = size + more, _ends(kind, type)
    turn = 1 if kind == "dct" else 1j  # the real part, or the negative imaginary part
    before = _weights(size, of_input, 0.5**0.5) * np.exp(-1j * np.pi * b * k / m)
    after = turn * (2 / m) ** 0.5 * _weights(size, of_result, 0.5**0.5) * np.exp(-1j * np.pi * a * (k + b) / m)
    y = jnp.fft.fft(_times(before, x, axis), 2 * m, axis)
    return _times(after, jax.lax.slice_in_dim(y, 0, size, axis=x.ndim + axis), axis).real


class Orthogonal(lo.LinearOperator, batched=True):
    """The transform with an orthogonal matrix along each axis, counted from the end."""

    kind: str = lo.static()
    type: int = lo.static()
    axes: tuple[int, ...] = lo.static()

    apply = lo.per_platform(cpu=_by_scipy, default=lo.traced(_by_fft))
    adjoint = lo.per_platform(
        cpu=lambda self, y, *, out: _by_scipy(self._paired(), y, out=out),
        default=lo.traced(lambda self, y: _by_fft(self._paired(), y)),
    )

    def infer_shape(self, x: Any) -> Any:
        return x

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    def _paired(self) -> Orthogonal:
        return Orthogonal(self.kind, _ADJOINT_TYPES[self.type], self.axes)


def _ends(kind: str, type: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return _ENDS.get((kind, type), ((), ()))


def _weights(size: int, ends: tuple[int, ...], factor: float) -> Any:
    weights = np.ones(size)
    weights[list(ends)] *= factor
    return weights


def _times(values: Any, x: Any, axis: int) -> Any:
    """The array times these values along one axis, counted from the end; real values keep real arrays real."""
    dtype = jnp.result_type(x.dtype, jnp.complex64) if np.iscomplexobj(values) else x.dtype
    return _arguments.with_ndim(values.astype(dtype).reshape(-1, *[1] * (-1 - axis)), x.ndim) * x
