"""Matrices with few parameters: Toeplitz and Circulant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Toeplitz(lo.LinearOperator):
    r"""A matrix with equal entries along each diagonal, along one axis of an array.

    Parameters
    ----------
    column : array or list of numbers
        The first column. It can be differentiated.
    row : array or list of numbers, optional
        The first row; the conjugate of the column by default. Its first entry is ignored: that of the column counts. It can be
        differentiated.
    axis : int, optional
        The axis of the input that the matrix acts on, the last by default. Negative ones count from the end.

    Raises
    ------
    TypeError
        If an argument holds operators.
    ValueError
        If column or row do not have one axis, or no entries. When the operator is applied, if the input has no such axis, or in
        another size than that of the row.

    Notes
    -----
    With column c and row r:

    .. math:: y_i = \sum_j t_{i - j}\, x_j, \qquad t_k = \begin{cases} c_k & k \ge 0 \\ r_{-k} & k < 0 . \end{cases}

    The adjoint is the Toeplitz matrix with the conjugates of row and column exchanged. Both are computed by FFTs of a circulant
    matrix that contains the Toeplitz matrix, in single precision or more: :math:`O(n \log n)`.

    References
    ----------
    * The documentation of ``scipy.linalg.toeplitz``, for column and row.
    * Golub, G. H. and C. F. Van Loan (2013). Matrix Computations, 4th ed., section 4.8.

    Examples
    --------
    >>> A = lo.ops.Toeplitz([1.0, 2.0, 3.0], [1.0, 5.0])
    >>> lo.todense(A, jnp.ones(2)).round(4).tolist()
    [[1.0, 5.0], [2.0, 1.0], [3.0, 2.0]]
    """

    column: jax.Array
    row: jax.Array | None = None
    axis: int = lo.static(default=-1)

    def __init__(self, column: Any, row: Any = None, axis: int = -1):
        self.column = _as_vector(column, "Toeplitz.column")
        self.row = None if row is None else _as_vector(row, "Toeplitz.row")
        self.axis = _arguments.as_integer(axis, "Toeplitz.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self._cut(_filtered(x, self._circulant(), self.axis, lambda s: s), self.column.shape[0])

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return self._cut(_filtered(y, self._circulant(), self.axis, jnp.conj), self._columns)

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=self.row is None and not jnp.issubdtype(self.column.dtype, jnp.complexfloating))

    def infer_shape(self, x: Any) -> Any:
        return self._result(x, self._columns, self.column.shape[0], "Toeplitz")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._result(y, self.column.shape[0], self._columns, "Toeplitz.H")

    @property
    def _columns(self) -> int:
        return (self.column if self.row is None else self.row).shape[0]

    def _circulant(self) -> Any:
        """The first column of a circulant matrix that contains this one, with a length that is good for FFTs."""
        column = jnp.asarray(self.column)
        row = jnp.conj(column) if self.row is None else jnp.asarray(self.row)
        entries = column.size + row.size - 1
        return jnp.concatenate([column, jnp.zeros(_fast_length(entries) - entries, column.dtype), row[:0:-1]])

    def _cut(self, y: Any, size: int) -> Any:
        return jax.lax.slice_in_dim(y, 0, size, axis=self.axis)

    def _result(self, x: Any, size: int, new: int, where: str) -> Any:
        row = self.column if self.row is None else self.row
        return _arguments.along_axis(x, self.axis, size, new, where, self.column.dtype, row.dtype, jnp.float32)

    @classmethod
    def examples(cls) -> Any:
        yield cls([1.0, 2.0, -1.0]), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls([1.0, 2.0], [1j, 2j, 3.0, 1.0], axis=0), jax.ShapeDtypeStruct((4, 2), jnp.complex64)


class Circulant(lo.LinearOperator):
    r"""A matrix whose columns are circular shifts of the first one, along one axis of an array: a circular convolution.

    Parameters
    ----------
    column : array or list of numbers
        The first column. It can be differentiated.
    axis : int, optional
        The axis of the input that the matrix acts on, the last by default. Negative ones count from the end.

    Raises
    ------
    TypeError
        If the column holds operators.
    ValueError
        If the column does not have one axis, or no entries. When the operator is applied, if the input has no such axis, or in
        another size.

    Notes
    -----
    With the column c of length n, and the discrete Fourier transform F:

    .. math:: y_i = \sum_j c_{(i - j) \bmod n}\, x_j, \qquad A = F^{-1} \operatorname{diag}(F c)\, F .

    The adjoint has conj(F c) in the place of F c, and the inverse 1 / F c. All are computed by FFTs, in single precision or
    more: :math:`O(n \log n)`.

    References
    ----------
    * The documentation of ``scipy.linalg.circulant``.
    * Golub, G. H. and C. F. Van Loan (2013). Matrix Computations, 4th ed., section 4.8.

    Examples
    --------
    >>> A = lo.ops.Circulant([1.0, 2.0, 3.0])
    >>> lo.todense(A, jnp.ones(3)).round(4).tolist()
    [[1.0, 3.0, 2.0], [2.0, 1.0, 3.0], [3.0, 2.0, 1.0]]
    """

    column: jax.Array
    axis: int = lo.static(default=-1)

    def __init__(self, column: Any, axis: int = -1):
        self.column = _as_vector(column, "Circulant.column")
        self.axis = _arguments.as_integer(axis, "Circulant.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return _filtered(x, self.column, self.axis, lambda s: s)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return _filtered(y, self.column, self.axis, jnp.conj)

    @lo.traced
    def gram(self, x: Any) -> Any:
        return _filtered(x, self.column, self.axis, lambda s: jnp.conj(s) * s)

    @lo.traced
    def inverse(self, y: Any) -> Any:
        return _filtered(y, self.column, self.axis, lambda s: 1 / s)

    @lo.traced
    def inverse_adjoint(self, x: Any) -> Any:
        return _filtered(x, self.column, self.axis, lambda s: 1 / jnp.conj(s))

    def infer_shape(self, x: Any) -> Any:
        n = self.column.shape[0]
        return _arguments.along_axis(x, self.axis, n, n, "Circulant", self.column.dtype, jnp.float32)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    @classmethod
    def examples(cls) -> Any:
        yield cls([4.0, 1.0, -1.0]), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls([4.0, 1j, 1.0, 0.5], axis=0), jax.ShapeDtypeStruct((4, 2), jnp.complex64)


def _as_vector(value: Any, where: str) -> Any:
    value = _arguments.as_field(value, where)
    _arguments.require_ndim(value, 1, where)
    if getattr(value, "size", 1) == 0:
        message = f"{where} is empty; expected at least one entry."
        raise ValueError(message)
    return value


def _filtered(x: Any, column: Any, axis: int, function: Callable[[Any], Any]) -> Any:
    """A circulant matrix times x, which is padded with zeros; its eigenvalues are a function of those of the column."""
    dtype = jnp.result_type(x.dtype, column.dtype, jnp.float32)
    is_complex, n = jnp.issubdtype(dtype, jnp.complexfloating), column.shape[0]
    forward, backward = (jnp.fft.fft, jnp.fft.ifft) if is_complex else (jnp.fft.rfft, jnp.fft.irfft)
    spectrum = function(forward(jnp.asarray(column).astype(dtype)))
    places = range(x.ndim)
    spectrum = jnp.expand_dims(spectrum, [place for place in places if place != axis % x.ndim])
    return backward(spectrum * forward(x.astype(dtype), n, axis), n, axis)


def _fast_length(n: int) -> int:
    """The next number without prime factors above 5."""
    while True:
        rest = n
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return n
        n += 1
