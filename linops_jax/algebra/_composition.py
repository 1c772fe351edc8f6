"""A @ B: one operator after another."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Iterator
from typing import Any

from linops_jax._model import shapes
from linops_jax._model.fields import static
from linops_jax._model.properties import Properties, common
from linops_jax._operators import constructors, upstream
from linops_jax._operators.linear import Adjoint, LinearOperator
from linops_jax._operators.operator import ATOM, PRODUCT, Operator, UnknownShapeError
from linops_jax._operators.printing import exact
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite, of_checked_parts
from linops_jax.algebra._domain import WithDomain
from linops_jax.algebra._parts import typed
from linops_jax.algebra._scale import NonlinearScaled, Scaled, scale


class _Composition:
    factors: tuple[Any, ...]  # as written: the last one is applied first
    repeats: str  # factors of the same operator as an earlier one, "2=0H 3=1.": 2 is the adjoint of what 0 is made of, 3 is 1
    repeated_domains: tuple[Any, ...]  # of these, where they have one: a D among the letters
    _precedence = PRODUCT
    _hidden = ("repeats", "repeated_domains")

    def __post_init__(self) -> None:
        parts = tuple(id(_base(factor)) for factor in self.factors)
        self.repeats, self.repeated_domains = _repeats(self.factors, parts)

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
        """What comes again is one child: its parameters are the same, whatever somebody puts in their place."""
        if not self.repeats:
            return (self.factors,)
        again = _read(self.repeats)
        return (tuple(None if i in again else factor for i, factor in enumerate(self.factors)),)

    def _unfold(self) -> Any:
        if self.repeats and isinstance(self.factors, tuple):
            factors, domains = list(self.factors), iter(self.repeated_domains)
            for i, (first, letters) in _read(self.repeats).items():
                as_it_is = letters == "."
                factors[i] = factors[first] if as_it_is else _wrapped(_base(factors[first]), letters, domains)
            self.__dict__["factors"] = tuple(factors)
        return self

    def is_mirrored(self, i: int, j: int) -> bool:
        """Whether two factors are each other's adjoint, on the same domain."""
        if i < 0 or self._same_parts[i] != self._same_parts[j]:
            return False
        if i != j and not shapes.same(self._domains_of_parts[i], self._domains_of_parts[j]):
            return False
        f, g = self.factors[i], self.factors[j]
        return _is_adjoint(f) != _is_adjoint(g) or (isinstance(f, LinearOperator) and f.properties.symmetric)

    @functools.cached_property
    def _same_parts(self) -> tuple[int, ...]:
        """Ids of the operators that factors are made of."""
        return tuple(id(_base(factor)) for factor in self.factors)

    @functools.cached_property
    def _domains_of_parts(self) -> list[Any]:
        """Domains of what factors or their adjoints are made of: as they say, or as the product's domain does."""
        passes, y = ([(None, None)] * len(self.factors), None) if self.domain is None else self._passes(self.domain)
        domains = []
        for factor, (x, _) in zip(self.factors, passes, strict=True):
            own, known = (factor.codomain, y) if _is_adjoint(factor) else (factor.domain, x)
            domains.append(known if own is None else own)
            y = x
        return domains

    @functools.cached_property
    def domain(self) -> Any:
        return self.factors[-1].domain

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [spec for spec, _ in self._passes(x)[0]]

    def _derive_shape(self, x: Any) -> Any:
        return self._passes(x)[1]

    def _passes(self, x: Any) -> tuple[list[tuple[Any, Any]], Any]:
        """Specs of what each factor is applied to, in the order of the factors, and where that is on the way; and specs of
        the result."""
        passes = []
        with upstream.product() as after_factor:
            for factor in reversed(self.factors):
                passes.append((x, upstream.here()))
                x = factor._infer_shape(x)
                after_factor()
        return passes[::-1], x

    @property
    def properties(self) -> Properties:
        """A mirrored product, B^H M B, is symmetric or positive if M is; so is a product of diagonal ones."""
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


class Composition(_Composition, LinearComposite):
    """The product of linear operators."""

    factors: tuple[LinearOperator, ...]
    repeats: str = static(default="", init=False)
    repeated_domains: tuple[Any, ...] = static(default=(), init=False)

    @property
    def H(self) -> LinearOperator:
        try:
            return self._adjoint_inside(self.domain)
        except UnknownShapeError:  # on its own, a factor does not know what it gets in this product
            return super().H

    def _adjoint_inside(self, domain: Any) -> LinearOperator:
        """The product of the adjoints: each on the spaces of its factor, where the domain says them."""
        spaces = [None] * len(self.factors) if domain is None else self._inputs_of_parts(domain)
        factors = [typed(factor, x) for factor, x in zip(self.factors, spaces, strict=True)]
        return functools.reduce(_product, [factor.H for factor in reversed(factors)])

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
    """One operator after another, at least one of them nonlinear."""

    factors: tuple[Operator, ...]
    repeats: str = static(default="", init=False)
    repeated_domains: tuple[Any, ...] = static(default=(), init=False)

    def _jacobian(self, x: Any) -> LinearOperator:
        derivatives = []
        for i, factor in enumerate(reversed(self.factors)):
            derivatives.append(factor.jacobian(x))  # type: ignore[attr-defined]
            if i + 1 < len(self.factors):
                x = factor(x)
        return functools.reduce(_product, reversed(derivatives))


