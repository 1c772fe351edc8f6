"""The classes to subclass for a combinator of your own: an operator made of operators."""

from __future__ import annotations

import dataclasses
import functools
import inspect
from collections.abc import Iterable
from typing import Any

from linops_jax._model import fields, kinds, lookup, marks, rules
from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator
from linops_jax._operators.printing import Notation, Precedence, exact
from linops_jax._types import Specs
from linops_jax.algebra._parts import result


class _OfParts:
    """What linear and nonlinear combinators share: the methods that a class may define, and how the library uses them."""

    precedence = Precedence.ATOM

    def expression(self, show: Notation) -> str:
        """The text of the operator, for both ``repr`` and ``str``.

        Parameters
        ----------
        show : Notation
            Writes the parts. ``show(part, at_least)`` is the text of an operator, in parentheses if it binds less tightly
            than the ``Precedence`` ``at_least``. ``show.times`` stands between a number and an operator,
            ``show.scalar(value)`` is a number, ``show.point(specs, name)`` is for arrays and
            ``show.container(operators)`` for a pytree of operators.

        Returns
        -------
        str
            Text that binds as tightly as the class attribute ``precedence`` says, ``Precedence.ATOM`` by default.
        """
        return show.atom(self)

    def simplifications(self, x: Specs) -> Iterable[Operator | None]:
        """The rules of ``lo.simplify`` for this class. It takes the first result with the same domain and codomain.

        Parameters
        ----------
        x : pytree of jax.ShapeDtypeStruct or None
            Specs of the input. If it is None, they are not known, and a rule has to hold for all of them.

        Returns
        -------
        iterable of operators or None
            The result of each rule for this operator, whose parts are simple already; None if the rule does not apply. A
            rule may use the structure and the properties, never the values of arrays.
        """
        return ()

    def inputs_of_parts(self, x: Specs) -> list[Specs]:
        """The input of each part, so that ``lo.tree`` shows shapes and ``lo.simplify`` can use more rules for the parts.

        Parameters
        ----------
        x : pytree of jax.ShapeDtypeStruct
            Specs of the input.

        Returns
        -------
        list
            Specs of the input of each operator in the fields, in their order; None if they are not known.
            ``jax.eval_shape(part, x)`` is what a part makes of specs.
        """
        return [None] * len(self._parts())

    @property
    def properties(self) -> Properties:
        """The properties that the class declares. A real-linear or inexact part makes the operator so, too."""
        cls: Any = type(self)
        own, of_parts = cls._traits.properties, common(self._parts())
        return dataclasses.replace(
            own,
            real_linear=own.real_linear or of_parts.real_linear,
            adjoint_rtol=of_parts.adjoint_rtol if own.adjoint_rtol is None else own.adjoint_rtol,
            jacobian_rtol=of_parts.jacobian_rtol if own.jacobian_rtol is None else own.jacobian_rtol,
        )

    def __init_subclass__(cls) -> None:
        for name in cls._rules:  # type: ignore[attr-defined]
            value = lookup.find(cls, name, None)
            if name in vars(cls) and inspect.isfunction(value):
                marks.traced(value)
            elif value is not None and not kinds.is_traced(value) and not getattr(value, "__isabstractmethod__", False):
                message = (
                    f"{cls.__qualname__}.{name}: the hooks of a combinator are JAX code that calls its parts. Write it so and "
                    "mark it with lo.traced, or subclass LinearOperator or NonlinearOperator."
                )
                raise TypeError(message)
        super().__init_subclass__()

    # ---- what the library calls -------------------------------------------------------------------------------------

    def _parts(self) -> list[Any]:
        return fields.operators_of(self)

    @property
    def _precedence(self) -> int:  # type: ignore[override]
        return self.precedence

    def _expression(self, show: Notation) -> str:
        return self.expression(show)

    def _simpler(self, x: Any) -> Iterable[Any]:
        for simpler in self.simplifications(x):
            if simpler is not None and not isinstance(simpler, Operator):
                message = (
                    f"{_label(self)}.simplifications: expected operators or None, found {type(simpler).__name__} "
                    f"{simpler!r:.80}."
                )
                raise TypeError(message)
            yield simpler

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        inputs, parts = list(self.inputs_of_parts(x)), self._parts()
        if len(inputs) != len(parts):
            message = (
                f"{_label(self)}.inputs_of_parts: expected one entry for each of the {len(parts)} operators in the fields "
                f"of {exact(self)}, found {len(inputs)}."
            )
            raise ValueError(message)
        return inputs

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        if domain is None:
            return ()
        return [(x, result(part, x)) for part, x in zip(self._parts(), self._inputs_of_parts(domain), strict=True)]


