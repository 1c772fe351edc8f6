"""Identity and Zero: the neutral elements of composition and addition."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._fields import static
from linops_jax._hooks import traced
from linops_jax._linear import LinearOperator


class Identity(LinearOperator):
    """x -> x, for any pytree of arrays."""

    @traced
    def apply(self, x: Any) -> Any:
        return x

    @traced
    def adjoint(self, y: Any) -> Any:
        return y

    def infer_shape(self, x: Any) -> Any:
        return x

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3, 4), jnp.complex64)


class Zero(LinearOperator):
    """x -> 0, arrays of the shapes in ``shape`` (default: of the input), in the input's dtype.

    shape: shape of the result, or None for that of the input (then for any pytree); its adjoint on its own then needs a
    domain.
    """

    shape: tuple[int, ...] | None = static(default=None)

    @traced
    def apply(self, x: Any) -> Any:
        return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), self.infer_shape(x))

    def infer_shape(self, x: Any) -> Any:
        if self.shape is None:
            return x
        dtype = jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(x)))
        return jax.ShapeDtypeStruct(self.shape, dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3,), jnp.float32)
        yield cls((2, 5)), jax.ShapeDtypeStruct((3,), jnp.complex64)
