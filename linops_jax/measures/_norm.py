"""The norm of an operator: its largest singular value."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from linops_jax._linear import LinearOperator
from linops_jax._primitives import as_raised
from linops_jax.measures import _vectors
from linops_jax.measures._dense import dense_form

_DENSE = 2**16  # entries of a matrix up to which it is computed, instead of products with it


def norm(A: LinearOperator, spec: Any = None, *, rtol: float = 1e-4, maxiter: int = 1000, seed: Any = 0) -> jax.Array:
    """The largest singular value, max ‖A x‖ / ‖x‖; a 0-d real array, never more than the true one but for rounding.

    From the matrix where that has up to 65536 entries; otherwise by JAX's LOBPCG on A^H A, never on A, until the residual
    ‖A^H A v - s^2 v‖ is at most ``rtol`` s^2. The relative error is then at most about ``rtol`` / 2, and of the order of
    its square where the largest singular value stands alone. In single precision ``rtol`` is 1.2e-5 at least. Each
    iteration takes 4 products with A and A^H. Works under ``jit``, ``vmap`` and ``grad``: the derivative is that of
    ‖A v‖ at the singular vector v.

    spec: the domain (a pytree of arrays or jax.ShapeDtypeStruct), where A does not know it
    maxiter: after so many iterations it gives up, with a RuntimeWarning outside of ``jit``
    seed: an integer or a key of jax.random, for the start

    Raises TypeError for what is not a linear operator, for an unknown domain and for integers.
    """
    op = _vectors.require_inexact(A, spec, "lo.norm")
    form = _vectors.in_own_space(op)
    if 0 in form.shape:
        return jnp.zeros((), jnp.finfo(form.dtype).dtype)
    if is_small(form):
        return jnp.linalg.norm(dense_form(form), 2)
    rtol = max(rtol, 100 * float(jnp.finfo(form.dtype).eps))
    # LOBPCG works on real matrices: complex vectors are pairs, and each singular value is there twice.
    form = _vectors.VectorForm(op, True)
    start = jax.random.normal(_vectors.key(seed), form.shape[1:], form.dtype)
    value, count = _largest(form, rtol, maxiter, start)
    if not isinstance(count, jax.core.Tracer) and count >= maxiter:
        message = (
            f"lo.norm: {maxiter} iterations did not reach rtol={rtol:.1e} for {op!r}; the norm is at least {value:.6g}. "
            "Raise maxiter or rtol."
        )
        warnings.warn(message, RuntimeWarning, stacklevel=2)
    return value


def is_small(form: _vectors.VectorForm) -> bool:
    rows, columns = form.shape
    return rows * columns <= _DENSE or columns <= 5  # the fewest that LOBPCG takes are 6


@as_raised
@functools.partial(jax.jit, static_argnums=2)
def _largest(form: _vectors.VectorForm, rtol: Any, maxiter: int, start: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The largest singular value and the number of iterations."""
    from jax.experimental.sparse.linalg import lobpcg_standard

    fixed = jax.lax.stop_gradient(form)
    image = jnp.max(jnp.abs(fixed.forward(start)))
    scale = jnp.where(image == 0, 1, image)  # the squares of very large or small numbers do not exist

    def gram(vectors: jax.Array) -> jax.Array:
        product = jax.vmap(lambda v: fixed.reverse(fixed.forward(v) / scale) / scale, 1, 1)(vectors)
        return jnp.where(image == 0, vectors, product)  # no residual is small enough for the zero operator

    tolerance = rtol / (20 * start.size)  # of 10 n (s^2 + ‖A^H A v‖): see LOBPCG
    _, vectors, count = lobpcg_standard(gram, start[:, None], maxiter, tolerance)
    v = jax.lax.stop_gradient(vectors[:, 0])
    return scale * jnp.linalg.norm(form.forward(v) / scale), count
