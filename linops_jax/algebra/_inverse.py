"""Inverse: A⁻¹ by the hooks ``inverse`` and ``inverse_adjoint``."""

from __future__ import annotations

from typing import Any

from linops_jax._model import shapes
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM
from linops_jax._operators.printing import exact
from linops_jax.algebra._composite import LinearComposite, SwappedWrapper


class Inverse(SwappedWrapper, LinearComposite):
    """The inverse A⁻¹ of an operator whose class has the hook ``inverse``, ``A.inv``.

    Parameters
    ----------
    op : LinearOperator
        The operator A.
    """

    op: LinearOperator

    def apply(self, y: Any) -> Any:
        domain, codomain = self.op._spaces_of(y)
        return self.op._evaluate("inverse", (shapes.onto(y, codomain, lambda: exact(self)),), domain)

    def _pull_back(self, x: Any, like: Any) -> Any:
        return self.op._evaluate("inverse_adjoint", (x,), self.op._infer_shape(x))

    def _inverse(self) -> LinearOperator:
        return self.op

    def _undoes(self, other: Any) -> bool:
        return self.op is other

    def _expression(self, show: Any) -> str:
        return f"{show(self.op, ATOM)}.inv"


@constructors.inverse.define
def inverse(op: LinearOperator) -> LinearOperator:
    return Inverse(op)
