"""Comparison of two pytrees of arrays or specs: whether they are equal, and how they differ."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._model.shapes.dtypes import castable
from linops_jax._model.shapes.structs import have_places, specs, with_dtype
from linops_jax._model.shapes.text import describe, describe_tree


def same(a: Any, b: Any) -> bool:
    """Whether two pytrees of arrays or specs have equal structures, shapes and dtypes."""
    if a is b:
        return True
    (xs, tree), (ys, other) = jax.tree.flatten(a), jax.tree.flatten(b)
    return tree == other and all(x.shape == y.shape and x.dtype == y.dtype for x, y in zip(xs, ys, strict=True))


def shape_difference(found: Any, expected: Any) -> str | None:
    """How two pytrees of arrays or specs differ in structure or shape, in words; None if they do not."""
    if same(found, expected):
        return None
    if jax.tree.structure(found) != jax.tree.structure(expected):
        return f"found {describe_tree(specs(found))}, expected {describe_tree(specs(expected))}"
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        if tuple(a.shape) != tuple(b.shape):
            at = jax.tree_util.keystr(path)
            return f"found {describe(a)}{f' at {at}' if at else ''}, expected {describe(b)}"
    return None


def cast_obstacle(found: Any, expected: Any) -> str | None:
    """Why ``found`` cannot be cast to ``expected``, in words; None if it can.

    Structure and shapes must be equal, and the cast may lose nothing but precision.
    """
    if same(found, expected):
        return None
    if difference := shape_difference(found, expected):
        return difference
    for (path, a), b in zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves(expected), strict=True):
        if not castable(np.dtype(a.dtype), np.dtype(b.dtype)):
            at = jax.tree_util.keystr(path)
            return f"found {describe(a)}{f' at {at}' if at else ''}, expected {describe(b)}"
    return None


def in_places_of(tree: Any, other: Any) -> Any:
    """The specs ``tree``, with the places on a mesh of ``other`` if they have none themselves and the shapes are equal."""
    if have_places(tree) or shape_difference(tree, other) is not None:
        return tree
    return jax.tree.map(
        lambda leaf, like: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, **_compat.place(like)), tree, other
    )


def promoted(a: Any, b: Any) -> Any:
    """The specs of the sum of two pytrees of equal shapes."""
    if same(a, b):
        return a
    return jax.tree.map(lambda x, y: with_dtype(x, jnp.promote_types(x.dtype, y.dtype)), a, b)
