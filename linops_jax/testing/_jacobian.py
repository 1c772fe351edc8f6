"""A Jacobian as the subject of checks."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax.testing import _probes
from linops_jax.testing._subject import Subject, change


def jacobian_of(subject: Subject, x: Any = None) -> Subject:
    """The derivative at a point, as a subject of its own."""
    at = subject.first(subject.rng("jacobian at")) if x is None else x
    spec = subject.spec if subject.is_spread else None  # with its place
    return Tangents(subject.op.jacobian(at), spec, seed=subject.seed).of(subject.op, at)


class Tangents(Subject):
    """A Jacobian: integers of its input do not move."""

    def of(self, op: Any, at: Any) -> Tangents:
        """Notes whose derivative this is, and where."""
        self._nonlinear, self._at = op, at
        return self

    def sensitivity(self, direction: str, x: Any) -> float:
        def seen_from(at: Any) -> Any:
            return getattr(Tangents(self._nonlinear.jacobian(at), self.spec, seed=self.seed), direction)(x)

        return change(seen_from, self._at, seen_from(self._at), self.rng("sensitivity"))

    def point(self, rng: Any) -> Any:
        return self.tangent(rng)

    def cotangent(self, rng: Any) -> Any:
        return _probes.draw_tangent(rng, self.out)

    def reverse(self, v: Any) -> Any:
        return jax.tree.map(lambda x: x if _probes.is_inexact(x) else jnp.zeros_like(x), super().reverse(v))

    @property
    def has_adjoint(self) -> bool:
        return self.has_reverse
