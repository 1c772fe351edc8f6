"""Casts of arrays to the dtypes of a space, which is described by specs."""

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
    """``value`` as an element of a space. If the space is real, this is the real part of complex numbers.

    Parameters
    ----------
    value : pytree of arrays
        The arrays.
    space : pytree of jax.ShapeDtypeStruct
        The specs of the space.
    where : callable
        Returns the beginning of error messages: the name of what cannot be applied.

    Raises
    ------
    ValueError
        If structure or shapes differ from those of the space.
    TypeError
        If the cast would lose more than precision.
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
    """``value`` in the dtypes of ``model``. Raises TypeError if the cast would lose more than precision."""

    def cast(leaf: jax.Array, like: Any) -> jax.Array:
        wanted = np.dtype(jax.dtypes.canonicalize_dtype(like.dtype))
        if not castable(np.dtype(leaf.dtype), wanted):
            message = f"{where} cannot be applied: found {describe(leaf)}, expected {describe(like)}."
            raise TypeError(message)
        return leaf.astype(wanted)

    return jax.tree.map(cast, value, model)
