"""Arrays as elements of a space that specs describe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model.shapes.comparison import same, shape_difference
from linops_jax._model.shapes.dtypes import castable, is_complex, is_inexact
from linops_jax._model.shapes.text import describe


def onto(value: Any, space: Any, where: Callable[[], str]) -> Any:
    """``value`` as an element of a space given by its specs: of complex numbers on a real space the real part.

    Raises ValueError for other shapes, TypeError for a dtype that would lose more than precision; ``where`` says of what.
    """
    if same(value, space):
        return value
    if difference := shape_difference(value, space):
        message = f"{where()} cannot be applied: {difference}."
        raise ValueError(message)

    def real(leaf: Any, like: Any) -> Any:
        is_real = is_inexact(like.dtype) and not is_complex(like.dtype)
        return jnp.real(leaf) if is_complex(leaf.dtype) and is_real else leaf

    return cast_like(jax.tree.map(real, value, space), space, where())


def cast_like(value: Any, model: Any, where: str) -> Any:
    """``value`` in the dtypes of ``model``, where that loses nothing but precision."""

    def cast(leaf: jax.Array, like: Any) -> jax.Array:
        wanted = np.dtype(jax.dtypes.canonicalize_dtype(like.dtype))
        if not castable(np.dtype(leaf.dtype), wanted):
            message = f"{where} cannot be applied: found {describe(leaf)}, expected {describe(like)}."
            raise TypeError(message)
        return leaf.astype(wanted)

    return jax.tree.map(cast, value, model)
