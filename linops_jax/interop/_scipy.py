"""SciPy: to_scipy and from_scipy."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse
import scipy.sparse.linalg

import linops_jax as lo
from linops_jax.interop import _arguments
from linops_jax.interop._vectors import Layout, Plan, Vectorized, VectorOperator, all_complex, all_real


def to_scipy(op: lo.LinearOperator, spec: Any = None) -> OperatorAsMatrix:
    """A ``scipy.sparse.linalg.LinearOperator`` that applies ``op`` to vectors of its entries, in C order.

    spec: shape and dtype of the input (a pytree of jax.ShapeDtypeStruct or arrays), where ``op`` has no domain

    Pytrees are concatenated, leaf after leaf, in their common dtype (float32 at least); ``to_vector``, ``from_vector``,
    ``to_data`` and ``from_data`` of the result convert. What the matrix is:

    - real arrays to real or complex ones: a real or complex matrix;
    - complex arrays to complex ones: a complex matrix;
    - anything else, which no complex matrix can be (``real_linear`` operators of complex arrays, real next to complex
      arrays): a real matrix between (re, im) pairs, two neighbouring reals for a complex number (``.pairs`` is True).

    Several columns are one call, through vmap. The operator is compiled once. 64 bits are used if they were switched on
    when this function was called.

    Raises TypeError for what is not a linear operator, for an unknown domain, for integers; warns where the domain is in
    64 bits and JAX is not.
    """
    op = _arguments.linear(op, spec, "to_scipy")
    matrix = not op.properties.real_linear and all_complex(op.domain) and all_complex(op.codomain)
    pairs = not (matrix or all_real(op.domain))
    return OperatorAsMatrix(op, Plan(Layout.of(op.domain, pairs), Layout.of(op.codomain, pairs), complex_linear=True))


class OperatorAsMatrix(scipy.sparse.linalg.LinearOperator):
    """What to_scipy returns.

    op: the operator, with its domain
    call: what applies it to vectors
    pairs: whether complex numbers are (re, im) pairs
    """

    def __init__(self, op: lo.LinearOperator, plan: Plan):
        super().__init__(np.result_type(plan.domain.dtype, plan.codomain.dtype), (plan.codomain.size, plan.domain.size))
        self.op = op
        self.pairs = plan.domain.pairs
        self.call = Vectorized(op, plan)

    def to_vector(self, x: Any) -> np.ndarray:
        """An input of the operator as a vector."""
        return np.array(self.call.plan.domain.pack(jax.tree.map(jnp.asarray, x)))

    def from_vector(self, v: Any) -> Any:
        """A vector as an input of the operator: a solution, say."""
        return self.call.plan.domain.unpack(jnp.asarray(v))

    def to_data(self, y: Any) -> np.ndarray:
        """A result of the operator as a vector: a right-hand side, say."""
        return np.array(self.call.plan.codomain.pack(jax.tree.map(jnp.asarray, y)))

    def from_data(self, v: Any) -> Any:
        """A vector as a result of the operator."""
        return self.call.plan.codomain.unpack(jnp.asarray(v))

    def _matvec(self, x: Any) -> np.ndarray:
        return self.call("forward", x.reshape(-1))

    def _rmatvec(self, x: Any) -> np.ndarray:
        return self.call("reverse", x.reshape(-1))

    def _matmat(self, X: Any) -> np.ndarray:
        return self.call("forward", X)

    def _rmatmat(self, X: Any) -> np.ndarray:
        return self.call("reverse", X)


def from_scipy(L: Any, dtype: Any = None) -> lo.LinearOperator:
    """An operator from a ``scipy.sparse.linalg.LinearOperator``, or from a sparse matrix or array.

    It maps vectors of ``L.shape[1]`` numbers to vectors of ``L.shape[0]`` numbers; the result has the common dtype of
    ``L`` and the input. Sparse matrices become a SparseMatrix, whose entries can be differentiated; a LinearOperator is
    called as it is (``matvec``, ``rmatvec``, and ``matmat``, ``rmatmat`` under vmap). It is asked for ``rmatvec`` of
    zeros once: one that has none becomes an operator without an adjoint. What to_scipy made is taken apart again; sums and
    products of such operators in SciPy cannot come back, because JAX cannot be called from within its own programs.

    dtype: of the domain; by default that of ``L``, in floating point

    Raises TypeError for anything else.
    """
    if isinstance(L, OperatorAsMatrix):
        return VectorOperator.of(L.call, dtype)
    if scipy.sparse.issparse(L):
        op: lo.LinearOperator = SparseMatrix(L)
    elif isinstance(L, scipy.sparse.linalg.LinearOperator):
        op = ScipyOperator(L) if _has_adjoint(L) else ForwardScipyOperator(L)
    else:
        message = (
            "from_scipy expects a scipy.sparse.linalg.LinearOperator or a sparse matrix or array, found "
            f"{_arguments.describe(L)}.{_advice(L)}"
        )
        raise TypeError(message)
    if dtype is None:
        dtype = _dtype(L)
        dtype = dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.result_type(float)
    return op.with_domain(jax.ShapeDtypeStruct((L.shape[1],), dtype))


def _advice(value: Any) -> str:
    if isinstance(value, np.ndarray | jax.Array):
        return " lo.Matrix(a) makes an operator of a dense array."
    if isinstance(value, lo.LinearOperator | lo.NonlinearOperator):
        return " It is an operator of linops_jax already."
    if any(cls.__module__.startswith("pylops") for cls in type(value).__mro__):
        return " from_pylops takes operators of PyLops."
    return ""


class SparseMatrix(lo.LinearOperator, batched=True):
    """A sparse matrix: x -> M x along the last axis, by SciPy on the host.

    data, indices, indptr: of the compressed sparse row format; ``data`` is a differentiable parameter
    shape: (rows, columns)

    The constructor takes any two-dimensional sparse matrix or array of SciPy; entries that are stored twice are summed.
    ``indices`` and ``indptr`` of operators under one vmap may differ as long as their shapes do not.
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
        return _result(self, x, self.shape, self.data.dtype)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _result(self, y, self.shape[::-1], self.data.dtype)

    @staticmethod
    def _multiply(matrix: Any, x: Any) -> Any:
        return _along_last_axis(matrix.__matmul__, matrix.__matmul__, x, matrix.shape[0])

    def _matrix(self, data: Any = None) -> Any:
        data = self.data if data is None else data
        return scipy.sparse.csr_array((data, self.indices, self.indptr), self.shape)

    @classmethod
    def examples(cls) -> Any:
        matrix = scipy.sparse.csr_array(np.array([[0, 2.0, 0, -1.0], [1.0, 0, 0, 0], [0, 0, 0, 3.0]], np.float32))
        yield cls(matrix), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(1j * matrix.T), jax.ShapeDtypeStruct((3,), jnp.complex64)


