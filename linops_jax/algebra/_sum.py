"""A + B + ...: the sum of operators on the same input."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

from linops_jax._model.properties import Properties, common
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import SUM, Operator, UnknownShapeError
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite, of_checked_parts
from linops_jax.algebra._parts import add_up, common_adjoint_shape, common_domain, have_codomain, typed


class _Sum:
    terms: tuple[Any, ...]
    _precedence = SUM

    def apply(self, x: Any) -> Any:
        return add_up(self.terms, [term(x) for term in self.terms], "cannot add")

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [x] * len(self.terms)

    def _derive_shape(self, x: Any) -> Any:
        return add_up(self.terms, [term._infer_shape(x) for term in self.terms], "cannot add")

    @functools.cached_property
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

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        terms = [typed(term, domain) for term in self.terms]
        if domain is not None and not have_codomain(terms, self._infer_shape(domain)):
            return None
        return functools.reduce(add, [term.H for term in terms])

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return common_adjoint_shape(self.terms, [y] * len(self.terms))

    def _pull_back(self, y: Any, like: Any) -> Any:
        return add_up(self.terms, [term._reverse(y, like) for term in self.terms], "cannot add the adjoints of")


class NonlinearSum(_Sum, NonlinearComposite):
    """The sum of operators of which at least one is nonlinear."""

    terms: tuple[Operator, ...]

    def _jacobian(self, x: Any) -> LinearOperator:
        return Sum(tuple(term.jacobian(x) for term in self.terms))  # type: ignore[attr-defined]


@constructors.add.define
def add(a: Operator, b: Operator) -> Operator:
    """``a + b``. Raises ValueError where domains differ, or codomains that are known."""
    terms = _terms(a) + _terms(b)
    kind = Sum if isinstance(a, LinearOperator) and isinstance(b, LinearOperator) else NonlinearSum
    total = of_checked_parts(kind, (), (terms,))
    total.__dict__["domain"] = domain = common_domain((a, b), "cannot add")
    if domain is not None:
        with contextlib.suppress(UnknownShapeError):  # only a product around the sum may say it
            results = [op._infer_shape(domain) if op.domain is None else op.codomain for op in (a, b)]
            total._remember(None, add_up((a, b), results, "cannot add"))
    return total


def _terms(op: Any) -> tuple[Any, ...]:
    return op.terms if isinstance(op, _Sum) else (op,)
