"""A + B + ...: the sum of operators on the same input."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _specs
from linops_jax._linear import LinearOperator
from linops_jax._operator import SUM, Operator, constructor
from linops_jax._properties import Properties, common
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite


class _Sum:
    terms: tuple[Any, ...]
    _precedence = SUM

    def apply(self, x: Any) -> Any:
        return _add_up(self.terms, [term(x) for term in self.terms])

    @property
    def domain(self) -> Any:
        return next((term.domain for term in self.terms if term.domain is not None), None)

    @property
    def properties(self) -> Properties:
        return common(self.terms, "symmetric", "positive", "diagonal")

    def _expression(self, show: Any) -> str:
        first, *rest = map(show, self.terms)
        return first + "".join(f" - {term[1:]}" if term.startswith("-") else f" + {term}" for term in rest)


class Sum(_Sum, LinearComposite):
    """The sum of linear operators."""

    terms: tuple[LinearOperator, ...]

    def _reverse(self, y: Any, like: Any) -> Any:
        return _add_up(self.terms, [term._reverse(y, like) for term in self.terms])


class NonlinearSum(_Sum, NonlinearComposite):
    """The sum of operators of which at least one is nonlinear."""

    terms: tuple[Operator, ...]

    def jacobian(self, x: Any) -> LinearOperator:
        return Sum(tuple(term.jacobian(x) for term in self.terms))  # type: ignore[attr-defined]


def _add_up(terms: tuple[Any, ...], values: list[Any]) -> Any:
    for term, value in zip(terms[1:], values[1:], strict=True):
        if difference := _specs.mismatch(value, values[0]):
            message = f"cannot add {terms[0]!r} and {term!r}: their results differ: {difference}."
            raise ValueError(message)
    return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), values)


@constructor("add")
def add(a: Operator, b: Operator) -> Operator:
    terms: tuple[Any, ...] = tuple(term for op in (a, b) for term in (op.terms if isinstance(op, _Sum) else (op,)))
    domains = [term for term in terms if term.domain is not None]
    for term in domains[1:]:
        if difference := _specs.mismatch(term.domain, domains[0].domain):
            message = f"cannot add {domains[0]!r} and {term!r}: their domains differ: {difference}."
            raise ValueError(message)
    linear = all(isinstance(term, LinearOperator) for term in terms)
    return Sum(terms) if linear else NonlinearSum(terms)
