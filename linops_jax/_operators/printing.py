"""How operators print: nested mathematics with shapes, exact in ``repr`` and short in ``str``.

The protocol for combinators is one method, ``_expression(self, show)``, and the class attribute ``_precedence`` (SUM, PRODUCT
or ATOM: how tightly the text holds together). ``show(part, at_least)`` is the text of a part, in parentheses where it binds
less tightly than ``at_least``; ``show.scalar(value)``, ``show.times`` and ``show.point(spec)`` are the rest of the notation:

    class Twice(LinearComposite):
        _precedence = PRODUCT

        def _expression(self, show):
            return f"2{show.times}{show(self.op, PRODUCT)}"

In the public class ``lo.algebra.Combinator`` these are ``expression`` and ``precedence``. Both ``repr`` and ``str`` come from
it. A class that overrides ``__repr__`` itself prints like that in both. A class that is an atom may set ``_symbol``, which
``str`` uses in the place of the class's name.
"""

from __future__ import annotations

import dataclasses
import enum
from typing import Any

import jax
import numpy as np

from linops_jax._model import fields, shapes


class Precedence(enum.IntEnum):
    """How tightly the printed form of an operator holds together: ``SUM`` as ``A + B``, ``PRODUCT`` as ``A @ B``, ``ATOM`` as
    ``A``."""

    SUM = 0
    PRODUCT = 1
    ATOM = 2


SUM, PRODUCT, ATOM = Precedence


class Notation:
    """How operators, numbers and arrays are written: the argument of ``Combinator.expression``.

    As it stands it is the notation of ``repr``: classes with their fields, scalars with all digits, products with ``*``.
    That of ``str`` is shorter.
    """

    times = " * "  #: between the factors of a product

    def __call__(self, op: Any, at_least: int = SUM) -> str:
        """An operator as part of something that binds as tightly as ``at_least``: otherwise it stands in parentheses."""
        text = op._text(self)
        return f"({text})" if op._precedence < at_least else text

    def atom(self, op: Any) -> str:
        shown = ", ".join(f"{f.name}={value(getattr(op, f.name, '?'), self)}" for f in dataclasses.fields(type(op)))
        return f"{type(op)._label}({shown})"

    def scalar(self, factor: Any) -> str:
        """A number, or ``a`` for what has no value: tracers, specs, batches."""
        number = _number(factor)
        return "a" if number is None else repr(number)

    def point(self, spec: Any, name: str = "x") -> str:
        """Arrays that the operator depends on; ``name`` is how mathematics calls them."""
        return shapes.describe_tree(spec)

    def container(self, ops: Any) -> str:
        """A pytree of operators."""
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

    def point(self, spec: Any, name: str = "x") -> str:
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
    """``A.H @ A + 0.1 I : f32[4] -> f32[4]``; without the shapes where the domain is not fixed.

    The shapes may have to be computed. What only names an operator, before it is known whether a message is needed, is
    ``exact(op)``; so is what goes on after the name, as in ``f"{exact(A)}.H"``.
    """
    domain = _known(op, "domain")
    text = show(op)
    return text if domain is None else f"{text} : {spaces(domain, _known(op, 'codomain'))}"


def _known(op: Any, side: str) -> Any:
    try:
        return getattr(op, side)
    except Exception:  # an operator that is wrong must still print
        return None


def spaces(domain: Any, codomain: Any) -> str:
    """``f32[3] -> f32[4]``, with ``?`` for what is not known, or nothing where neither is."""
    texts = ["?" if spec is None else shapes.describe_tree(spec) for spec in (domain, codomain)]
    return " -> ".join(texts) if texts != ["?", "?"] else ""


def value(field: Any, show: Any = repr) -> str:
    """The value of a field. Arrays are described, never printed or copied."""
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
    """A pytree of another class, whose own repr would print arrays."""
    try:
        return repr(jax.tree.map(lambda leaf: shapes.Text(value(leaf, show)), field, is_leaf=fields.is_operator))
    except Exception:  # of a class that takes nothing but arrays
        return f"{type(field).__name__}(...)"
