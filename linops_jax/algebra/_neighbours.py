"""Rules of ``lo.simplify`` for two neighbours in a product, which may be one operator.

The rules for all operators are here. Combinators have rules of their own, in ``_product_with``.
"""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax.algebra._identity import Identity
from linops_jax.algebra._numbers import can_merge


def meeting(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """``left @ right`` as one operator, or None if no rule applies.

    ``x`` is the specs of the input of ``right``, None if they are not known. ``mirrored`` says whether each is the
    adjoint of the other.
    """
    rules = (_identity, _unitary, _inverse, _diagonals, _own)
    return next((one for rule in rules if (one := rule(left, right, x, mirrored)) is not None), None)


def _identity(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """I A = A I = A. An identity with a domain is left out if the other operator can have this domain."""
    if left._is_identity or (_is_fixed_identity(left) and shapes.same(_result(right, x), left.domain)):
        return right
    if right._is_identity:
        return left
    return left.with_domain(right.domain) if _is_fixed_identity(right) and isinstance(left, LinearOperator) else None


def _is_fixed_identity(op: Any) -> bool:
    """Whether the operator is an identity with a domain."""
    return op._bare()._is_identity and op.domain is not None


def _unitary(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """Uᴴ U = I."""
    cancels = mirrored and left.properties.unitary and right.properties.unitary and _returns(left, right, x)
    return Identity() if cancels else None


def _inverse(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """A⁻¹ A = A A⁻¹ = I."""
    cancels = left._undoes(right) or right._undoes(left)
    return Identity() if cancels and _returns(left, right, x) else None


def _diagonals(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """diag(d) diag(e) = diag(d e)."""
    d, e = left._elements, right._elements
    if d is None or e is None or not can_merge(d, e) or d.ndim != e.ndim:
        return None
    return left._with_elements(jnp.asarray(d) * e)


def _own(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """The rule of the class of the left operator."""
    return left._product_with(right)


def _returns(left: Any, right: Any, x: Any) -> bool:
    """Whether the product of two inverses maps a space to itself, without taking real parts of complex numbers between."""
    if x is None:
        return False
    between = _result(right, x)
    return shapes.same(between, x) and shapes.same(_result(left, between), x)


def _result(op: Any, x: Any) -> Any:
    """Specs of ``op(x)`` from specs x, or None."""
    return None if x is None else op._infer_shape(x)
