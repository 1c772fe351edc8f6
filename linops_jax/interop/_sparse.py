"""A sparse matrix of SciPy as an operator with parameters, and what it shares with SciPy's LinearOperators."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse

import linops_jax as lo


class SparseMatrix(lo.LinearOperator, batched=True):
    """A sparse matrix: x -> M x along the last axis, by SciPy on the host.

    ``indices`` and ``indptr`` of operators under one ``vmap`` may differ as long as their shapes do not.

    Parameters
    ----------
    matrix : sparse matrix or array of SciPy
        Two-dimensional. Entries that are stored twice are summed.

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
    """

    data: jax.Array
    indices: jax.Array
    indptr: jax.Array
    shape: tuple[int, int] = lo.static()

    def __init__(self, matrix: Any):
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

    def apply(self, x: Any) -> Any:
        return self._multiply(self._matrix(), x)

    def adjoint(self, y: Any) -> Any:
        return self._multiply(self._matrix().conj(copy=False).T, y)

    def parameter_jvp(self, x: Any, dself: SparseMatrix) -> Any:
        return self._multiply(self._matrix(dself.data), x)

    def parameter_vjp(self, x: Any, dy: Any) -> Any:
        rows = np.repeat(np.arange(self.shape[0]), np.diff(self.indptr))
        return {"data": np.conj(x[self.indices]) * dy[rows]}

    def infer_shape(self, x: Any) -> Any:
        return result(self, x, self.shape, self.data.dtype)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return result(self, y, self.shape[::-1], self.data.dtype)

    @staticmethod
    def _multiply(matrix: Any, x: Any) -> Any:
        return along_last_axis(matrix.__matmul__, matrix.__matmul__, x, matrix.shape[0])

    def _matrix(self, data: Any = None) -> Any:
        data = self.data if data is None else data
        return scipy.sparse.csr_array((data, self.indices, self.indptr), self.shape)

    @classmethod
    def examples(cls) -> Any:
        matrix = scipy.sparse.csr_array(np.array([[0, 2.0, 0, -1.0], [1.0, 0, 0, 0], [0, 0, 0, 3.0]], np.float32))
        yield cls(matrix), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(1j * matrix.T), jax.ShapeDtypeStruct((3,), jnp.complex64)


def along_last_axis(of_one: Any, of_columns: Any, x: Any, size: int) -> Any:
    *lead, last = x.shape
    columns = x.reshape(math.prod(lead), last).T
    y = of_one(columns[:, 0]) if columns.shape[1] == 1 else of_columns(columns).T
    return np.reshape(y, (*lead, size))


def result(op: Any, x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    if getattr(x, "shape", None) != (shape[1],):
        message = (
            f"{type(op).__name__} of a {shape[0]} x {shape[1]} matrix takes vectors of {shape[1]} numbers, found {x}."
        )
        raise ValueError(message)
    return jax.ShapeDtypeStruct((shape[0],), jnp.result_type(jax.dtypes.canonicalize_dtype(dtype), x.dtype))
