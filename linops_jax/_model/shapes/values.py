"""Whether arrays have values, or JAX is tracing."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linops_jax._model.shapes.given import NUMBERS


def is_concrete(leaf: Any) -> bool:
    """Whether it is a number or an array with values, which JAX takes as it is."""
    if isinstance(leaf, jax.Array):
        return not isinstance(leaf, jax.core.Tracer)
    return type(leaf) in NUMBERS or (type(leaf) is np.ndarray and leaf.dtype.kind in "biufc")


def are_concrete(tree: Any) -> bool:
    return all(map(is_concrete, jax.tree.leaves(tree)))


def is_being_traced(tree: Any) -> bool:
    """Whether numbers cannot be read: tracers among these leaves, or everything is staged out, as under ``jax.jit``."""
    return is_staged() or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def is_staged() -> bool:
    """Whether all that is computed becomes part of a program, as under ``jax.jit``."""
    return isinstance(jnp.add(0, 0), jax.core.Tracer)
