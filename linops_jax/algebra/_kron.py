"""Kronecker products and sums, on arrays that keep the axes of both factors."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax._model.properties import Properties, common
from linops_jax._operators import upstream
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra._along_axis import AlongAxis
from linops_jax.algebra._composite import LinearComposite
from linops_jax.algebra._composition import compose
from linops_jax.algebra._identity import Identity


class Kronecker(LinearComposite):
    """A (x) B: A on the first axes of an array, B on the last ones."""

    a: LinearOperator
    b: LinearOperator

    def apply(self, x: Any) -> Any:
        return self._on(x)(x)

    def _derive_shape(self, x: Any) -> Any:
        return self._on(x)._infer_shape(x)

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """Only where no factor changes the dtype: the other one's adjoint sees it."""
        if not self._commutes:
            return None
        if domain is not None:
            spaces = (self.a.domain, self.b.domain, self.a.codomain, self.b.codomain)
            if any(spec is None or spec.dtype != domain.dtype for spec in spaces):
                return None
        return Kronecker(self.a.H, self.b.H)

    _is_recorded = True  # type: ignore[assignment]
    _is_looked_for = True  # type: ignore[assignment]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        knows = self.a._says_adjoint_shape and self.b._says_adjoint_shape
        if not knows and (domain := upstream.domain_of(self, y)) is not None:
            return domain
        rank_a = self._split(y, _rank(self.a.codomain), _rank(self.b.codomain))
        x = self._product(y, rank_a, True)._infer_adjoint_shape(y)
        if self._is_possible(x, True):
            return x
        other = self._product(y, rank_a, False)._infer_adjoint_shape(y)
        return other if self._is_possible(other, False) else x

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self._on(like)._reverse(y, like)

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        product = self._on(x)
        passed = zip(product.factors, product._inputs_of_parts(x), strict=True)
        inputs = [part for factor, at in passed for part in factor._inputs_of_parts(at)]
        return inputs if self._has_a_last(x) else inputs[::-1]

    def _on(self, x: Any) -> Any:
        """As a product, for an input x."""
        return self._product(x, self._split(x, _rank(self.a.domain), _rank(self.b.domain)), self._has_a_last(x))

    def _has_a_last(self, x: Any) -> bool:
        """A comes after B, unless only the other order is possible. On a part of the domain it is that of the whole: where a
        factor is linear over the reals only, the orders differ."""
        space = x if self.domain is None else self.domain
        return self._is_possible(space, True) or not self._is_possible(space, False)

    def _product(self, x: Any, rank_a: int, a_last: bool) -> Any:
        a, b = AlongAxis(self.a, tuple(range(rank_a))), AlongAxis(self.b, tuple(range(rank_a - x.ndim, 0)))
        return compose(a, b) if a_last else compose(b, a)

    def _split(self, x: Any, rank_a: int | None, rank_b: int | None) -> int:
        """How many axes are those of A, where as many axes belong to the factors."""
        if not shapes.is_spec(x):
            message = f"{exact(self)} cannot be applied: found {shapes.describe_tree(x)}, expected one array."
            raise TypeError(message)
        if rank_a is None and rank_b is None:
            rank_a = rank_b = 1
        first = x.ndim - rank_b if rank_a is None else rank_a  # type: ignore[operator]
        last = x.ndim - first if rank_b is None else rank_b
        if first < 1 or last < 1 or first + last != x.ndim:
            message = (
                f"{exact(self)} cannot be applied: {shapes.describe(x)} does not have {first} axes for the first factor and "
                f"{last} for the second. Fix the domain of one of them with with_domain(spec); without, each takes one axis."
            )
            raise ValueError(message)
        return first

    def _is_possible(self, x: Any, a_last: bool) -> bool:
        """Whether the last factor takes what the first one makes of x: one with a real domain takes no complex numbers."""
        first, last = (self.b, self.a) if a_last else (self.a, self.b)
        if not _takes(first, x.dtype):
            return False
        if last.domain is None:
            return True
        if first.domain is not None:
            return _takes(last, first.codomain.dtype)
        rank_last = len(last.domain.shape)
        part = x.shape[rank_last:] if first is self.b else x.shape[: x.ndim - rank_last]
        with upstream.product():  # of which nothing is left: this order may not be the one
            return _takes(last, first._infer_shape(jax.ShapeDtypeStruct(part, x.dtype)).dtype)

    @functools.cached_property
    def domain(self) -> Any:
        """In the largest of the factors' dtypes that is possible in some order."""
        a, b = self.a.domain, self.b.domain
        if a is None or b is None:
            return None
        largest = jnp.promote_types(a.dtype, b.dtype)
        spaces = [jax.ShapeDtypeStruct(a.shape + b.shape, dtype) for dtype in (largest, a.dtype, b.dtype)]
        return next((x for x in spaces if self._is_possible(x, True) or self._is_possible(x, False)), spaces[0])

    @functools.cached_property
    def _commutes(self) -> bool:
        """Whether the order of the factors makes no difference: on real numbers, and where both are linear over complex
        ones. Otherwise (A (x) B)^H and the inverse have theirs the other way round."""
        if self.a.domain is not None and self.b.domain is not None:
            spaces = (self.a.domain, self.a.codomain, self.b.domain, self.b.codomain)
            if not any(shapes.is_complex(spec.dtype) for spec in spaces):
                return True
        return self.a._is_complex_linear() and self.b._is_complex_linear()

    @property
    def properties(self) -> Properties:
        kept = ("symmetric", "positive", "unitary", "diagonal")
        return common([self.a, self.b], *(kept if self._commutes else kept[2:]))

    def _inverse(self) -> LinearOperator | None:
        if not self._commutes:
            return None
        a, b = self.a._inverse(), self.b._inverse()
        return None if a is None or b is None else Kronecker(a, b)

    def _expression(self, show: Any) -> str:
        return f"kron({show(self.a)}, {show(self.b)})"