def _base(op: Any) -> Any:
    """The operator of which a factor is made: itself, or that of which it is the adjoint, on whatever domain."""
    while isinstance(op, Adjoint | WithDomain):
        op = op.op
    return op


def _is_adjoint(op: Any) -> bool:
    return _wrappers(op)[0].count("H") % 2 == 1


def _wrappers(op: Any) -> tuple[str, tuple[Any, ...]]:
    """What is around the base of a factor, from outside, as letters: H for the adjoint, D for a domain; and the domains."""
    letters, domains = "", []
    while isinstance(op, Adjoint | WithDomain):
        letters += "H" if isinstance(op, Adjoint) else "D"
        domains += [(op.leaves, op.tree)] if isinstance(op, WithDomain) else []
        op = op.op
    return letters, tuple(domains)


def _wrapped(op: Any, letters: str, domains: Iterator[Any]) -> Any:
    own = [next(domains) for letter in letters if letter == "D"]
    for letter in reversed(letters):
        op = of_checked_parts(Adjoint, (), (op,)) if letter == "H" else of_checked_parts(WithDomain, own.pop(), (op,))
    return op


def _repeats(factors: tuple[Any, ...], parts: tuple[int, ...], start: int = 0) -> tuple[str, tuple[Any, ...]]:
    """The fields of these names, for factors from ``start`` on."""
    text, domains = "", ()
    for i in range(start, len(parts)):
        if (first := parts.index(parts[i])) < i:
            letters, own = (".", ()) if factors[i] is factors[first] else _wrappers(factors[i])
            text, domains = f"{text}{i}={first}{letters} ", domains + own
    return text, domains


def _read(repeats: str) -> dict[int, tuple[int, str]]:
    return {int(i): (int(first), letters) for i, first, letters in re.findall(r"(\d+)=(\d+)([HD.]*)", repeats)}


@constructors.compose.define
def compose(a: Operator, b: Operator) -> Any:
    """``a @ b``. Raises ValueError where both sides know their domains and these do not meet.

    ``c * A.H @ A`` is ``(c * A.H) @ A`` to Python. It is kept as ``c * (A.H @ A)``, which computes the same in the same order
    and shows that it is mirrored.
    """
    product = _product(a, b)
    if isinstance(a, Scaled | NonlinearScaled) and not product.is_mirrored(0, len(product.factors) - 1):
        return scale(a.scalar, compose(a.op, b))
    if b.codomain is not None:
        try:
            product._remember(None, _meet(a, b))
        except UnknownShapeError:  # only what b has passed says it
            product._infer_shape(b.domain)
    return product


def _product(a: Operator, b: Operator) -> Any:
    """``a @ b``, whose parts have been checked when they were made."""
    (left, of_a), (right, of_b) = map(_factors, (a, b))
    factors, parts = left + right, of_a + of_b
    repeats, domains = getattr(a, "repeats", ""), getattr(a, "repeated_domains", ())
    if getattr(b, "repeats", "") or not set(of_b).isdisjoint(of_a):
        more = _repeats(factors, parts, len(of_a))
        repeats, domains = repeats + more[0], domains + more[1]
    kind = Composition if isinstance(a, LinearOperator) and isinstance(b, LinearOperator) else NonlinearComposition
    product = of_checked_parts(kind, (repeats, domains), (factors,))
    product.__dict__["_same_parts"] = parts
    product.__dict__["domain"] = b.domain
    return product


def _factors(op: Any) -> tuple[tuple[Any, ...], tuple[int, ...]]:
    """Factors, and the operators that they are made of."""
    return (op.factors, op._same_parts) if isinstance(op, _Composition) else ((op,), (id(_base(op)),))


def _meet(a: Any, b: Any) -> Any:
    """Specs of the result of a @ b on the domain of b. Raises ValueError where the result of b does not fit."""
    factors = a.factors if isinstance(a, _Composition) and a.domain is None else (a,)
    spec = b.codomain
    for i in reversed(range(len(factors))):
        domain = factors[i].domain
        if domain is not None and (difference := shapes.misfit(spec, domain)):
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
