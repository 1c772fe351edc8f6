"""Conjugate gradients on pytrees, for functions that apply an operator and its adjoint."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Apply = Callable[[Any], Any]


def dot(a: Any, b: Any) -> jax.Array:
    """Re <a, b> over all arrays of two pytrees: right for operators that are linear over the reals only as well."""
    products = [jnp.real(jnp.vdot(u, v)) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return jnp.sum(jnp.stack([jnp.asarray(p, jnp.result_type(*products)) for p in products]))


def norm(a: Any) -> jax.Array:
    return jnp.sqrt(dot(a, a))


def add(a: Any, scalar: Any, b: Any) -> Any:
    """a + scalar b, in the dtypes of a."""
    return jax.tree.map(lambda u, v: u + jnp.asarray(scalar, jnp.finfo(u.dtype).dtype) * v.astype(u.dtype), a, b)


def cg(apply: Apply, y: Any, precondition: Apply, rtol: Any, atol: Any, max_steps: int) -> tuple[Any, Any, Any]:
    """x of A x = y for a positive A, the number of steps, and whether |r| <= rtol |y| + atol; r = y - A x."""
    limit = rtol * norm(y) + atol
    z = precondition(y)
    gamma = dot(y, z)

    def proceed(carry: Any) -> Any:
        _, r, _, gamma, step, sound = carry
        return (norm(r) > limit) & (gamma > 0) & (step < max_steps) & sound

    def body(carry: Any) -> Any:
        x, r, p, gamma, step, _ = carry
        q = apply(p)
        curvature = dot(p, q)
        sound = curvature > 0  # otherwise A is not positive
        alpha = jnp.where(sound, gamma / jnp.where(sound, curvature, 1), 0)
        x, r = add(x, alpha, p), add(r, -alpha, q)
        z = precondition(r)
        new = dot(r, z)
        return x, r, add(z, new / gamma, p), new, step + 1, sound

    start = (jax.tree.map(jnp.zeros_like, z), y, z, gamma, _none(gamma), gamma == gamma)
    x, r, *_, steps, _ = jax.lax.while_loop(proceed, body, start)
    return x, steps, norm(r) <= limit


def cgls(apply: Apply, adjoint: Apply, y: Any, rtol: Any, atol: Any, max_steps: int) -> tuple[Any, Any, Any]:
    """The smallest x that minimises |A x - y|, the number of steps, and whether |s| <= rtol |A^H y| + atol.

    s = A^H (y - A x) is the gradient. Hestenes and Stiefel (1952): A and A^H once each a step.
    """
    s = adjoint(y)
    gamma = dot(s, s)
    limit = rtol * jnp.sqrt(gamma) + atol
    floor = 4 * jnp.finfo(gamma.dtype).eps

    def reached(gamma: Any, size: Any, rr: Any) -> Any:
        """Also where the gradient is nothing but rounding, given the size of A."""
        return jnp.sqrt(gamma) <= jnp.maximum(limit, floor * size * jnp.sqrt(rr))

    def proceed(carry: Any) -> Any:
        *_, gamma, size, rr, _, step = carry
        return ~reached(gamma, size, rr) & jnp.isfinite(gamma) & (step < max_steps)

    def body(carry: Any) -> Any:
        x, r, p, gamma, size, rr, pp, step = carry
        q = apply(p)
        delta = dot(q, q)
        alpha = jnp.where(delta > 0, gamma / jnp.where(delta > 0, delta, 1), 0)
        x, r = add(x, alpha, p), add(r, -alpha, q)
        s = adjoint(r)
        new = dot(s, s)
        beta = new / gamma
        size = jnp.maximum(size, jnp.sqrt(delta / pp))
        # |r|² and |p|² without another pass: q is orthogonal to the new r, p to the new s
        rr, pp = jnp.maximum(rr - alpha * gamma, 0), new + beta**2 * pp
        return x, r, add(s, beta, p), new, size, rr, pp, step + 1

    x = jax.tree.map(jnp.zeros_like, s)
    start = (x, y, s, gamma, jnp.zeros_like(gamma), dot(y, y), gamma, _none(gamma))
    x, _, _, gamma, size, rr, _, steps = jax.lax.while_loop(proceed, body, start)
    return x, steps, reached(gamma, size, rr)


def _none(like: Any) -> Any:
    """No steps yet; in shard_map, a number of each device, as the result will be."""
    return jnp.int32(0) * (like > 0)
