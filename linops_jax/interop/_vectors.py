"""Operators as functions of vectors, for libraries that know nothing else, and back."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax._vectors import MatrixForm, Packing
from linops_jax.interop._eager import as_raised


@as_raised
@functools.partial(jax.jit, static_argnums=(0, 1))
def _evaluate(mode: str, many: bool, form: MatrixForm, v: jax.Array) -> jax.Array:
    function = getattr(form, mode)
    return jax.vmap(function, 1, 1)(v) if many else function(v)


class Vectorized:
    """An operator as functions of NumPy vectors, compiled once per operator class and shape."""

    def __init__(self, form: MatrixForm):
        self.form = form
        self._x64 = jnp.result_type(float) == np.float64  # what the form was made for

    def __call__(self, mode: str, v: Any) -> Any:
        """``mode`` is "forward" or "reverse"; ``v`` one vector, or several as the columns of a matrix.

        NumPy arrays give a NumPy array that may be written to, JAX arrays and tracers a JAX array.
        """
        if isinstance(v, jax.Array):
            return _evaluate(mode, v.ndim == 2, self.form, v)
        with jax.enable_x64(self._x64):
            return np.array(_evaluate(mode, v.ndim == 2, self.form, np.asarray(v)))


class VectorOperator(lo.LinearOperator):
    """An operator between pytrees as one between vectors: the way back from another library."""

    op: lo.LinearOperator
    pairs: bool = lo.static()
    complex_linear: bool = lo.static()

    @lo.traced
    def apply(self, x: Any) -> Any:
        return MatrixForm(self.op, self.pairs, self.complex_linear).forward(x)

    @classmethod
    def of(cls, form: MatrixForm, dtype: Any = None) -> lo.LinearOperator:
        op = cls(form.op, form.pairs, form.complex_linear)
        return op.with_domain(jax.ShapeDtypeStruct((form.domain.size,), form.domain.dtype if dtype is None else dtype))


def arrays(packing: Packing, vector: Any) -> Any:
    """What a vector stands for, where JAX puts it: other libraries know no meshes."""
    specs = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype), packing.spec)
    return dataclasses.replace(packing, spec=specs).unpack(jnp.asarray(vector))
