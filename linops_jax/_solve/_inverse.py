"""A^-1 by a solver, for operators that do not say how to invert them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _specs
from linops_jax._linear import LinearOperator
from linops_jax._operator import ATOM, constructor
from linops_jax._properties import Properties, common
from linops_jax._solve._front import as_inexact, solve
from linops_jax.algebra._composite import LinearComposite


class SolverInverse(LinearComposite):
    """The inverse of an operator; of a rectangular or singular one, its pseudo-inverse. Every application is a solve.

    To a relative tolerance of 1e-10, or of ten roundings in single precision.
    """

    op: LinearOperator

    def apply(self, y: Any) -> Any:
        return _solve(self.op, y)

    def _reverse(self, y: Any, like: Any) -> Any:
        return _solve(self.op.H, y)

    def _inverse(self) -> LinearOperator:
        return self.op

    @property
    def domain(self) -> Any:
        return self.op.codomain

    @property
    def codomain(self) -> Any:
        return self.op.domain if self.op.domain is not None else super().codomain

    @property
    def properties(self) -> Properties:
        return common([self.op], "symmetric", "positive", "diagonal")

    def _expression(self, show: Any) -> str:
        return f"{show(self.op, ATOM)}.inv"


def _solve(op: LinearOperator, y: Any) -> Any:
    y = as_inexact(_specs.as_arrays(y, repr(op)))
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y))
    return solve(op, y, rtol=max(1e-10, 10 * eps)).value


@constructor("solver_inverse")
def solver_inverse(op: LinearOperator) -> LinearOperator:
    return SolverInverse(op)
