"""How operators print: as formulas with shapes, complete in ``repr`` and short in ``str``.

A combinator defines the method ``_expression(self, show)`` and the class attribute ``_precedence`` (SUM, PRODUCT or ATOM:
how tightly the text binds). ``show(part, at_least)`` is the text of a part, in parentheses if it binds less tightly than
``at_least``. ``show.scalar(value)``, ``show.times`` and ``show.point(spec)`` are the rest of the notation:

    class Twice(LinearComposite):
        _precedence = PRODUCT

        def _expression(self, show):
            return f"2{show.times}{show(self.op, PRODUCT)}"

In the public class ``lo.algebra.Combinator`` these are ``expression`` and ``precedence``. Both ``repr`` and ``str`` are
made in this way. A class that defines ``__repr__`` prints like that in both. A class without parts may set ``_symbol``,
which ``str`` shows instead of the class's name.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import jax
import numpy as np

from linops_jax._model import fields, shapes
from linops_jax._types import Specs


class Precedence(enum.IntEnum):
    """How tightly the text of an operator binds.

    Attributes
    ----------
    SUM
        As ``A + B``.
    PRODUCT
        As ``A @ B``.
    ATOM
        As ``A``: never in parentheses.
    """

    SUM = 0
    PRODUCT = 1
    ATOM = 2


SUM, PRODUCT, ATOM = Precedence


class Notation:
    """How operators, numbers and arrays are written: the argument of ``Combinator.expression``.

    This class is the notation of ``repr``: classes with their fields, numbers with all digits, products with ``*``. The
    notation of ``str`` is a subclass, and shorter.

    Attributes
    ----------
    times : str
        What stands between a number and an operator.
    """

    times = " * "

    def __call__(self, op: Any, at_least: int = SUM) -> str:
        """The text of an operator as part of a longer text.

        Parameters
        ----------
        op : LinearOperator or NonlinearOperator
            The operator.
        at_least : Precedence, optional
            How tightly the text has to bind; otherwise it gets parentheses. ``Precedence.SUM`` by default: no parentheses.

        Returns
        -------
        str
            The text.
        """
        text = op._text(self)
        return f"({text})" if op._precedence < at_least else text

    def atom(self, op: Any) -> str:
        """The text of an operator without parts.

        Parameters
        ----------
        op : LinearOperator or NonlinearOperator
            The operator.

        Returns
        -------
        str
            Its class and fields in ``repr``, its symbol or the name of its class in ``str``.
        """
        shown = ", ".join(f"{f.name}={value(getattr(op, f.name, '?'), self)}" for f in dataclasses.fields(type(op)))
        return f"{type(op)._label}({shown})"

    def scalar(self, factor: Any) -> str:
        """The text of a number.

        Parameters
        ----------
        factor : scalar
            The number.

        Returns
        -------
        str
            The digits; ``a`` for a number without a known value: tracers, specs and batches.
        """
        number = _number(factor)
        return "a" if number is None else repr(number)

    def point(self, spec: Specs, name: str = "x") -> str:
        """The text of arrays that the operator depends on.

        Parameters
        ----------
        spec : pytree of jax.ShapeDtypeStruct
            Specs of the arrays.
        name : str, optional
            Their symbol in a formula, ``"x"`` by default.

        Returns
        -------
        str
            Shapes and dtypes in ``repr``, the symbol in ``str``.
        """
        return shapes.describe_tree(spec)

    def container(self, ops: Any) -> str:
        """The text of a pytree of operators.

        Parameters
        ----------
        ops : pytree of operators
            The operators.

        Returns
        -------
        str
            The containers as Python shows them, with the texts of the operators.
        """
        return value(ops, self)


class Short(Notation):
    """The notation of ``str``: symbols and names of classes, four digits, products without a sign."""

    times = " "

    def atom(self, op: Any) -> str:
        return type(op)._symbol or type(op)._label

    def scalar(self, factor: Any) -> str:
        number = _number(factor)
        if number is None:
            return "a"
        if not complex(number).imag:
            return f"{complex(number).real:.4g}"
        return f"({number:.4g})" if number.real else f"{number.imag:.4g}j"

    def point(self, spec: Specs, name: str = "x") -> str:
        return name


exact, short = Notation(), Short()


def _number(factor: Any) -> Any:
    if isinstance(factor, bool | int | float | complex):
        return factor
    try:
        return factor.item()
    except (AttributeError, TypeError, ValueError, RuntimeError):
        return None


def with_shapes(op: Any, show: Notation) -> str:
    """The formula of an operator with its spaces, ``A.H @ A + 0.1 I : f32[4] -> f32[4]``, if the domain is fixed.

    This may have to compute the shapes. Use ``exact(op)`` to name an operator where it is not known yet whether the text is
    needed, and to put something after the name, as in ``f"{exact(A)}.H"``.
    """
    domain = _known(op, "domain")
    text = show(op)
    return text if domain is None else f"{text} : {spaces(domain, _known(op, 'codomain'))}"


def _known(op: Any, side: str) -> Any:
    """The domain or the codomain, or None if it cannot be found."""
    try:
        return getattr(op, side)
    except Exception:  # a broken operator must still print
        return None


def spaces(domain: Any, codomain: Any) -> str:
    """``f32[3] -> f32[4]``, with ``?`` for a space that is not known; empty if neither is."""
    texts = ["?" if spec is None else shapes.describe_tree(spec) for spec in (domain, codomain)]
    return " -> ".join(texts) if texts != ["?", "?"] else ""


def value(field: Any, show: Any = repr) -> str:
    """The text of a field's value. Arrays are shown by dtype and shape; their values are never printed or copied."""
    if isinstance(field, np.ndarray | jax.Array | jax.ShapeDtypeStruct):
        return shapes.describe(field)
    if type(field) in (tuple, list) and field:
        inner = ", ".join(value(item, show) for item in field)
        return f"[{inner}]" if isinstance(field, list) else f"({inner}{',' if len(field) == 1 else ''})"
    if isinstance(field, dict):
        return "{" + ", ".join(f"{key!r}: {value(item, show)}" for key, item in field.items()) + "}"
    if fields.is_operator(field):
        return show(field)
    return repr(field) if jax.tree_util.all_leaves([field]) else _container(field, show)


def _container(field: Any, show: Any) -> str:
    """The text of a pytree of any other class, whose own ``repr`` would print the arrays."""
    try:
        return repr(jax.tree.map(lambda leaf: shapes.Text(value(leaf, show)), field, is_leaf=fields.is_operator))
    except Exception:  # a container whose class accepts arrays only
        return f"{type(field).__name__}(...)"
