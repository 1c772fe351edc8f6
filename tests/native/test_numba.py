"""Numba kernels as hooks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, normal

import linops_jax as lo

pytestmark = pytest.mark.newest

numba = pytest.importorskip("numba")


def sum_kernel(d, x, out):
    total = out.dtype.type(0)
    for i in range(x.size):
        total += d[i] * x[i]
        out[i] = total


@numba.njit
def adjoint_kernel(d, y, out):
    total = y[0] * 0
    for i in range(y.size - 1, -1, -1):
        total += y[i]
        out[i] = np.conj(d[i]) * total


class RunningSum(lo.LinearOperator):
    d: jax.Array
    apply = lo.native(numba=sum_kernel)
    adjoint = lo.native(numba=adjoint_kernel, parallel=True)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


def laplacian(x, out):
    n, m = x.shape
    for i in range(n):
        for j in range(m):
            out[i, j] = 4 * x[i, j] - x[i - 1, j] - x[(i + 1) % n, j] - x[i, j - 1] - x[i, (j + 1) % m]


class Laplacian(lo.LinearOperator, symmetric=True):
    """Periodic, in two dimensions."""

    apply = lo.native(numba=laplacian)

    def infer_shape(self, x):
        return x


def halve(x, out):
    out[()] = x[()] / 2


def fail(x, out):
    if x[0] > 1:
        raise ValueError
    out[:] = x


def nonsense(x, out):
    out[:] = x.no_such_method()


def single(kernel, **keywords):
    class Single(lo.LinearOperator, **keywords):
        apply = adjoint = lo.native(numba=kernel)

        def infer_shape(self, x):
            return x

    return Single()


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_checks_and_derivatives(dtype):
    d, x = jnp.asarray(normal((5,), dtype)), jnp.asarray(normal((5,), dtype, 1))
    lo.check_operator(RunningSum(d), x)
    found = jax.jit(jax.grad(lambda x: energy(RunningSum(d)(x))))(x)
    close(found, jax.grad(lambda x: energy(jnp.cumsum(d * x)))(x))


def test_batches_and_ranks():
    d, x = jnp.asarray(normal((3, 5), np.float32)), jnp.asarray(normal((3, 5), np.float32))
    close(jax.vmap(lambda d, x: RunningSum(d)(x))(d, x), jnp.cumsum(d * x, axis=1))
    close(jax.vmap(RunningSum(d[0]))(x), jnp.cumsum(d[:1] * x, axis=1))
    lo.check_operator(Laplacian(), S((4, 3), np.float32))
    close(single(halve)(jnp.float32(3)), jnp.float32(1.5))


def rows(x, out):
    out[:, :] = 2 * x


def test_a_batched_kernel_has_the_rank_it_is_called_with():
    x = jnp.asarray(normal((3, 5), np.float32))
    close(jax.vmap(single(rows, batched=True))(x), 2 * x)


def test_a_kernel_that_raises():
    with pytest.raises(RuntimeError, match=r"the kernel raised an exception.*call the kernel as a Python function"):
        single(fail)(jnp.full(3, 2.0))
    close(single(fail)(jnp.ones(3)), jnp.ones(3))


def test_a_kernel_that_does_not_compile():
    with pytest.raises(
        TypeError, match=r"Single\.apply: Numba cannot compile the kernel for \(float32\[:\], float32\[:\]\)"
    ):
        single(nonsense)(jnp.ones(3))


def test_a_kernel_with_the_wrong_arguments():
    with pytest.raises(
        TypeError, match=r"Single\.apply: Numba cannot compile the kernel for \(float32\[:\], float32\[:\]\)"
    ):
        single(lambda x: None)(jnp.ones(3))


def test_a_cfunc_of_another_signature():
    function = numba.cfunc("float64(float64)")(lambda x: x)
    with pytest.raises(TypeError, match=r"found float64 .*\(float64\); expected int \(linops_call \*\)"):
        lo.native(function)


def test_a_dtype_that_numba_lacks():
    with pytest.raises(TypeError, match=r"Single\.apply is a Numba kernel; found an array of bfloat16, which"):
        single(rows)(jnp.ones((3, 3), jnp.bfloat16))


def test_numba_cfunc():
    types = numba.types

    @numba.cfunc(types.int32(types.CPointer(types.int64)))
    def nothing(call):
        return 5

    class Nothing(lo.LinearOperator):
        apply = adjoint = lo.native(nothing)

        def infer_shape(self, x):
            return x

    with pytest.raises(RuntimeError, match="it returned 5 without an error text"):
        Nothing()(jnp.ones(3))
