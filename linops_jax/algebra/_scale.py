"""a A: a scalar times an operator."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._linear import LinearOperator
from linops_jax._nonlinear import NonlinearOperator
from linops_jax._operator import PRODUCT, Operator, constructor
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite, OfOne


class _Scale(OfOne):
    scalar: Any
    _precedence = PRODUCT

    def apply(self, x: Any) -> Any:
        return jax.tree.map(lambda y: self.scalar * y, self.op(x))

    def _expression(self, show: Any) -> str:
        scalar = show.scalar(self.scalar)
        return f"{'-' if scalar == '-1' else scalar + show.times}{show(self.op, PRODUCT)}"


class Scaled(_Scale, LinearComposite):
    """a A for a linear A. The scalar is a parameter: new values do not recompile, and it can be differentiated."""

    scalar: Any
    op: LinearOperator

    def _reverse(self, y: Any, like: Any) -> Any:
        return self.op._reverse(jax.tree.map(lambda leaf: jnp.conj(self.scalar) * leaf, y), like)


class NonlinearScaled(_Scale, NonlinearComposite):
    """a F for a nonlinear F."""

    scalar: Any
    op: NonlinearOperator

    def jacobian(self, x: Any) -> LinearOperator:
        return Scaled(self.scalar, self.op.jacobian(x))


@constructor("scale")
def scale(scalar: Any, op: Any) -> Operator:
    return Scaled(scalar, op) if isinstance(op, LinearOperator) else NonlinearScaled(scalar, op)
