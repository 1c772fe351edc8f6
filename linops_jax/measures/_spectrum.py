"""Singular values and eigenvalues: condition_number, svds, eigsh.

Lengths are Euclidean, those of the arrays. An operator of real arrays that returns complex ones, or that is linear over
the reals only, is a map between real spaces: its singular values are those of the real matrix between (re, im) pairs.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._types import Arrays, Specs
from linops_jax._vectors import in_own_space
from linops_jax.measures import _arguments, _arpack
from linops_jax.measures._dense import dense_form
from linops_jax.measures._norm import is_small, norm

_DENSE_CONDITION = 2**20  # the smallest singular value is worth more


class SVD(NamedTuple):
    """Singular values and vectors: ``A(v[i]) = s[i] u[i]`` and ``A.H(u[i]) = s[i] v[i]``.

    Attributes
    ----------
    u : pytree of arrays
        Results of the operator, orthonormal, stacked along a new first axis.
    s : real array of shape (k,)
        Singular values, the largest first.
    v : pytree of arrays
        Inputs of the operator, stacked likewise, orthonormal. SciPy's ``vh`` holds their conjugates.
    """

    u: Arrays
    s: jax.Array
    v: Arrays


class Eigen(NamedTuple):
    """Eigenvalues and eigenvectors: ``A(v[i]) = w[i] v[i]``.

    Attributes
    ----------
    w : real array of shape (k,)
        Eigenvalues, in ascending order.
    v : pytree of arrays
        Inputs of the operator, orthonormal, stacked along a new first axis.
    """

    w: jax.Array
    v: Arrays


@renamed_arguments("lo.condition_number", "0.1", "0.2", A="op", spec="x")
def condition_number(op: LinearOperator, x: Specs | None = None) -> jax.Array:
    """The largest singular value of a linear operator over the smallest.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.

    Returns
    -------
    0-d real array
        Infinity for a singular operator, 1 where ``op`` is known to be unitary.

    Raises
    ------
    TypeError
        As ``lo.norm``; and for a large matrix under ``jit``, ``vmap`` and ``grad``.
    ValueError
        If the operator has no entries.
    scipy.sparse.linalg.ArpackNoConvergence
        If ARPACK does not converge.

    Notes
    -----
    A matrix of up to 2²⁰ entries is decomposed, which works under ``jit``. Of a larger one ARPACK finds the smallest
    singular value on Aᴴ A, through SciPy, and ``lo.norm`` the largest. This is slow where small singular values are
    close to each other, and blind to those below the square root of the machine precision times the largest.
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
    smallest = _arpack.svds(form, 1, "SM", 0.0, 0)[1][0]
    return norm(op) / smallest.astype(jnp.finfo(form.dtype).dtype)


@renamed_arguments("lo.svds", "0.1", "0.2", A="op", spec="x")
def svds(
    op: LinearOperator, k: int, x: Specs | None = None, *, which: str = "LM", tol: float = 0.0, seed: int = 0
) -> SVD:
    """The k largest singular values of a linear operator, and their vectors.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    k : int
        How many; at most as many as the smaller side of the matrix has entries.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    which : {"LM", "SM"}, optional
        The largest ones, by default, or the smallest.
    tol : float, optional
        Relative tolerance; 0, the machine precision, by default.
    seed : int, optional
        For the start of the iteration; 0 by default.

    Returns
    -------
    u : pytree of arrays
        In the structure and shapes of the codomain, with a new first axis of length k.
    s : real array of shape (k,)
        In descending order.
    v : pytree of arrays
        In the structure and shapes of the domain, with a new first axis of length k; ``A(v[i]) = s[i] u[i]``.

    Raises
    ------
    TypeError
        As ``lo.norm``; and under ``jit``, ``vmap`` and ``grad``.
    ValueError
        If ``k`` is impossible or ``which`` is another word.
    scipy.sparse.linalg.ArpackNoConvergence
        If ARPACK does not converge.

    Notes
    -----
    By ``scipy.sparse.linalg.svds``: ARPACK on Aᴴ A. A matrix of up to 65 536 entries is decomposed, and so is one of
    which all singular values are asked for.

    Examples
    --------
    >>> A = lo.Diagonal(jnp.array([1.0, -3.0, 2.0]))
    >>> u, s, v = lo.svds(A, 2, jnp.zeros(3))
    >>> print(s)
    [3. 2.]
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
        u, s, vh = _arpack.svds(form, k, which, tol, seed)
    return SVD(jax.vmap(form.codomain.unpack)(u.T), jnp.asarray(s), jax.vmap(form.domain.unpack)(vh.conj()))


@renamed_arguments("lo.eigsh", "0.1", "0.2", A="op", spec="x")
def eigsh(
    op: LinearOperator, k: int, x: Specs | None = None, *, which: str = "LM", tol: float = 0.0, seed: int = 0
) -> Eigen:
    """Eigenvalues and eigenvectors of a symmetric (Hermitian) operator.

    Parameters
    ----------
    op : LinearOperator
        An operator that is known to be symmetric, see ``A.properties``.
    k : int
        How many; at most as many as the domain has entries.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    which : {"LM", "SM", "LA", "SA"}, optional
        The largest in magnitude, by default, or the smallest; the algebraically largest or smallest.
    tol : float, optional
        Relative tolerance; 0, the machine precision, by default.
    seed : int, optional
        For the start of the iteration; 0 by default.

    Returns
    -------
    w : real array of shape (k,)
        In ascending order.
    v : pytree of arrays
        In the structure and shapes of the domain, with a new first axis of length k; ``A(v[i]) = w[i] v[i]``.

    Raises
    ------
    TypeError
        As ``lo.norm``; and under ``jit``, ``vmap`` and ``grad``.
    ValueError
        If ``op`` does not declare to be symmetric, ``k`` is impossible or ``which`` is another word.
    scipy.sparse.linalg.ArpackNoConvergence
        If ARPACK does not converge.

    Notes
    -----
    By ``scipy.sparse.linalg.eigsh``: ARPACK. A matrix of up to 65 536 entries is decomposed, and so is one of which all
    eigenvalues are asked for.

    Examples
    --------
    >>> A = lo.Diagonal(jnp.array([1.0, -3.0, 2.0]))
    >>> w, v = lo.eigsh(A, 2, jnp.zeros(3))
    >>> print(w)
    [-3.  2.]
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
        w, v = _arpack.eigsh(form, k, which, tol, seed)
        kept = np.argsort(w)
    return Eigen(jnp.asarray(w[kept]), jax.vmap(form.domain.unpack)(v[:, kept].T))


def _check(k: Any, most: int, which: str, known: tuple[str, ...], where: str) -> None:
    if isinstance(k, bool) or not isinstance(k, int | np.integer) or not 1 <= k <= most:
        message = f"{where}: k={k!r} is not possible; expected an integer from 1 to {most}."
        raise ValueError(message)
    if which not in known:
        message = f"{where}: which={which!r} is not known; expected one of {', '.join(map(repr, known))}."
        raise ValueError(message)
