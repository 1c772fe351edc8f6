"""Specs: the shape, the dtype and the place on a mesh of an array, as a ``jax.ShapeDtypeStruct``."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat


def is_spec(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype") and not isinstance(leaf, type)


def spec(leaf: Any) -> jax.ShapeDtypeStruct:
    """The spec of an array, tracer, aval or spec: shape, canonical dtype, and its place on a mesh.

    The place is what belongs to the type in JAX: the sharding over explicit mesh axes, and the axes of a ``shard_map`` over
    which the array varies. Comparisons and messages ignore the place.
    """
    dtype = jax.dtypes.canonicalize_dtype(leaf.dtype, allow_extended_dtype=True)
    return jax.ShapeDtypeStruct(leaf.shape, dtype, **_compat.place(leaf))


def specs(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: spec(leaf if is_spec(leaf) else jnp.asarray(leaf)), tree)


def have_places(tree: Any) -> bool:
    """Whether at least one of these arrays or specs has a place on a mesh in its type."""
    return any(is_spec(leaf) and _compat.place(leaf) for leaf in jax.tree.leaves(tree))


def with_dtype(leaf: jax.ShapeDtypeStruct, dtype: Any) -> jax.ShapeDtypeStruct:
    """The spec with another dtype."""
    if leaf.dtype == dtype:
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, jax.dtypes.canonicalize_dtype(dtype), **_compat.place(leaf))


def frozen(s: jax.ShapeDtypeStruct) -> tuple[Any, ...]:
    """A spec as a hashable value, for static fields."""
    place = tuple(_compat.place(s).items())
    return (s.shape, s.dtype, place) if place else (s.shape, s.dtype)


def thawed(value: tuple[Any, ...]) -> jax.ShapeDtypeStruct:
    """The spec that ``frozen`` made hashable."""
    shape, dtype, *place = value
    return jax.ShapeDtypeStruct(shape, dtype, **dict(*place))


def zeros(s: jax.ShapeDtypeStruct) -> jax.Array:
    """An array of zeros with the shape, dtype and place of a spec."""
    return _compat.placed(jnp.zeros(s.shape, s.dtype), s)
