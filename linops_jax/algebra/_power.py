"""Power: ``A ** n``, an operator applied n times."""

from __future__ import annotations

import dataclasses
from typing import Any

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.properties import Properties
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM, PRODUCT, Operator
from linops_jax._operators.printing import exact
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite, Wrapper
from linops_jax.algebra._composition import compose
from linops_jax.algebra._identity import Identity
from linops_jax.algebra._parts import typed


class _Power(Wrapper):
    """What the linear and the nonlinear class share."""

    op: Any
    exponent: int
    _precedence = PRODUCT
    _infer_shape: Any

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [x] if shapes.same(self._infer_shape(x), x) else [None]

    def apply(self, x: Any) -> Any:
        for _ in range(self.exponent):
            x = self.op(x)
        return x

    def _derive_shape(self, x: Any) -> Any:
        return self._shapes_between(x)[-1]

    def _shapes_between(self, x: Any) -> list[Any]:
        """Specs of the input, and of the result of each step."""
        specs = [x]
        for _ in range(self.exponent):
            specs.append(self.op._infer_shape(specs[-1]))
        return specs

    def _expression(self, show: Any) -> str:
        return f"{show(self.op, ATOM)} ** {self.exponent}"


class Power(_Power, LinearComposite):
    """``A ** n`` for a linear A and n > 1: A applied n times.

    Parameters
    ----------
    op : LinearOperator
        The operator A.
    exponent : int
        The number n.
    """

    op: LinearOperator
    exponent: int = static()

    @property
    def properties(self) -> Properties:
        known = self.op.properties
        inexact = None if known.adjoint_rtol is None else self.exponent * known.adjoint_rtol
        even = known.symmetric and self.exponent % 2 == 0
        return dataclasses.replace(known, positive=known.positive or even, adjoint_rtol=inexact)

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        A = typed(self.op, domain)
        same = domain is None or shapes.same(A.codomain, domain)
        return Power(A.H, self.exponent) if same else None

    def _infer_adjoint_shape(self, y: Any) -> Any:
        for _ in range(self.exponent):
            y = self.op._infer_adjoint_shape(y)
        return y

    def _pull_back(self, y: Any, like: Any) -> Any:
        for spec in reversed(self._shapes_between(like)[:-1]):
            y = self.op._reverse(y, spec)
        return y

    def _inverse(self) -> LinearOperator | None:
        inverse = self.op._inverse()
        return None if inverse is None else Power(inverse, self.exponent)


class NonlinearPower(_Power, NonlinearComposite):
    """``F ** n`` for a nonlinear F and n > 1: F applied n times.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F.
    exponent : int
        The number n.
    """

    op: Operator
    exponent: int = static()

    def _expand_parts(self, x: Any) -> Expansion:
        found = self.op._expand(x)  # type: ignore[attr-defined]
        product = found.jacobian
        for _ in range(self.exponent - 1):
            found = self.op._expand(found.value())  # type: ignore[attr-defined]
            product = compose(found.jacobian, product)
        return Expansion(product, found.value)


@constructors.power.define
def power(op: Operator, exponent: int) -> Operator:
    """``op ** n``: the operator applied n times; for n < 0 its inverse, if no solver is needed for it."""
    if op.domain is not None and (difference := shapes.cast_obstacle(op.codomain, op.domain)):
        message = (
            f"{exact(op)} ** {exponent}: only an operator from a space to itself has powers. The result does not fit the "
            f"domain: {difference}."
        )
        raise ValueError(message)
    if exponent < 0:
        inverse = op._inverse() if isinstance(op, LinearOperator) else None
        if inverse is None:
            message = (
                f"{exact(op)} ** {exponent}: negative powers need an exact inverse, which {type(op)._label} does not have. "
                f"Define {type(op)._label}.inverse, or use A.inv or lo.solve, which iterate."
            )
            raise ValueError(message)
        return power(inverse, -exponent)
    if exponent == 0:
        identity = Identity()
        return identity if op.domain is None else identity.with_domain(op.domain)
    if exponent == 1:
        return op
    return Power(op, exponent) if isinstance(op, LinearOperator) else NonlinearPower(op, exponent)
