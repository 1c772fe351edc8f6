"""Random vectors, inner products and precisions over pytrees."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._vectors.packing import Packing
from linops_jax.testing import _spread

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
    return Packing(tree).size


def real_size(tree: Any) -> int:
    """The number of real numbers in the floating arrays of a tree."""
    return Packing(list(filter(is_inexact, jax.tree.leaves(tree))), pairs=True).size


def draw(rng: np.random.Generator, spec: Any) -> Any:
    """Unit-variance Gaussians in the shapes and dtypes of ``spec``; small integers and bools where it has those.

    An array in place of a spec stays as it is.
    """

    def leaf(s: Any) -> jax.Array:
        if not isinstance(s, jax.ShapeDtypeStruct):
            return jnp.asarray(s)
        if _spread.is_spread(s):
            return _spread.draw(rng, s, "normal" if is_inexact(s) else "integers")
        if jnp.issubdtype(s.dtype, np.bool_):
            return place(rng.integers(0, 2, s.shape).astype(bool), s)
        if not is_inexact(s):
            low = 0 if jnp.issubdtype(s.dtype, np.unsignedinteger) else -3
            return place(rng.integers(low, 4, s.shape).astype(s.dtype), s)
        return place(_gaussian(rng, s), s)

    return jax.tree.map(leaf, spec)


def draw_tangent(rng: np.random.Generator, tree: Any) -> Any:
    """Gaussians in the shapes and dtypes of ``tree``; zeros where it holds integers, which do not move."""

    def leaf(s: Any) -> jax.Array:
        if _spread.is_spread(s):
            return _spread.draw(rng, s, "normal" if is_inexact(s) else "zeros")
        values = _gaussian(rng, s) if is_inexact(s) else np.zeros(s.shape)
        return place(values, s)

    return jax.tree.map(leaf, tree)


def place(values: np.ndarray, like: Any) -> jax.Array:
    """An array in the dtype of an array or spec, and where that is on a mesh."""
    dtype, sharding = jax.dtypes.canonicalize_dtype(like.dtype), getattr(like, "sharding", None)
    if not isinstance(sharding, jax.sharding.NamedSharding):
        return jnp.asarray(values, dtype=dtype)
    if isinstance(sharding.mesh, jax.sharding.AbstractMesh):
        return jax.sharding.reshard(jnp.asarray(values, dtype=dtype), sharding)
    if _spread.is_spread(values):
        return _spread.place(values, like)
    return jax.device_put(np.asarray(values).astype(dtype), sharding)


def _gaussian(rng: np.random.Generator, spec: Any) -> np.ndarray:
    values = rng.standard_normal(spec.shape)
    return (values + 1j * rng.standard_normal(spec.shape)) / np.sqrt(2) if is_complex(spec) else values


def double(leaf: Any) -> Any:
    """A NumPy array in double precision."""
    array = np.asarray(leaf)
    return array.astype(np.complex128 if is_complex(array) else np.float64)


def flat(tree: Any, pairs: bool = False) -> np.ndarray:
    """All numbers of a tree as one vector in double precision; complex ones as (real, imaginary) pairs where asked for."""
    arrays = jax.tree.map(double, tree)
    return Packing(arrays, pairs, xp=np).pack(arrays)


def unflat(vector: np.ndarray, like: Any) -> Any:
    """The numbers of a vector as arrays like those of a tree, and where these are."""
    return jax.tree.map(place, Packing(like, xp=np).unpack(vector), like)


def inner(u: Any, v: Any) -> complex:
    """<u, v> = sum conj(u) v, accumulated in double precision."""

    def one(a: Any, b: Any) -> complex:
        return _spread.inner(a, b) if _spread.any_spread((a, b)) else np.vdot(double(a), double(b))

    return complex(sum(one(a, b) for a, b in zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True)))


def norm(u: Any) -> float:
    """Of a vector that may be too small or large to be squared."""
    numbers = flat([_spread.norm(leaf) if _spread.is_spread(leaf) else leaf for leaf in jax.tree.leaves(u)])
    largest = float(np.max(np.abs(numbers), initial=0.0))
    if not 1e-100 < largest < 1e100:  # zero, infinite and NaN included
        return largest * float(np.linalg.norm(numbers / largest)) if 0 < largest < np.inf else largest
    return float(np.linalg.norm(numbers))


def combine(*terms: tuple[complex, Any]) -> Any:
    """The sum of multiples of trees, ``combine((a, u), (b, v))`` = a u + b v, in double precision."""
    scalars, trees = zip(*terms, strict=True)

    def one(*leaves: Any) -> Any:
        if _spread.any_spread(leaves):
            return _spread.combine(scalars, leaves)
        numbers = map(double, leaves)
        return functools.reduce(np.add, [a if c == 1 else c * a for c, a in zip(scalars, numbers, strict=True)])

    return jax.tree.map(one, *trees)


def add(u: Any, v: Any, factor: float = 1.0) -> Any:
    """u + factor v, rounded to the dtypes of u; integers stay."""
    total = combine((1, u), (factor, v))
    return jax.tree.map(lambda a, b: place(b, a) if is_inexact(a) else a, u, total)


def subtract(u: Any, v: Any) -> Any:
    return combine((1, u), (-1, v))


def equal(a: Any, b: Any) -> bool:
    """Whether two arrays hold the same numbers; NaN is like NaN."""
    if _spread.any_spread((a, b)):
        return _spread.equal(a, b)
    return np.array_equal(np.asarray(a), np.asarray(b), equal_nan=is_inexact(a))


def eps(*trees: Any) -> float:
    """The machine precision of the coarsest floating dtype among the leaves; that of float64 if no leaf is floating."""
    dtypes = {np.dtype(leaf.dtype) for tree in trees for leaf in jax.tree.leaves(tree)}
    return max([float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, np.inexact)], default=2.0**-52)


def has_x64() -> bool:
    """Whether JAX has 64 bits in this thread."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64
