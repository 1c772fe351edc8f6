"""Compiled functions of this library, which ``jax.clear_caches()`` deletes.

lineax and optimistix compile with ``equinox.filter_jit``, which donates arguments. ``jax.clear_caches()`` does not delete
the programs of functions with donated arguments, so the operators in them, which may be large, would never be freed. This
module compiles without donation.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax._engine.eager import as_raised
from linops_jax._model import shapes
from linops_jax._model.fields import Statics

_ARRAYS = jax.Array, np.ndarray
_ARRAY = object()  # marks the position of an array among the static leaves


def plain(function: Any) -> Callable[..., Any]:
    """The function that ``equinox.filter_jit`` has wrapped."""
    return inspect.unwrap(function)


def split(tree: Any) -> tuple[Statics, list[Any]]:
    """The static part of a pytree (structure and leaves that are not arrays), and its arrays."""
    leaves, structure = jax.tree.flatten(tree)
    static = Statics((structure, *(_ARRAY if isinstance(leaf, _ARRAYS) else leaf for leaf in leaves)))
    return static, [leaf for leaf in leaves if isinstance(leaf, _ARRAYS)]


def joined(static: Statics, arrays: list[Any]) -> Any:
    """The pytree from its static part and its arrays: the inverse of ``split``."""
    structure, *leaves = static.values
    moving = iter(arrays)
    return jax.tree.unflatten(structure, [next(moving) if leaf is _ARRAY else leaf for leaf in leaves])


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A compiled function, as by ``equinox.filter_jit``: leaves of the arguments that are not arrays are static.

    All leaves of the result must be arrays. If a program is being traced, the function becomes part of that program instead
    of being compiled separately. Eager calls wait for the result, and exceptions of host hooks are raised unchanged.
    """

    @functools.partial(jax.jit, static_argnums=0)
    def run(static: Statics, arrays: list[Any]) -> Any:
        return function(*joined(static, arrays))

    eagerly = as_raised(run)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments) if shapes.is_staged() else eagerly(*split(arguments))

    return call
