"""Operators as matrices: todense, tosparse, diagonal, trace."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._engine.compiled import compiled
from linops_jax._model import shapes
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import MatrixForm, Packing
from linops_jax.measures import _arguments

_BATCH_BYTES = 2**26  # what the inputs and outputs of one batch of probes may take


@renamed_arguments("lo.todense", "0.1", "0.2", A="op", spec="x")
def todense(op: LinearOperator, x: Any = None, *, real: bool = False) -> jax.Array:
    """The matrix of an operator, of shape (size of the codomain, size of the domain).

    Rows and columns are entries in C order, those of pytrees leaf after leaf, in the common dtype of the codomain:
    ``todense(A) @ x.ravel() == A(x).ravel()``. It takes one product for each column, in batches; works under ``jit``,
    ``vmap`` and ``grad``.

    x: the domain (a pytree of arrays or jax.ShapeDtypeStruct), where A does not know it
    real: the real matrix between (re, im) pairs, which every operator has: two neighbouring rows or columns for a complex
    number

    Raises TypeError for what is not a linear operator and for an unknown domain; ValueError for an operator of complex
    arrays that is linear over the reals only, unless ``real=True``.
    """
    op = _arguments.require_linear(op, x, "lo.todense")
    if not real:
        _arguments.require_matrix(op, "lo.todense", "Ask for the real one between (re, im) pairs with real=True.")
    form = MatrixForm(op, real)
    rows, columns = form.shape
    if rows == 0 or columns == 0:
        return jnp.zeros((rows, columns), Packing(op.codomain, real).dtype)
    return _columns(form, jnp.arange(columns), _batch(form)).T


@renamed_arguments("lo.tosparse", "0.1", "0.2", A="op", spec="x")
def tosparse(op: LinearOperator, x: Any = None, *, format: str = "csr", real: bool = False) -> Any:
    """The matrix of an operator as a ``scipy.sparse`` array, without its exact zeros.

    As ``todense``, with memory for the entries that are not zero and one batch of columns only; not under ``jit``.

    format: "csr", "csc", "coo", ..., as SciPy names them
    """
    import scipy.sparse

    op = _arguments.require_linear(op, x, "lo.tosparse")
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
def diagonal(op: LinearOperator, x: Any = None) -> Any:
    """The diagonal of the matrix of an operator, as arrays like its results.

    One product where ``A.properties.diagonal`` is known; otherwise one for each entry, in batches. Works under ``jit``,
    ``vmap`` and ``grad``.

    x: the domain, where A does not know it

    Raises TypeError for what is not a linear operator and for an unknown domain; ValueError where domain and codomain
    differ, and for an operator of complex arrays that is linear over the reals only.
    """
    op = _square(op, x, "lo.diagonal")
    if op.properties.diagonal:
        return op(jax.tree.map(lambda leaf: jnp.ones(leaf.shape, leaf.dtype), op.domain))
    return Packing(op.codomain).unpack(_diagonal(op))


@renamed_arguments("lo.trace", "0.1", "0.2", A="op", spec="x")
def trace(
    op: LinearOperator, x: Any = None, *, samples: int | None = None, seed: Any = 0, return_error: bool = False
) -> Any:
    """The trace of an operator: exact by default, estimated where ``samples`` are given.

    Exact: the sum of ``lo.diagonal(A)``; as many products as entries, unless A is known to be diagonal. Estimated: the
    XTrace algorithm (Epperly, Tropp, Webber 2024) of matfree, with 2 ``samples`` products and memory for as many inputs.
    Its error falls like 1 / samples or faster where few eigenvalues dominate, and like 1 / sqrt(samples) otherwise;
    from half the number of entries on it is exact.

    x: the domain, where A does not know it
    samples: how many random vectors; at most as many as the domain has entries
    seed: an integer or a key of jax.random, for the random vectors
    return_error: also return the standard error of the estimate, 0 where it is exact

    Returns a 0-d array, or two. Raises what ``lo.diagonal`` raises; ImportError for an estimate without matfree;
    ValueError for an impossible number of samples.
    """
    op = _square(op, x, "lo.trace")
    packing = Packing(op.codomain)
    dtype = packing.dtype
    if samples is None:
        exact = jnp.sum(packing.pack(diagonal(op)))
        return (
            (exact, jnp.zeros((), jnp.finfo(dtype).dtype if shapes.is_inexact(dtype) else dtype))
            if return_error
            else exact
        )
    _arguments.require_inexact(op, None, "lo.trace")
    size = Packing(op.domain).size
    if not 1 <= samples <= size:
        message = f"lo.trace: samples={samples} is not possible for a domain of {size} entries; expected 1 to {size}, or None."
        raise ValueError(message)
    if shapes.has_complex(op.domain) and not shapes.all_complex(op.domain):
        message = (
            f"lo.trace: samples={samples} needs a domain that is all real or all complex, found "
            f"{shapes.describe_tree(op.domain)}. Leave samples out for the exact trace."
        )
        raise ValueError(message)
    mean, error = _estimate(op, samples, _arguments.key(seed))
    return (mean, error) if return_error else mean


def dense_form(form: MatrixForm) -> jax.Array:
    """The matrix between the vectors of a form."""
    return todense(form.op, real=form.pairs).astype(form.dtype)


def _square(A: Any, spec: Any, where: str) -> LinearOperator:
    op = _arguments.require_linear(A, spec, where)
    _arguments.require_matrix(op, where, "lo.todense(A, real=True) gives the real one between (re, im) pairs.")
    if difference := shapes.mismatch(op.codomain, op.domain):
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


@compiled
def _estimate(op: LinearOperator, samples: int, key: Any) -> Any:
    stochtrace = _matfree()
    form = MatrixForm(op)

    def product(v: Any) -> jax.Array:
        return form.forward(v).astype(form.dtype)

    sampler = stochtrace.sampler_normal(jnp.zeros(form.shape[1], form.dtype), num=samples)
    estimator = stochtrace.estimator_leave_one_out_mean_and_sem(stochtrace.leave_one_out_xtrace(), sampler)
    with jax.numpy_rank_promotion("allow"):  # whatever the user asks of their own code
        return estimator(product, key)


def _matfree() -> Any:
    try:
        from matfree import stochtrace
    except ModuleNotFoundError as error:
        message = 'lo.trace(A, samples=...) needs matfree, which is not installed: pip install "linops-jax[interop]"'
        raise ImportError(message, name=error.name) from error
    return stochtrace
