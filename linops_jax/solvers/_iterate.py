"""Conjugate gradients on pytrees, for functions that apply an operator and its adjoint.

Every vector is the size of one, times a power of two that is kept beside it: units neither overflow nor vanish, and the
numbers are the same in all of them.

``axes`` names the axes of a mesh over which the vectors are spread, as in ``_vectors``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._vectors import Axes, add, shift
from linops_jax.solvers._watch import SILENT, Watch

Apply = Callable[[Any], Any]


def ratio(a: Any, b: Any) -> jax.Array:
    """a / b, and 0 where b is 0."""
    return jnp.where(b == 0, 0, a / jnp.where(b == 0, 1, b))


def cg(
    apply: Apply,
    y: Any,
    precondition: Apply,
    rtol: Any,
    atol: Any,
    max_steps: Any,
    watch: Watch = SILENT,
    axes: Axes = (),
) -> tuple[Any, dict[str, Any]]:
    """Conjugate gradients: x of A x = y for a positive A. Converged where |r| <= rtol |y| + atol, with r = y - A x."""
    dot, exponent, restored = _over(axes, _vectors.dot, _vectors.exponent, _vectors.restored)
    of_y = exponent(y)
    r = shift(y, -of_y)
    z = precondition(r)
    of_z = exponent(z)
    z = shift(z, -of_z)
    of_A = exponent(apply(z))  # A z is the size of A, or less
    gamma = dot(r, z)
    rr = dot(r, r)
    limit = rtol * jnp.sqrt(rr) + shift(jnp.asarray(atol, rr.dtype), -of_y)

    def proceed(carry: Any) -> Any:
        *_, gamma, rr, step, sound, _ = carry
        return (jnp.sqrt(rr) > limit) & (gamma > 0) & (step < max_steps) & sound

    def body(carry: Any) -> Any:
        x, r, p, gamma, _, step, _, noted = carry
        q = shift(apply(p), -of_A)
        curvature = dot(p, q)
        sound = curvature > 0  # otherwise A is not positive
        alpha = jnp.where(sound, ratio(gamma, curvature), 0)
        x, r = add(x, alpha, p), add(r, -alpha, q)
        z = shift(precondition(r), -of_z)
        new, rr = dot(r, z), dot(r, r)
        noted = watch.note(noted, step + 1, shift(jnp.sqrt(rr), of_y))
        return x, r, add(z, new / gamma, p), new, rr, step + 1, sound, noted

    start = (jax.tree.map(jnp.zeros_like, z), r, z, gamma, rr, _none(gamma), gamma == gamma, watch.begin(rr))
    x, *_, rr, steps, _, noted = jax.lax.while_loop(proceed, body, start)
    x, exists = restored(x, of_y - of_A)
    return x, _stats(steps, (jnp.sqrt(rr) <= limit) & jnp.isfinite(rr) & exists, noted)


def cgls(
    apply: Apply, adjoint: Apply, y: Any, rtol: Any, atol: Any, max_steps: Any, watch: Watch = SILENT, axes: Axes = ()
) -> tuple[Any, dict[str, Any]]:
    """CGLS: the smallest x that minimises |A x - y|.

    Converged where |s| <= rtol |A^H y| + atol, with the gradient s = A^H (y - A x); and where s is nothing but rounding,
    |s| <= 4 eps |A| |y - A x|. A step applies A and A^H once each (Hestenes and Stiefel, 1952; Björck, 1996).
    """
    exponent, restored = _over(axes, _vectors.exponent, _vectors.restored)
    of_y = exponent(y)
    r = shift(y, -of_y)
    s = adjoint(r)
    dtype = jnp.result_type(_vectors.dot(r, r), _vectors.dot(s, s))  # domain and codomain may differ in precision
    dot = lambda a, b: _vectors.dot(a, b, axes).astype(dtype)  # noqa: E731
    of_s = exponent(s)
    s = shift(s, -of_s)
    of_A = exponent(apply(s))  # at least |A^H y| / |y|, at most |A|
    gamma = dot(s, s)
    reach = shift(jnp.ones_like(gamma), of_s - of_A)  # less than 1 where y is almost orthogonal to what A reaches
    limit = rtol * jnp.sqrt(gamma) + shift(shift(jnp.asarray(atol, gamma.dtype), -of_y), -of_s)
    floor = 4 * jnp.finfo(gamma.dtype).eps

    def reached(gamma: Any, size: Any, rr: Any) -> Any:
        """Whether the gradient is within the tolerance, or is nothing but rounding, given the size of A."""
        return jnp.sqrt(gamma) * reach <= jnp.maximum(limit * reach, floor * size * jnp.sqrt(rr))

    def proceed(carry: Any) -> Any:
        *_, gamma, size, rr, _, step, _ = carry
        return ~reached(gamma, size, rr) & jnp.isfinite(gamma) & (step < max_steps)

    def body(carry: Any) -> Any:
        x, r, p, gamma, size, rr, pp, step, noted = carry
        q = shift(apply(p), -of_A)
        delta = dot(q, q)
        alpha = reach * ratio(gamma, delta)
        x, r = add(x, alpha, p), add(r, -alpha, q)
        s = shift(adjoint(r), -of_s)
        new = dot(s, s)
        beta = new / gamma
        size = jnp.maximum(size, jnp.sqrt(ratio(delta, pp)))
        # |r|² and |p|² without another pass: q is orthogonal to the new r, p to the new s
        rr, pp = jnp.maximum(rr - alpha * reach * gamma, 0), new + beta**2 * pp
        noted = watch.note(noted, step + 1, shift(shift(jnp.sqrt(new), of_s), of_y))
        return x, r, add(s, beta, p), new, size, rr, pp, step + 1, noted

    x = jax.tree.map(jnp.zeros_like, s)
    start = (x, r, s, gamma, jnp.zeros_like(gamma), dot(r, r), gamma, _none(gamma), watch.begin(gamma))
    x, _, _, gamma, size, rr, _, steps, noted = jax.lax.while_loop(proceed, body, start)
    x, exists = restored(x, of_y - of_A)
    return x, _stats(steps, reached(gamma, size, rr) & jnp.isfinite(gamma) & exists, noted)


def bicgstab(
    apply: Apply, y: Any, rtol: Any, atol: Any, max_steps: Any, watch: Watch = SILENT, axes: Axes = ()
) -> tuple[Any, dict[str, Any]]:
    """BiCGSTAB: x of A x = y for a square A. Converged where |r| <= rtol |y| + atol, with r = y - A x.

    By van der Vorst (1992). Where the recurrence breaks down, or says that it is done, it starts anew from y - A x: what
    counts in the end is this residual, but for its rounding. Residuals may grow again by many orders of magnitude, so the
    iterate with the least one is kept, and returned.
    """
    dot, inner, exponent, restored = _over(axes, _vectors.dot, _vectors.inner, _vectors.exponent, _vectors.restored)
    of_y = exponent(y)
    y = shift(y, -of_y)
    of_A = exponent(apply(y))
    scaled = lambda x: shift(apply(x), -of_A)  # noqa: E731
    size = jnp.sqrt(dot(y, y))
    limit = rtol * size + shift(jnp.asarray(atol, size.dtype), -of_y)
    eps = float(jnp.finfo(size.dtype).eps)

    def chosen(first: Any, a: Any, b: Any) -> Any:
        return jax.tree.map(lambda a, b: jnp.where(first, a, b), a, b)

    def parallel(product: Any, a: Any, b: Any) -> Any:
        """Whether an inner product is more than rounding."""
        return jnp.abs(product) > eps * jnp.sqrt(dot(a, a) * dot(b, b))

    def cycle(carry: Any) -> Any:
        x, shadow, size, _, step, noted = carry

        def proceed(carry: Any) -> Any:
            _, r, _, _, step, sound, *_ = carry
            return (jnp.sqrt(dot(r, r)) > limit) & sound & (step < max_steps)

        def body(carry: Any) -> Any:
            x, r, p, rho, step, _, best, least, noted = carry
            v = scaled(p)
            sigma = inner(shadow, v)
            alpha = ratio(rho, sigma)
            s = add(r, -alpha, v)
            t = scaled(s)
            omega = ratio(inner(t, s), dot(t, t).astype(sigma.dtype))
            rest = add(s, -omega, t)
            new = inner(shadow, rest)
            beta = ratio(new, rho) * ratio(alpha, omega)
            moved = add(add(x, alpha, p), omega, s)
            valid = parallel(sigma, shadow, v) & jnp.isfinite(dot(rest, rest)) & jnp.isfinite(dot(moved, moved))
            sound = valid & (omega != 0) & parallel(new, shadow, rest)
            x, r = chosen(valid, moved, x), chosen(valid, rest, r)
            found = jnp.sqrt(dot(r, r))
            best, least = chosen(found < least, (x, found), (best, least))
            noted = watch.note(noted, step + 1, shift(found, of_y))
            return x, r, add(rest, beta, add(p, -omega, v)), new, step + 1, sound, best, least, noted

        start = (x, shadow, shadow, inner(shadow, shadow), step, step == step, x, size, noted)
        *_, step, _, best, _, noted = jax.lax.while_loop(proceed, body, start)
        r = add(y, -1, scaled(best))
        new = jnp.sqrt(dot(r, r))
        progress = new < size  # the recurrence may be wrong about its residual
        x, r, size = chosen(progress, (best, r, new), (x, shadow, size))
        return x, r, size, progress, step, noted

    def done(x: Any, size: Any) -> Any:
        allowed = rounding(jnp.sqrt(dot(y, y)), jnp.sqrt(dot(x, x)))
        return size <= limit + jnp.where(limit > 0, allowed, 0)

    def unfinished(carry: Any) -> Any:
        x, _, size, progress, step, _ = carry
        return ~done(x, size) & progress & (step < max_steps)

    start = (jax.tree.map(jnp.zeros_like, y), y, size, jnp.isfinite(size), _none(size), watch.begin(size))
    x, _, size, _, steps, noted = jax.lax.while_loop(unfinished, cycle, start)
    reached = done(x, size) & jnp.isfinite(size)
    x, exists = restored(x, of_y - of_A)
    return x, _stats(steps, reached & exists, noted)


def _over(axes: Axes, *functions: Callable[..., Any]) -> list[Callable[..., Any]]:
    return [functools.partial(function, axes=axes) for function in functions]


def rounding(y: Any, x: Any) -> jax.Array:
    """The rounding of y - A x, from the sizes of y and x, for an A of the size of one.

    An error that takes half of all digits is no rounding.
    """
    eps = float(jnp.finfo(x.dtype).eps)
    return jnp.minimum(4 * eps * (y + x), jnp.sqrt(eps) * y)


def _none(like: Any) -> Any:
    """Zero steps; in ``shard_map``, a number of each device, as the result will be."""
    return jnp.int32(0) * (like > 0)


def _stats(steps: Any, converged: Any, noted: Any) -> dict[str, Any]:
    return {"num_steps": steps, "converged": converged} | ({} if noted is None else {"history": noted})
