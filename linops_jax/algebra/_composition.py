"""Composition: the product ``A @ B``."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterable
from typing import Any

import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.properties import Properties, common
from linops_jax._operators import constructors, upstream
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM, PRODUCT, Operator, UnknownShapeError
from linops_jax._operators.printing import exact
from linops_jax.algebra import _repeats
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite, of_checked_parts
from linops_jax.algebra._identity import zero_for
from linops_jax.algebra._neighbours import meeting
from linops_jax.algebra._parts import result, typed
from linops_jax.algebra._scale import NonlinearScaled, Scaled, scale


class _Composition:
    """What the linear and the nonlinear class share."""

    factors: tuple[Any, ...]  # in the order of the formula: the last one is applied first
    repeats: str  # which factors are made of the operator in an earlier one, see _repeats.py
    repeated_domains: tuple[Any, ...]  # the domains of these factors, one for each D
    _precedence = PRODUCT
    _hidden = ("repeats", "repeated_domains")
    _vanishes: Any

    def __post_init__(self) -> None:
        parts = tuple(id(_repeats.base(factor)) for factor in self.factors)
        self.repeats, self.repeated_domains = _repeats.find(self.factors, parts)

    def apply(self, x: Any) -> Any:
        i = len(self.factors)
        with upstream.product() as after_factor:
            while i > 0:
                i -= 1
                factor = self.factors[i]
                gram = factor._gram(factor._as_input(x)) if self.is_mirrored(i - 1, i) else None
                i, x = (i, factor(x)) if gram is None else (i - 1, gram)
                after_factor()
        return x

    def _fold(self) -> tuple[Any, ...]:
        """The children of the pytree: an operator that occurs again is one child, so its parameters stay the same everywhere."""
        if not self.repeats:
            return (self.factors,)
        again = _repeats.read(self.repeats)
        return (tuple(None if i in again else factor for i, factor in enumerate(self.factors)),)

    def _unfold(self) -> Any:
        """Restores the factors that ``_fold`` left out."""
        if self.repeats and isinstance(self.factors, tuple):
            factors, domains = list(self.factors), iter(self.repeated_domains)
            for i, (first, letters) in _repeats.read(self.repeats).items():
                factors[i] = _repeats.again(factors[first], letters, domains)
            self.__dict__["factors"] = tuple(factors)
        return self

    def is_mirrored(self, i: int, j: int) -> bool:
        """Whether two factors are each other's adjoint, on the same domain.

        Parameters
        ----------
        i, j : int
            Positions in ``factors``.

        Returns
        -------
        bool
            Whether they are.
        """
        if i < 0 or self._same_parts[i] != self._same_parts[j]:
            return False
        if i != j and not shapes.same(self._domains_of_parts[i], self._domains_of_parts[j]):
            return False
        f, g = self.factors[i], self.factors[j]
        is_symmetric = isinstance(f, LinearOperator) and f.properties.symmetric
        return _repeats.is_adjoint(f) != _repeats.is_adjoint(g) or is_symmetric

    @functools.cached_property
    def _same_parts(self) -> tuple[int, ...]:
        """For each factor the ``id`` of the operator in it, without adjoints and domains around it."""
        return tuple(id(_repeats.base(factor)) for factor in self.factors)

    @functools.cached_property
    def _domains_of_parts(self) -> list[Any]:
        """For each factor the domain of the operator in it: its own, or what follows from the product's domain."""
        passes, y = ([(None, None)] * len(self.factors), None) if self.domain is None else self._passes(self.domain)
        domains = []
        for factor, (x, _) in zip(self.factors, passes, strict=True):
            own, known = (factor.codomain, y) if _repeats.is_adjoint(factor) else (factor.domain, x)
            domains.append(known if own is None else own)
            y = x
        return domains

    @functools.cached_property
    def domain(self) -> Any:
        return self.factors[-1].domain

    @property
    def _inputs(self) -> Any:
        return self.factors[-1]._inputs

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [spec for spec, _ in self._passes(x)[0]]

    def _derive_shape(self, x: Any) -> Any:
        return self._passes(x)[1]

    def _passes(self, x: Any) -> tuple[list[tuple[Any, Any]], Any]:
        """For each factor the specs of its input, and the record at that point (see upstream.py); and the specs of the result."""
        passes = []
        with upstream.product() as after_factor:
            for factor in reversed(self.factors):
                passes.append((x, upstream.here()))
                x = factor._infer_shape(x)
                after_factor()
        return passes[::-1], x

    @property
    def properties(self) -> Properties:
        """Bᴴ M B is symmetric or positive if M is, and a product of diagonal operators if all are."""
        n = len(self.factors)
        known = common(self.factors, "symmetric", "positive", "unitary", "diagonal")
        mirrored = all(self.is_mirrored(i, n - 1 - i) for i in range(n // 2))
        middle = common(self.factors[n // 2 : n - n // 2], "symmetric", "positive")
        return dataclasses.replace(
            known,
            symmetric=(mirrored and middle.symmetric) or (known.diagonal and known.symmetric),
            positive=(mirrored and middle.positive) or (known.diagonal and known.positive),
        )

    def _expression(self, show: Any) -> str:
        first, *rest = self.factors
        return " @ ".join([show(first, PRODUCT), *(show(factor, ATOM) for factor in rest)])

    def _with_parts(self, parts: list[Any]) -> Any:
        return _product_of(parts)

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        between = [domain]
        for factor in reversed(self.factors[1:]):
            between.append(result(factor, between[-1]))
        between.append(codomain)
        return list(itertools.pairwise(between))[::-1]

    def _simpler(self, x: Any) -> Iterable[Any]:
        yield self._with_scalar_in_front(x)
        yield zero_for(self, x) if self._vanishes else None
        yield self._with_neighbours_as_one(x)

    def _with_scalar_in_front(self, x: Any) -> Any:
        """A (b B) = b (A B) for a linear A. If b is complex, A must be linear over the complex numbers."""
        for i, factor in enumerate(self.factors):
            passed = [before for before in self.factors[:i] if isinstance(before, LinearOperator)]
            if not isinstance(factor, Scaled | NonlinearScaled) or len(passed) < i:
                continue
            makes_no_floats = x is not None or type(factor.scalar) in (
                bool,
                int,
            )  # would the scalar make floats of integers?
            is_complex = shapes.is_complex(jnp.result_type(factor.scalar))
            if makes_no_floats and (not is_complex or all(before._is_complex_linear() for before in passed)):
                return scale(factor.scalar, _product_of([*passed, factor.op, *self.factors[i + 1 :]]))
        return None

    def _with_neighbours_as_one(self, x: Any) -> Any:
        """The product with the first two neighbours that a rule makes one operator; None if there are none."""
        inputs = [None] * len(self.factors) if x is None else self._inputs_of_parts(x)
        for i in range(len(self.factors) - 1):
            left, right = self.factors[i : i + 2]
            if (one := meeting(left, right, inputs[i + 1], self.is_mirrored(i, i + 1))) is not None:
                return _product_of([*self.factors[:i], one, *self.factors[i + 2 :]])
        return None


class Composition(_Composition, LinearComposite):
    """The product of linear operators, ``A @ B``: the last factor is applied first.

    Parameters
    ----------
    factors : tuple of LinearOperator
        The factors. The last one is applied first.

    Attributes
    ----------
    repeats : str
        Which factors are made of the same operator; used to flatten the product.
    repeated_domains : tuple
        Domains of these factors.
    """

    factors: tuple[LinearOperator, ...]
    repeats: str = static(default="", init=False)
    repeated_domains: tuple[Any, ...] = static(default=(), init=False)

    @property
    def H(self) -> LinearOperator:
        try:
            return self._adjoint_inside(self.domain)
        except UnknownShapeError:  # of a factor whose input is known in the product only
            return super().H

    def _adjoint_inside(self, domain: Any) -> LinearOperator:
        """The product of the adjoints in reverse order, each with the domain that follows from that of the product."""
        spaces = [None] * len(self.factors) if domain is None else self._inputs_of_parts(domain)
        factors = [typed(factor, x) for factor, x in zip(self.factors, spaces, strict=True)]
        return functools.reduce(_product, [factor.H for factor in reversed(factors)])

    @property
    def _vanishes(self) -> bool:
        return any(factor._bare()._is_zero for factor in self.factors)

    def _inverse(self) -> LinearOperator | None:
        inverses = [factor._inverse() for factor in reversed(self.factors)]
        return None if None in inverses else functools.reduce(compose, inverses)

    def _infer_adjoint_shape(self, y: Any) -> Any:
        with upstream.product() as after_factor:
            for factor in self.factors:
                y = factor._infer_adjoint_shape(y) if factor.domain is None else factor.domain
                after_factor()
        return y

    def _pull_back(self, y: Any, like: Any) -> Any:
        for factor, (spec, here) in zip(self.factors, self._passes(like)[0], strict=True):
            with here():
                y = factor._reverse(y, spec)
        return y


class NonlinearComposition(_Composition, NonlinearComposite):
    """The product ``F @ G`` of operators, of which at least one is nonlinear.

    Parameters
    ----------
    factors : tuple of operators
        The factors. The last one is applied first.

    Attributes
    ----------
    repeats : str
        Which factors are made of the same operator; used to flatten the product.
    repeated_domains : tuple
        Domains of these factors.
    """

    factors: tuple[Operator, ...]
    repeats: str = static(default="", init=False)
    repeated_domains: tuple[Any, ...] = static(default=(), init=False)

    def _expand_parts(self, x: Any) -> Expansion:
        first, *others = reversed(self.factors)
        found = first._expand(x)  # type: ignore[attr-defined]
        derivatives = [found.jacobian]
        for factor in others:
            found = factor._expand(found.value())  # type: ignore[attr-defined]
            derivatives.append(found.jacobian)
        return Expansion(functools.reduce(_product, reversed(derivatives)), found.value)


@constructors.compose.define
def compose(a: Operator, b: Operator) -> Any:
    """``a @ b``. Raises ValueError if the result of b does not fit the domain of a.

    In Python ``c * A.H @ A`` means ``(c * A.H) @ A``. It becomes ``c * (A.H @ A)``: this has the same numerical result,
    and shows that the product is symmetric.
    """
    product = _product(a, b)
    if isinstance(a, Scaled | NonlinearScaled) and not product.is_mirrored(0, len(product.factors) - 1):
        return scale(a.scalar, compose(a.op, b))
    if b.codomain is not None:
        try:
            product._remember(None, _meet(a, b))
        except UnknownShapeError:  # it is known in the product only
            product._infer_shape(b.domain)
    return product


def _product(a: Operator, b: Operator) -> Any:
    """``a @ b``, without a check of its parts."""
    (left, of_a), (right, of_b) = map(_factors, (a, b))
    factors, parts = left + right, of_a + of_b
    repeats, domains = getattr(a, "repeats", ""), getattr(a, "repeated_domains", ())
    if getattr(b, "repeats", "") or not set(of_b).isdisjoint(of_a):
        more = _repeats.find(factors, parts, len(of_a))
        repeats, domains = repeats + more[0], domains + more[1]
    kind = Composition if isinstance(a, LinearOperator) and isinstance(b, LinearOperator) else NonlinearComposition
    product = of_checked_parts(kind, (repeats, domains), (factors,))
    product.__dict__["_same_parts"] = parts
    product.__dict__["domain"] = b.domain
    return product


def _product_of(factors: Any) -> Any:
    return functools.reduce(compose, factors)


def _factors(op: Any) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """The factors of an operator, and for each the ``id`` of the operator in it."""
    return (op.factors, op._same_parts) if isinstance(op, _Composition) else ((op,), (id(_repeats.base(op)),))


def _meet(a: Any, b: Any) -> Any:
    """Specs of the result of a @ b on the domain of b. Raises ValueError if the result of b does not fit."""
    factors = a.factors if isinstance(a, _Composition) and a.domain is None else (a,)
    spec = b.codomain
    for i in reversed(range(len(factors))):
        domain = factors[i].domain
        if domain is not None and (difference := shapes.cast_obstacle(spec, domain)):
            where = f", factor {i + 1} of {len(factors)}" if len(factors) > 1 else ""
            message = (
                f"cannot compose {exact(a)} @ {exact(b)}: the right one's result does not fit the domain of "
                f"{exact(factors[i])}{where}: {difference}."
            )
            raise ValueError(message)
        try:
            spec = factors[i]._infer_shape(spec)  # type: ignore[attr-defined]
        except Exception as error:
            error.add_note(f"while composing {exact(a)} @ {exact(b)}")
            raise
    return spec
