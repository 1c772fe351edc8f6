"""NonlinearOperator: the class to subclass for a nonlinear map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, overload

import numpy as np

from linops_jax._model import advice, fields, rules, shapes
from linops_jax._operators.arithmetic import Operand
from linops_jax._operators.expansion import Expansion
from linops_jax._operators.jacobian import Jacobian, JacobianByJAX, linearize
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import Operator, required
from linops_jax._types import Arrays, Scalar, Specs

Either: TypeAlias = "LinearOperator | NonlinearOperator"


class NonlinearOperator(Operator, rules=rules.NONLINEAR):
    r"""A differentiable map F between pytrees of arrays, with its derivative J(x) and the adjoint J(x)ᴴ.

    Subclass it, annotate its fields and write its hooks. ``apply``, ``jacobian_apply``, ``jacobian_adjoint`` and
    ``infer_shape`` are needed, unless ``apply`` is traced: then JAX derives the others. The rest is optional. Users call
    the operator and not its hooks: ``F(x)``, ``F.jacobian(x)(dx)``, ``F.jacobian(x).H(dy)``.

    Methods
    -------
    linearize(x)
        The pair of F(x) and a state, evaluated in the place of ``apply`` where derivatives are needed. The state is a pytree
        of arrays that all derivatives at x use, so that one simulation serves for them. ``jacobian_apply`` and
        ``jacobian_adjoint`` take it as a keyword-only argument ``state``; the other derivatives may take it.
    infer_state_shape(x)
        Shapes and dtypes of the state, from those of x, as ``jax.ShapeDtypeStruct``. Needed with ``linearize``.
    hessian_apply(x, dx1, dx2)
        The second derivative of F at x in the directions dx1 and dx2, for forward-mode derivatives of J(x) dx.
    hessian_adjoint(x, dx, dy)
        The adjoint of dx2 → ``hessian_apply(x, dx, dx2)``, applied to dy, for derivatives of J(x)ᴴ dy.

    Notes
    -----
    ``jacobian_adjoint`` is the conjugate transpose of ``jacobian_apply``; ``jax.vjp`` gives the plain transpose:

    .. math::
       \langle J(x)\, dx, dy \rangle = \langle dx, J(x)^H dy \rangle, \qquad
       \langle u, v \rangle = \sum_i \overline{u_i}\, v_i .

    ``jacobian_apply = None`` says that there are derivatives in reverse mode only, ``jacobian_adjoint = None`` in forward
    mode only. Fields, ``parameter_jvp``, ``parameter_vjp``, ``prepare`` and ``examples`` are those of ``LinearOperator``.

    **Class keywords** declare what is known of all operators of a class, as in ``class Wave(lo.NonlinearOperator,
    batched=True)``:

    batched, deterministic : bool
        As of ``LinearOperator``.
    real_linear : bool
        The Jacobian is linear over the real numbers only. The identity above then holds for the real parts.
    adjoint_rtol : float
        ``jacobian_adjoint`` is inexact, with at most this relative error.
    jacobian_rtol : float
        ``jacobian_apply`` (or ``jacobian_adjoint``, if there is no ``jacobian_apply``) is an inexact derivative of ``apply``,
        with at most this relative error. A model that solves differential equations up to a tolerance has such a derivative,
        and so has one that is differentiated by finite differences.

    Examples
    --------
    >>> class Sine(lo.NonlinearOperator):
    ...     def apply(self, x):
    ...         return np.sin(x)
    ...
    ...     def linearize(self, x):
    ...         return np.sin(x), np.cos(x)
    ...
    ...     def jacobian_apply(self, x, dx, *, state):
    ...         return state * dx
    ...
    ...     def jacobian_adjoint(self, x, dy, *, state):
    ...         return state * dy
    ...
    ...     def infer_shape(self, x):
    ...         return x
    ...
    ...     def infer_state_shape(self, x):
    ...         return x
    >>> F, x = Sine(), jnp.zeros(3)
    >>> J = F.jacobian(x)
    >>> J(jnp.arange(3.0)).tolist()
    [0.0, 1.0, 2.0]
    >>> jax.grad(lambda x: F(x).sum())(x).tolist()
    [1.0, 1.0, 1.0]
    """

    @required
    def apply(self, x: Arrays) -> Arrays:
        """F(x), a hook that a class defines.

        Parameters
        ----------
        x : pytree of arrays
            An element of the domain.

        Returns
        -------
        pytree of arrays
            F(x), in the shapes and dtypes that ``infer_shape`` says.
        """

    @required
    def jacobian_apply(self, x: Arrays, dx: Arrays) -> Arrays:
        """J(x) dx, the derivative of F at x in the direction dx; a hook that a class defines.

        Parameters
        ----------
        x : pytree of arrays
            The point.
        dx : pytree of arrays
            The direction, in the shapes and dtypes of x.

        Returns
        -------
        pytree of arrays
            J(x) dx, in the shapes and dtypes of F(x).
        """

    @required
    def jacobian_adjoint(self, x: Arrays, dy: Arrays) -> Arrays:
        """J(x)ᴴ dy, the conjugate transpose of ``jacobian_apply``; a hook that a class defines.

        Parameters
        ----------
        x : pytree of arrays
            The point.
        dy : pytree of arrays
            In the shapes and dtypes of F(x).

        Returns
        -------
        pytree of arrays
            J(x)ᴴ dy, in the shapes and dtypes of x.
        """

    @required
    def infer_shape(self, x: Specs) -> Specs:
        """Shapes and dtypes of F(x), a hook that a class defines.

        Parameters
        ----------
        x : pytree of jax.ShapeDtypeStruct
            Shapes and dtypes of the input. An input that the operator cannot take should be refused here, by an exception.

        Returns
        -------
        pytree of jax.ShapeDtypeStruct
            Those of the result. In this hook, the array fields have only shapes and dtypes, too.
        """

    if TYPE_CHECKING:

        def with_domain(self, spec: Specs) -> NonlinearOperator: ...
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
    else:  # for type checkers such attributes do not exist

        def __getattr__(self, name):
            if name in ("H", "T", "conj", "gram", "inv"):
                where = type(self)._label
                message = f"{where} is nonlinear and has no {name}. Its derivative at x has one: use {where}.jacobian(x).{name}."
                raise AttributeError(message)
            if message := advice.for_name(type(self)._label, name):
                raise AttributeError(message, name=name, obj=self)
            return object.__getattribute__(self, name)

    def jacobian(self, x: Arrays) -> LinearOperator:
        """The derivative of F at a point, as a linear operator.

        Parameters
        ----------
        x : pytree of arrays
            The point x.

        Returns
        -------
        LinearOperator
            J(x), with the domain of x: ``J(dx)``, ``J.H(dy)``.
        """
        return self._expand(self._as_point(x, "jacobian")).jacobian

    def value_and_jacobian(self, x: Arrays) -> tuple[Arrays, LinearOperator]:
        """F(x) and the derivative of F at x, by one simulation if the class has ``linearize``.

        Parameters
        ----------
        x : pytree of arrays
            The point, as for ``F(x)``.

        Returns
        -------
        value : pytree of arrays
            F(x).
        jacobian : LinearOperator
            ``F.jacobian(x)``.
        """
        found = self._expand(self._as_point(x, "value_and_jacobian"))
        return found.value(), found.jacobian

    def _expand(self, x: Any) -> Expansion:
        """The operator to first order at a point."""
        if "linearize" in type(self)._hooks:
            y, state = self._linearize(x)
            return Expansion(fields.restore(Jacobian, (), (self, x, state)), lambda: y)
        if self._is_differentiated_by_jax and self._remembers:
            return self._expand_by_jax(x)
        return Expansion(Jacobian(self, x), lambda: self(x))

    @property
    def _is_differentiated_by_jax(self) -> bool:
        """Whether JAX derives the Jacobian from ``apply``, in both modes."""
        hooks = type(self)._hooks
        return all(name in hooks and hooks[name].derived for name in ("jacobian_apply", "jacobian_adjoint"))

    def _expand_by_jax(self, x: Any) -> Expansion:
        """The operator to first order, if it is JAX code that calls other operators."""
        if not self._remembers:
            return Expansion(JacobianByJAX(self, x), lambda: self(x))
        y, state = linearize(self, x)
        return Expansion(fields.restore(JacobianByJAX, (), (self, x, state)), lambda: y)

    def _as_point(self, x: Any, name: str) -> Any:
        """The point at which a method is called, as arrays; the method's name is for messages."""
        where = f"{type(self)._label}.{name}(x)"
        shapes.refuse_shapes(x, where, "Pass the point, as jnp.zeros({})")
        return shapes.as_arrays(x, where)

    def _linearize(self, x: Any) -> tuple[Any, Any]:
        """F(x) and the state for the derivatives at x, by the hook ``linearize``."""
        at = self._as_input(x)
        return self._evaluate("linearize", (at,), (self._infer_shape(at), self._infer_state_shape(at)))
