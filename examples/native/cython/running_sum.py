"""Running sums in Cython. Build first: python setup.py build_ext --inplace"""

import jax
import numpy as np
import running_sum_kernels

import linops_jax as lo

KERNELS = running_sum_kernels.__pyx_capi__


class RunningSum(lo.LinearOperator):
    """y[i] = x[0] + ... + x[i]."""

    apply = lo.native(KERNELS["running_sum"], dtypes=["float32"])
    adjoint = lo.native(KERNELS["running_sum_adjoint"], dtypes=["float32"])

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape

    @classmethod
    def examples(cls):
        yield cls(), jax.ShapeDtypeStruct((7,), np.float32)


if __name__ == "__main__":
    for op, x in RunningSum.examples():
        print(lo.dot_test(op, x))
        lo.check_operator(op, x)
