"""Evaluating an operator in its directions, and how large rounding errors are there."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax.testing import _probes, _samples, _spread
from linops_jax.testing._subject.vectors import Vectors

_USUAL = 10.0  # eps by which a result changes where nothing cancels


class Evaluations(Vectors):
    """Evaluates an operator and its adjoint, and knows how exact that can be."""

    @functools.cached_property
    def out(self) -> Any:
        """Specs of the result; where other processes hold parts of it, with the place of one."""
        out = super().out
        if jax.process_count() == 1:
            return out
        y = self.forward(self.first(self.rng("place")))
        return jax.tree.map(
            lambda spec, leaf: spec.update(sharding=leaf.sharding) if _spread.is_spread(leaf) else spec, out, y
        )

    @functools.cached_property
    def is_spread(self) -> bool:
        """Whether other processes hold parts of the operator, its input or its result."""
        return _spread.any_spread((self.op, self.spec, self.out))

    def forward(self, u: Any) -> Any:
        return self.op._forward(u)

    def reverse(self, v: Any) -> Any:
        return self.op._reverse(v, shapes.specs(self.spec))

    def hook(self, name: str, argument: Any) -> Any:
        """One of the optional hooks ``gram``, ``inverse`` and ``inverse_adjoint``, through JAX."""
        out = self.out if name == "inverse_adjoint" else shapes.specs(self.spec)
        return self.op._evaluate(name, (argument,), out)

    def evaluations(self, rng: np.random.Generator) -> Iterator[tuple[str, Callable[[], Any]]]:
        """What there is to evaluate, at random vectors: the operator and its adjoint, or its derivative."""
        x = self.first(rng)
        yield "A(x)" if self.is_linear else "F(x)", lambda: self.forward(x)
        if self.has_adjoint:
            y = self.cotangent(rng)
            yield "A^H(y)", lambda: self.reverse(y)
        if not self.is_linear and self.has_forward:
            dx = self.tangent(rng)
            yield "J(x) dx", lambda: self.op.jacobian(x)(dx)
        if not self.is_linear and self.has_reverse:
            dy = self.cotangent(rng)
            yield "J(x)^H dy", lambda: self.op.jacobian(x).H(dy)

    def rounding(self, direction: str, x: Any) -> float:
        """How large the rounding errors are in ``forward(x)`` or ``reverse(x)``, those inside included.

        A linear map is evaluated on two parts of x and on their sum. Where it cannot be told, the answer is 0.
        """
        function, rng = getattr(self, direction), self.rng("rounding")
        return max(_split(function, x, rng) for _ in range(3)) if self.is_linear else 0.0

    def sensitivity(self, direction: str, x: Any) -> float:
        """By how much the result changes with the last digits of the point at which a nonlinear operator is evaluated."""
        function = getattr(self, direction)
        return 0.0 if self.is_linear else change(function, x, function(x), self.rng("sensitivity"))

    @functools.cached_property
    def amplification(self) -> float:
        """How many times larger than usual the rounding errors are, because large numbers cancel inside the operator.

        It is 1 where nothing cancels, and where the errors are too large to be put down to that. What the last digits
        of x do to F(x) is never too large.
        """
        rng = self.rng("amplification")
        maps: list[tuple[str, Any]] = [("forward", self.point)]
        if self.has_adjoint:
            maps.append(("reverse", self.cotangent))
        rounding = sensitivity = 1.0
        for direction, draw in (*maps, *maps):
            x = draw(rng)
            size = _probes.norm(getattr(self, direction)(x)) * _probes.eps(self.spec, self.out)
            if 0 < size < np.inf:
                rounding = max(rounding, self.rounding(direction, x) / size)
                sensitivity = max(sensitivity, self.sensitivity(direction, x) / size)
        found = max(rounding if rounding <= _probes.CANCELLATION else 1.0, sensitivity)
        return found if found > _USUAL else 1.0


def _split(function: Callable[[Any], Any], x: Any, rng: np.random.Generator) -> float:
    """|A a + A b - A(a + b)|, with a and b random parts of x. Rounding scales with powers of two, an offset does not."""
    masks = jax.tree.map(lambda leaf: _half(rng, leaf), x)

    def residual(scale: float) -> float:
        whole = jax.tree.map(lambda leaf: (leaf * scale).astype(leaf.dtype), x)
        parts = [
            jax.tree.map(
                lambda leaf, mask, keep=keep: jnp.where(mask == keep, leaf, 0).astype(leaf.dtype), whole, masks
            )
            for keep in (True, False)
        ]
        first, second, both = (function(vector) for vector in (*parts, whole))
        total = _probes.combine((1, first), (1, second))
        return _probes.norm(_probes.subtract(total, both)) / scale

    found, again = residual(1.0), residual(2.0**-6)
    return found if np.isfinite(found) and found / 3 <= again <= 3 * found else 0.0


def _half(rng: np.random.Generator, leaf: Any) -> Any:
    """Which elements are in the first of two parts: half of them, or each at random where other processes hold some."""
    if _spread.is_spread(leaf):
        return _samples.signs(rng, leaf) > 0
    return rng.permutation(leaf.size).reshape(leaf.shape) % 2 == 0


def change(function: Callable[[Any], Any], x: Any, y: Any, rng: np.random.Generator) -> float:
    """By how much y = function(x) changes where x changes in its last digits; 0 where it cannot be told."""
    changes = [_probes.norm(_probes.subtract(function(moved), y)) for moved in _samples.nudged(rng, x)]
    return max(filter(np.isfinite, changes), default=0.0)
