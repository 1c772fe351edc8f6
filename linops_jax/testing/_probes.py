"""Random vectors, inner products and precisions over pytrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Rounding errors stay below this many eps of the norms' product for every correct operator that was measured, 10 times over.
MARGIN = 10.0


def draw(rng: np.random.Generator, spec: Any) -> Any:
    """Unit-variance Gaussians in the shapes and dtypes of ``spec``; small integers and bools where it has those.

    An array in place of a spec stays as it is.
    """

    def leaf(s: Any) -> jax.Array:
        if not isinstance(s, jax.ShapeDtypeStruct):
            return jnp.asarray(s)
        if jnp.issubdtype(s.dtype, np.bool_):
            return jnp.asarray(rng.integers(0, 2, s.shape).astype(bool))
        if not jnp.issubdtype(s.dtype, np.inexact):
            low = 0 if jnp.issubdtype(s.dtype, np.unsignedinteger) else -3
            return jnp.asarray(rng.integers(low, 4, s.shape)).astype(s.dtype)
        values = rng.standard_normal(s.shape)
        if jnp.issubdtype(s.dtype, np.complexfloating):
            values = (values + 1j * rng.standard_normal(s.shape)) / np.sqrt(2)
        return jnp.asarray(values, dtype=s.dtype)

    return jax.tree.map(leaf, spec)


def draws(rng: np.random.Generator, spec: Any, probes: int) -> Iterator[Any]:
    """``probes`` full draws, then each leaf alone: a small block must not hide behind a large one."""
    for _ in range(probes):
        yield draw(rng, spec)
    leaves, tree = jax.tree.flatten(spec)
    if len(leaves) > 1:
        for alone in range(len(leaves)):
            full = jax.tree.leaves(draw(rng, spec))
            yield jax.tree.unflatten(tree, [x if i == alone else jnp.zeros_like(x) for i, x in enumerate(full)])


def double(leaf: Any) -> np.ndarray:
    array = np.asarray(leaf)
    return array.astype(np.complex128 if jnp.issubdtype(array.dtype, np.complexfloating) else np.float64)


def inner(u: Any, v: Any) -> complex:
    """<u, v> = sum conj(u) v, accumulated in double precision."""
    pairs = zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True)
    return complex(sum(np.vdot(double(a), double(b)) for a, b in pairs))


def norm(u: Any) -> float:
    return float(np.sqrt(sum(np.linalg.norm(double(leaf)) ** 2 for leaf in jax.tree.leaves(u))))


def subtract(u: Any, v: Any) -> Any:
    return jax.tree.map(lambda a, b: double(a) - double(b), u, v)


def eps(*trees: Any) -> float:
    """The machine precision of the coarsest floating dtype among the leaves; that of float64 where there is none."""
    dtypes = {np.dtype(leaf.dtype) for tree in trees for leaf in jax.tree.leaves(tree)}
    return max([float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, np.inexact)], default=2.0**-52)


def has_real(tree: Any) -> bool:
    return any(not jnp.issubdtype(leaf.dtype, np.complexfloating) for leaf in jax.tree.leaves(tree))
