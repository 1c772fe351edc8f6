"""A finite difference in C. Build first: make"""

import ctypes
import pathlib

import jax
import numpy as np

import linops_jax as lo

LIBRARY = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libfirst_derivative.so")))


class Settings(ctypes.Structure):
    _fields_ = [("step", ctypes.c_double)]


def settings(op):
    """What the C functions find in call->user_data."""
    return Settings(op.step)


class FirstDerivative(lo.LinearOperator):
    """(x[i + 1] - x[i]) / step."""

    step: float = lo.static(default=1.0)

    apply = lo.native(LIBRARY.first_derivative, user_data=settings, dtypes=["float64"], parallel=True)
    adjoint = lo.native(LIBRARY.first_derivative_adjoint, user_data=settings, dtypes=["float64"], parallel=True)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((x.shape[0] - 1,), x.dtype)

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct((y.shape[0] + 1,), y.dtype)

    @classmethod
    def examples(cls):
        yield cls(0.5), jax.ShapeDtypeStruct((7,), np.float64)


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for op, x in FirstDerivative.examples():
        print(lo.dot_test(op, x))
        lo.check_operator(op, x)
