"""The operator MyOperator, in NumPy."""

import jax
import linops_jax as lo
import numpy as np


class MyOperator(lo.NonlinearOperator):
    """A slight distortion: F(x) = x + weight x², element by element.

    apply(x)                 F(x), on NumPy arrays: the body is yours to replace.
    jacobian_apply(x, dx)    J(x) dx, the derivative of F at x in the direction dx.
    jacobian_adjoint(x, dy)  J(x)^H dy, the conjugate transpose of J(x).
    infer_shape(x)           Shape and dtype of F(x); the place to refuse an input.
    examples()               What `linops-jax check` and the tests run.
    """

    weight: jax.Array | np.ndarray  # an array field: new values never recompile

    def apply(self, x):
        return x + self.weight * x**2

    def jacobian_apply(self, x, dx):
        return (1 + 2 * self.weight * x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(1 + 2 * self.weight * x) * dy

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, np.result_type(x.dtype, self.weight.dtype))

    @classmethod
    def examples(cls):
        """Yield operators, each with the shape and dtype of an input."""
        yield cls(np.array(0.5)), jax.ShapeDtypeStruct((4,), np.float64)
        yield cls(np.array(0.5 - 0.25j)), jax.ShapeDtypeStruct((2, 3), np.complex128)
