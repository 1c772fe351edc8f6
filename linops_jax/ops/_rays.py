"""What the X-ray transforms share: their arguments, positions counted from the centre, and sums of many terms."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax.ops import _arguments


def as_angles_and_shape(angles: Any, shape: Any, where: str) -> tuple[Any, tuple[int, ...]]:
    """The array field of angles, and the two sizes of the image. Raises TypeError or ValueError for others."""
    angles = as_numbers(angles, f"{where}.angles")
    _arguments.require_ndim(angles, 1, f"{where}.angles")
    sizes = _arguments.as_integers(shape, f"{where}.shape", least=1)
    if len(sizes) != 2 or jnp.size(angles) == 0:
        found = f"{jnp.size(angles)} angles and shape {shape}"
        message = f"{where} needs at least one angle and two sizes of the image, found {found}."
        raise ValueError(message)
    return angles, sizes


def as_numbers(value: Any, where: str) -> Any:
    """The array field of real numbers. Raises TypeError for others."""
    value = _arguments.as_field(value, where)
    if value is None or jnp.issubdtype(getattr(value, "dtype", float), jnp.complexfloating):
        message = f"{where} is {value!r:.80}; expected an array of real numbers, or a list."
        raise TypeError(message)
    return value


def enough_bins(width: float, columns: int) -> int:
    """How many bins see a shadow of this width; even where the number of columns is, so that a middle meets a middle."""
    bins = math.ceil(width)
    return bins + (bins - columns) % 2


def centred(size: int, like: Any) -> Any:
    """The positions 0 to size - 1, counted from their middle."""
    return jnp.arange(size, dtype=like.dtype) - (size - 1) / 2


def sum_over(function: Any, *arrays: Any, used: Any = None) -> Any:
    """The sum of function(*elements) over the first axis of the arrays, for each array that the function returns.

    Where ``used`` is False the function returns zeros, and a CPU leaves it out.
    """
    first = function(
        *jax.tree.map(lambda array: array[0], arrays)
    )  # not for its values: it varies over the right axes of a mesh
    zeros = jax.tree.map(jnp.zeros_like, first)

    def add(sums: Any, elements: Any) -> Any:
        return jax.tree.map(jnp.add, sums, function(*elements))

    def add_if_used(sums: Any, elements: Any) -> Any:
        return jax.lax.cond(elements[0], lambda: add(sums, elements[1]), lambda: sums)

    def one_by_one(*arrays: Any) -> Any:  # so that a CPU has the terms in its cache
        step, elements = (add, arrays) if used is None else (add_if_used, (used, arrays))
        return jax.lax.scan(lambda sums, elements: (step(sums, elements), None), zeros, elements)[0]

    def at_once(*arrays: Any) -> Any:  # one term is too little for a GPU
        return jax.tree.map(lambda terms: jnp.sum(terms, axis=0), jax.vmap(function)(*arrays))

    return jax.lax.platform_dependent(*arrays, cpu=one_by_one, default=at_once)


def at(values: Any, indices: Any) -> Any:
    """The entries at indices of any type, which are in the array. On a CPU, signed ones take twice as long."""
    return values.at[indices.astype(jnp.uint32)].get(mode="promise_in_bounds")
