"""SparseMatrix against dense matrices: along any axis, on the host and in JAX. ``from_scipy`` has more, in tests/interop."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse
from helpers import S, agree, close, energy, like, normal

from linops_jax.ops._sparse import SparseMatrix

F, C = np.float32, np.complex64


def dense(dtype=F, shape=(5, 4)):
    return normal(shape, dtype, 1) * (np.arange(np.prod(shape)).reshape(shape) % 3 == 0)


def case(axis, shape, of_matrix, dtype):
    a, wide = dense(of_matrix), np.result_type(of_matrix, dtype)
    product = lambda x: np.moveaxis(np.tensordot(a.astype(wide), x, (1, axis)), 0, axis).astype(wide)  # noqa: E731
    return SparseMatrix(scipy.sparse.csr_array(a), axis), product, shape, dtype


def test_along_an_axis():
    agree(
        case(-1, (4,), F, F),
        case(-1, (2, 4), C, F),
        case(0, (4, 3), F, C),
        case(1, (2, 4, 3), C, C),
        case(-2, (4, 0), F, F),
        case(-1, (1, 1, 4), F, F),
    )


def test_double_precision(x64):
    agree(case(-1, (4,), np.float64, np.float64), case(0, (4, 2), F, np.complex128), case(0, (4,), F, F))


def test_half_precision():
    op = SparseMatrix(scipy.sparse.csr_array(np.array([[1, 0, 2]], F)))
    for dtype in (np.float16, jnp.bfloat16):
        half = jax.tree.map(lambda v, t=dtype: v.astype(t) if v.dtype == F else v, op)
        close(
            (half(jnp.ones(3, dtype)), half.H(jnp.ones(1, dtype))), (jnp.array([3], dtype), jnp.array([1, 0, 2], dtype))
        )


@pytest.mark.parametrize("dtype", [F, C])
def test_jax_computes_what_scipy_does(dtype):
    a = dense(dtype)
    op = SparseMatrix(scipy.sparse.csr_array(a), axis=1)
    x, y = like(S((2, 4, 3), dtype), 1), like(S((2, 5, 3), dtype), 2)
    inner = op._trailing(x)
    from linops_jax.ops import _sparse

    found = jax.jit(lambda op, x, y: (_sparse._apply_in_jax(op, x), _sparse._adjoint_in_jax(op, y)))(inner, x, y)
    close(found, (op(x), op.H(y)))
    assert "host" not in jax.jit(lambda op, x: _sparse._apply_in_jax(op, x)).lower(inner, x).as_text()


def test_a_batch_is_one_product_and_values_are_batched():
    matrix = scipy.sparse.csr_array(dense())
    op, xs = SparseMatrix(matrix, axis=0), like(S((3, 4), F), 1)
    close(jax.jit(jax.vmap(op))(xs), xs @ dense().T)
    several = jax.tree.map(lambda v: jnp.stack([v, 2 * v]) if v.dtype == F else jnp.stack([v, v]), op)
    close(jax.jit(jax.vmap(lambda op, x: op(x), (0, None)))(several, xs[0]), jnp.stack([op(xs[0]), 2 * op(xs[0])]))


def test_derivatives_in_the_entries():
    a = dense(C)
    op, x, y = SparseMatrix(scipy.sparse.csr_array(a)), like(S((2, 4), C), 1), like(S((2, 5), C), 2)
    rows, columns = a.nonzero()

    def energies(forward, adjoint):
        return energy(forward(x)) + energy(adjoint(y))

    def twin(data):
        a = jnp.zeros((5, 4), C).at[rows, columns].set(data)
        return energies(lambda x: x @ a.T, lambda y: y @ a.conj())

    found, expected = jax.jit(
        lambda op: (jax.grad(lambda op: energies(op, op.H), allow_int=True)(op), jax.grad(twin)(op.data))
    )(op)
    close(found.data, expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: SparseMatrix(np.eye(2)),
            TypeError,
            r"SparseMatrix expects a sparse matrix of SciPy, found ndarray\. lo\.Matrix",
        ),
        (lambda: SparseMatrix(scipy.sparse.eye_array(2), axis=0.5), TypeError, r"SparseMatrix\.axis is 0\.5"),
        (
            lambda: SparseMatrix(scipy.sparse.csr_array(dense()))(np.ones((4, 5))),
            ValueError,
            r"SparseMatrix expects size 4 along axis -1, found 5 in an array of shape \(4, 5\)",
        ),
        (
            lambda: SparseMatrix(scipy.sparse.csr_array(dense())).H(np.ones(4)),
            ValueError,
            r"SparseMatrix\.H expects size 5 along axis -1, found 4",
        ),
        (
            lambda: SparseMatrix(scipy.sparse.csr_array(dense()), 1)(np.ones(4)),
            ValueError,
            r"SparseMatrix\.axis 1 is not an axis of an array of shape \(4,\)",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
