"""JAX's own comparisons of derivatives: with differences, and of forward with reverse mode."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._linear import is_inexact, is_small
from linops_jax.testing.checks._transforms import derivable, jitted, pullable

_FEW_SIMULATIONS = 32


@check(
    needs=("jvp", "vjp", "hessian", "hessian_adjoint"),
    when=lambda subject: _can_check_grads(subject),
    whole="JAX's function fetches whole arrays",
)
def check_grads(subject: Subject) -> str | None:
    """jax.test_util.check_grads, forward and reverse: to order 2 where second derivatives exist."""
    from jax.test_util import check_grads as compare

    x = _away_from_zeros(subject)
    scale = _probes.norm(subject.op(x)) or 1.0
    coarse = _probes.eps(subject.spec, subject.out) > 1e-10
    # The differences of a linear map are exact at any step, and its values cannot be far from 1.
    step, tolerance = (0.5, 1e-3 if coarse else 1e-8) if subject.is_linear else (1e-5, 1e-4)
    if subject.is_linear:
        start, steps = x, None
    else:  # in steps relative to x
        start, steps = jax.tree.map(jnp.zeros_like, x), jax.tree.map(_sizes, x)

    def scaled(z: Any) -> Any:
        at = z if steps is None else jax.tree.map(lambda a, s, t: a + s * t, x, steps, z)
        return jax.tree.map(lambda leaf: leaf / jnp.asarray(scale, jnp.finfo(leaf.dtype).dtype), subject.op(at))

    modes = ["fwd"] * subject.has_forward + ["rev"] * (subject.has_reverse and subject.adjoint_rtol is None)
    order = 2 if subject.has_second_order and len(modes) == 2 else 1
    compare(scaled, (start,), order, modes=modes, atol=tolerance, rtol=tolerance, eps=step)
    missing = [] if order == 2 or len(modes) < 2 else subject.missing_second_order
    return f"to order 1 only, because these hooks are missing: {', '.join(missing)}" if missing else None


def _away_from_zeros(subject: Subject) -> Any:
    """A point without exact zeros, which may be kinks, where F is defined there as well."""
    rng = subject.rng("grads")
    x = subject.point(rng)
    if subject.is_linear or all(np.all(np.asarray(leaf)) for leaf in jax.tree.leaves(x)):
        return x
    small = jax.tree.map(lambda a: _sizes(a) * rng.uniform(0.01, 0.1, a.shape), x)
    moved = jax.tree.map(lambda a, b: jnp.where(a == 0, b, a).astype(a.dtype), x, small)
    try:
        return moved if np.isfinite(_probes.norm(subject.op(moved))) else x
    except Exception:
        return x


def _sizes(leaf: Any) -> Any:
    """|x|, and where that is zero the mean of the others."""
    sizes = jnp.abs(leaf)
    mean = jnp.mean(sizes, where=sizes > 0)
    return jnp.where(sizes > 0, sizes, jnp.where(mean > 0, mean, jnp.ones_like(mean)))


def _can_check_grads(subject: Subject) -> bool:
    """Whether differences tell anything.

    Those of nonlinear functions with one fixed step need double precision, and an elementwise tolerance few elements. There
    are none of a value that is infinite.
    """
    eps = _probes.eps(subject.spec, subject.out)
    return (
        is_inexact(subject)
        and not subject.is_indicator
        and not subject.is_explicit
        and is_small(subject)
        and subject.has_forward
        and eps < (1e-5 if subject.is_linear else 1e-10)
        and subject.jacobian_rtol is None
    )


@check(
    needs=("vmap", "vmap_of_adjoint", "jvp", "vjp"),
    when=lambda subject: derivable(subject) and pullable(subject) and is_small(subject) and _is_tiny(subject),
)
def check_jacobians(subject: Subject) -> None:
    """jacfwd(A) = jacrev(A), over real and imaginary parts (small sizes)."""
    x = subject.point(subject.rng("jacobians"))
    forward, reverse = (
        jitted(subject.op, lambda op, transform=transform: partial(_matrix, transform, op))(x)
        for transform in (jax.jacfwd, jax.jacrev)
    )
    reverse = jax.tree.map(lambda a, b: a.astype(b.dtype), reverse, forward)  # they go by the result, and by the input
    close(forward, reverse, "jacfwd(A) and jacrev(A)", subject, rtol=subject.adjoint_rtol)


def _is_tiny(subject: Subject) -> bool:
    """Whether the operator is linear, or its Jacobian cheap.

    That of a nonlinear operator is compared entry by entry already: this is to see the transformations at work.
    """
    return subject.is_linear or _probes.real_size((subject.spec, subject.out)) <= _FEW_SIMULATIONS


def _matrix(transform: Callable[..., Any], op: Any, x: Any) -> Any:
    """The Jacobian between vectors of reals."""
    leaves, tree = jax.tree.flatten(x)

    def function(parts: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        joined = [real + 1j * rest[0] if rest else real for real, *rest in parts]
        return _parts(op(jax.tree.unflatten(tree, [a.astype(b.dtype) for a, b in zip(joined, leaves, strict=True)])))

    return transform(function)(_parts(leaves))


def _parts(tree: Any) -> list[tuple[Any, ...]]:
    return [(a.real, a.imag) if _probes.is_complex(a) else (a,) for a in jax.tree.leaves(tree)]
