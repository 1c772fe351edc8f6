"""The problem that a solver is given: an operator with a domain, data that fit, damping and a preconditioner."""

from __future__ import annotations

import numbers
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import UnknownShapeError
from linops_jax._operators.printing import exact
from linops_jax._vectors import Packing
from linops_jax.algebra import vstack
from linops_jax.algebra._identity import Identity

MOST_STEPS = 10_000


def fit(A: Any, y: Any, x0: Any) -> tuple[Any, Any]:
    """A with a domain, and y as its codomain has it."""
    y = as_inexact(shapes.as_arrays(y, "lo.solve: y"))
    if A.domain is None:
        A = A.with_domain(_domain(A, y, x0))
    codomain = A.codomain
    if difference := shapes.shape_difference(y, codomain):
        message = f"lo.solve: y does not fit the codomain of {exact(A)}: {difference}."
        raise ValueError(message)
    for side, specs in (("domain", A.domain), ("codomain", codomain)):
        if not all(shapes.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(specs)):
            message = (
                f"lo.solve: the {side} of {A!r} is {shapes.describe_tree(specs)}; solvers need floating point numbers. "
                "Fix another domain with with_domain(spec)."
            )
            raise TypeError(message)
    if any(
        shapes.is_complex(a.dtype) and not shapes.is_complex(b.dtype)
        for a, b in zip(jax.tree.leaves(y), jax.tree.leaves(codomain), strict=True)
    ):
        message = (
            f"lo.solve: y is {shapes.describe_tree(shapes.specs(y))}, but the codomain of {exact(A)} is real: "
            f"{shapes.describe_tree(codomain)}. Pass y.real, or fix a complex domain with with_domain(spec)."
        )
        raise ValueError(message)
    return A, shapes.cast_like(y, codomain, "lo.solve: y")


def as_inexact(tree: Any) -> Any:
    """Integers as floating numbers."""
    return jax.tree.map(lambda x: x if shapes.is_inexact(x.dtype) else x.astype(jnp.result_type(float)), tree)


def _domain(A: Any, y: Any, x0: Any) -> Any:
    if x0 is not None:
        return shapes.specs(as_inexact(shapes.as_arrays(x0, "lo.solve: x0")))
    try:
        return _unvaried(A._infer_adjoint_shape(y))
    except UnknownShapeError as error:
        message = (
            f"lo.solve: the domain of {exact(A)} is unknown. Fix it with A.with_domain(spec), pass x0, or define "
            "infer_adjoint_shape."
        )
        raise TypeError(message) from error


def _unvaried(specs: Any) -> Any:
    """The specs without the axes of a ``shard_map`` over which they vary: these are those of y, and may not be those of x."""

    def unvaried(leaf: Any) -> Any:
        if not _compat.varying_axes(leaf):
            return leaf
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_compat.place(leaf).get("sharding"))

    return jax.tree.map(unvaried, specs)


def damped(A: Any, y: Any, damp: Any, regularizer: Any) -> tuple[Any, Any]:
    """[A; damp R] and [y; 0], whose least squares are those of A with damping."""
    R = damping(A.domain, damp, regularizer)
    if R is None:
        return A, y
    op = vstack([A, as_operand(damp, A.domain) * R])
    return op, [y, jax.tree.map(shapes.zeros, op.codomain[1])]


def damping(domain: Any, damp: Any, regularizer: Any) -> Any:
    """R, or the identity; None without damping. Raises for what cannot damp."""
    if is_zero(damp):
        if regularizer is None:
            return None
        message = "lo.solve: a regularizer has no effect without damp. Pass damp=..., the factor in front of it."
        raise ValueError(message)
    if regularizer is not None and not isinstance(regularizer, LinearOperator):
        message = f"lo.solve: regularizer must be a linear operator, found {type(regularizer).__name__}."
        raise TypeError(message)
    if jnp.ndim(damp) or shapes.is_complex(jnp.result_type(damp)):
        message = f"lo.solve: damp must be a real number, found {shapes.describe(jnp.asarray(damp))}."
        raise ValueError(message)
    return (Identity() if regularizer is None else regularizer).with_domain(domain)


def is_zero(damp: Any) -> bool:
    return isinstance(damp, numbers.Real) and damp == 0


def as_operand(number: Any, like: Any) -> Any:
    """A real number as an array, so that another one is no new program; in the precision of these arrays."""
    return jnp.asarray(number, jnp.finfo(jnp.result_type(*jax.tree.leaves(like))).dtype)


def square(M: Any, domain: Any) -> Any:
    """The preconditioner, which must map the domain to itself."""
    if not isinstance(M, LinearOperator):
        message = f"lo.solve: preconditioner must be a linear operator, found {type(M).__name__}."
        raise TypeError(message)
    M = M.with_domain(domain)
    if difference := shapes.shape_difference(M.codomain, domain):
        message = f"lo.solve: the preconditioner {M!r} must map the domain of A to itself: {difference}."
        raise ValueError(message)
    return M


def steps_allowed(A: Any, max_steps: int | None) -> int:
    return default_steps(A) if max_steps is None else max_steps


def default_steps(A: Any) -> int:
    """Ten times the number of unknowns, but not too many."""
    return min(10 * max(Packing(A.domain).size, 1), MOST_STEPS)
