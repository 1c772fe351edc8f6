"""Native hooks that find their input and their result in the same memory."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import library
from helpers import close, energy, normal

import linops_jax as lo

pytestmark = pytest.mark.newest

C, FFI = library("kernels.c"), library("handlers.cpp")
D, X = jnp.asarray(normal((5,), np.float32)), jnp.asarray(normal((5,), np.float32, 1))


class Sum(lo.LinearOperator):
    d: jax.Array
    apply = lo.in_place(lo.native(C.running_sum))
    adjoint = lo.in_place(lo.native(C.running_sum_adjoint, parallel=True))

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Scale(Sum):
    apply = lo.in_place(
        lo.native(
            ffi=FFI.ScaleHandler, attributes={"factor": 2.0, "negate": True, "n": 3, "name": "blur", "sizes": (4, 5)}
        )
    )
    adjoint = apply


def numba_operator():
    pytest.importorskip("numba")

    def kernel(d, x, out):
        for i in range(x.size):
            out[i] = d[i] * x[i]

    class Product(Sum):
        apply = lo.in_place(lo.native(numba=kernel))
        adjoint = lo.in_place(lo.native(numba=kernel))

    return Product


CASES = {
    "C": lambda: (Sum, lambda d, x: jnp.cumsum(d * x, -1)),
    "FFI handler": lambda: (Scale, lambda d, x: -2 * d * x),
    "Numba": lambda: (numba_operator(), lambda d, x: d * x),
}


@pytest.mark.parametrize("name", CASES)
def test_native_hooks_in_place(name):
    cls, twin = CASES[name]()
    close(cls(D)(X), twin(D, X))
    x = X + 0
    pointer = x.unsafe_buffer_pointer()
    y = jax.jit(cls(D), donate_argnums=0)(x)
    assert y.unsafe_buffer_pointer() == pointer
    close(y, twin(D, X))
    xs = jnp.asarray(normal((3, 5), np.float32))
    close(jax.jit(jax.vmap(cls(D)), donate_argnums=0)(xs + 0), jax.vmap(lambda x: twin(D, x))(xs))
    close(jax.vmap(lambda d: cls(d)(X))(xs), jax.vmap(lambda d: twin(d, X))(xs))
    close(jax.grad(lambda x: energy(cls(D)(x)))(X), jax.grad(lambda x: energy(twin(D, x)))(X))
    lo.check_operator(cls(D), X)


def test_a_kernel_serves_two_hooks():
    kernel = lo.native(C.running_sum)
    assert lo.in_place(kernel) is not kernel
    assert not getattr(kernel, "_linops_in_place", False)
