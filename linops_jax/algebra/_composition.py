"""A @ B and A ** n: one operator after another."""

from __future__ import annotations

from typing import Any

import jax

from linops_jax import _specs
from linops_jax._linear import Adjoint, LinearOperator, UnknownShapeError
from linops_jax._operator import ATOM, PRODUCT, Operator, constructor
from linops_jax._properties import Properties, common
from linops_jax.algebra._composite import LinearComposite, NonlinearComposite
from linops_jax.algebra._identity import Identity


class _Composition:
    factors: tuple[Any, ...]  # as written: the last one is applied first
    _precedence = PRODUCT

    def apply(self, x: Any) -> Any:
        seen: list[tuple[Any, Any, Any]] = []
        for i in reversed(range(len(self.factors))):
            factor, before = self.factors[i], _specs.specs(x)
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
        return common(self.factors, "unitary", "diagonal")

    def _expression(self, show: Any) -> str:
        first, *rest = self.factors
        return " @ ".join([show(first, PRODUCT), *(show(factor, ATOM) for factor in rest)])


class Composition(_Composition, LinearComposite):
    """The product of linear operators."""

    factors: tuple[LinearOperator, ...]

    @property
    def H(self) -> LinearOperator:
        return Composition(tuple(factor.H for factor in reversed(self.factors)))

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
    """``a @ b``. Raises ValueError where both sides know their domains and these do not meet."""
    if a.domain is not None and b.codomain is not None and (difference := _specs.mismatch(b.codomain, a.domain)):
        message = (
            f"cannot compose {a!r} @ {b!r}: the right one's result does not fit the left one's domain: {difference}."
        )
        raise ValueError(message)
    factors: tuple[Any, ...] = tuple(
        f for op in (a, b) for f in (op.factors if isinstance(op, _Composition) else (op,))
    )
    linear = all(isinstance(factor, LinearOperator) for factor in factors)
    return Composition(factors) if linear else NonlinearComposition(factors)


@constructor("power")
def power(op: Operator, exponent: int) -> Operator:
    """``op ** n`` for n >= 0: the operator applied n times."""
    if exponent < 0:
        message = f"{op!r} ** {exponent}: negative powers need an inverse, which {type(op)._label} does not have."
        raise ValueError(message)
    if exponent == 0:
        identity = Identity()
        return identity if op.domain is None else identity.with_domain(op.domain)
    result = op
    for _ in range(exponent - 1):
        result = compose(result, op)
    return result
