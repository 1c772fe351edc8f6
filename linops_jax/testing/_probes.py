"""Random vectors, inner products and precisions over pytrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Rounding errors stay below this many eps of the norms' product for every correct operator that was measured, 10 times over.
MARGIN = 10.0
# Two ways to compute the same, with sums in another order.
LOOSE = 100.0
# Eps up to which rounding errors are put down to numbers that cancel. Beyond, something is computed in lower precision.
CANCELLATION = 2000.0


def is_inexact(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, np.inexact)


def is_complex(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, np.complexfloating)


def all_inexact(tree: Any) -> bool:
    return all(map(is_inexact, jax.tree.leaves(tree)))


def has_real(tree: Any) -> bool:
    return any(not is_complex(leaf) for leaf in jax.tree.leaves(tree))


def size(tree: Any) -> int:
    return sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(tree))


def real_size(tree: Any) -> int:
    """The number of real numbers in the floating arrays of a tree."""
    return sum(int(np.prod(leaf.shape)) * (1 + is_complex(leaf)) for leaf in jax.tree.leaves(tree) if is_inexact(leaf))


def draw(rng: np.random.Generator, spec: Any) -> Any:
    """Unit-variance Gaussians in the shapes and dtypes of ``spec``; small integers and bools where it has those.

    An array in place of a spec stays as it is.
    """

    def leaf(s: Any) -> jax.Array:
        if not isinstance(s, jax.ShapeDtypeStruct):
            return jnp.asarray(s)
        if jnp.issubdtype(s.dtype, np.bool_):
            return jnp.asarray(rng.integers(0, 2, s.shape).astype(bool))
        if not is_inexact(s):
            low = 0 if jnp.issubdtype(s.dtype, np.unsignedinteger) else -3
            return jnp.asarray(rng.integers(low, 4, s.shape)).astype(s.dtype)
        return jnp.asarray(_gaussian(rng, s), dtype=jax.dtypes.canonicalize_dtype(s.dtype))

    return jax.tree.map(leaf, spec)


def draw_tangent(rng: np.random.Generator, tree: Any) -> Any:
    """Gaussians in the shapes and dtypes of ``tree``; zeros where it holds integers, which do not move."""

    def leaf(s: Any) -> jax.Array:
        values = _gaussian(rng, s) if is_inexact(s) else np.zeros(s.shape)
        return jnp.asarray(values, dtype=jax.dtypes.canonicalize_dtype(s.dtype))

    return jax.tree.map(leaf, tree)


def near(rng: np.random.Generator, arrays: Any) -> Any:
    """Other values close to ``arrays``, each with its sign: what a function's domain most likely contains as well."""
    return jax.tree.map(
        lambda a: (a * (1 + 0.01 * rng.uniform(-1, 1, a.shape))).astype(a.dtype) if is_inexact(a) else a, arrays
    )


def draws(rng: np.random.Generator, spec: Any, probes: int) -> Iterator[Any]:
    """``probes`` full draws, then each leaf alone: a small block must not hide behind a large one."""
    for _ in range(probes):
        yield draw(rng, spec)
    leaves, tree = jax.tree.flatten(spec)
    if len(leaves) > 1:
        for alone in range(len(leaves)):
            full = jax.tree.leaves(draw(rng, spec))
            yield jax.tree.unflatten(tree, [x if i == alone else jnp.zeros_like(x) for i, x in enumerate(full)])


def _gaussian(rng: np.random.Generator, spec: Any) -> np.ndarray:
    values = rng.standard_normal(spec.shape)
    return (values + 1j * rng.standard_normal(spec.shape)) / np.sqrt(2) if is_complex(spec) else values


def double(leaf: Any) -> Any:
    """A NumPy array in double precision."""
    array = np.asarray(leaf)
    return array.astype(np.complex128 if is_complex(array) else np.float64)


def inner(u: Any, v: Any) -> complex:
    """<u, v> = sum conj(u) v, accumulated in double precision."""
    pairs = zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True)
    return complex(sum(np.vdot(double(a), double(b)) for a, b in pairs))


def norm(u: Any) -> float:
    """Of a vector that may be too small or large to be squared."""
    flat = np.concatenate([double(leaf).ravel() for leaf in jax.tree.leaves(u)] or [np.zeros(1)])
    largest = float(np.max(np.abs(flat), initial=0.0))
    if not 1e-100 < largest < 1e100:  # zero, infinite and NaN included
        return largest * float(np.linalg.norm(flat / largest)) if 0 < largest < np.inf else largest
    return float(np.linalg.norm(flat))


def add(u: Any, v: Any, factor: float = 1.0) -> Any:
    """u + factor v, rounded to the dtypes of u; integers stay."""
    return jax.tree.map(
        lambda a, b: jnp.asarray(double(a) + factor * double(b), dtype=a.dtype) if is_inexact(a) else a, u, v
    )


def subtract(u: Any, v: Any) -> Any:
    return jax.tree.map(lambda a, b: double(a) - double(b), u, v)


def eps(*trees: Any) -> float:
    """The machine precision of the coarsest floating dtype among the leaves; that of float64 where there is none."""
    dtypes = {np.dtype(leaf.dtype) for tree in trees for leaf in jax.tree.leaves(tree)}
    return max([float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, np.inexact)], default=2.0**-52)


def has_x64() -> bool:
    """Whether JAX has 64 bits in this thread."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64
