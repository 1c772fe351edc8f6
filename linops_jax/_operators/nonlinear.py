"""NonlinearOperator: the class to subclass for a nonlinear map, and its derivative, which is a linear operator."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from linops_jax._model import advice, fields, rules, shapes
from linops_jax._operators.arithmetic import Operand
from linops_jax._operators.expansion import Expansion
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM, Operator, required
from linops_jax._operators.wrappers import Wrapper
from linops_jax._types import Scalar

Either: TypeAlias = "LinearOperator | NonlinearOperator"


class NonlinearOperator(Operator, rules=rules.NONLINEAR):
    """A differentiable map F between pytrees of arrays.

    Subclass it and write the hooks ``apply(self, x)``, ``jacobian_apply(self, x, dx)`` (the derivative at x applied to
    dx), ``jacobian_adjoint(self, x, dy)`` (its conjugate transpose; JAX's own vjp is the plain one) and
    ``infer_shape(self, x)`` on NumPy arrays. ``jacobian_apply = None`` leaves reverse mode only, ``jacobian_adjoint = None``
    forward mode only. Optional: ``hessian_apply(self, x, dx1, dx2)``, ``hessian_adjoint(self, x, dx, dy)``,
    ``parameter_jvp(self, x, dself)`` and ``parameter_vjp(self, x, dy)``.

    Class keywords:

    - ``batched=True``: the hooks accept extra leading batch axes, so that ``vmap`` costs one call. All input leaves carry
      the same number of them, an unmapped one of size 1; axes mapped over fields are looped over, as are all axes of
      ``parameter_vjp``. Count axes from the end.
    - ``real_linear=True``: the Jacobian is linear over the reals only; checks compare real parts.
    - ``adjoint_rtol=1e-3``: ``jacobian_adjoint`` is declared inexact, up to this relative error.
    - ``jacobian_rtol=1e-3``: so is ``jacobian_apply``, as the derivative of ``apply``: a model that solves differential
      equations up to a tolerance, or differentiates by differences, has one. Where there is no ``jacobian_apply``,
      ``jacobian_adjoint`` is meant.
    - ``deterministic=True``: two calls agree bit for bit.
    """

    @required
    def apply(self, x: Any) -> Any:
        """F(x)."""

    @required
    def jacobian_apply(self, x: Any, dx: Any) -> Any:
        """J(x) dx, the derivative of F at x in the direction dx."""

    @required
    def jacobian_adjoint(self, x: Any, dy: Any) -> Any:
        """J(x)^H dy, the conjugate transpose."""

    @required
    def infer_shape(self, x: Any) -> Any:
        """Specs of F(x) from specs of x: pytrees of jax.ShapeDtypeStruct."""

    if TYPE_CHECKING:

        def with_domain(self, spec: Any) -> NonlinearOperator: ...
        def __neg__(self) -> NonlinearOperator: ...
        def __mul__(self, other: Scalar) -> NonlinearOperator: ...
        def __rmul__(self, other: Scalar) -> NonlinearOperator: ...
        def __truediv__(self, other: Scalar) -> NonlinearOperator: ...
        def __pow__(self, exponent: int | np.integer) -> NonlinearOperator: ...
        def __add__(self, other: Either) -> NonlinearOperator: ...
        def __radd__(self, other: LinearOperator | int) -> NonlinearOperator: ...
        def __sub__(self, other: Either) -> NonlinearOperator: ...
        def __rsub__(self, other: LinearOperator) -> NonlinearOperator: ...
        @overload
        def __matmul__(self, other: Either) -> NonlinearOperator: ...
        @overload
        def __matmul__(self, other: Operand) -> Any: ...
        def __matmul__(self, other: Any) -> Any: ...
        def __rmatmul__(self, other: LinearOperator) -> NonlinearOperator: ...
    else:  # to type checkers these attributes are missing, which is right

        def __getattr__(self, name):
            if name in ("H", "T", "conj", "gram", "inv"):
                where = type(self)._label
                message = (
                    f"{where} is nonlinear and has no {name}. Its derivative at x has: use {where}.jacobian(x).{name}."
                )
                raise AttributeError(message)
            if message := advice.for_name(type(self)._label, name):
                raise AttributeError(message, name=name, obj=self)
            return object.__getattribute__(self, name)

    def jacobian(self, x: Any) -> LinearOperator:
        """The derivative of F at x, as a linear operator: ``J(dx)``, ``J.H(dy)``."""
        return Jacobian(self, self._as_point(x, "jacobian"))

    def value_and_jacobian(self, x: Any) -> tuple[Any, LinearOperator]:
        """F(x) and the derivative of F at x, as a linear operator, by one simulation where the class has ``linearize``.

        Parameters
        ----------
        x : pytree of arrays
            The point, as for ``F(x)``.

        Returns
        -------
        tuple
            ``(F(x), F.jacobian(x))``.
        """
        found = self._expand(self._as_point(x, "value_and_jacobian"))
        return found.value(), found.jacobian

    def _expand(self, x: Any) -> Expansion:
        if "linearize" not in type(self)._hooks:
            return Expansion(self.jacobian(x), lambda: self(x))
        y, state = self._linearize(x)
        return Expansion(fields.restore(Jacobian, (), (self, x, state)), lambda: y)

    def _as_point(self, x: Any, name: str) -> Any:
        where = f"{type(self)._label}.{name}(x)"
        shapes.refuse_shapes(x, where, "Pass the point, as jnp.zeros({})")
        return shapes.as_arrays(x, where)

    def _linearize(self, x: Any) -> tuple[Any, Any]:
        """F(x) and what its derivatives there need besides."""
        at = self._as_input(x)
        return self._evaluate("linearize", (at,), (self._infer_shape(at), self._infer_state_shape(at)))


class Jacobian(Wrapper, LinearOperator, composite=True):
    """J(x), the derivative of a nonlinear operator at a point."""

    _hidden = ("state",)

    op: NonlinearOperator
    x: Any
    state: Any = dataclasses.field(init=False)  # of a class with linearize; made anew where x is replaced

    def __post_init__(self) -> None:
        self.state = self.op._linearize(self.x)[1] if "linearize" in type(self.op)._hooks else None

    def apply(self, x: Any) -> Any:
        return self.op._evaluate("jacobian_apply", (*self._point("jacobian_apply"), x), self.codomain)

    def _point(self, name: str) -> tuple[Any, ...]:
        """Where a hook is evaluated."""
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
