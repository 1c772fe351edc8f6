"""An operator between pytrees as a matrix between vectors: entries in C order, leaf after leaf."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact


@functools.partial(jax.tree_util.register_dataclass, data_fields=["op"], meta_fields=["pairs"])
@dataclasses.dataclass(frozen=True)
class VectorForm:
    """A linear operator with a domain, as functions of vectors.

    pairs: complex numbers are (re, im), two reals next to each other: then it is linear for every operator
    """

    op: LinearOperator
    pairs: bool

    @property
    def shape(self) -> tuple[int, int]:
        return size(self.op.codomain, self.pairs), size(self.op.domain, self.pairs)

    @property
    def dtype(self) -> Any:
        """Of the vectors on both sides, single precision at least."""
        return jnp.result_type(jnp.float32, dtype(self.op.domain, self.pairs), dtype(self.op.codomain, self.pairs))

    def forward(self, v: Any) -> jax.Array:
        return pack(self.op(self.unpack_domain(v)), self.dtype, self.pairs)

    def reverse(self, w: Any) -> jax.Array:
        return pack(self.op.H(self.unpack_codomain(w)), self.dtype, self.pairs)

    def unpack_domain(self, v: Any) -> Any:
        return unpack(v, self.op.domain, self.pairs)

    def unpack_codomain(self, w: Any) -> Any:
        return unpack(w, self.op.codomain, self.pairs)


def in_own_space(op: LinearOperator) -> VectorForm:
    """The form in which lengths and angles of vectors are those of the arrays they stand for.

    Complex where the operator is linear over the complex numbers and all its arrays are complex, otherwise real.
    """
    return VectorForm(op, not op._is_complex_linear())


def has_complex(spec: Any) -> bool:
    return any(shapes.is_complex(leaf.dtype) for leaf in jax.tree.leaves(spec))


def size(spec: Any, pairs: bool = False) -> int:
    return sum(math.prod(leaf.shape) * _width(leaf, pairs) for leaf in jax.tree.leaves(spec))


def dtype(spec: Any, pairs: bool = False) -> Any:
    """The common dtype; of the real and imaginary parts for pairs."""
    leaves = jax.tree.leaves(spec)
    common = jnp.result_type(*(leaf.dtype for leaf in leaves)) if leaves else jnp.result_type(float)
    return jnp.finfo(common).dtype if pairs and shapes.is_complex(common) else common


def pack(tree: Any, dtype: Any, pairs: bool = False) -> jax.Array:
    """A pytree of arrays as one vector, which each device has as a whole."""
    leaves = [
        jnp.stack([leaf.real, leaf.imag], -1) if _width(leaf, pairs) == 2 else leaf
        for leaf in jax.tree.leaves(_compat.gathered(tree))
    ]
    return jnp.concatenate([jnp.zeros(0, dtype), *(leaf.ravel().astype(dtype) for leaf in leaves)])


def unpack(vector: Any, spec: Any, pairs: bool = False) -> Any:
    """A vector as a pytree of arrays with these shapes and dtypes."""
    leaves, structure = jax.tree.flatten(spec)
    values, start = [], 0
    for leaf in leaves:
        width = _width(leaf, pairs)
        stop = start + math.prod(leaf.shape) * width
        part = vector[start:stop]
        if width == 2:
            part = jax.lax.complex(*part.reshape(-1, 2).T)
        elif not shapes.is_complex(leaf.dtype):
            part = part.real
        values.append(_compat.placed(part.reshape(leaf.shape).astype(leaf.dtype), leaf))
        start = stop
    return jax.tree.unflatten(structure, values)


def unit(spec: Any, index: Any, pairs: bool = False) -> Any:
    """The arrays that are 1 at one entry of their vector, and 0 elsewhere; all 0 for an index beyond the end."""
    leaves, structure = jax.tree.flatten(spec)
    values, start = [], 0
    for leaf in leaves:
        width, count = _width(leaf, pairs), math.prod(leaf.shape)
        position, part = (index - start) // width, (index - start) % width
        here = (jnp.arange(count) == position).astype(leaf.dtype).reshape(leaf.shape)
        entry = jnp.where(part == 1, 1j, 1).astype(leaf.dtype) * here if width == 2 else here
        values.append(_compat.placed(entry, leaf))
        start += count * width
    return jax.tree.unflatten(structure, values)


def key(seed: Any) -> jax.Array:
    """A key of jax.random from an integer, or one that is a key already, typed or as raw numbers."""
    is_key = isinstance(seed, jax.Array) and (seed.ndim == 1 or jnp.issubdtype(seed.dtype, jax.dtypes.prng_key))
    return seed if is_key else jax.random.key(seed)


def _width(leaf: Any, pairs: bool) -> int:
    return 2 if pairs and shapes.is_complex(leaf.dtype) else 1


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
    if has_complex(op.domain) and (op.properties.real_linear or takes_real_parts or not has_complex(op.codomain)):
        message = (
            f"{where}: {exact(op)} maps {shapes.describe_tree(op.domain)} to {shapes.describe_tree(op.codomain)} and is linear "
            f"over the reals only, so no complex matrix does the same. {advice}"
        )
        raise ValueError(message)
