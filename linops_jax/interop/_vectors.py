"""An operator between pytrees as a matrix between vectors, for libraries that know nothing else."""

from __future__ import annotations

import dataclasses
import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.interop._eager import as_raised


@dataclasses.dataclass(frozen=True)
class Layout:
    """How a pytree of arrays lies in one vector: leaf after leaf, each in C order.

    pairs: complex numbers are two reals, (re, im), next to each other: what ``x.view(float)`` gives
    """

    tree: Any
    shapes: tuple[tuple[int, ...], ...]
    dtypes: tuple[Any, ...]
    pairs: bool

    @classmethod
    def of(cls, spec: Any, pairs: bool) -> Layout:
        leaves, tree = jax.tree.flatten(spec)
        return cls(tree, tuple(leaf.shape for leaf in leaves), tuple(leaf.dtype for leaf in leaves), pairs)

    @property
    def dtype(self) -> Any:
        """Of the vector: the common one, single precision at least."""
        common = jnp.result_type(jnp.float32, *self.dtypes)
        return jnp.finfo(common).dtype if self.pairs else common

    @property
    def sizes(self) -> list[int]:
        doubled = [self.pairs and _is_complex(dtype) for dtype in self.dtypes]
        return [math.prod(shape) * (2 if twice else 1) for shape, twice in zip(self.shapes, doubled, strict=True)]

    @property
    def size(self) -> int:
        return sum(self.sizes)

    def pack(self, tree: Any) -> jax.Array:
        parts = []
        for leaf in jax.tree.leaves(tree):
            if self.pairs and _is_complex(leaf.dtype):
                leaf = jnp.stack([leaf.real, leaf.imag], -1)
            parts.append(leaf.ravel().astype(self.dtype))
        return jnp.concatenate(parts) if parts else jnp.zeros(0, self.dtype)

    def unpack(self, vector: Any) -> Any:
        """The pytree. Real arrays take the real part of a complex vector."""
        vector = vector if _is_complex(self.dtype) else vector.real
        leaves, start = [], 0
        for size, shape, dtype in zip(self.sizes, self.shapes, self.dtypes, strict=True):
            part = vector[start : start + size]
            start += size
            if self.pairs and _is_complex(dtype):
                part = jax.lax.complex(*part.astype(self.dtype).reshape(-1, 2).T)
            elif not _is_complex(dtype):
                part = part.real
            leaves.append(part.astype(dtype).reshape(shape))
        return jax.tree.unflatten(self.tree, leaves)


@dataclasses.dataclass(frozen=True)
class Plan:
    """A matrix: layouts of its two sides, and whether it is linear over the complex numbers.

    complex_linear: of a real domain, complex vectors are treated as what a matrix does with them, A re + i A im, and the
    adjoint has an imaginary part. Otherwise only their real part counts.
    """

    domain: Layout
    codomain: Layout
    complex_linear: bool

    def forward(self, op: lo.LinearOperator, v: jax.Array) -> jax.Array:
        def f(v: jax.Array) -> jax.Array:
            return self.codomain.pack(op(self.domain.unpack(v)))

        if self.complex_linear and _is_complex(v.dtype) and not _is_complex(self.domain.dtype):
            return f(v.real) + 1j * f(v.imag)
        return f(v)

    def reverse(self, op: lo.LinearOperator, v: jax.Array) -> jax.Array:
        def f(v: jax.Array) -> jax.Array:
            return self.domain.pack(op.H(self.codomain.unpack(v)))

        either = _is_complex(v.dtype) or _is_complex(self.codomain.dtype)
        if self.complex_linear and either and not _is_complex(self.domain.dtype):
            return jax.lax.complex(f(v), f(-1j * v))  # Im(M^H v) = Re(M^H (-i v))
        return f(v)


@as_raised
@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(mode: str, many: bool, matrix: VectorOperator, v: jax.Array) -> jax.Array:
    function = functools.partial(getattr(matrix.plan, mode), matrix.op)
    return jax.vmap(function, 1, 1)(v) if many else function(v)


class Vectorized:
    """An operator as functions of NumPy vectors, compiled once per operator class and shape."""

    def __init__(self, op: lo.LinearOperator, plan: Plan):
        self.op, self.plan = op, plan
        self._matrix = VectorOperator(op, plan)
        self._x64 = jnp.result_type(float) == np.float64  # what the plan was made for

    def __call__(self, mode: str, v: Any) -> Any:
        """``mode`` is "forward" or "reverse"; ``v`` one vector, or several as the columns of a matrix.

        NumPy arrays give a NumPy array that may be written to, JAX arrays and tracers a JAX array.
        """
        if isinstance(v, jax.Array):
            return _evaluate(mode, v.ndim == 2, self._matrix, v)
        with jax.enable_x64(self._x64):
            return np.array(_evaluate(mode, v.ndim == 2, self._matrix, np.asarray(v)))


class VectorOperator(lo.LinearOperator):
    """An operator between pytrees as one between vectors: the way back from another library."""

    op: lo.LinearOperator
    plan: Plan = lo.static()

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self.plan.forward(self.op, x)

    @classmethod
    def of(cls, vectorized: Vectorized, dtype: Any = None) -> lo.LinearOperator:
        domain = vectorized.plan.domain
        op = cls(vectorized.op, vectorized.plan)
        return op.with_domain(jax.ShapeDtypeStruct((domain.size,), domain.dtype if dtype is None else dtype))


def all_real(spec: Any) -> bool:
    return not any(_is_complex(leaf.dtype) for leaf in jax.tree.leaves(spec))


def _is_complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, jnp.complexfloating)