def _takes(op: Any, dtype: Any) -> bool:
    return op.domain is None or shapes.castable(np.dtype(dtype), np.dtype(op.domain.dtype))


def _rank(spec: Any) -> int | None:
    return None if spec is None else len(spec.shape)


def kron(a: LinearOperator, b: LinearOperator) -> LinearOperator:
    """The Kronecker product: maps arrays of shape ``(*in_a, *in_b)`` to ``(*out_a, *out_b)``.

    Flattened in C order its matrix is ``numpy.kron(a, b)``: (A (x) B) vec(X) = vec(A X B^T). Each factor takes one axis
    unless the domain of one of them is fixed. Both are mapped over the axes of the other by ``vmap``.

    One factor is applied to what the other one returns, in an order that their domains allow: beside a factor with a real
    domain, which takes no complex numbers, a complex one comes last, and then the whole has a real domain.

    Raises TypeError for what is not a linear operator from one array to one array, ValueError where neither factor takes what
    the other one returns.
    """
    for op in (a, b):
        _require_array_operator(op, "kron")
    both = Kronecker(a, b)
    if (x := both.domain) is not None and not (both._is_possible(x, True) or both._is_possible(x, False)):
        message = (
            f"cannot build {exact(both)}: found the factors {a!r} and {b!r}, neither of which takes what the other one "
            "returns. Leave out the domain of one of them, or fix a complex one."
        )
        raise ValueError(message)
    return both


def kron_sum(a: LinearOperator, b: LinearOperator) -> LinearOperator:
    """The Kronecker sum A (x) I + I (x) B, for operators from a space to itself; raises as ``kron``."""
    of_a, of_b = (Identity() if op.domain is None else Identity().with_domain(op.domain) for op in (a, b))
    return kron(a, of_b) + kron(of_a, b)


def _require_array_operator(op: Any, where: str) -> None:
    if not isinstance(op, LinearOperator):
        message = f"{where}: expected a linear operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    for spec in (op.domain, op.codomain):
        if spec is not None and not shapes.is_spec(spec):
            message = f"{where}: {exact(op)} maps {shapes.describe_tree(spec)}; expected one array."
            raise TypeError(message)
