"""A recursive filter as an XLA FFI handler. Build first: cmake -B build . && cmake --build build"""

import ctypes
import pathlib

import jax
import numpy as np

import linops_jax as lo

LIBRARY = ctypes.CDLL(str(pathlib.Path(__file__).with_name("libcausal_filter.so")))


def attributes(backwards):
    return lambda op: {"memory": op.memory, "backwards": backwards}


class CausalFilter(lo.LinearOperator):
    """y[i] = x[i] + memory * y[i - 1]."""

    memory: float = lo.static(default=0.5)

    apply = lo.native(ffi=LIBRARY.CausalFilter, attributes=attributes(False))
    adjoint = lo.native(ffi=LIBRARY.CausalFilter, attributes=attributes(True))

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape

    @classmethod
    def examples(cls):
        yield cls(0.9), jax.ShapeDtypeStruct((7,), np.float32)


if __name__ == "__main__":
    for op, x in CausalFilter.examples():
        print(lo.dot_test(op, x))
        lo.check_operator(op, x)
