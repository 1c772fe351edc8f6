"""Sum: ``A + B + ...``, operators with the same input."""

from __future__ import annotations

import contextlib
import functools
import operator
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from linops_jax._model.properties import Properties, common
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import SUM, Operator, UnknownShapeError
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite, of_checked_parts
from linops_jax.algebra._numbers import can_merge
from linops_jax.algebra._parts import add_up, common_adjoint_shape, common_domain, have_codomain, typed
from linops_jax.algebra._scale import scale


class _Sum:
    """What the linear and the nonlinear class share."""

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

    def _with_parts(self, parts: list[Any]) -> Any:
        return _total(parts)

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        return [(domain, codomain)] * len(self.terms)

    def _simpler(self, x: Any) -> Iterable[Any]:
        yield self._without_zeros()
        yield self._with_equal_terms_once()
        yield self._with_one_diagonal()

    def _without_zeros(self) -> Any:
        """A + 0 = A."""
        kept = [term for term in self.terms if not term._bare()._is_zero]
        return _total(kept) if 0 < len(kept) < len(self.terms) and not self.properties.real_linear else None

    def _with_equal_terms_once(self) -> Any:
        """a A + b A = (a + b) A, if both terms have the same Python object A, or identities."""
        for i, first in enumerate(self.terms):
            for j in range(i + 1, len(self.terms)):
                (a, f), (b, g) = _multiple(first), _multiple(self.terms[j])
                if (f is g or (f._is_identity and g._is_identity)) and can_merge(a, b):
                    return _total([*self.terms[:i], scale(a + b, f), *self.terms[i + 1 : j], *self.terms[j + 1 :]])
        return None

    def _with_one_diagonal(self) -> Any:
        """diag(d) + diag(e) = diag(d + e); diag(d) + a I = diag(d + a)."""
        for i, first in enumerate(self.terms):
            for j, second in enumerate(self.terms):
                if i == j or (d := first._elements) is None:
                    continue
                added = _as_elements(second, d.ndim)
                if added is not None and can_merge(d, added):
                    rest = [term for k, term in enumerate(self.terms) if k not in (i, j)]
                    return _total([first._with_elements(jnp.asarray(d) + added), *rest])
        return None


class Sum(_Sum, LinearComposite):
    """The sum of linear operators, ``A + B``; in ``A - B`` the second term is ``Scaled`` by -1.

    Parameters
    ----------
    terms : tuple of LinearOperator
        The terms.
    """

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
    """The sum ``F + G`` of operators, of which at least one is nonlinear.

    Parameters
    ----------
    terms : tuple of operators
        The terms.
    """

    terms: tuple[Operator, ...]

    def _expand_parts(self, x: Any) -> Expansion:
        found = [term._expand(x) for term in self.terms]  # type: ignore[attr-defined]
        derivative = Sum(tuple(term.jacobian for term in found))
        return Expansion(derivative, lambda: add_up(self.terms, [term.value() for term in found], "cannot add"))


@constructors.add.define
def add(a: Operator, b: Operator) -> Operator:
    """``a + b``. Raises ValueError if domains or codomains that are known differ."""
    terms = _terms(a) + _terms(b)
    kind = Sum if isinstance(a, LinearOperator) and isinstance(b, LinearOperator) else NonlinearSum
    total = of_checked_parts(kind, (), (terms,))
    total.__dict__["domain"] = domain = common_domain((a, b), "cannot add")
    if domain is not None:
        with contextlib.suppress(UnknownShapeError):  # it may be known in a product only
            results = [op._infer_shape(domain) if op.domain is None else op.codomain for op in (a, b)]
            total._remember(None, add_up((a, b), results, "cannot add"))
    return total


def _terms(op: Any) -> tuple[Any, ...]:
    """The terms of an operator, which may be one."""
    return op.terms if isinstance(op, _Sum) else (op,)


def _total(terms: Any) -> Any:
    return functools.reduce(operator.add, terms)


def _multiple(op: Any) -> tuple[Any, Any]:
    """A number and an operator, whose product is ``op``; of an identity without its domain."""
    scalar, inner = op._multiple()
    return scalar, inner._bare() if inner._bare()._is_identity else inner


def _as_elements(op: Any, ndim: int) -> Any:
    """The factor by which a term multiplies each element of an array with ``ndim`` axes; None if it does something else."""
    scalar, inner = _multiple(op)
    if inner._is_identity:
        return scalar
    return op._elements if op._elements is not None and op._elements.ndim == ndim else None
