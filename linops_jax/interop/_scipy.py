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
from linops_jax._types import Specs
from linops_jax._vectors import MatrixForm, in_complex_numbers
from linops_jax.interop import _arguments
from linops_jax.interop._vectors import Vectorized, VectorOperator, arrays
from linops_jax.ops import SparseMatrix


def to_scipy(op: lo.LinearOperator, spec: Specs | None = None) -> OperatorAsMatrix:
    """A ``scipy.sparse.linalg.LinearOperator`` that applies a linear operator to vectors of its entries.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    spec : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.

    Returns
    -------
    scipy.sparse.linalg.LinearOperator
        With ``op``, the operator with its domain; ``pairs``, whether complex numbers are (re, im) pairs; and the
        conversions ``to_vector`` and ``from_vector`` of inputs, ``to_data`` and ``from_data`` of results.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator or has integers, or if its domain is unknown.

    Warns
    -----
    UserWarning
        If the domain is in 64 bits and JAX is not.

    Notes
    -----
    Vectors hold entries in C order, those of pytrees leaf after leaf, in their common dtype, float32 at least. They are
    multiplied by

    * a real or complex matrix, where real arrays are mapped to real or complex ones;
    * a complex matrix, where complex arrays are mapped to complex ones;
    * a real matrix between (re, im) pairs, two neighbouring reals for a complex number, where no complex matrix does
      the same: for ``real_linear`` operators of complex arrays, and for real next to complex arrays.

    Several columns are one call, through ``vmap``. The operator is compiled once. 64 bits are used if they were
    switched on when this function was called.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> L = lo.interop.to_scipy(A, jnp.zeros(2))
    >>> print(L @ np.array([1.0, 1.0]))
    [3. 7.]
    """
    return OperatorAsMatrix(in_complex_numbers(_arguments.linear(op, spec, "to_scipy")))


class OperatorAsMatrix(scipy.sparse.linalg.LinearOperator):
    """What ``to_scipy`` returns.

    Attributes
    ----------
    op : LinearOperator
        The operator, with its domain.
    call : Vectorized
        What applies it to vectors.
    pairs : bool
        Whether complex numbers are (re, im) pairs.
    """

    def __init__(self, form: MatrixForm):
        super().__init__(np.dtype(form.dtype), form.shape)
        self.op, self.pairs = form.op, form.pairs
        self.call = Vectorized(form)

    def to_vector(self, x: Any) -> np.ndarray:
        """An input of the operator as a vector."""
        return np.array(self.call.form.domain.pack(jax.tree.map(jnp.asarray, x)))

    def from_vector(self, v: Any) -> Any:
        """A vector as an input of the operator: a solution, say."""
        return arrays(self.call.form.domain, v)

    def to_data(self, y: Any) -> np.ndarray:
        """A result of the operator as a vector: a right-hand side, say."""
        return np.array(self.call.form.codomain.pack(jax.tree.map(jnp.asarray, y)))

    def from_data(self, v: Any) -> Any:
        """A vector as a result of the operator."""
        return arrays(self.call.form.codomain, v)

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

    Parameters
    ----------
    L : scipy.sparse.linalg.LinearOperator, or sparse matrix or array of SciPy
        Of any shape (m, n).
    dtype : dtype, optional
        Of the domain; by default that of ``L``, in floating point.

    Returns
    -------
    LinearOperator
        From vectors of n numbers to vectors of m numbers, in the common dtype of ``L`` and the input.

    Raises
    ------
    TypeError
        If ``L`` is anything else.

    Notes
    -----
    A sparse matrix becomes a parameter: its entries can be differentiated. A LinearOperator is called as it is:
    ``matvec`` and ``rmatvec``, and ``matmat`` and ``rmatmat`` under ``vmap``. It is asked for ``rmatvec`` of zeros
    once; one that has none becomes an operator without an adjoint.

    What ``to_scipy`` made is taken apart again. SciPy's sums and products of such operators cannot come back, because
    JAX cannot be called from within its own programs.

    Examples
    --------
    >>> import scipy.sparse
    >>> A = lo.interop.from_scipy(scipy.sparse.diags_array(np.float32([1, 2, 3])))
    >>> print(A.H(jnp.ones(3)))
    [1. 2. 3.]
    """
    if isinstance(L, OperatorAsMatrix):
        return VectorOperator.of(L.call.form, dtype)
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


def _dtype(L: Any) -> Any:
    return np.dtype(float if L.dtype is None else L.dtype)


def _has_adjoint(L: Any) -> bool:
    """Whether ``rmatvec`` is there; only calling it tells."""
    try:
        L.rmatvec(np.zeros(L.shape[0], _dtype(L)))
    except NotImplementedError:
        return False
    except Exception:  # its own error is to be seen where it is used
        return True
    return True
