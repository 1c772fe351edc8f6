"""Random vectors, inner products and precisions over pytrees."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._vectors.packing import Packing

# Rounding errors stay below this many eps of the norms' product for every correct operator that was measured, 10 times over.
MARGIN = 10.0
# Two ways to compute the same, with sums in another order.
LOOSE = 100.0
# Eps up to which rounding errors are put down to numbers that cancel. Beyond, something is computed in lower precision.
CANCELLATION = 2000.0
_FEW = 20  # elements, up to which a zero among them would hide much
_TIED = 4  # elements, from which on some may be equal


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
    return jax.device_put(np.asarray(values).astype(dtype), sharding)


def is_local(tree: Any) -> bool:
    """Whether this process has all parts of all arrays."""
    return all(leaf.is_fully_addressable for leaf in jax.tree.leaves(tree) if isinstance(leaf, jax.Array))


def fetch(leaf: Any) -> np.ndarray:
    """The whole array, as NumPy has it; also where other processes hold parts of it, which must ask for it as well."""
    if isinstance(leaf, jax.Array) and not (leaf.is_fully_addressable or leaf.is_fully_replicated):
        from jax.experimental import multihost_utils

        return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))
    return np.asarray(leaf)


def near(rng: np.random.Generator, arrays: Any) -> Any:
    """Other values close to ``arrays``, each with its sign: what a function's domain most likely contains as well."""
    return jax.tree.map(
        lambda a: (a * (1 + 0.01 * rng.uniform(-1, 1, a.shape))).astype(a.dtype) if is_inexact(a) else a, arrays
    )


def with_zeros(rng: np.random.Generator, arrays: Any, zeros: float = 0.1) -> Any:
    """A few elements of each floating array set to exactly zero.

    Arrays of one element, those of one sign, and those of which this process has a part only, stay.
    """

    def leaf(a: Any) -> Any:
        if not is_local(a):
            return a
        values = np.array(a)
        one_sign = not is_complex(a) and (np.all(values > 0) or np.all(values < 0))
        if not is_inexact(a) or values.size < 2 or one_sign:
            return a
        at = rng.choice(values.size, max(1, int(zeros * values.size)), replace=False)
        values.reshape(-1)[at] = 0
        return jnp.asarray(values)

    return jax.tree.map(leaf, arrays)


def with_ties(rng: np.random.Generator, arrays: Any) -> Any:
    """The largest and the smallest element of each real floating array next to another one like it along each axis.

    Arrays of few elements, and those of which this process has a part only, stay.
    """

    def leaf(a: Any) -> Any:
        if not is_inexact(a) or is_complex(a) or a.size < _TIED or not is_local(a):
            return a
        values = np.array(a)
        for at in (np.argmax(values), np.argmin(values)):
            place = np.unravel_index(at, values.shape)
            for axis, length in enumerate(values.shape):
                for step in rng.permutation([-1, 1]):
                    neighbour = (*place[:axis], (place[axis] + step) % length, *place[axis + 1 :])
                    if values[neighbour]:  # zeros are there on purpose
                        values[neighbour] = values[place]
                        break
        return jnp.asarray(values)

    return jax.tree.map(leaf, arrays)


def nudged(rng: np.random.Generator, arrays: Any) -> Iterator[Any]:
    """``arrays``, twice, changed in their last digits: up and down at random, or what all have in common would cancel.

    The second time half of the elements go the other way than the first time, so that not even two or three of them go
    the same way both times.
    """
    leaves, tree = jax.tree.flatten(arrays)
    signs = [rng.choice([-1.0, 1.0], leaf.shape) for leaf in leaves]
    others = [s * (-1.0) ** (i + np.arange(s.size).reshape(s.shape)) for i, s in enumerate(signs)]
    for chosen in (signs, others):
        moved = [
            (a * (1 + eps(a) * s)).astype(a.dtype) if is_inexact(a) else a for a, s in zip(leaves, chosen, strict=True)
        ]
        yield jax.tree.unflatten(tree, moved)


def draws(rng: np.random.Generator, spec: Any, probes: int) -> Iterator[Any]:
    """``probes`` full draws, the last of several with a few exact zeros; then each leaf alone.

    Otherwise a small block could hide behind a large one.
    """
    for number in range(1, probes + 1):
        full = draw(rng, spec)
        yield with_zeros(rng, full) if 1 < number == probes and size(spec) > _FEW else full
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
    array = fetch(leaf)
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
    pairs = zip(jax.tree.leaves(u), jax.tree.leaves(v), strict=True)
    return complex(sum(np.vdot(double(a), double(b)) for a, b in pairs))


def norm(u: Any) -> float:
    """Of a vector that may be too small or large to be squared."""
    numbers = flat(u)
    largest = float(np.max(np.abs(numbers), initial=0.0))
    if not 1e-100 < largest < 1e100:  # zero, infinite and NaN included
        return largest * float(np.linalg.norm(numbers / largest)) if 0 < largest < np.inf else largest
    return float(np.linalg.norm(numbers))


def add(u: Any, v: Any, factor: float = 1.0) -> Any:
    """u + factor v, rounded to the dtypes of u; integers stay."""
    return jax.tree.map(lambda a, b: place(double(a) + factor * double(b), a) if is_inexact(a) else a, u, v)


def subtract(u: Any, v: Any) -> Any:
    return jax.tree.map(lambda a, b: double(a) - double(b), u, v)


def eps(*trees: Any) -> float:
    """The machine precision of the coarsest floating dtype among the leaves; that of float64 if no leaf is floating."""
    dtypes = {np.dtype(leaf.dtype) for tree in trees for leaf in jax.tree.leaves(tree)}
    return max([float(jnp.finfo(d).eps) for d in dtypes if jnp.issubdtype(d, np.inexact)], default=2.0**-52)


def has_x64() -> bool:
    """Whether JAX has 64 bits in this thread."""
    return jax.dtypes.canonicalize_dtype(np.float64) == np.float64
