"""What the measures accept, and what they say of anything else."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact
from linops_jax._vectors import coupled_axes


def key(seed: Any) -> jax.Array:
    """A key of jax.random from an integer, or one that is a key already, typed or as raw numbers."""
    is_key = isinstance(seed, jax.Array) and (seed.ndim == 1 or jnp.issubdtype(seed.dtype, jax.dtypes.prng_key))
    return seed if is_key else jax.random.key(seed)


def require_linear(op: Any, spec: Any, where: str) -> LinearOperator:
    """``op`` with a domain. Raises TypeError if it is not a linear operator or if its domain is unknown."""
    if isinstance(op, NonlinearOperator):
        message = (
            f"{where} needs a linear operator, and {op!r} is nonlinear. Take its derivative at a point, F.jacobian(x)."
        )
        raise TypeError(message)
    if not isinstance(op, LinearOperator):
        message = f"{where} needs a linear operator, found {type(op).__name__}. lo.Matrix(a) makes one of an array."
        raise TypeError(message)
    op = op if spec is None else op.with_domain(shapes.as_specs(spec, where))
    if op.domain is None:
        message = (
            f"{where}: {op!r} does not know its domain. Pass it as the second argument, {where}(A, "
            "jax.ShapeDtypeStruct(shape, dtype)), or fix it with A.with_domain(spec)."
        )
        raise TypeError(message)
    return op


def refuse_coupled(op: LinearOperator, where: str) -> None:
    """Raises NotImplementedError for an operator that communicates in ``shard_map``: its matrix has columns of all devices."""
    if axes := coupled_axes([op], where, needs_adjoint=False):
        message = (
            f"{where}: {exact(op)} communicates over {', '.join(map(repr, axes))} in shard_map, so the part of one device has "
            "no matrix. lo.norm does work there; all measures take lo.sharded(...), outside of shard_map."
        )
        raise NotImplementedError(message)


def require_numbers(op: LinearOperator, where: str, instead: str) -> None:
    if shapes.is_being_traced(op):
        message = (
            f"{where} of {exact(op)} is computed by NumPy and SciPy, on numbers: it does not work under jit, vmap, grad and "
            f"other transformations. Call it outside of them, and pass what it returns as an argument. {instead}"
        )
        raise TypeError(message)


def require_inexact(op: Any, spec: Any, where: str) -> LinearOperator:
    """As ``require_linear``; TypeError for integers too, which have no norm, no adjoint and no singular vectors here."""
    op = require_linear(op, spec, where)
    for name, side in (("domain", op.domain), ("codomain", op.codomain)):
        for leaf in jax.tree.leaves(side):
            if not shapes.is_inexact(leaf.dtype):
                message = (
                    f"{where}: the {name} of {exact(op)} has integers, {shapes.describe_tree(side)}. Give the operator a domain "
                    "in floating point numbers."
                )
                raise TypeError(message)
    return op


def require_matrix(op: LinearOperator, where: str, advice: str) -> None:
    """Raises ValueError for an operator of complex arrays that is linear over the reals only."""
    sides = (op.domain, op.codomain)
    takes_real_parts = shapes.all_complex(sides) and not op._is_complex_linear()
    if shapes.has_complex(op.domain) and (
        op.properties.real_linear or takes_real_parts or not shapes.has_complex(op.codomain)
    ):
        message = (
            f"{where}: {exact(op)} maps {shapes.describe_tree(op.domain)} to {shapes.describe_tree(op.codomain)} and is linear "
            f"over the reals only, so no complex matrix does the same. {advice}"
        )
        raise ValueError(message)
