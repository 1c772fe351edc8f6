"""The norm of an operator: its largest singular value."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine.compiled import compiled
from linops_jax._model.renamed import renamed_arguments
from linops_jax._operators.linear import LinearOperator
from linops_jax._types import Seed, Specs
from linops_jax._vectors import (
    Axes,
    MatrixForm,
    add,
    coupled_axes,
    exponent,
    in_own_space,
    refuse_shared,
    shift,
    spread_domain,
    times,
)
from linops_jax._vectors import dot as _dot
from linops_jax._vectors import norm as length
from linops_jax.measures import _arguments
from linops_jax.measures._dense import dense_form

_DENSE = 2**16  # entries of a matrix up to which it is computed, instead of products with it


@renamed_arguments("lo.norm", "0.1", "0.2", A="op", spec="x")
def norm(
    op: LinearOperator, x: Specs | None = None, *, rtol: float = 1e-4, maxiter: int = 1000, seed: Seed = 0
) -> jax.Array:
    """The norm of a linear operator: its largest singular value, max ‖A x‖ / ‖x‖.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.
    rtol : float, optional
        Where the matrix is large: iterate until the residual ‖Aᴴ A v - s² v‖ is at most rtol s²; 1e-4 by default. In
        single precision it is 1.2e-5 at least, in half precision 4 roundings.
    maxiter : int, optional
        The most iterations; 1000 by default.
    seed : int or jax.random key, optional
        For the start of the iteration; 0 by default.

    Returns
    -------
    0-d real array
        Never larger than the true norm, but for rounding.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator or has integers, or if its domain is unknown.

    Warns
    -----
    RuntimeWarning
        If ``maxiter`` iterations did not reach ``rtol``; not under ``jit``.

    Notes
    -----
    A matrix of up to 65 536 entries is decomposed. A larger one is left alone: LOBPCG (Knyazev, 2001) on Aᴴ A takes two
    products with A and two with Aᴴ in each iteration, and arrays on meshes stay where they are. The relative error is
    then at most about rtol / 2, and of the order of its square where the largest singular value stands alone.

    In ``jax.shard_map``, it is the norm of the operator on the part of each device; of one that communicates between devices, as
    ``lo.Halo`` does, the norm of the whole.

    It works under ``jit``, ``vmap`` and ``grad``: the derivative is that of ‖A v‖ at the singular vector v.

    References
    ----------
    * Knyazev, A. V. (2001). Toward the optimal preconditioned eigensolver: Locally optimal block preconditioned
      conjugate gradient method. SIAM J. Sci. Comput. 23, 517-541.

    Examples
    --------
    >>> A = lo.Diagonal(jnp.array([1.0, -3.0]))
    >>> print(lo.norm(A, jnp.zeros(2)))
    3.0
    """
    op = _arguments.require_inexact(op, x, "lo.norm")
    form = in_own_space(op)
    if 0 in form.shape:
        return jnp.zeros((), jnp.finfo(form.dtype).dtype)
    axes = coupled_axes([op], "lo.norm")
    if axes:
        refuse_shared(op, None, axes, "lo.norm")
    if is_small(form) and not axes:
        return _of_matrix(form)
    eps = [float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves((op.domain, op.codomain))]
    rtol = max(rtol, 100 * float(jnp.finfo(form.dtype).eps), 4 * max(eps))
    value, count = _largest(op, jnp.asarray(rtol, form.dtype), maxiter, _arguments.key(seed), axes)
    if not isinstance(count, jax.core.Tracer) and count >= maxiter:
        message = (
            f"lo.norm: {maxiter} iterations did not reach rtol={rtol:.1e} for {op!r}; the norm is at least {value:.6g}. "
            "Raise maxiter or rtol."
        )
        warnings.warn(message, RuntimeWarning, stacklevel=3)
    return value


def is_small(form: MatrixForm) -> bool:
    """Whether the matrix is computed, in place of products with it."""
    rows, columns = form.shape
    return rows * columns <= _DENSE


@compiled
def _of_matrix(form: MatrixForm) -> jax.Array:
    return jnp.linalg.norm(dense_form(form), 2)


@compiled
def _largest(op: LinearOperator, rtol: Any, maxiter: int, key: Any, axes: Axes) -> tuple[jax.Array, jax.Array]:
    """The largest singular value and the number of iterations."""
    fixed = jax.lax.stop_gradient(op)
    start = _random(key, spread_domain(fixed, axes), axes)
    own = _compat.all_axes((fixed, start)) - set(axes)
    start = jax.tree.map(lambda leaf: _compat.vary(leaf, own), start)
    of_A = exponent(fixed(start), axes)
    raised, lowered = jnp.maximum(-of_A, 0), jnp.maximum(of_A, 0)  # no digit of a small entry is lost either way

    def gram(v: Any) -> Any:
        image = shift(fixed(shift(v, raised)), -lowered)
        return jax.tree.map(_compat.placed, shift(fixed.H(shift(image, raised)), -lowered), v)

    v, count = _largest_eigenvector(gram, start, rtol, maxiter, functools.partial(_dot, axes=axes))
    return length(op(jax.lax.stop_gradient(v)), axes), count


def _random(key: Any, domain: Any, axes: Axes) -> Any:
    """Normal numbers in the structure, shapes and dtypes of the domain.

    Each device draws its own part along the axes: parts that are equal would all be orthogonal to some vectors.
    """
    leaves, tree = jax.tree.flatten(domain)

    def draw(key: Any, leaf: Any) -> Any:
        for axis in set(axes) & _compat.varying_axes(leaf):
            key = jax.random.fold_in(key, jax.lax.axis_index(axis))
        wide = jax.random.normal(key, leaf.shape, jnp.result_type(leaf.dtype, jnp.float32))
        return _compat.placed(wide.astype(leaf.dtype), leaf)

    return jax.tree.unflatten(tree, map(draw, jax.random.split(key, len(leaves)), leaves))


def _largest_eigenvector(gram: Any, start: Any, rtol: Any, maxiter: int, dot: Any) -> tuple[Any, jax.Array]:
    """The eigenvector of length one of a positive operator S, and the number of iterations.

    By LOBPCG with one vector, over the reals. The next x is the best in the space of x, the residual w and the last
    direction p, three orthonormal vectors. With each vector v goes S v: sums of such pairs are pairs.
    """
    unit = functools.partial(_unit, dot=dot)
    without = functools.partial(_without, dot=dot)

    def proceed(carry: Any) -> Any:
        _, value, residual, _, step = carry
        return (jnp.sqrt(dot(residual, residual)) > rtol * value) & (step < maxiter)

    def body(carry: Any) -> Any:
        x, _, residual, p, step = carry
        (w,) = unit(without((residual,), x[:1]))
        w = w, gram(w)
        for _ in range(2):  # once is not orthogonal, for what is small
            p = unit(without(without(p, x), w))
        small = jnp.stack([jnp.stack([dot(u[0], v[1]) for v in (x, w, p)]) for u in (x, w, p)])
        a, b, c = jnp.linalg.eigh((small + small.T) / 2)[1][:, -1]
        p = add(times(b, w), c, p)
        return (*evaluated(add(times(a, x[0]), 1, p[0])), p, step + 1)

    def evaluated(x: Any) -> Any:
        (x,) = unit((x,))
        image = gram(x)  # anew: sums would sum up rounding
        value = dot(x, image)
        return (x, image), value, add(image, -value, x)

    x, value, residual = evaluated(start)
    nowhere = jax.tree.map(jnp.zeros_like, x)
    count = jnp.int32(0) * (value > 0)  # in shard_map, a number of each device
    (x, _), *_, count = jax.lax.while_loop(proceed, body, (x, value, residual, nowhere, count))
    return x, count


def _without(pair: Any, unit: Any, dot: Any) -> Any:
    """The pair, less its part along the vector of another one, which has length one."""
    return add(pair, -dot(unit[0], pair[0]), unit)


def _unit(pair: Any, dot: Any) -> Any:
    """The pair for a vector of length one, or zeros."""
    size = jnp.sqrt(dot(pair[0], pair[0]))
    return times(jnp.where(size > 0, 1 / jnp.where(size > 0, size, 1), 0), pair)
