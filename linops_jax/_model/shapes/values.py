"""Tests whether arrays have values or are being traced by JAX."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linops_jax._model.shapes.given import NUMBERS


def is_concrete(leaf: Any) -> bool:
    """Whether ``leaf`` is a number or an array with values (not a tracer) that JAX accepts without a conversion."""
    if isinstance(leaf, jax.Array):
        return not isinstance(leaf, jax.core.Tracer)
    return type(leaf) in NUMBERS or (type(leaf) is np.ndarray and leaf.dtype.kind in "biufc")


def are_concrete(tree: Any) -> bool:
    return all(map(is_concrete, jax.tree.leaves(tree)))


def is_being_traced(tree: Any) -> bool:
    """Whether values cannot be read: a leaf is a tracer, or every operation becomes part of a program (``is_staged``)."""
    return is_staged() or any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(tree))


def is_staged() -> bool:
    """Whether every operation becomes part of a program, as under ``jax.jit``, even if its operands have values."""
    return isinstance(jnp.add(0, 0), jax.core.Tracer)
