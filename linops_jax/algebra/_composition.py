"""A @ B and A ** n: one operator after another."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax

from linops_jax import _specs
from linops_jax._fields import static
from linops_jax._linear import Adjoint, LinearOperator, UnknownShapeError
from linops_jax._operator import ATOM, PRODUCT, Operator, constructor
from linops_jax._printing import exact
from linops_jax._properties import Properties, common
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite
from linops_jax.algebra._identity import Identity
from linops_jax.algebra._scale import NonlinearScaled, Scaled, scale


class _Composition:
    factors: tuple[Any, ...]  # as written: the last one is applied first
    mirrors: tuple[tuple[int, int], ...]
    _precedence = PRODUCT
    _hidden = ("mirrors",)

    def apply(self, x: Any) -> Any:
        seen: list[tuple[Any, Any, Any]] = []
        i = len(self.factors)
        while i > 0:
            i -= 1
            factor, before = self.factors[i], _specs.specs(x)
            if (i - 1, i) in self.mirrors and not _loses_imaginary_part(factor, before):
                gram = factor._gram(x)
                if gram is not None:
                    i, x = i - 1, gram
                    continue
            try:
                x = factor(x)
            except UnknownShapeError:
                like = _result_of_adjoint(factor, before, self.factors[i - 1].domain if i else None, seen)
                if like is None:
                    raise
                x = factor.op._reverse(x, like)
            seen.append((factor, before, _specs.specs(x)))
        return x

    @property
    def domain(self) -> Any:
        return self.factors[-1].domain

    @property
    def properties(self) -> Properties:
        """A mirrored product, B^H M B, is symmetric or positive if M is; so is a product of diagonal ones."""
        n = len(self.factors)
        known = common(self.factors, "symmetric", "positive", "unitary", "diagonal")
        mirrored = all((i, n - 1 - i) in self.mirrors for i in range(n // 2))
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
    mirrors: tuple[tuple[int, int], ...] = static(default=())  # positions of factors that are each other's adjoint

    @property
    def H(self) -> LinearOperator:
        last = len(self.factors) - 1
        mirrors = tuple((last - j, last - i) for i, j in self.mirrors)
        return Composition(tuple(factor.H for factor in reversed(self.factors)), mirrors)

    def _inverse(self) -> LinearOperator | None:
        inverses = [factor._inverse() for factor in reversed(self.factors)]
        return None if None in inverses else functools.reduce(compose, inverses)

    def _reverse(self, y: Any, like: Any) -> Any:
        inputs = [like]
        for factor in reversed(self.factors[1:]):
            inputs.append(None if inputs[-1] is None else factor._infer_shape(inputs[-1]))
        for factor, spec in zip(self.factors, reversed(inputs), strict=True):
            y = factor._reverse(y, factor.domain if spec is None else spec)
        return y


class NonlinearComposition(_Composition, NonlinearComposite):
    """One operator after another, at least one of them nonlinear."""

    factors: tuple[Operator, ...]
    mirrors: tuple[tuple[int, int], ...] = static(default=())

    def jacobian(self, x: Any) -> LinearOperator:
        derivatives = []
        for i, factor in enumerate(reversed(self.factors)):
            derivatives.append(factor.jacobian(x))  # type: ignore[attr-defined]
            if i + 1 < len(self.factors):
                x = factor(x)
        return Composition(tuple(reversed(derivatives)))


def _result_of_adjoint(factor: Any, y: Any, next_domain: Any, seen: list[tuple[Any, Any, Any]]) -> Any:
    """Specs of A^H y where A does not say them: the next factor's domain, or what gave such a y before, as in A^H A.

    None where neither is known, and where a real result would lose an imaginary part.
    """
    if not isinstance(factor, Adjoint):
        return None
    equal = [x for op, x, result in seen if _signature(op) == _signature(factor.op) and _same(result, y)]
    like = next(iter(equal), None) if next_domain is None else next_domain
    return None if like is None or (_has_complex(y) and not _has_complex(like)) else like


def _loses_imaginary_part(factor: Any, x: Any) -> bool:
    """Whether A^H A x of a real x is complex unless somebody has said that the domain is real."""
    return factor.domain is None and not _has_complex(x) and _has_complex(factor._infer_shape(x))


def _same(a: Any, b: Any) -> bool:
    return _specs.mismatch(a, b) is None and [x.dtype for x in jax.tree.leaves(a)] == [
        x.dtype for x in jax.tree.leaves(b)
    ]


def _has_complex(tree: Any) -> bool:
    return any(_specs.is_complex(leaf.dtype) for leaf in jax.tree.leaves(tree))


def _signature(op: Any) -> Any:
    """All that the shapes of an operator depend on."""
    leaves, tree = jax.tree.flatten(_specs.specs(op))
    return tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)


@constructor("compose")
def compose(a: Operator, b: Operator) -> Operator:
    """``a @ b``. Raises ValueError where both sides know their domains and these do not meet.

    ``c * A.H @ A`` is ``(c * A.H) @ A`` to Python. It is kept as ``c * (A.H @ A)``, which computes the same in the same order
    and shows that it is mirrored.
    """
    if isinstance(a, Scaled | NonlinearScaled):
        return scale(a.scalar, compose(a.op, b))
    left, right = _factors(a), _factors(b)
    if b.codomain is not None:
        _check_meeting(a, b, left)
    factors = left + right
    n = len(left)
    mirrors = (
        *getattr(a, "mirrors", ()),
        *((i + n, j + n) for i, j in getattr(b, "mirrors", ())),
        *((i, j + n) for i, f in enumerate(left) for j, g in enumerate(right) if _are_adjoint(f, g)),
    )
    linear = all(isinstance(factor, LinearOperator) for factor in factors)
    return Composition(factors, mirrors) if linear else NonlinearComposition(factors, mirrors)


def _factors(op: Any) -> tuple[Any, ...]:
    return op.factors if isinstance(op, _Composition) else (op,)


def _are_adjoint(f: Any, g: Any) -> bool:
    """Whether one was made as the adjoint of the other: equal numbers do not count, JAX may not know them."""
    if isinstance(f, Adjoint) or isinstance(g, Adjoint):
        return getattr(f, "op", None) is g or getattr(g, "op", None) is f
    return f is g and f.properties.symmetric


def _check_meeting(a: Any, b: Any, left: tuple[Any, ...]) -> None:
    """The result of b against the first domain that is known on its way through a."""
    spec = b.codomain
    for i in reversed(range(len(left))):
        if left[i].domain is not None:
            break
        if i:
            try:
                spec = left[i]._infer_shape(spec)
            except Exception as error:
                error.add_note(f"while composing {exact(a)} @ {exact(b)}")
                raise
    else:
        return
    if difference := _specs.misfit(spec, left[i].domain):
        where = f", factor {i + 1} of {len(left)}" if len(left) > 1 else ""
        message = (
            f"cannot compose {exact(a)} @ {exact(b)}: the right one's result does not fit the domain of {exact(left[i])}{where}: "
            f"{difference}."
        )
        raise ValueError(message)


@constructor("power")
def power(op: Operator, exponent: int) -> Operator:
    """``op ** n``: the operator applied n times; for n < 0 its inverse, where that needs no solver."""
    if op.domain is not None and (difference := _specs.misfit(op.codomain, op.domain)):
        message = (
            f"{exact(op)} ** {exponent}: only an operator from a space to itself has powers. Its result: {difference}."
        )
        raise ValueError(message)
    if exponent < 0:
        inverse = op._inverse() if isinstance(op, LinearOperator) else None
        if inverse is None:
            message = (
                f"{exact(op)} ** {exponent}: negative powers need an exact inverse, which {type(op)._label} does not have. "
                f"Define {type(op)._label}.inverse, or use A.inv or lo.solve, which iterate."
            )
            raise ValueError(message)
        return power(inverse, -exponent)
    if exponent == 0:
        identity = Identity()
        return identity if op.domain is None else identity.with_domain(op.domain)
    result = op
    for _ in range(exponent - 1):
        result = compose(result, op)
    return result
