"""SparseMatrix: a matrix of which only the nonzero entries are stored, multiplied by SciPy on the host."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments


class SparseMatrix(lo.LinearOperator):
    r"""Multiplication by a sparse matrix along one axis of an array.

    ``indices`` and ``indptr`` of operators under one ``vmap`` may differ as long as their shapes do not.

    Parameters
    ----------
    matrix : sparse matrix or array of SciPy
        Two-dimensional, in any format. Entries that are stored twice are summed.
    axis : int, optional
        The axis of the input that the matrix acts on, the last by default. Negative ones count from the end.

    Attributes
    ----------
    data : array of shape (entries,)
        The entries, in the compressed sparse row format: a parameter that can be differentiated.
    indices : integer array of shape (entries,)
        The column of each entry.
    indptr : integer array of shape (rows + 1,)
        Where each row begins and ends.
    shape : tuple of two ints
        Numbers of rows and columns.

    Raises
    ------
    TypeError
        If the matrix is not a sparse matrix of SciPy.
    ValueError
        If it is not two-dimensional, or needs 64 bit indices that are not enabled. When the operator is applied, if the input
        has no such axis, or in another size than the matrix has columns.

    Notes
    -----
    .. math:: y_i = \sum_j a_{ij} x_j, \qquad (A^H y)_j = \sum_i \overline{a_{ij}}\, y_i .

    On the CPU, SciPy computes both, in single precision or more. On other devices, and for derivatives in the entries, JAX does.
    ``lo.interop.from_scipy`` makes such an operator with a fixed domain.

    References
    ----------
    * The documentation of ``scipy.sparse.csr_array``, for ``data``, ``indices`` and ``indptr``.

    Examples
    --------
    >>> import scipy.sparse
    >>> A = lo.ops.SparseMatrix(scipy.sparse.coo_array((np.float32([1, 2]), ([0, 1], [2, 0])), shape=(2, 3)))
    >>> A(jnp.array([1.0, 2.0, 3.0])).tolist()
    [3.0, 2.0]
    >>> A.H(jnp.array([1.0, 2.0])).tolist()
    [4.0, 0.0, 1.0]
    """

    data: jax.Array
    indices: jax.Array = lo.constant()
    indptr: jax.Array = lo.constant()
    shape: tuple[int, int] = lo.static()
    axis: int = lo.static(default=-1)

    def __init__(self, matrix: Any, axis: int = -1):
        if not hasattr(matrix, "tocsr"):
            message = f"SparseMatrix expects a sparse matrix of SciPy, found {type(matrix).__name__}. lo.Matrix takes dense ones."
            raise TypeError(message)
        if matrix.ndim != 2:
            message = f"SparseMatrix expects a two-dimensional sparse matrix or array, found shape {matrix.shape}."
            raise ValueError(message)
        csr = matrix.tocsr()
        if not csr.has_canonical_format:
            csr = csr.copy()
            csr.sum_duplicates()
        if max(*csr.shape, csr.nnz) > np.iinfo(np.int32).max and jnp.result_type(int) != np.int64:
            message = f"SparseMatrix of shape {csr.shape} with {csr.nnz} entries needs 64 bit indices: switch jax_enable_x64 on."
            raise ValueError(message)
        self.data, self.indices, self.indptr = map(jnp.asarray, (csr.data, csr.indices, csr.indptr))
        self.shape = (int(csr.shape[0]), int(csr.shape[1]))
        self.axis = _arguments.as_integer(axis, "SparseMatrix.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self._trailing(x)(x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return self._trailing(y).H(y)

    def infer_shape(self, x: Any) -> Any:
        return _arguments.along_axis(x, self.axis, self.shape[1], self.shape[0], "SparseMatrix", self.data.dtype)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _arguments.along_axis(y, self.axis, self.shape[0], self.shape[1], "SparseMatrix.H", self.data.dtype)

    def _trailing(self, x: Any) -> TrailingSparseMatrix:
        """The operator that does it, with the axis counted from the end."""
        axis = _arguments.axis_of(x, self.axis, "SparseMatrix.axis")
        return TrailingSparseMatrix(self.data, self.indices, self.indptr, self.shape, axis)

    @classmethod
    def examples(cls) -> Any:
        import scipy.sparse

        matrix = scipy.sparse.csr_array(np.array([[0, 2.0, 0, -1.0], [1.0, 0, 0, 0], [0, 0, 0, 3.0]], np.float32))
        yield cls(matrix), jax.ShapeDtypeStruct((2, 4), jnp.float32)
        yield cls(1j * matrix.T, axis=0), jax.ShapeDtypeStruct((3, 2), jnp.complex64)


def _apply_on_host(op: Any, x: Any) -> Any:
    return _product(op.matrix(), x, op.axis)


def _adjoint_on_host(op: Any, y: Any) -> Any:
    conj = np.conj if np.iscomplexobj(op.data) else lambda z: z  # of vectors, which have fewer entries than the matrix
    return conj(_product(op.matrix().T, conj(y), op.axis))


@lo.traced
def _apply_in_jax(op: Any, x: Any) -> Any:
    columns = jnp.moveaxis(x, op.axis, 0)
    terms = op.entries(op.data, x.ndim) * columns[op.indices]
    return jnp.moveaxis(jax.ops.segment_sum(terms, op.rows(), op.shape[0], indices_are_sorted=True), 0, op.axis)


@lo.traced
def _adjoint_in_jax(op: Any, y: Any) -> Any:
    columns = jnp.moveaxis(y, op.axis, 0)
    terms = op.entries(jnp.conj(op.data), y.ndim) * columns[op.rows()]
    return jnp.moveaxis(jax.ops.segment_sum(terms, op.indices, op.shape[1]), 0, op.axis)


class TrailingSparseMatrix(lo.LinearOperator, batched=True):
    """A sparse matrix along an axis counted from the end: it stays the same if batch axes are put in front."""

    data: jax.Array
    indices: jax.Array = lo.constant()
    indptr: jax.Array = lo.constant()
    shape: tuple[int, int] = lo.static()
    axis: int = lo.static()

    apply = lo.per_platform(cpu=_apply_on_host, default=_apply_in_jax)
    adjoint = lo.per_platform(cpu=_adjoint_on_host, default=_adjoint_in_jax)

    def infer_shape(self, x: Any) -> Any:
        return self._result(x, self.shape[0])

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._result(y, self.shape[1])

    def _result(self, x: Any, size: int) -> Any:
        return _arguments.resized(x, (self.axis,), (size,), jnp.result_type(self.data.dtype, x.dtype))

    def matrix(self) -> Any:
        """The matrix for SciPy, which knows no numbers of half precision."""
        import scipy.sparse

        return scipy.sparse.csr_array((_computable(self.data), self.indices, self.indptr), self.shape)

    def rows(self) -> Any:
        """The row of each entry."""
        return jnp.repeat(jnp.arange(self.shape[0]), jnp.diff(self.indptr), total_repeat_length=self.indices.size)

    def entries(self, data: Any, ndim: int) -> Any:
        """The entries, along the first of so many axes."""
        return data.reshape(-1, *(1,) * (ndim - 1))

    @classmethod
    def examples(cls) -> Any:
        data, indices, indptr = jnp.array([1.0, 2.0, 3.0]), jnp.array([1, 0, 2]), jnp.array([0, 1, 3])
        yield cls(data, indices, indptr, (2, 3), -2), jax.ShapeDtypeStruct((3, 2), jnp.float32)


def _product(matrix: Any, x: Any, axis: int) -> Any:
    """The matrix times the array along one axis. SciPy takes a vector, or the columns of a matrix."""
    columns = np.moveaxis(_computable(x), axis, 0)
    (m, n), count = matrix.shape, math.prod(columns.shape[1:])
    y = matrix @ columns.reshape(n if count == 1 else (n, count))
    return np.moveaxis(y.reshape(m, *columns.shape[1:]), 0, axis)


def _computable(x: Any) -> Any:
    return x if x.dtype.kind in "biufc" and x.dtype != np.float16 else x.astype(np.float32)
