"""Constraints, whose functionals are 0 in a set and infinite elsewhere: NonNegative, Box."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from linops_jax.functionals._separable import Separable, indicator, real_only


class NonNegative(Separable):
    """The constraint that no number is negative: 0 if all x ≥ 0, and ∞ elsewhere.

    Notes
    -----
    The prox is the projection max(x, 0), for every step. The conjugate is 0 if all u ≤ 0, and ∞ elsewhere.

    Examples
    --------
    >>> f, x = lo.NonNegative(), jnp.array([3.0, -0.5])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (inf, [3.0, 0.0])
    """

    def _value_of(self, x: Any) -> Any:
        return indicator(real_only(x, "NonNegative") >= 0, x)

    def _prox_of(self, x: Any, step: Any) -> Any:
        return jnp.maximum(real_only(x, "NonNegative"), 0)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: indicator(real_only(u, "NonNegative") <= 0, u), u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        u, _ = self._as_prox_arguments(u, step, "conjugate_prox(u, step)")
        return self._map(lambda u: jnp.minimum(real_only(u, "NonNegative"), 0), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jnp.array([0.5, 1.5, 3.0])
