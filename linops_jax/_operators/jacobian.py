"""The derivative of a nonlinear operator at a point, as a linear operator: by its hooks, or by JAX."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

from linops_jax._engine import derived, linearized
from linops_jax._model import shapes
from linops_jax._operators import upstream
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM
from linops_jax._operators.wrappers import Wrapper


class Jacobian(Wrapper, LinearOperator, composite=True):
    """``F.jacobian(x)``, the derivative J(x) of a nonlinear operator whose class has hooks for it.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F.
    x : pytree of arrays
        The point.

    Attributes
    ----------
    state : pytree of arrays or None
        What the hook ``linearize`` gives at x; None if the class has no such hook.
    """

    _hidden = ("state",)

    op: Any
    x: Any
    state: Any = dataclasses.field(init=False)  # computed by __post_init__, so also by dataclasses.replace

    def __post_init__(self) -> None:
        self.state = self.op._linearize(self.x)[1] if "linearize" in type(self.op)._hooks else None

    def apply(self, x: Any) -> Any:
        return self.op._evaluate("jacobian_apply", (*self._point("jacobian_apply"), x), self.codomain)

    def _point(self, name: str) -> tuple[Any, ...]:
        """The first arguments of a hook for a derivative: the point, and the state if the hook takes it."""
        hook = type(self.op)._hooks.get(name)
        return (self.x,) if hook is None or not hook.takes_state else (self.x, self.state)

    def adjoint(self, y: Any) -> Any:
        return self._reverse(y, self.domain)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._evaluate("jacobian_adjoint", (*self._point("jacobian_adjoint"), y), like)

    def infer_shape(self, x: Any) -> Any:
        return self._infer_shape(x)

    def _derive_shape(self, x: Any) -> Any:
        return self.codomain

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return self.domain

    @property
    def domain(self) -> Any:
        return shapes.specs(self.x)

    @property
    def codomain(self) -> Any:
        return self.op._infer_shape(self.x)

    def _expression(self, show: Any) -> str:
        return f"{show(self.op, ATOM)}.jacobian({show.point(self.domain)})"


class JacobianByJAX(Jacobian):
    """``F.jacobian(x)``, the derivative J(x) of an operator whose ``apply`` is JAX code that calls other operators.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F.
    x : pytree of arrays
        The point.

    Attributes
    ----------
    state : list of arrays or None
        What ``jax.linearize`` keeps of one evaluation at x, besides the arrays of F and x. None if no operator in F has
        ``linearize``: then each product evaluates F again.
    """

    def __post_init__(self) -> None:
        self.state = linearize(self.op, self.x)[1] if self.op._remembers else None

    def apply(self, x: Any) -> Any:
        return jax.tree.map(_as_array, self._product(self._as_input(x)), self.codomain)

    def _product(self, dx: Any) -> Any:
        with upstream.outside():
            return linearized.product(self.op, self.x, self.state, dx)

    def _pull_back(self, y: Any, like: Any) -> Any:
        domain = self.domain  # ``like`` may be real where this is complex
        found = derived.adjoint(self._product, y, domain, (self, y))
        return jax.tree.map(lambda spec, leaf: shapes.zeros(spec) if leaf is None else leaf, domain, found)


def linearize(op: Any, x: Any) -> tuple[Any, list[Any]]:
    """F(x), and the state of a ``JacobianByJAX`` at x."""
    with upstream.outside():
        return linearized.evaluate(op, x)


def _as_array(tangent: Any, spec: jax.ShapeDtypeStruct) -> Any:
    """The tangent of one result; that of an integer is zero."""
    return shapes.zeros(spec) if tangent.dtype == jax.dtypes.float0 else tangent
