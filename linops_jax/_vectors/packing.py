"""Pytrees of arrays as one vector, which contains the leaves one after another, each in C order."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._model import shapes


@dataclasses.dataclass(frozen=True)
class Packing:
    """The layout of the arrays of a pytree in one vector.

    Parameters
    ----------
    spec : pytree of arrays or jax.ShapeDtypeStruct
        The shapes and dtypes of the arrays.
    pairs : bool, optional
        Whether complex numbers are stored as pairs (re, im) of real numbers, as in ``x.view(float)``. Default: False.
    least : dtype, optional
        The lowest precision of the vector. Default: None, its dtype is the common dtype of the arrays.
    xp : module, optional
        ``jax.numpy`` (default); or ``numpy``, which has double precision without ``jax_enable_x64``, but no meshes.
    """

    spec: Any
    pairs: bool = False
    least: Any = None
    xp: Any = jnp

    @property
    def size(self) -> int:
        return sum(map(self._count, jax.tree.leaves(self.spec)))

    @property
    def dtype(self) -> Any:
        """The dtype of the vector. For pairs, it is real."""
        dtypes = [leaf.dtype for leaf in jax.tree.leaves(self.spec)]
        common = self.xp.result_type(*dtypes) if dtypes else self.xp.result_type(float)
        common = common if self.least is None else self.xp.result_type(self.least, common)
        return jnp.finfo(common).dtype if self.pairs and shapes.is_complex(common) else common

    def pack(self, tree: Any) -> Any:
        """The vector that contains the arrays of a pytree. Each device of a mesh has all of it."""
        tree = _compat.gathered(tree) if self.xp is jnp else tree
        leaves = [as_reals(leaf, -1, self.xp) if self._width(leaf) == 2 else leaf for leaf in jax.tree.leaves(tree)]
        dtype = self.dtype
        return self.xp.concatenate([self.xp.zeros(0, dtype), *(leaf.ravel().astype(dtype) for leaf in leaves)])

    def unpack(self, vector: Any) -> Any:
        """The pytree whose arrays the vector contains, with the shapes, dtypes and places of the spec.

        Real arrays get the real part of complex numbers.
        """
        leaves, structure = jax.tree.flatten(self.spec)
        counts = list(map(self._count, leaves))
        parts = [vector[stop - count : stop] for count, stop in zip(counts, itertools.accumulate(counts), strict=True)]
        return jax.tree.unflatten(structure, map(self._array, parts, leaves))

    def unit(self, index: Any) -> Any:
        """The pytree for the unit vector with a 1 at ``index``. All arrays are zero if the index is beyond the end."""
        leaves, structure = jax.tree.flatten(self.spec)
        values, start = [], 0
        for leaf in leaves:
            width, count = self._width(leaf), math.prod(leaf.shape)
            position, part = (index - start) // width, (index - start) % width
            here = (self.xp.arange(count) == position).astype(leaf.dtype).reshape(leaf.shape)
            entry = self.xp.where(part == 1, 1j, 1).astype(leaf.dtype) * here if width == 2 else here
            values.append(self._placed(entry, leaf))
            start += count * width
        return jax.tree.unflatten(structure, values)

    def _array(self, part: Any, leaf: Any) -> Any:
        if self._width(leaf) == 2:
            part = as_complex(part.reshape(-1, 2), leaf.dtype, -1, self.xp)
        elif not shapes.is_complex(leaf.dtype):
            part = part.real
        return self._placed(part.astype(leaf.dtype).reshape(leaf.shape), leaf)

    def _placed(self, array: Any, leaf: Any) -> Any:
        return _compat.placed(array, leaf) if self.xp is jnp else array

    def _count(self, leaf: Any) -> int:
        return math.prod(leaf.shape) * self._width(leaf)

    def _width(self, leaf: Any) -> int:
        return 2 if self.pairs and shapes.is_complex(leaf.dtype) else 1


def as_reals(array: Any, axis: int, xp: Any = jnp) -> Any:
    """Complex numbers as pairs (re, im) along a new axis."""
    return xp.stack([array.real, array.imag], axis)


def as_complex(pairs: Any, dtype: Any, axis: int, xp: Any = jnp) -> Any:
    """Complex numbers of a given dtype from pairs (re, im) along an axis: the inverse of ``as_reals``."""
    real, imag = xp.moveaxis(pairs.real.astype(jnp.finfo(dtype).dtype), axis, 0)
    return jax.lax.complex(real, imag) if xp is jnp else np.stack([real, imag], -1).view(dtype)[..., 0]
