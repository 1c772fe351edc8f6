"""DCT and DST: the discrete cosine and sine transforms."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments
from linops_jax.ops import _trigonometric as trigonometric

_NORMS = ("ortho", "backward", "forward")


class _Transform:
    """What both transforms share: a multiple of an orthogonal matrix along each axis, between factors for its ends."""

    type: int = lo.static(default=2)
    axes: tuple[int, ...] | None = lo.static(default=None)
    norm: str = lo.static(default="ortho")

    _kind = ""

    def __init__(self, type: int = 2, axes: int | tuple[int, ...] | None = None, norm: str = "ortho"):
        name = self.__class__.__name__
        self.type = int(_arguments.one_of(type, trigonometric.ADJOINT_TYPES, f"{name}.type"))
        self.axes = _arguments.as_axes(axes, f"{name}.axes")
        self.norm = _arguments.one_of(norm, _NORMS, f"{name}.norm")

    @lo.traced
    def apply(self, x: Any) -> Any:
        axes, dtype = self._axes(x), self.infer_shape(x).dtype
        of_input, of_result = trigonometric.ends(self._kind, self.type)
        transform = trigonometric.Orthogonal(self._kind, self.type, axes)
        x = x.astype(_arguments.single(x.dtype))
        if self.norm == "ortho":
            return transform(x).astype(dtype)
        more, power = trigonometric.SUMS[self._kind, self.type][2], 0.5 if self.norm == "backward" else -0.5
        for axis in axes:
            x = trigonometric.times(trigonometric.weights(x.shape[axis], of_input, 0.5**0.5), x, axis)
        y = transform(x)
        for axis in axes:
            size = y.shape[axis]
            y = trigonometric.times(
                (2 * (size + more)) ** power * trigonometric.weights(size, of_result, 2**0.5), y, axis
            )
        return y.astype(dtype)

    @property
    def properties(self) -> lo.Properties:
        is_ortho = self.norm == "ortho"
        paired = trigonometric.ADJOINT_TYPES[self.type]
        is_plain = is_ortho or (self._kind, self.type) not in trigonometric.ENDS
        return lo.Properties(symmetric=paired == self.type and is_plain, unitary=is_ortho)

    def infer_shape(self, x: Any) -> Any:
        name = self.__class__.__name__
        _arguments.require_array(x, name)
        _arguments.require_samples(x, self._axes(x), 2 if (self._kind, self.type) == ("dct", 1) else 1, name)
        return jax.ShapeDtypeStruct(x.shape, _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    def _axes(self, x: Any) -> tuple[int, ...]:
        return _arguments.axes_of(x, self.axes, f"{self.__class__.__name__}.axes")


class DCT(_Transform, lo.LinearOperator):
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

    def __init__(self, type: int = 2, axes: int | tuple[int, ...] | None = None, norm: str = "ortho"):
        super().__init__(type, axes, norm)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(type=1, axes=0, norm="backward"), jax.ShapeDtypeStruct((3, 2), jnp.complex64)


class DST(_Transform, lo.LinearOperator):
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
    >>> A(A(jnp.ones(2))).round(5).tolist()
    [1.0, 1.0]
    """

    _kind = "dst"

    def __init__(self, type: int = 2, axes: int | tuple[int, ...] | None = None, norm: str = "ortho"):
        super().__init__(type, axes, norm)

    @classmethod
    def examples(cls) -> Any:
        yield cls(axes=-1), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls(type=3, norm="forward"), jax.ShapeDtypeStruct((3,), jnp.complex64)
