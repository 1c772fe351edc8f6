"""An objective taken apart: a sum of terms, each a weight times a functional of an affine map of x."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._model import shapes
from linops_jax._operators.functional import Functional
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import Operator
from linops_jax.algebra import (
    Affine,
    Identity,
    NonlinearComposition,
    NonlinearScaled,
    NonlinearSum,
    NonlinearWithDomain,
)
from linops_jax.functionals import SquaredL2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Term:
    """weight f(A x + b).

    Parameters
    ----------
    weight : scalar
        A real number.
    functional : Functional
        f.
    op : operator or None
        A, linear or not; None is the identity.
    shift : pytree of arrays or None
        b; None is zero.
    """

    weight: Any
    functional: Functional
    op: Operator | None = None
    shift: Any = None

    @property
    def is_smooth(self) -> bool:
        return self.functional.smooth is not None

    @property
    def is_linear(self) -> bool:
        """Whether the map inside is affine."""
        return self.op is None or isinstance(self.op, LinearOperator)

    @property
    def is_quadratic(self) -> bool:
        return isinstance(self.functional, SquaredL2) and self.is_linear

    @property
    def has_prox(self) -> bool:
        return "prox" in type(self.functional)._hooks

    def operator(self, domain: Any) -> Operator:
        return Identity().with_domain(domain) if self.op is None else self.op

    def linear(self, x: Any) -> Any:
        """A x."""
        return x if self.op is None else self.op(x)

    def inside(self, x: Any) -> Any:
        """A x + b."""
        return self.shifted(self.linear(x))

    def shifted(self, y: Any) -> Any:
        return y if self.shift is None else jax.tree.map(lambda a, b: a + b, y, self.shift)

    def value(self, y: Any) -> Any:
        """weight f(y). It is infinite where f is, for a weight of zero too: the prox fulfils the constraint then, too."""
        value = self.functional(y)
        return jnp.where((self.weight == 0) & jnp.isinf(value), value, self.weight * value)

    def pull_back(self, u: Any, x: Any) -> Any:
        """Aᴴ u, or J(x)ᴴ u for a nonlinear A."""
        if self.op is None:
            return shapes.onto(u, shapes.specs(x), lambda: "lo.minimize")
        A: Any = self.op if isinstance(self.op, LinearOperator) else self.op.jacobian(x)  # type: ignore[attr-defined]
        return A.H(shapes.onto(u, A.codomain, lambda: f"lo.minimize: {A!r}.H"))

    def gram(self, x: Any) -> Any:
        """Aᴴ A x, for a linear A."""
        if self.op is None:
            return x
        A: Any = self.op
        return shapes.onto(A.gram(x), shapes.specs(x), lambda: f"lo.minimize: {A!r}.gram")

    def gradient(self, y: Any, x: Any) -> Any:
        """The gradient at x, where y = A x + b."""
        return self.pull_back(_vectors.times(self.weight, self.functional.gradient(y)), x)

    def prox(self, x: Any, step: Any) -> tuple[Any, Any]:
        """The prox at x, and the term's value there, for an A with A Aᴴ = I."""
        y = self.inside(x)
        nearest = self.functional.prox(y, step * self.weight)
        value = self.value(nearest)  # where it is finite: a rounded A x + b may be outside
        if self.op is None and self.shift is None:
            return nearest, value
        return _vectors.add(x, 1, self.pull_back(_vectors.add(nearest, -1, y), x)), value

    def conjugate_prox(self, u: Any, y: Any, step: Any) -> tuple[Any, Any]:
        """The prox of the conjugate at u + step y, where y = A x + b; and the point of which it is a subgradient.

        By Moreau's identity, with the weight in the prox's step: it may be zero.
        """
        q = _vectors.add(y, 1 / step, u)
        nearest = self.functional.prox(q, self.weight / step)
        return _vectors.times(step, _vectors.add(q, -1, nearest)), nearest

    def __repr__(self) -> str:
        weight = "" if shapes.is_concrete(self.weight) and self.weight == 1 else f"{_short(self.weight)} * "
        inside = repr(self.op) if self.op is not None else ""
        inside = inside if self.shift is None else f"Affine({inside or 'I'}, b)"
        functional = f"{self.functional!r}"
        return f"{weight}{functional} @ {inside}" if inside else f"{weight}{functional}"


def _short(weight: Any) -> str:
    return f"{float(weight):g}" if shapes.is_concrete(weight) else "a"


def take_apart(f: Any, weight: Any = 1) -> list[Term]:
    """The terms of an expression. Raises TypeError for a part that is no functional of an operator."""
    if isinstance(f, NonlinearSum):
        return [term for part in f.terms for term in take_apart(part, weight)]
    if isinstance(f, NonlinearScaled):
        return take_apart(f.op, f.scalar * weight)
    if isinstance(f, NonlinearWithDomain):
        return take_apart(f.op, weight)
    if isinstance(f, Functional):
        return [Term(weight, f)]
    if isinstance(f, NonlinearComposition):
        first, *others = f.factors
        op, shift = _as_affine(others)
        return [_after(term, op, shift) for term in take_apart(first, weight)]
    is_array = shapes.is_spec(f) and not isinstance(f, Operator)
    found = f"the array {shapes.describe(f)}" if is_array else f"{f!r:.80}"
    message = (
        f"lo.minimize expects a sum of functionals of operators, as lo.SquaredL2(y) @ A + 0.1 * lo.L1(); {found} is none. "
        "Subclass lo.Functional to give it a prox or a gradient."
    )
    raise TypeError(message)


def _as_affine(factors: list[Any]) -> tuple[Any, Any]:
    """The product of operators as an operator and what is added; None for the identity and for zero."""
    op, shift = None, None
    for factor in reversed(factors):
        factor = factor.op if isinstance(factor, NonlinearWithDomain) else factor
        if isinstance(factor, LinearOperator):
            op, shift = _product(factor, op), None if shift is None else factor(shift)
        elif isinstance(factor, Affine):
            op, shift = _product(factor.op, op), factor.b if shift is None else factor(shift)
        else:
            inner = op if shift is None else Affine(Identity() if op is None else op, shift)
            op, shift = _product(factor, inner), None
    return op, shift


def _product(left: Any, right: Any) -> Any:
    if left._bare()._is_identity:
        return right
    return left if right is None else left @ right


def _after(term: Term, op: Any, shift: Any) -> Term:
    """The term at op x + shift in the place of x."""
    if term.op is None:
        total = term.shift if shift is None else term.shifted(shift)
        return dataclasses.replace(term, op=op, shift=total)
    factors = [term.op, *([] if op is None else [op])]
    if shift is not None:
        factors[1:] = [Affine(Identity() if op is None else op, shift)]
    product, moved = _as_affine(factors)
    total = term.shift if moved is None else moved if term.shift is None else term.shifted(moved)
    return dataclasses.replace(term, op=product, shift=total)
