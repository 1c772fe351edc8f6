"""The operator MyOperator, in C. To build it, see my_operator.c."""

import ctypes
import pathlib

import jax
import linops_jax as lo
import numpy as np

LIBRARY = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libmy_operator.so")))


def settings(op):
    """Return what the C functions find at call->user_data."""
    return np.array(op.shift, np.int64)


class MyOperator(lo.LinearOperator):
    """An echo: y[i] = x[i] + weight x[i - shift], periodic along the last axis.

    apply                   A x, a C function: its body is yours to replace.
    adjoint                 A^H y, the conjugate transpose.
    infer_shape(x)          Shape and dtype of A x; the place to refuse an input.
    infer_adjoint_shape(y)  Shape and dtype of A^H y.
    examples()              What `linops-jax check` and the tests run.
    """

    weight: jax.Array | np.ndarray  # an array field: it is the first of call->inputs
    shift: int = lo.static(default=1)  # configuration: part of the compiled program

    apply = lo.native(
        LIBRARY.my_operator_apply, user_data=settings, dtypes=["float64"], parallel=True
    )
    adjoint = lo.native(
        LIBRARY.my_operator_adjoint,
        user_data=settings,
        dtypes=["float64"],
        parallel=True,
    )

    def infer_shape(self, x):
        if self.weight.shape:
            message = f"weight is one number, found shape {self.weight.shape}"
            raise ValueError(message)
        if not x.shape:
            message = "expected an array with an axis, found a scalar"
            raise ValueError(message)
        return x

    def infer_adjoint_shape(self, y):
        return self.infer_shape(y)

    @classmethod
    def examples(cls):
        """Yield operators, each with the shape and dtype of an input."""
        yield cls(np.array(-0.25), 2), jax.ShapeDtypeStruct((2, 3), np.float64)
