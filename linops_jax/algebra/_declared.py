"""lo.declare(A, positive=True): what somebody knows of one operator."""

from __future__ import annotations

import dataclasses
from typing import Any

from linops_jax._model.declarations import static
from linops_jax._model.properties import NAMES, Properties
from linops_jax._operators.linear import LinearOperator
from linops_jax.algebra._composite import LinearComposite, Wrapper


class Declared(Wrapper, LinearComposite):
    """The same operator, of which more is known."""

    _hidden = ("known",)
    op: LinearOperator
    known: Properties = static()

    @property
    def properties(self) -> Properties:
        return self.known

    def apply(self, x: Any) -> Any:
        return self.op._forward(x)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(y, like)

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return self._infer_shape(y) if self.properties.symmetric else self.op._infer_adjoint_shape(y)

    def _gram(self, x: Any, domain: Any = None) -> Any:
        return self.op._gram(x, domain)

    def _inverse(self) -> LinearOperator | None:
        return self.H if self.properties.unitary else self.op._inverse()

    @property
    def _precedence(self) -> int:
        return self.op._precedence

    def _expression(self, show: Any) -> str:
        return show(self.op)


def declare(op: LinearOperator, **properties: Any) -> LinearOperator:
    """``op`` with properties that its class does not declare, as in ``lo.declare(A.H @ W @ A, positive=True)``.

    The names are those of ``Properties``; solvers and ``A.inv`` rely on them, and the checks test them.

    Raises TypeError for other names, and for what is not a linear operator.
    """
    if not isinstance(op, LinearOperator):
        message = f"declare expected a linear operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    if unknown := set(properties) - set(NAMES):
        message = f"declare: unknown properties {', '.join(sorted(unknown))}. Operators know {', '.join(NAMES)}."
        raise TypeError(message)
    return Declared(op, dataclasses.replace(op.properties, **properties))
