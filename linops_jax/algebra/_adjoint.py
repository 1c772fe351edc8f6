"""Adjoint: the operator ``A.H``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM, UnknownShapeError
from linops_jax.algebra._composite import LinearComposite, SwappedWrapper
from linops_jax.algebra._parts import typed


@constructors.adjoint.define
class Adjoint(SwappedWrapper, LinearComposite):
    """The adjoint Aᴴ of a linear operator, ``A.H``; the adjoint of a product is a product of adjoints.

    Parameters
    ----------
    op : LinearOperator
        The operator A.
    """

    op: LinearOperator

    def _inverse(self) -> LinearOperator | None:
        inverse = self.op._inverse()
        return None if inverse is None else inverse.H

    def apply(self, x: Any) -> Any:
        if self.op.domain is not None:
            self.op._has_checked_domain  # noqa: B018
        return self.op._reverse(x, self.op.domain)

    def adjoint(self, y: Any) -> Any:
        return self.op(y)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._forward(y)

    @property
    def H(self) -> LinearOperator:
        return self.op

    def _expression(self, show: Any) -> str:
        return f"{show(self.op, ATOM)}.H"

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        return [(codomain, domain)]

    def _simpler(self, x: Any) -> Iterable[Any]:
        """(Aᴴ)ᴴ = A; Aᴴ = A for a symmetric A; diag(d)ᴴ = diag(conj(d)); for a combinator, the adjoints of its parts."""
        op = self.op
        if isinstance(op, Adjoint):
            yield op.op
        elif op.properties.symmetric and (op.domain is None or shapes.same(op.domain, op.codomain)):
            yield op
        elif op._elements is not None:
            yield op._with_elements(jnp.conj(op._elements))
        elif op.domain is not None:
            yield _between(op, op.codomain, op.domain)
        elif op._says_adjoint_shape and _takes_integers(op) and not op.properties.real_linear:
            yield op._adjoint_inside(None)


def _takes_integers(op: Any) -> bool:
    """Whether each part takes integers on its own. Adjoints that JAX derives do not."""
    if op.domain is not None:
        return True
    if type(op)._composite:
        return all(map(_takes_integers, op._parts()))
    return not type(op)._hooks["adjoint"].derived


def _between(op: LinearOperator, codomain: Any, domain: Any) -> Any:
    """Aᴴ made of the adjoints of the parts, if these lead from the codomain to the domain; otherwise None."""
    try:
        inside = op._adjoint_inside(domain)
        fits = inside is not None and shapes.same(inside._infer_shape(codomain), domain)
    except (
        UnknownShapeError,
        ValueError,
    ):  # one of the parts does not know its shape, or cannot take the result of another
        return None
    return typed(inside, codomain) if fits else None
