"""Arrays of which other processes hold parts.

No process ever has the whole of one: vectors are drawn where their parts are, and sums are taken there, in compiled programs
in double precision. Only numbers are fetched. All processes run the same programs in the same order and get the same numbers,
so that they take the same branches.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_spread(leaf: Any) -> bool:
    """Whether other processes hold parts of an array, or of one with the sharding of a spec."""
    sharding = getattr(leaf, "sharding", None)
    if not isinstance(sharding, jax.sharding.Sharding) or _is_abstract(sharding):
        return False
    return not sharding.is_fully_addressable


def _is_abstract(sharding: Any) -> bool:
    return isinstance(getattr(sharding, "mesh", None), jax.sharding.AbstractMesh)


def any_spread(tree: Any) -> bool:
    return any(map(is_spread, jax.tree.leaves(tree)))


# ---- vectors --------------------------------------------------------------------------------------------------------


def draw(rng: np.random.Generator, like: Any, kind: str) -> jax.Array:
    """Random numbers with the shape, dtype and place of ``like``."""
    dtype = jax.dtypes.canonicalize_dtype(like.dtype)
    return _draw(kind, like.shape, dtype, like.sharding)(np.uint32(rng.integers(2**32)))


def _normal(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.random.normal(key, shape, dtype)


def _integers(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    low = 0 if jnp.issubdtype(dtype, np.unsignedinteger) or dtype == np.bool_ else -3
    return jax.random.randint(key, shape, low, 2 if dtype == np.bool_ else 4).astype(dtype)


def _signs(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.random.rademacher(key, shape, np.int8).astype(dtype)


def _uniform(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jax.random.uniform(key, shape, jnp.finfo(dtype).dtype, -1, 1).astype(dtype)


def _zeros(key: Any, shape: tuple[int, ...], dtype: Any) -> jax.Array:
    return jnp.zeros(shape, dtype)


_KINDS: dict[str, Callable[..., jax.Array]] = {
    "normal": _normal,
    "integers": _integers,
    "signs": _signs,
    "uniform": _uniform,
    "zeros": _zeros,
}


@functools.lru_cache(maxsize=64)
def _draw(kind: str, shape: tuple[int, ...], dtype: Any, sharding: Any) -> Callable[[Any], jax.Array]:
    return jax.jit(lambda seed: _KINDS[kind](jax.random.key(seed), shape, dtype), out_shardings=sharding)


# ---- numbers --------------------------------------------------------------------------------------------------------


def _in_double(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function as a program in double precision, also where JAX has 32 bits only. Processes wait for its end."""
    program = jax.jit(function)

    @functools.wraps(function)
    def run(*arguments: Any) -> Any:
        with jax.enable_x64(True):
            return jax.block_until_ready(program(*arguments))

    return run


def _alike(leaves: Sequence[Any]) -> tuple[Any, ...]:
    """The arrays, on an explicit mesh all split as the first one: JAX combines no others there."""
    first = next(filter(is_spread, leaves)).sharding
    mesh = getattr(first, "mesh", None)
    if mesh is None or jax.sharding.AxisType.Explicit not in mesh.axis_types:
        return tuple(leaves)
    return tuple(jax.sharding.reshard(leaf, first) if leaf.shape else leaf for leaf in leaves)


def _double(leaf: Any) -> jax.Array:
    return leaf.astype(np.complex128 if jnp.iscomplexobj(leaf) else np.float64)


@_in_double
def _combine(scalars: Sequence[Any], leaves: Sequence[Any]) -> jax.Array:
    return sum((c * _double(leaf) for c, leaf in zip(scalars, leaves, strict=True)), jnp.zeros(()))


def combine(scalars: Sequence[Any], leaves: Sequence[Any]) -> jax.Array:
    """The sum of multiples of arrays."""
    return _combine(tuple(map(np.asarray, scalars)), _alike(leaves))


@_in_double
def _norm(leaf: Any) -> jax.Array:
    sizes = jnp.abs(_double(leaf))
    largest = jnp.max(sizes, initial=0.0)
    unit = jnp.where((largest > 0) & (largest < jnp.inf), largest, 1.0)  # its square may not be a number that there is
    return unit * jnp.sqrt(jnp.sum((sizes / unit) ** 2))


def norm(leaf: Any) -> float:
    return float(_norm(leaf))


@_in_double
def _inner(u: Any, v: Any) -> jax.Array:
    return jnp.sum(jnp.conj(_double(u)) * _double(v))


def inner(u: Any, v: Any) -> complex:
    """<u, v> = sum conj(u) v."""
    return complex(_inner(*_alike((u, v))))


@_in_double
def _equal(u: Any, v: Any) -> jax.Array:
    return jnp.all((u == v) | ((u != u) & (v != v)))


def equal(u: Any, v: Any) -> bool:
    """Whether all numbers are the same; NaN is like NaN."""
    return bool(_equal(*_alike((u, v))))


@functools.lru_cache(maxsize=64)
def _cast(dtype: Any, sharding: Any) -> Callable[[Any], jax.Array]:
    def cast(leaf: Any) -> jax.Array:
        is_real = not jnp.issubdtype(dtype, np.complexfloating)
        return (jnp.real(leaf) if is_real and jnp.iscomplexobj(leaf) else leaf).astype(dtype)

    return jax.jit(cast, out_shardings=sharding)


def place(leaf: Any, like: Any) -> jax.Array:
    """The numbers in the dtype of ``like``, and where it is."""
    with jax.enable_x64(True):
        return _cast(np.dtype(like.dtype), like.sharding)(leaf)
