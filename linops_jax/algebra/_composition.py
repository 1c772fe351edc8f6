"""A @ B: one operator after another."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from linops_jax import _specs, _upstream
from linops_jax._fields import static
from linops_jax._linear import Adjoint, LinearOperator
from linops_jax._operator import ATOM, PRODUCT, Operator, constructor
from linops_jax._printing import exact
from linops_jax._properties import Properties, common
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite, of_checked_parts
from linops_jax.algebra._domain import WithDomain
from linops_jax.algebra._parts import typed
from linops_jax.algebra._scale import NonlinearScaled, Scaled, scale


class _Composition:
    factors: tuple[Any, ...]  # as written: the last one is applied first
    repeats: str  # which factors are an operator that came before, or its adjoint, and where that was: "2=0 3=1 "
    _precedence = PRODUCT
    _hidden = ("repeats",)

    def apply(self, x: Any) -> Any:
        i = len(self.factors)
        with _upstream.product() as after_factor:
            while i > 0:
                i -= 1
                factor = self.factors[i]
                gram = factor._gram(factor._as_input(x)) if self.is_mirrored(i - 1, i) else None
                i, x = (i, factor(x)) if gram is None else (i - 1, gram)
                after_factor()
        return x

    def is_mirrored(self, i: int, j: int) -> bool:
        """Whether two factors are each other's adjoint."""
        if i < 0 or self._same_parts[i] != self._same_parts[j]:
            return False
        f, g = self.factors[i], self.factors[j]
        return _is_adjoint(f) != _is_adjoint(g) or (isinstance(f, LinearOperator) and f.properties.symmetric)

    @functools.cached_property
    def _same_parts(self) -> tuple[int, ...]:
        """Ids of the operators that factors are made of. Flattening and unflattening makes new objects; repeats remain."""
        first = dict(tuple(map(int, pair.split("="))) for pair in self.repeats.split())
        return tuple(id(_base(self.factors[first.get(i, i)])) for i in range(len(self.factors)))

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
        with _upstream.product() as after_factor:
            for factor in reversed(self.factors):
                passes.append((x, _upstream.here()))
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
    repeats: str = static(default="")

    @property
    def H(self) -> LinearOperator:
        return self._adjoint_inside(self.domain)

    def _adjoint_inside(self, domain: Any) -> LinearOperator:
        """The product of the adjoints: each on the spaces of its factor, where the domain says them."""
        spaces = [None] * len(self.factors) if domain is None else self._inputs_of_parts(domain)
        factors = [typed(factor, x) for factor, x in zip(self.factors, spaces, strict=True)]
        return functools.reduce(_product, [factor.H for factor in reversed(factors)])

    def _inverse(self) -> LinearOperator | None:
        inverses = [factor._inverse() for factor in reversed(self.factors)]
        return None if None in inverses else functools.reduce(compose, inverses)

    def _infer_adjoint_shape(self, y: Any) -> Any:
        with _upstream.product() as after_factor:
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
    repeats: str = static(default="")

    def jacobian(self, x: Any) -> LinearOperator:
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
    is_adjoint = False
    while isinstance(op, Adjoint | WithDomain):
        is_adjoint ^= isinstance(op, Adjoint)
        op = op.op
    return is_adjoint


@constructor("compose")
def compose(a: Operator, b: Operator) -> Operator:
    """``a @ b``. Raises ValueError where both sides know their domains and these do not meet.

    ``c * A.H @ A`` is ``(c * A.H) @ A`` to Python. It is kept as ``c * (A.H @ A)``, which computes the same in the same order
    and shows that it is mirrored.
    """
    product = _product(a, b)
    if isinstance(a, Scaled | NonlinearScaled) and not product.is_mirrored(0, len(product.factors) - 1):
        return scale(a.scalar, compose(a.op, b))
    if b.codomain is not None:
        product._remember(None, _meet(a, b))
    return product


def _product(a: Operator, b: Operator) -> Any:
    """``a @ b``, whose parts have been checked when they were made."""
    (left, of_a), (right, of_b) = map(_factors, (a, b))
    parts, repeats = of_a + of_b, getattr(a, "repeats", "")
    if getattr(b, "repeats", "") or not set(of_b).isdisjoint(of_a):
        repeats += "".join(f"{i}={j} " for i in range(len(of_a), len(parts)) if (j := parts.index(parts[i])) < i)
    kind = Composition if isinstance(a, LinearOperator) and isinstance(b, LinearOperator) else NonlinearComposition
    product = of_checked_parts(kind, (repeats,), (left + right,))
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
        if domain is not None and (difference := _specs.misfit(spec, domain)):
            where = f", factor {i + 1} of {len(factors)}" if len(factors) > 1 else ""
            message = (
                f"cannot compose {exact(a)} @ {exact(b)}: the right one's result does not fit the domain of "
                f"{exact(factors[i])}{where}: {difference}."
            )
            raise ValueError(message)
        try:
            spec = factors[i]._infer_shape(spec)
        except Exception as error:
            error.add_note(f"while composing {exact(a)} @ {exact(b)}")
            raise
    return spec
