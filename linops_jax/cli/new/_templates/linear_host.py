"""The operator MyOperator, in NumPy."""

import jax
import linops_jax as lo
import numpy as np


class MyOperator(lo.LinearOperator):
    """An echo: y[i] = x[i] + weight x[i - shift], periodic along the last axis.

    apply(x)                A x, on NumPy arrays: the body is yours to replace.
    adjoint(y)              A^H y, the conjugate transpose: here with conj(weight).
    infer_shape(x)          Shape and dtype of A x; the place to refuse an input.
    infer_adjoint_shape(y)  Shape and dtype of A^H y.
    examples()              What `linops-jax check` and the tests run.
    """

    weight: jax.Array | np.ndarray  # an array field: new values never recompile
    shift: int = lo.static(default=1)  # configuration: part of the compiled program

    def apply(self, x):
        return x + self.weight * np.roll(x, self.shift, axis=-1)

    def adjoint(self, y):
        return y + np.roll(np.conj(self.weight) * y, -self.shift, axis=-1)

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
        yield cls(np.array(0.5)), jax.ShapeDtypeStruct((4,), np.float64)
        yield cls(np.array(0.5 - 0.25j), 2), jax.ShapeDtypeStruct((2, 3), np.complex128)
