"""Where vectors for an operator come from: random ones, those that were given, and points at which mistakes hide."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import fields
from linops_jax.testing import _probes, _samples, _spread
from linops_jax.testing._subject.abilities import Abilities

WITH_ZEROS = " at a point with exact zeros and equal numbers"


class Vectors(Abilities):
    """Draws vectors for an operator; ``seed`` is that of all of them."""

    def rng(self, purpose: str) -> np.random.Generator:
        """A generator that is independent of those for other purposes: a check gives the same answer alone and among others."""
        return np.random.default_rng([self.seed, zlib.crc32(purpose.encode())])

    def point(self, rng: np.random.Generator) -> Any:
        """An input."""
        if self.is_linear or not are_arrays(self._given):
            return _probes.draw(rng, self.spec)
        return _samples.near(rng, jax.tree.map(jnp.asarray, self._given))

    def points(self, rng: np.random.Generator, count: int) -> list[Any]:
        return [self.point(rng) for _ in range(count)]

    @functools.cached_property
    def given(self) -> Any:
        """The arrays that were given, as they are; None where specs were, or numbers that are not finite."""
        if not are_arrays(self._given):
            return None
        arrays = jax.tree.map(jnp.asarray, self._given)
        return arrays if np.isfinite(_probes.norm(arrays)) else None

    def first(self, rng: np.random.Generator) -> Any:
        """The input to begin with: what was given, as it is."""
        return self.point(rng) if self.given is None else self.given

    def special_points(self, rng: np.random.Generator) -> Iterator[tuple[str, Any]]:
        """Points at which mistakes hide that random ones do not show, and what to call them."""
        if self.given is not None:
            yield " at the arrays as given", self.given
        point = self.point(rng)
        if _spread.any_spread(point):
            return
        zeros = _samples.with_ties(rng, _samples.with_zeros(rng, point))
        if any(map(np.any, jax.tree.leaves(jax.tree.map(lambda a, b: np.asarray(a) != b, zeros, point)))):
            yield WITH_ZEROS, zeros

    def tangent(self, rng: np.random.Generator) -> Any:
        return _probes.draw_tangent(rng, self.spec)

    def field_tangent(self, rng: np.random.Generator) -> Any:
        """A direction for the array fields of the operator; zero in constant ones, as hooks get it."""
        leaves, tree = jax.tree.flatten(_probes.draw_tangent(rng, jax.tree.map(jnp.asarray, self.op)))
        constant = fields.constant_leaves(tree)
        return jax.tree.unflatten(tree, [jnp.zeros_like(t) if c else t for t, c in zip(leaves, constant, strict=True)])

    def cotangent(self, rng: np.random.Generator) -> Any:
        """A vector for the adjoint."""
        return _probes.draw(rng, self.out) if self.is_linear else _probes.draw_tangent(rng, self.out)


def are_arrays(tree: Any) -> bool:
    return not any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(tree))
