"""A + B + ...: the sum of operators on the same input."""

from __future__ import annotations

from typing import Any

from linops_jax._linear import LinearOperator
from linops_jax._operator import SUM, Operator, constructor
from linops_jax._properties import Properties, common
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite
from linops_jax.algebra._parts import add_up, common_domain


class _Sum:
    terms: tuple[Any, ...]
    _precedence = SUM

    def apply(self, x: Any) -> Any:
        return add_up(self.terms, [term(x) for term in self.terms], "cannot add")

    @property
    def domain(self) -> Any:
        return common_domain(self.terms, "cannot add")

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
        return add_up(self.terms, [term._reverse(y, like) for term in self.terms], "cannot add the adjoints of")


class NonlinearSum(_Sum, NonlinearComposite):
    """The sum of operators of which at least one is nonlinear."""

    terms: tuple[Operator, ...]

    def jacobian(self, x: Any) -> LinearOperator:
        return Sum(tuple(term.jacobian(x) for term in self.terms))  # type: ignore[attr-defined]


@constructor("add")
def add(a: Operator, b: Operator) -> Operator:
    terms: tuple[Any, ...] = tuple(term for op in (a, b) for term in (op.terms if isinstance(op, _Sum) else (op,)))
    common_domain(terms, "cannot add")
    linear = all(isinstance(term, LinearOperator) for term in terms)
    return Sum(terms) if linear else NonlinearSum(terms)
