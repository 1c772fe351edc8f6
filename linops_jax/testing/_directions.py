"""Directions in which an input moves, and the parts of it that can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes, _spread


def inexact(tree: Any) -> list[Any]:
    """The arrays of floating numbers."""
    return [leaf for leaf in jax.tree.leaves(tree) if _probes.is_inexact(leaf)]


def only_inexact(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    """The function, of whose result only the arrays of floating numbers are kept."""
    return lambda x: inexact(function(x))


def as_tangent(dx: Any) -> Any:
    """JAX's tangents: float0 for integers."""
    return jax.tree.map(lambda d: d if _probes.is_inexact(d) else np.zeros(d.shape, jax.dtypes.float0), dx)


def tied(dx: Any, x: Any) -> Any:
    """``dx`` that is the same for equal elements of an array in x."""

    def leaf(d: Any, a: Any) -> Any:
        _, first, which = np.unique(np.asarray(a).ravel(), return_index=True, return_inverse=True)
        return jnp.asarray(np.asarray(d).ravel()[first[which.ravel()]].reshape(d.shape), d.dtype)

    return jax.tree.map(leaf, dx, x)


def moving(rng: Any, dx: Any, x: Any, alone: bool, zeros: int | None) -> Any:
    """``dx``, in which only so many of the elements move that are zero in x, or only a single element moves at all.

    All move where other processes hold some.
    """
    if _spread.any_spread(x):
        return dx
    flat = _probes.flat(dx)
    moves = flat != 0
    still = moves & (_probes.flat(x) == 0)
    kept = rng.permutation(np.flatnonzero(still))[:zeros] if zeros is not None else np.zeros(0, int)
    if alone:
        kept = kept if len(kept) else rng.permutation(np.flatnonzero(moves))[:1]
    drops = moves if alone else still & (zeros is not None)
    drops[kept] = False
    return _probes.unflat(np.where(drops, 0, flat), dx)
