"""Conjugate: the map x → conj(A conj(x)); with it, the transpose Aᵀ = conj(Aᴴ conj(x))."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM
from linops_jax.algebra._adjoint import Adjoint
from linops_jax.algebra._composite import LinearComposite, Wrapper
from linops_jax.algebra._parts import typed


class Conjugate(Wrapper, LinearComposite):
    """The complex conjugate of a linear operator, ``A.conj()``: x → conj(A conj(x)); with an ``Adjoint`` in it, ``A.T``.

    Parameters
    ----------
    op : LinearOperator
        The operator A. If it is an ``Adjoint``, the conjugate is a transpose, ``A.T``.
    """

    op: LinearOperator

    def apply(self, x: Any) -> Any:
        return _conj(self.op(_conj(x)))

    def _adjoint_inside(self, domain: Any) -> LinearOperator:
        return typed(self.op, domain).H.conj()

    def _pull_back(self, y: Any, like: Any) -> Any:
        return _conj(self.op._reverse(_conj(y), like))

    def _inverse(self) -> LinearOperator | None:
        inverse = self.op._inverse()
        return None if inverse is None else Conjugate(inverse)

    def conj(self) -> LinearOperator:
        return self.op

    @property
    def H(self) -> LinearOperator:
        return self.op.H.conj()

    def _expression(self, show: Any) -> str:
        if isinstance(self.op, Adjoint):
            return f"{show(self.op.op, ATOM)}.T"
        return f"{show(self.op, ATOM)}.conj()"

    def _simpler(self, x: Any) -> Iterable[Any]:
        """The conjugates of the identity and of zero are these operators themselves."""
        yield self.op if self.op._is_identity or self.op._is_zero else None


def _conj(tree: Any) -> Any:
    return jax.tree.map(jnp.conj, tree)


@constructors.conj.define
def conjugate(op: LinearOperator) -> LinearOperator:
    return Conjugate(op)
