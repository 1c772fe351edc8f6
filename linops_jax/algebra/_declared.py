"""declare: properties of one operator that its class does not declare."""

from __future__ import annotations

import dataclasses
from typing import Any

from linops_jax._model.declarations import static
from linops_jax._model.properties import NAMES, Properties
from linops_jax._operators.linear import LinearOperator
from linops_jax.algebra._composite import LinearComposite, Wrapper


class Declared(Wrapper, LinearComposite):
    """``lo.declare(A, ...)``: an operator with more properties.

    Parameters
    ----------
    op : LinearOperator
        The operator A.
    known : Properties
        All its properties.
    """

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
    """Declares properties of an operator that its class does not declare.

    Parameters
    ----------
    op : LinearOperator
        The operator.
    **properties : bool or float
        Fields of ``Properties``, for example ``positive=True``. Solvers and ``A.inv`` rely on them; ``lo.check_operator``
        tests them.

    Returns
    -------
    LinearOperator
        The same map, with these properties.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator, or a property is not known.

    Examples
    --------
    >>> A = lo.Matrix([[2.0, 1.0], [1.0, 2.0]])
    >>> lo.declare(A, positive=True).properties
    Properties(symmetric=True, positive=True)
    """
    if not isinstance(op, LinearOperator):
        message = f"declare expected a linear operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    if unknown := set(properties) - set(NAMES):
        message = f"declare: unknown properties {', '.join(sorted(unknown))}. Operators know {', '.join(NAMES)}."
        raise TypeError(message)
    return Declared(op, dataclasses.replace(op.properties, **properties))
