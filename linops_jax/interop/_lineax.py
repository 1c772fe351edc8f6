"""What lineax asks of its operators, so that ``lx.linear_solve`` takes ours as they are.

lineax calls methods, which ``LinearOperator.__getattr__`` finds here. It dispatches functions on types, with which our
base class is registered when both have been imported and the next operator is made. Neither adds a name that users'
fields could not have. Where lineax insists on a class of its own (preconditioners, ``+``),
``lx.TaggedLinearOperator(op, ())`` is one.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax._vectors import Packing


def mv(op: Any, vector: Any) -> Any:
    """A x."""
    return op(vector)


def in_structure(op: Any) -> Any:
    """The domain. Raises TypeError where it is unknown, and where lineax's inner products would give wrong solutions."""
    if op.domain is None:
        message = f"lineax needs to know the domain of {op!r}: fix it with op.with_domain(jax.ShapeDtypeStruct(shape, dtype))."
        raise TypeError(message)
    _refuse_real_linear(op)
    return op.domain


def out_structure(op: Any) -> Any:
    """The codomain. Raises as ``in_structure``."""
    in_structure(op)
    return op.codomain


def in_size(op: Any) -> int:
    """The number of entries in the domain."""
    return Packing(in_structure(op)).size


def out_size(op: Any) -> int:
    """The number of entries in the codomain."""
    return Packing(out_structure(op)).size


def transpose(op: Any) -> Any:
    """A^T, the plain transpose, which is what lineax means by ``operator.T`` as well."""
    return op.T


def as_matrix(op: Any) -> jax.Array:
    """The dense matrix, of shape (out_size, in_size), leaf after leaf in C order: by one batched call of ``apply``."""
    in_structure(op)
    return lo.todense(op)


def method(op: Any, name: str) -> Callable[..., Any]:
    """The bound method of an operator that lineax looks for under this name."""
    if "lineax" in sys.modules:  # imported after the operator was made
        register()
    return functools.partial(globals()[name], op)


@functools.cache
def register() -> None:
    """Tells lineax's functions about our operators."""
    import lineax as lx

    cls = lo.LinearOperator
    lx.linearise.register(cls, lambda op: op)
    lx.conj.register(cls, lambda op: op.conj())
    lx.materialise.register(cls, lambda op: lx.materialise(lx.FunctionLinearOperator(op, in_structure(op), _tags(op))))
    lx.diagonal.register(cls, _diagonal)
    lx.tridiagonal.register(cls, _tridiagonal)
    lx.is_symmetric.register(cls, _is_symmetric)
    lx.is_positive_semidefinite.register(cls, lambda op: op.properties.positive)
    for check in (lx.is_diagonal, lx.is_tridiagonal, lx.is_lower_triangular, lx.is_upper_triangular):
        check.register(cls, lambda op: op.properties.diagonal)
    for check in (lx.is_negative_semidefinite, lx.has_unit_diagonal):
        check.register(cls, lambda op: False)


def _refuse_real_linear(op: Any) -> None:
    if op._is_linear_in_its_numbers:
        return
    kinds = {_is_complex(leaf) for side in (op.domain, op.codomain) for leaf in jax.tree.leaves(side)}
    what = "maps between real and complex arrays" if len(kinds) == 2 else "is linear over the reals only"
    message = (
        f"{op!r} {what}; lineax's solvers need operators that are linear over the numbers they act on. Use lo.solve, "
        "which solves over pairs of real numbers."
    )
    raise TypeError(message)


def _is_complex(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jnp.complexfloating)


def _tags(op: Any) -> frozenset[object]:
    import lineax as lx

    known = op.properties
    tags = {lx.symmetric_tag: _is_symmetric(op), lx.positive_semidefinite_tag: known.positive}
    return frozenset(tag for tag, has in {**tags, lx.diagonal_tag: known.diagonal}.items() if has)


def _is_symmetric(op: Any) -> bool:
    """Whether A^T = A, which is what lineax means. We mean A^H = A: the same where numbers are real."""
    square = in_structure(op) == out_structure(op)
    is_real = not any(map(_is_complex, jax.tree.leaves(op.domain)))
    return square and (op.properties.diagonal or (is_real and op.properties.symmetric))


def _diagonal(op: Any) -> jax.Array:
    if not op.properties.diagonal:
        return jnp.diagonal(as_matrix(op))
    return Packing(out_structure(op)).pack(lo.diagonal(op))


def _tridiagonal(op: Any) -> tuple[jax.Array, jax.Array, jax.Array]:
    matrix = as_matrix(op)
    return tuple(jnp.diagonal(matrix, k) for k in (0, -1, 1))  # type: ignore[return-value]
