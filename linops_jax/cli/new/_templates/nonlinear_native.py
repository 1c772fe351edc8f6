"""The operator MyOperator, in C. To build it, see my_operator.c."""

import ctypes
import pathlib

import jax
import linops_jax as lo
import numpy as np

LIBRARY = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libmy_operator.so")))


class MyOperator(lo.NonlinearOperator):
    """A slight distortion: F(x) = x + weight x², element by element.

    apply             F(x), a C function: its body is yours to replace.
    jacobian_apply    J(x) dx, the derivative of F at x in the direction dx.
    jacobian_adjoint  J(x)^H dy, the conjugate transpose of J(x).
    infer_shape(x)    Shape and dtype of F(x); the place to refuse an input.
    examples()        What `linops-jax check` and the tests run.
    """

    weight: jax.Array | np.ndarray  # an array field: it is the first of call->inputs

    apply = lo.native(LIBRARY.my_operator_apply, dtypes=["float64"], parallel=True)
    jacobian_apply = lo.native(
        LIBRARY.my_operator_jacobian_apply, dtypes=["float64"], parallel=True
    )
    jacobian_adjoint = lo.native(
        LIBRARY.my_operator_jacobian_adjoint, dtypes=["float64"], parallel=True
    )

    def infer_shape(self, x):
        if self.weight.shape:
            message = f"weight is one number, found shape {self.weight.shape}"
            raise ValueError(message)
        return x

    @classmethod
    def examples(cls):
        """Yield operators, each with the shape and dtype of an input."""
        yield cls(np.array(-0.25)), jax.ShapeDtypeStruct((2, 3), np.float64)
