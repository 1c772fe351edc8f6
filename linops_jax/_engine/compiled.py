"""Functions of the library's own as compiled programs, which go when JAX's caches are emptied.

lineax and optimistix compile with ``equinox.filter_jit``. It donates, and what a function with donated arguments was
compiled for outlives ``jax.clear_caches()``: operators, and whatever large objects they hold. So we compile ourselves.
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
_ARRAY = object()  # stands for one among the static leaves


def plain(function: Any) -> Callable[..., Any]:
    """What ``equinox.filter_jit`` has wrapped."""
    return inspect.unwrap(function)


def split(tree: Any) -> tuple[Statics, list[Any]]:
    """The arrays of a pytree, and the rest, which is static."""
    leaves, structure = jax.tree.flatten(tree)
    static = Statics((structure, *(_ARRAY if isinstance(leaf, _ARRAYS) else leaf for leaf in leaves)))
    return static, [leaf for leaf in leaves if isinstance(leaf, _ARRAYS)]


def joined(static: Statics, arrays: list[Any]) -> Any:
    """The pytree again."""
    structure, *leaves = static.values
    moving = iter(arrays)
    return jax.tree.unflatten(structure, [next(moving) if leaf is _ARRAY else leaf for leaf in leaves])


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like ``equinox.filter_jit``: leaves that are no arrays are static. The result has arrays only.

    In a program that is being traced it is code like any other, so that nothing is kept but by that program. Eager calls
    wait, and the exception of a host hook comes out as it was raised.
    """

    @functools.partial(jax.jit, static_argnums=0)
    def run(static: Statics, arrays: list[Any]) -> Any:
        return function(*joined(static, arrays))

    eagerly = as_raised(run)

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        return function(*arguments) if shapes.is_staged() else eagerly(*split(arguments))

    return call
