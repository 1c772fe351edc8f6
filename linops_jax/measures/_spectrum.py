"""Singular values and eigenvalues: condition_number, svds, eigsh.

Lengths are Euclidean, those of the arrays. An operator of real arrays that returns complex ones, or that is linear over
the reals only, is a map between real spaces: its singular values are those of the real matrix between (re, im) pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._engine.compiled import compiled
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import MatrixForm, in_own_space
from linops_jax.measures import _arguments
from linops_jax.measures._dense import dense_form
from linops_jax.measures._norm import is_small, norm

_DENSE_CONDITION = 2**20  # the smallest singular value is worth more


class SVD(NamedTuple):
    """``A(v[i]) = s[i] u[i]`` and ``A.H(u[i]) = s[i] v[i]``.

    u: results of the operator, stacked along a new first axis; orthonormal
    s: singular values, real, the largest first
    v: inputs of the operator, stacked likewise; orthonormal (SciPy's ``vh`` holds their conjugates)
    """

    u: Any
    s: Any
    v: Any


class Eigen(NamedTuple):
    """``A(v[i]) = w[i] v[i]``.

    w: eigenvalues, real, in ascending order
    v: inputs of the operator, stacked along a new first axis; orthonormal
    """

    w: Any
    v: Any


@renamed_arguments("lo.condition_number", "0.1", "0.2", A="op", spec="x")
def condition_number(op: LinearOperator, x: Any = None) -> Any:
    """The largest singular value over the smallest, inf for a singular operator; a 0-d real array.

    Of a matrix of up to 2^20 entries by its singular value decomposition, which works under ``jit``. Of a larger one the
    two ends by ARPACK on A^H A, through SciPy: slow where small singular values are close to each other, and blind to
    those below the square root of the machine precision times the largest. 1 where A is known to be unitary.

    x: the domain, where A does not know it

    Raises as ``lo.norm``, ValueError for an operator without entries, and SciPy's ArpackNoConvergence.
    """
    op = _arguments.require_inexact(op, x, "lo.condition_number")
    form = in_own_space(op)
    rows, columns = form.shape
    if 0 in form.shape:
        message = f"lo.condition_number: {op!r} has a matrix of shape {form.shape}, without singular values."
        raise ValueError(message)
    if op.properties.unitary:
        return jnp.ones((), jnp.finfo(form.dtype).dtype)
    if rows * columns <= _DENSE_CONDITION:
        values = jnp.linalg.svd(dense_form(form), compute_uv=False)
        return values[0] / values[-1]
    _arguments.require_numbers(op, "lo.condition_number", "Of a matrix of up to 2^20 entries, it works under all.")
    smallest = _scipy_svds(form, 1, "SM", 0.0, 0)[1][0]
    return norm(op) / smallest.astype(jnp.finfo(form.dtype).dtype)


@renamed_arguments("lo.svds", "0.1", "0.2", A="op", spec="x")
def svds(op: LinearOperator, k: int, x: Any = None, *, which: str = "LM", tol: float = 0.0, seed: int = 0) -> SVD:
    """The k largest singular values and their vectors, as ``(u, s, v)``.

    By ``scipy.sparse.linalg.svds`` (ARPACK on A^H A); from the matrix where that has up to 65536 entries or where all its
    singular values are asked for. Computed on numbers: TypeError under ``jit``, ``vmap`` and ``grad``.

    x: the domain (a pytree of arrays or jax.ShapeDtypeStruct), where A does not know it
    which: "LM", or "SM" for the smallest ones
    tol: relative tolerance, 0 for machine precision
    seed: of the random start

    Returns ``s`` of shape (k,) in descending order, ``v`` in the structure and shapes of the domain and ``u`` in those of
    the codomain, with a first axis of length k: ``A(v[i]) = s[i] u[i]``. Raises as ``lo.norm``; ValueError for an
    impossible k or another ``which``; SciPy's ArpackNoConvergence.
    """
    op = _arguments.require_inexact(op, x, "lo.svds")
    _arguments.require_numbers(
        op, "lo.svds", "lo.norm(A), and jnp.linalg.svd(lo.todense(A)) of a small A, work under all."
    )
    form = in_own_space(op)
    _check(k, min(form.shape), which, ("LM", "SM"), "lo.svds")
    if is_small(form) or k >= min(form.shape) - 1:  # more than ARPACK finds
        u, s, vh = np.linalg.svd(np.asarray(dense_form(form)), full_matrices=False)
        order = slice(None, k) if which == "LM" else slice(-k, None)
        u, s, vh = u[:, order], s[order], vh[order]
    else:
        u, s, vh = _scipy_svds(form, k, which, tol, seed)
    return SVD(jax.vmap(form.codomain.unpack)(u.T), jnp.asarray(s), jax.vmap(form.domain.unpack)(vh.conj()))


@renamed_arguments("lo.eigsh", "0.1", "0.2", A="op", spec="x")
def eigsh(op: LinearOperator, k: int, x: Any = None, *, which: str = "LM", tol: float = 0.0, seed: int = 0) -> Eigen:
    """k eigenvalues and eigenvectors of a symmetric (Hermitian) operator, as ``(w, v)``.

    By ``scipy.sparse.linalg.eigsh`` (ARPACK); from the matrix where that has up to 65536 entries or where all its
    eigenvalues are asked for. A must be known to be symmetric, see ``A.properties``. Computed on numbers: TypeError under
    ``jit``, ``vmap`` and ``grad``.

    x: the domain (a pytree of arrays or jax.ShapeDtypeStruct), where A does not know it
    which: those largest ("LM") or smallest ("SM") in magnitude, or the algebraically largest ("LA") or smallest ("SA")
    tol: relative tolerance, 0 for machine precision
    seed: of the random start

    Returns ``w`` of shape (k,) in ascending order, and ``v`` in the structure and shapes of the domain with a first axis
    of length k. Raises as ``lo.norm``; ValueError for an operator that does not declare to be symmetric, for an
    impossible k and for another ``which``; SciPy's ArpackNoConvergence.
    """
    A = _arguments.require_inexact(op, x, "lo.eigsh")
    if not A.properties.symmetric:
        message = (
            f"lo.eigsh needs a symmetric operator, and {A!r} does not say that it is one. Declare it, with "
            f"class {type(op)._label}(lo.LinearOperator, symmetric=True) or lo.declare(A, symmetric=True); of other operators "
            "lo.svds gives the singular values."
        )
        raise ValueError(message)
    _arguments.require_numbers(
        A, "lo.eigsh", "lo.norm(A), and jnp.linalg.eigh(lo.todense(A)) of a small A, work under all."
    )
    form = in_own_space(A)
    _check(k, form.shape[1], which, ("LM", "SM", "LA", "SA"), "lo.eigsh")
    if is_small(form) or k >= form.shape[1] - 1:
        w, v = np.linalg.eigh(np.asarray(dense_form(form)))
        wanted_first = {"LM": -abs(w), "SM": abs(w), "LA": -w, "SA": w}[which]
        kept = np.sort(np.argsort(wanted_first)[:k])
    else:
        w, v = _scipy_eigsh(form, k, which, tol, seed)
        kept = np.argsort(w)
    return Eigen(jnp.asarray(w[kept]), jax.vmap(form.domain.unpack)(v[:, kept].T))


def _check(k: Any, most: int, which: str, known: tuple[str, ...], where: str) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= most:
        message = f"{where}: k={k!r} is not possible; expected an integer from 1 to {most}."
        raise ValueError(message)
    if which not in known:
        message = f"{where}: which={which!r} is not known; expected one of {', '.join(map(repr, known))}."
        raise ValueError(message)


def _scipy_svds(form: MatrixForm, k: int, which: str, tol: float, seed: int) -> tuple[Any, Any, Any]:
    import scipy.sparse.linalg

    compute: Any = scipy.sparse.linalg.svds  # its annotations are narrower than what it takes
    start = _start(min(form.shape), form, seed)
    u, s, vh = compute(_as_scipy(form), k, which=which, tol=tol, v0=start)
    order = np.argsort(-s)
    return u[:, order], s[order], vh[order]


def _scipy_eigsh(form: MatrixForm, k: int, which: str, tol: float, seed: int) -> tuple[Any, Any]:
    import scipy.sparse.linalg

    compute: Any = scipy.sparse.linalg.eigsh
    return compute(_as_scipy(form), k, which=which, tol=tol, v0=_start(form.shape[1], form, seed))


def _start(size: int, form: MatrixForm, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(size).astype(form.dtype)


def _as_scipy(form: MatrixForm) -> Any:
    import scipy.sparse.linalg

    make: Any = scipy.sparse.linalg.LinearOperator

    def function(name: str) -> Any:
        return lambda v: np.asarray(_product(form, name, np.asarray(v).ravel().astype(form.dtype)))

    return make(form.shape, function("forward"), function("reverse"), dtype=np.dtype(form.dtype))


@compiled
def _product(form: MatrixForm, name: str, v: jax.Array) -> jax.Array:
    return getattr(form, name)(v).astype(form.dtype)
