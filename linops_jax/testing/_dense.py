"""Matrices of small operators over the reals: complex numbers are (real, imaginary) pairs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax._vectors.packing import Packing
from linops_jax.testing import _probes
from linops_jax.testing._directions import inexact

MOST = 256  # rows and columns together, up to which matrices are compared: each is a call
MOST_SIMULATIONS = 96  # the same for nonlinear operators, whose calls cost more


def matrix(function: Callable[[Any], Any], spec: Any, rows: int) -> np.ndarray:
    """The real matrix of an R-linear function of arrays with these specs, column by column."""
    packing = Packing(spec, pairs=True, xp=np)
    units = (jax.tree.map(_probes.place, packing.unit(index), spec) for index in range(packing.size))
    columns = [_probes.flat(inexact(function(unit)), pairs=True) for unit in units]
    return np.stack(columns, axis=1).reshape(rows, -1)


def names(spec: Any, letter: str) -> list[str]:
    """What each row or column stands for: ``x['a'][2, 0]``, with `` (imag)`` where it is an imaginary part."""
    found = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(spec):
        for index in np.ndindex(*leaf.shape):
            name = f"{letter}{jax.tree_util.keystr(path)}[{', '.join(map(str, index))}]"
            found += [name, f"{name} (imag)"] if _probes.is_complex(leaf) else [name]
    return found
