"""Matrices of small operators over the reals: complex numbers are (real, imaginary) pairs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes

MOST = 256  # rows and columns together, up to which matrices are compared: each is a call
MOST_SIMULATIONS = 96  # the same for nonlinear operators, whose calls cost more


def matrix(function: Callable[[Any], Any], spec: Any, rows: int) -> np.ndarray:
    """The real matrix of an R-linear function of arrays with these specs, column by column."""
    leaves, tree = jax.tree.flatten(spec)
    columns = []
    for index, leaf in enumerate(leaves):
        units = (1.0, 1j) if _probes.is_complex(leaf) else (1.0,)
        for position, unit in itertools.product(range(int(np.prod(leaf.shape))), units):
            vector = [np.zeros(s.shape, s.dtype) for s in leaves]
            vector[index].reshape(-1)[position] = unit
            columns.append(pairs(function(jax.tree.unflatten(tree, list(map(_probes.place, vector, leaves))))))
    return np.stack(columns, axis=1).reshape(rows, -1)


def pairs(tree: Any) -> np.ndarray:
    """All floating numbers of a tree as one real vector in double precision."""
    parts = [np.zeros(0)]
    for leaf in jax.tree.leaves(tree):
        if _probes.is_inexact(leaf):
            flat = _probes.double(leaf).reshape(-1)
            parts.append(np.stack([flat.real, flat.imag], axis=-1).reshape(-1) if np.iscomplexobj(flat) else flat)
    return np.concatenate(parts)


def names(spec: Any, letter: str) -> list[str]:
    """What each row or column stands for: ``x['a'][2, 0]``, with `` (imag)`` where it is an imaginary part."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(spec):
        for index in np.ndindex(*leaf.shape):
            name = f"{letter}{jax.tree_util.keystr(path)}[{', '.join(map(str, index))}]"
            found += [name, f"{name} (imag)"] if _probes.is_complex(leaf) else [name]
    return found