def _label(op: Any) -> str:
    return type(op)._label


class Combinator(_OfParts, LinearOperator, rules=rules.LINEAR):
    """A linear operator made of other operators: the class to subclass for a combinator of your own.

    Fields hold the parts, also in lists, dicts and other pytrees. Only ``apply`` is needed: JAX code that calls the
    parts. The adjoint and the derivatives come from JAX, by those of the parts, and the shapes of the result from those
    of the parts. If the class defines other hooks, such as ``adjoint`` or ``inverse``, these are used instead. They are
    JAX code, too; ``lo.traced`` may be left out.

    As for every operator, ``A.H(y)`` needs ``infer_adjoint_shape``, unless there is a domain or an ``adjoint_operator``.
    If the parts determine the domain, define a property ``domain``, for example with ``return self.op.domain``.

    Attributes
    ----------
    precedence : Precedence
        How tightly the text of ``expression`` binds.
    nonlinear_parts : bool
        Whether parts may be nonlinear, as in a derivative of such a part. False by default.

    Raises
    ------
    TypeError
        If a part is nonlinear and the class does not say ``nonlinear_parts = True``.

    Examples
    --------
    >>> class Twice(lo.algebra.Combinator):
    ...     op: lo.LinearOperator
    ...     precedence = lo.algebra.Precedence.PRODUCT
    ...
    ...     def apply(self, x):
    ...         return 2 * self.op(x)
    ...
    ...     def expression(self, show):
    ...         return f"2{show.times}{show(self.op, lo.algebra.Precedence.PRODUCT)}"
    >>> A = Twice(lo.Diagonal(jnp.asarray([1.0, 2.0])))
    >>> print(A + A)
    2 Diagonal + 2 Diagonal
    >>> A(jnp.ones(2)).tolist()
    [2.0, 4.0]
    """

    nonlinear_parts = False

    def __post_init__(self) -> None:
        if self.nonlinear_parts:
            return
        for part in fields.operators_of(self):
            if not isinstance(part, LinearOperator):
                where = type(self)._label
                message = (
                    f"{where}: expected linear operators, found the nonlinear {exact(part)}. Subclass "
                    f"lo.algebra.NonlinearCombinator if {where} is nonlinear; write `nonlinear_parts = True` in the class if it "
                    "is linear all the same, as a derivative is."
                )
                raise TypeError(message)

    def adjoint_operator(self) -> LinearOperator | None:
        """The adjoint as an operator made of the adjoints of the parts. ``lo.simplify`` puts it in the place of ``A.H``.

        Returns
        -------
        LinearOperator or None
            None, the default, if there is none: then ``A.H`` stays as it is.
        """
        return None

    def inverse_operator(self) -> LinearOperator | None:
        """The inverse as an operator made of the inverses of the parts, for ``A.inv`` and negative powers.

        Returns
        -------
        LinearOperator or None
            None, the default, if there is none: then the hook ``inverse`` is used, or the adjoint of a unitary operator,
            or an iterative solver.
        """
        return None

    # ---- what the library calls -------------------------------------------------------------------------------------

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        return self.adjoint_operator()

    def _inverse(self) -> LinearOperator | None:
        inverse = self.inverse_operator()
        return super()._inverse() if inverse is None else inverse

    @functools.cached_property
    def _adjoint_says_shape(self) -> bool:
        """Whether only ``adjoint_operator`` can find the shape of the adjoint's result."""
        if getattr(self, "infer_adjoint_shape", None) is not None or self.properties.symmetric:
            return False
        return self.adjoint_operator() is not None and all(part._says_adjoint_shape for part in self._parts())

    @property
    def _says_adjoint_shape(self) -> bool:
        return self._adjoint_says_shape or super()._says_adjoint_shape

    @functools.cached_property
    def _is_looked_for(self) -> bool:
        return not self._adjoint_says_shape and super()._is_looked_for

    def _infer_adjoint_shape(self, y: Any) -> Any:
        adjoint = self.adjoint_operator() if self._adjoint_says_shape else None
        return super()._infer_adjoint_shape(y) if adjoint is None else adjoint._infer_shape(y)


class NonlinearCombinator(_OfParts, NonlinearOperator, rules=rules.NONLINEAR):
    """A nonlinear operator made of other operators: a ``Combinator`` without adjoint and inverse.

    ``apply`` is JAX code that calls the parts, which may be linear or nonlinear. ``F.jacobian(x)`` comes from JAX, by the
    derivatives of the parts, unless the class defines ``jacobian_apply`` and ``jacobian_adjoint``, as JAX code.

    Attributes
    ----------
    precedence : Precedence
        How tightly the text of ``expression`` binds.
    """
