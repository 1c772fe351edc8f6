"""Device hooks in PyTorch, on the CPU: the same class that runs on a GPU. Skipped where PyTorch is not installed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, normal

import linops_jax as lo
from linops_jax.testing import Checkup

torch = pytest.importorskip("torch")
X = jnp.asarray(normal((3,), np.float32, 1))


def tensors(*trees):
    return jax.tree.map(torch.from_dlpack, trees)


class Product(lo.LinearOperator):
    matrix: jax.Array

    @lo.device
    def apply(self, x, *, out):
        matrix, x, out = tensors(self.matrix, x, out)
        torch.matmul(matrix, x, out=out)

    @lo.device
    def adjoint(self, y, *, out):
        matrix, y, out = tensors(self.matrix, y, out)
        torch.matmul(matrix.mH, y, out=out)

    @lo.device
    def parameter_jvp(self, x, dself, *, out):
        dmatrix, x, out = tensors(dself.matrix, x, out)
        torch.matmul(dmatrix, x, out=out)

    @lo.device
    def parameter_vjp(self, x, dy, *, out):
        x, dy, dmatrix = tensors(x, dy, out.matrix)
        torch.outer(dy, x.conj(), out=dmatrix)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(self.matrix.shape[:1], jnp.result_type(self.matrix.dtype, x.dtype))

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct(self.matrix.shape[1:], jnp.result_type(self.matrix.dtype, y.dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_every_transformation(dtype):
    matrix, x = jnp.asarray(normal((4, 3), dtype, 2)), jnp.asarray(normal((3,), dtype, 3))

    def everything(function, matrix, x):
        return [
            function(matrix, x),
            jax.vmap(function)(jnp.stack([matrix, 2 * matrix]), jnp.stack([x, x])),
            jax.jvp(function, (matrix, x), (matrix, x))[1],
            jax.grad(lambda matrix, x: energy(function(matrix, x)), (0, 1))(matrix, x),
        ]

    found = jax.jit(lambda m, x: everything(lambda m, x: Product(m)(x), m, x))(matrix, x)
    close(found, jax.jit(lambda m, x: everything(jnp.matmul, m, x))(matrix, x), scale=10)


def test_the_harness():
    lo.check_operator(Product(jnp.asarray(normal((4, 3), np.complex64, 4))), jax.ShapeDtypeStruct((3,), np.complex64))


def one(body):
    class One(lo.LinearOperator):
        adjoint = None

        @lo.device
        def apply(self, x, *, out):
            torch.from_dlpack(out).copy_(torch.from_dlpack(x))
            body(torch.from_dlpack(x), torch.from_dlpack(out))

        def infer_shape(self, x):
            return x

    return One()


def test_tensors_share_the_memory():
    seen = []
    y = one(lambda x, out: seen.append((x.data_ptr(), out.data_ptr())))(X)
    assert seen == [(X.unsafe_buffer_pointer(), y.unsafe_buffer_pointer())]


def test_kept_tensors():
    kept = []
    with pytest.raises(RuntimeError, match=r"One\.apply kept a reference to one of its arrays after it returned"):
        one(lambda x, out: kept.append(x[1:]))(X)


def test_the_checks_find_what_was_written_to_an_input():
    outcome = Checkup(one(lambda x, out: x.add_(1)), jnp.arange(3.0)).outcome("inputs")
    assert outcome.status == "failed"
    assert "One.apply writes into its input" in outcome.message


def test_bfloat16():
    x = X.astype(jnp.bfloat16)
    seen = []
    close(one(lambda x, out: seen.append(x.dtype))(x), x)
    assert seen == [torch.bfloat16]
