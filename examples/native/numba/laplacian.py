"""A weighted Laplacian on a periodic grid, in Numba. There is nothing to build."""

import jax
import numpy as np

import linops_jax as lo


def laplacian(weights, x, out):
    """Array fields come first, then the input, then the output."""
    n, m = x.shape
    for i in range(n):
        for j in range(m):
            neighbours = x[i - 1, j] + x[(i + 1) % n, j] + x[i, j - 1] + x[i, (j + 1) % m]
            out[i, j] = weights[i, j] * (4 * x[i, j] - neighbours)


def laplacian_adjoint(weights, y, out):
    n, m = y.shape
    for i in range(n):
        for j in range(m):
            here = np.conj(weights[i, j]) * y[i, j]
            above = np.conj(weights[i - 1, j]) * y[i - 1, j]
            below = np.conj(weights[(i + 1) % n, j]) * y[(i + 1) % n, j]
            left = np.conj(weights[i, j - 1]) * y[i, j - 1]
            right = np.conj(weights[i, (j + 1) % m]) * y[i, (j + 1) % m]
            out[i, j] = 4 * here - (above + below + left + right)


class WeightedLaplacian(lo.LinearOperator):
    """weights * (4 x - neighbours), for all dtypes that Numba has."""

    weights: jax.Array

    apply = lo.native(numba=laplacian, parallel=True)
    adjoint = lo.native(numba=laplacian_adjoint, parallel=True)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, np.result_type(x.dtype, self.weights.dtype))

    infer_adjoint_shape = infer_shape

    @classmethod
    def examples(cls):
        weights = np.linspace(1, 2, 12, dtype=np.float32).reshape(3, 4)
        yield cls(weights), jax.ShapeDtypeStruct((3, 4), np.float32)
        yield cls(weights * np.complex64(1 + 1j)), jax.ShapeDtypeStruct((3, 4), np.complex64)


if __name__ == "__main__":
    for op, x in WeightedLaplacian.examples():
        print(lo.dot_test(op, x))
        lo.check_operator(op, x)