class ForwardScipyOperator(lo.LinearOperator, batched=True):
    """A LinearOperator of SciPy without ``rmatvec``."""

    operator: Any = lo.static()
    adjoint = None  # type: ignore[assignment]

    def apply(self, x: Any) -> Any:
        return _along_last_axis(self.operator.matvec, self.operator.matmat, x, self.operator.shape[0])

    def infer_shape(self, x: Any) -> Any:
        return _result(self, x, self.operator.shape, _dtype(self.operator))


class ScipyOperator(ForwardScipyOperator, batched=True):
    """A LinearOperator of SciPy."""

    def adjoint(self, y: Any) -> Any:
        return _along_last_axis(self.operator.rmatvec, self.operator.rmatmat, y, self.operator.shape[1])

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _result(self, y, self.operator.shape[::-1], _dtype(self.operator))

    @classmethod
    def examples(cls) -> Any:
        yield cls(scipy.sparse.linalg.aslinearoperator(np.arange(6.0).reshape(2, 3))), jax.ShapeDtypeStruct((3,), float)


def _dtype(L: Any) -> Any:
    return np.dtype(float if L.dtype is None else L.dtype)


def _has_adjoint(L: Any) -> bool:
    """There is no other way of knowing than calling it."""
    try:
        L.rmatvec(np.zeros(L.shape[0], _dtype(L)))
    except NotImplementedError:
        return False
    except Exception:  # its own error is to be seen where it is used
        return True
    return True


def _along_last_axis(of_one: Any, of_columns: Any, x: Any, size: int) -> Any:
    *lead, last = x.shape
    columns = x.reshape(math.prod(lead), last).T
    y = of_one(columns[:, 0]) if columns.shape[1] == 1 else of_columns(columns).T
    return np.reshape(y, (*lead, size))


def _result(op: Any, x: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    if getattr(x, "shape", None) != (shape[1],):
        message = (
            f"{type(op).__name__} of a {shape[0]} x {shape[1]} matrix takes vectors of {shape[1]} numbers, found {x}."
        )
        raise ValueError(message)
    return jax.ShapeDtypeStruct((shape[0],), jnp.result_type(jax.dtypes.canonicalize_dtype(dtype), x.dtype))
