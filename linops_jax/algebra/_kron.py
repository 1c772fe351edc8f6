"""Kronecker products and sums, on arrays that keep the axes of both factors."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _specs, _upstream
from linops_jax._linear import LinearOperator
from linops_jax._printing import exact
from linops_jax._properties import Properties, common
from linops_jax.algebra._along_axis import AlongAxis
from linops_jax.algebra._composite import LinearComposite
from linops_jax.algebra._composition import compose
from linops_jax.algebra._identity import Identity


class Kronecker(LinearComposite):
    """A (x) B: A on the first axes of an array, B on the last ones."""

    a: LinearOperator
    b: LinearOperator

    def apply(self, x: Any) -> Any:
        return self._product(x, _rank(self.a.domain), _rank(self.b.domain))(x)

    def _derive_shape(self, x: Any) -> Any:
        return self._product(x, _rank(self.a.domain), _rank(self.b.domain))._infer_shape(x)

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """Only where no factor changes the dtype: the other one's adjoint sees it."""
        if domain is not None:
            spaces = (self.a.domain, self.b.domain, self.a.codomain, self.b.codomain)
            if any(spec is None or spec.dtype != domain.dtype for spec in spaces):
                return None
        return Kronecker(self.a.H, self.b.H)

    _is_recorded = True  # type: ignore[assignment]
    _is_looked_for = True  # type: ignore[assignment]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        knows = self.a._says_adjoint_shape and self.b._says_adjoint_shape
        if not knows and (domain := _upstream.domain_of(self, y)) is not None:
            return domain
        return self._product(y, _rank(self.a.codomain), _rank(self.b.codomain))._infer_adjoint_shape(y)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self._product(like, _rank(self.a.domain), _rank(self.b.domain))._reverse(y, like)

    def _product(self, x: Any, rank_a: int | None, rank_b: int | None) -> Any:
        """As a product, where as many axes belong to the factors."""
        if not _specs.is_spec(x):
            message = f"{exact(self)} cannot be applied: found {_specs.describe_tree(x)}, expected one array."
            raise TypeError(message)
        if rank_a is None and rank_b is None:
            rank_a = rank_b = 1
        first = x.ndim - rank_b if rank_a is None else rank_a  # type: ignore[operator]
        last = x.ndim - first if rank_b is None else rank_b
        if first < 1 or last < 1 or first + last != x.ndim:
            message = (
                f"{exact(self)} cannot be applied: {_specs.describe(x)} does not have {first} axes for the first factor and "
                f"{last} for the second. Fix the domain of one of them with with_domain(spec); without, each takes one axis."
            )
            raise ValueError(message)
        a, b = AlongAxis(self.a, tuple(range(first))), AlongAxis(self.b, tuple(range(-last, 0)))
        return compose(b, a) if _refuses(self.a, self.b) else compose(a, b)

    @property
    def domain(self) -> Any:
        a, b = self.a.domain, self.b.domain
        if a is None or b is None:
            return None
        return jax.ShapeDtypeStruct(a.shape + b.shape, jnp.promote_types(a.dtype, b.dtype))

    @property
    def properties(self) -> Properties:
        return common([self.a, self.b], "symmetric", "positive", "unitary", "diagonal")

    def _inverse(self) -> LinearOperator | None:
        a, b = self.a._inverse(), self.b._inverse()
        return None if a is None or b is None else Kronecker(a, b)

    def _expression(self, show: Any) -> str:
        return f"kron({show(self.a)}, {show(self.b)})"


def _refuses(a: Any, b: Any) -> bool:
    """Whether b has to come last, since a has a domain that what b returns does not fit, as a real one."""
    found, wanted = b.codomain, a.domain
    if found is None or wanted is None:
        return False
    return not _specs.castable(np.dtype(found.dtype), np.dtype(wanted.dtype))


def _rank(spec: Any) -> int | None:
    return None if spec is None else len(spec.shape)


def kron(a: LinearOperator, b: LinearOperator) -> LinearOperator:
    """The Kronecker product: maps arrays of shape ``(*in_a, *in_b)`` to ``(*out_a, *out_b)``.

    Flattened in C order its matrix is ``numpy.kron(a, b)``: (A (x) B) vec(X) = vec(A X B^T). Each factor takes one axis
    unless the domain of one of them is fixed. Both are mapped over the axes of the other by ``vmap``.

    Raises TypeError for what is not a linear operator from one array to one array.
    """
    for op in (a, b):
        _require_array_operator(op, "kron")
    return Kronecker(a, b)


def kron_sum(a: LinearOperator, b: LinearOperator) -> LinearOperator:
    """The Kronecker sum A (x) I + I (x) B, for operators from a space to itself; raises as ``kron``."""
    of_a, of_b = (Identity() if op.domain is None else Identity().with_domain(op.domain) for op in (a, b))
    return kron(a, of_b) + kron(of_a, b)


def _require_array_operator(op: Any, where: str) -> None:
    if not isinstance(op, LinearOperator):
        message = f"{where}: expected a linear operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    for spec in (op.domain, op.codomain):
        if spec is not None and not _specs.is_spec(spec):
            message = f"{where}: {exact(op)} maps {_specs.describe_tree(spec)}; expected one array."
            raise TypeError(message)
