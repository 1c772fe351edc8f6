"""Operators as matrices: todense, tosparse, diagonal."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._engine.compiled import compiled
from linops_jax._model import shapes
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._types import Arrays, Specs
from linops_jax._vectors import MatrixForm, Packing
from linops_jax.measures import _arguments

_BATCH_BYTES = 2**26  # what the inputs and outputs of one batch of probes may take


@renamed_arguments("lo.todense", "0.1", "0.2", A="op", spec="x")
def todense(op: LinearOperator, x: Specs | None = None, *, real: bool = False) -> jax.Array:
    """The matrix of a linear operator.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    real : bool, optional
        Whether to give the real matrix between (re, im) pairs, which every operator has: a complex number takes two
        neighbouring rows or columns. False by default.

    Returns
    -------
    jax.Array
        Of shape (size of the codomain, size of the domain), in the common dtype of the codomain. Rows and columns are
        entries in C order, those of pytrees leaf after leaf: ``todense(A) @ x.ravel()`` is ``A(x).ravel()``.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator, or its domain is unknown.
    ValueError
        If ``op`` is linear over the reals only, between complex arrays, and ``real`` is False.

    Notes
    -----
    It takes one product for each column, in batches. It works under ``jit``, ``vmap`` and ``grad``.

    Examples
    --------
    >>> A = lo.Diagonal(jnp.array([1.0, 2.0])) @ lo.Matrix([[0.0, 1.0], [1.0, 0.0]])
    >>> print(lo.todense(A, jnp.zeros(2)))
    [[0. 1.]
     [2. 0.]]
    """
    op = _arguments.require_linear(op, x, "lo.todense")
    _arguments.refuse_coupled(op, "lo.todense")
    if not real:
        _arguments.require_matrix(op, "lo.todense", "Ask for the real one between (re, im) pairs with real=True.")
    form = MatrixForm(op, real)
    rows, columns = form.shape
    if rows == 0 or columns == 0:
        return jnp.zeros((rows, columns), Packing(op.codomain, real).dtype)
    return _columns(form, jnp.arange(columns), _batch(form)).T


@renamed_arguments("lo.tosparse", "0.1", "0.2", A="op", spec="x")
def tosparse(op: LinearOperator, x: Specs | None = None, *, format: str = "csr", real: bool = False) -> Any:
    """The matrix of a linear operator as a sparse array of SciPy, without its exact zeros.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    format : str, optional
        SciPy's name of the format: ``"csr"`` by default, ``"csc"``, ``"coo"`` and so on.
    real : bool, optional
        Whether to give the real matrix between (re, im) pairs.

    Returns
    -------
    scipy.sparse.sparray
        The entries that are not zero, of shape (size of the codomain, size of the domain).

    Raises
    ------
    TypeError, ValueError
        As ``lo.todense``; and TypeError under ``jit``, ``vmap`` and ``grad``.

    Notes
    -----
    It takes memory for the entries that are not zero and for one batch of columns.
    """
    import scipy.sparse

    op = _arguments.require_linear(op, x, "lo.tosparse")
    _arguments.refuse_coupled(op, "lo.tosparse")
    if not real:
        _arguments.require_matrix(op, "lo.tosparse", "Ask for the real one between (re, im) pairs with real=True.")
    _arguments.require_numbers(op, "lo.tosparse", "lo.todense(A) works under all.")
    form = MatrixForm(op, real)
    dtype = np.dtype(Packing(op.codomain, real).dtype)
    entries: list[Any] = [(np.zeros(0, int), np.zeros(0, int), np.zeros(0, dtype))]
    step = _batch(form)
    for start in range(0, form.shape[1] if form.shape[0] else 0, step):
        block = np.asarray(_columns(form, start + jnp.arange(step), step))
        column, row = np.nonzero(block)
        entries.append((row, start + column, block[column, row]))
    row, column, values = map(np.concatenate, zip(*entries, strict=True))
    return scipy.sparse.coo_array((values, (row, column)), shape=form.shape).asformat(format)


@renamed_arguments("lo.diagonal", "0.1", "0.2", A="op", spec="x")
def diagonal(op: LinearOperator, x: Specs | None = None) -> Arrays:
    """The diagonal of the matrix of a linear operator.

    Parameters
    ----------
    op : LinearOperator
        An operator from a space to itself.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.

    Returns
    -------
    pytree of arrays
        In the structure, shapes and dtypes of the results of ``op``.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator, or its domain is unknown.
    ValueError
        If domain and codomain differ, or if ``op`` is linear over the reals only, between complex arrays.

    Notes
    -----
    It takes one product where ``A.properties.diagonal`` is known, and otherwise one for each entry, in batches. It
    works under ``jit``, ``vmap`` and ``grad``.
    """
    op = square(op, x, "lo.diagonal")
    if op.properties.diagonal:
        return op(jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), op.domain))
    return Packing(op.codomain).unpack(_diagonal(op))


def dense_form(form: MatrixForm) -> jax.Array:
    """The matrix between the vectors of a form."""
    return todense(form.op, real=form.pairs).astype(form.dtype)


def square(A: Any, spec: Any, where: str) -> LinearOperator:
    """The operator with its domain, where it has a matrix with a diagonal."""
    op = _arguments.require_linear(A, spec, where)
    _arguments.refuse_coupled(op, where)
    _arguments.require_matrix(op, where, "lo.todense(A, real=True) gives the real one between (re, im) pairs.")
    if difference := shapes.shape_difference(op.codomain, op.domain):
        message = f"{where}: {op!r} has no diagonal, its result does not have the shape of its input: {difference}."
        raise ValueError(message)
    return op


def _batch(form: MatrixForm) -> int:
    """How many columns at once."""
    rows, columns = form.shape
    return max(1, min(columns, _BATCH_BYTES // (16 * max(rows + columns, 1))))


@compiled
def _columns(form: MatrixForm, indices: jax.Array, batch: int) -> jax.Array:
    """Columns of the matrix, as rows."""
    packing = Packing(form.op.codomain, form.pairs)

    def column(index: Any) -> jax.Array:
        return packing.pack(form.op(form.domain.unit(index)))

    return jax.lax.map(column, indices, batch_size=batch)


@compiled
def _diagonal(op: LinearOperator) -> jax.Array:
    form, packing = MatrixForm(op), Packing(op.codomain)

    def entry(index: Any) -> jax.Array:
        return packing.pack(op(form.domain.unit(index)))[index]

    if form.shape[0] == 0:
        return jnp.zeros(0, packing.dtype)
    return jax.lax.map(entry, jnp.arange(form.shape[0]), batch_size=_batch(form))
