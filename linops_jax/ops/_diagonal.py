"""Diagonal: elementwise multiplication."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo


class Diagonal(lo.LinearOperator):
    """x -> d x, element by element; the adjoint is y -> conj(d) y, summed over the axes in which x was broadcast.

    d: array that broadcasts against x by NumPy's rules; a differentiable parameter
    """

    d: jax.Array

    @lo.traced
    def apply(self, x: Any) -> Any:
        d = jnp.asarray(self.d)
        return _align(d, x.ndim) * _align(x, d.ndim)

    def infer_shape(self, x: Any) -> Any:
        shape = jnp.broadcast_shapes(self.d.shape, x.shape)
        return jax.ShapeDtypeStruct(shape, jnp.result_type(self.d.dtype, x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return jax.ShapeDtypeStruct(y.shape, jnp.result_type(self.d.dtype, y.dtype))

    @classmethod
    def examples(cls) -> Any:
        d = jnp.array([1.0, 2.0, -3.0])
        yield cls(d), jax.ShapeDtypeStruct((3,), jnp.float32)
        yield cls(1j * d[:, None] + d[None, :]), jax.ShapeDtypeStruct((3,), jnp.complex64)


def _align(x: Any, ndim: int) -> Any:
    """Leading axes of size one, explicitly: rank promotion may be forbidden."""
    return x.reshape((1,) * (ndim - x.ndim) + x.shape) if x.ndim < ndim else x
