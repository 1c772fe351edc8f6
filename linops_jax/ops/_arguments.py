"""The arguments of ready-made operators."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo


def as_field(value: Any, where: str) -> Any:
    """A list of numbers, or nested lists, as an array; other values as they are. Raises TypeError for operators."""
    leaves = jax.tree.leaves(value, is_leaf=_is_operator)
    if any(map(_is_operator, leaves)):
        message = f"{where} expects an array, found {value!r:.80}. lo.block makes an operator of operators."
        raise TypeError(message)
    return jnp.asarray(value) if isinstance(value, list) else value


def require_array(x: Any, where: str) -> None:
    """Raises TypeError if the input is not one array."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        leaves = jax.tree.leaves(x)
        are_numbers = bool(leaves) and all(getattr(leaf, "shape", None) == () for leaf in leaves)
        advice = (
            "A shape is not an array: pass jnp.zeros(shape)" if are_numbers else "lo.block_diag is for several inputs"
        )
        found = jax.tree.map(lambda leaf: leaf.dtype, x) if are_numbers else x
        message = f"{where} takes one array, found {type(x).__name__} {found!r:.80}. {advice}."
        raise TypeError(message)


def _is_operator(value: Any) -> bool:
    return isinstance(value, lo.LinearOperator | lo.NonlinearOperator)
