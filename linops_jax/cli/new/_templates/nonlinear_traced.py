"""The operator MyOperator, in JAX."""

import jax
import linops_jax as lo
import numpy as np


class MyOperator(lo.NonlinearOperator):
    """A slight distortion: F(x) = x + weight x², element by element.

    apply(x)                 F(x), in JAX: the body is yours to replace.
    jacobian_apply(x, dx)    J(x) dx. JAX derives it; a traced method replaces that.
    jacobian_adjoint(x, dy)  J(x)^H dy, the conjugate transpose: derived too.
    infer_shape(x)           Derived too; write it to refuse an input.
    examples()               What `linops-jax check` and the tests run.
    """

    weight: jax.Array | np.ndarray  # an array field: new values never recompile

    @lo.traced
    def apply(self, x):
        return x + self.weight * x**2

    @classmethod
    def examples(cls):
        """Yield operators, each with the shape and dtype of an input."""
        yield cls(np.array(0.5 - 0.25j)), jax.ShapeDtypeStruct((2, 3), np.complex128)
