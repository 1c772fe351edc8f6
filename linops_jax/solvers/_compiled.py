"""Functions of other libraries as one compiled program, which goes when JAX's caches are emptied.

lineax and optimistix compile with ``equinox.filter_jit``. It donates, and what a function with donated arguments was
compiled for outlives ``jax.clear_caches()``: operators, and whatever large objects they hold. So we compile ourselves.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax

from linops_jax._fields import Statics

_ARRAY = object()  # stands for one among the static leaves


def plain(function: Any) -> Callable[..., Any]:
    """What ``equinox.filter_jit`` has wrapped."""
    return inspect.unwrap(function)


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Like ``equinox.filter_jit``: leaves that are no arrays are static. The result has arrays only."""

    @functools.partial(jax.jit, static_argnums=0)
    def run(static: Statics, arrays: list[Any]) -> Any:
        tree, *leaves = static.values
        moving = iter(arrays)
        return function(*jax.tree.unflatten(tree, [next(moving) if leaf is _ARRAY else leaf for leaf in leaves]))

    @functools.wraps(function)
    def call(*arguments: Any) -> Any:
        leaves, tree = jax.tree.flatten(arguments)
        static = Statics((tree, *(_ARRAY if eqx.is_array(leaf) else leaf for leaf in leaves)))
        return run(static, list(filter(eqx.is_array, leaves)))

    return call
