"""Checks of what the hooks ``infer_shape``, ``infer_adjoint_shape`` and ``infer_state_shape`` return."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from linops_jax._model.shapes.structs import is_spec, spec


def promised(tree: Any, where: str) -> Any:
    """The specs that an ``infer_`` hook returned, checked, with canonical dtypes."""

    def check(leaf: Any) -> jax.ShapeDtypeStruct:
        if is_spec(leaf) and _is_shape(leaf.shape):
            if getattr(leaf.dtype, "kind", "") not in "OSUmM":
                return spec(leaf)
            message = (
                f"{where} returned the dtype {leaf.dtype}, which JAX does not have. Return the dtype of the result."
            )
            raise TypeError(message)
        found = "None" if leaf is None else f"{type(leaf).__name__} {leaf!r:.80}"
        message = (
            f"{where} returned {found} where a jax.ShapeDtypeStruct is expected. "
            "Return jax.ShapeDtypeStruct(shape, dtype), or a pytree of them (() for no arrays)."
        )
        raise TypeError(message)

    return check(tree) if tree is None else jax.tree.map(check, tree)  # None is allowed inside of a pytree only


def _is_shape(shape: Any) -> bool:
    """Whether ``shape`` is a tuple of sizes. Besides integers, sizes may be the symbolic dimensions of ``jax.export``."""
    numbers = (
        [size for size in shape if isinstance(size, int | float | np.number)] if isinstance(shape, tuple) else [-1]
    )
    return all(isinstance(size, int | np.integer) and size >= 0 for size in numbers)
