"""The operator MyOperator, in JAX."""

import jax
import jax.numpy as jnp
import linops_jax as lo
import numpy as np


class MyOperator(lo.LinearOperator):
    """An echo: y[i] = x[i] + weight x[i - shift], periodic along the last axis.

    apply(x)                A x, in JAX: the body is yours to replace.
    adjoint(y)              A^H y. JAX derives it; a traced method replaces that.
    infer_shape(x)          Derived too. Here it refuses what has no axis.
    infer_adjoint_shape(y)  Shape and dtype of A^H y, for A.H(y) on its own.
    examples()              What `linops-jax check` and the tests run.
    """

    weight: jax.Array | np.ndarray  # an array field: new values never recompile
    shift: int = lo.static(default=1)  # configuration: part of the compiled program

    @lo.traced
    def apply(self, x):
        return x + self.weight * jnp.roll(x, self.shift, axis=-1)

    def infer_shape(self, x):
        if not x.shape:
            message = "expected an array with an axis, found a scalar"
            raise ValueError(message)
        return jax.ShapeDtypeStruct(x.shape, np.result_type(x.dtype, self.weight.dtype))

    def infer_adjoint_shape(self, y):
        return self.infer_shape(y)

    @classmethod
    def examples(cls):
        """Yield operators, each with the shape and dtype of an input."""
        yield cls(np.array(0.5 - 0.25j), 2), jax.ShapeDtypeStruct((2, 3), np.complex128)
