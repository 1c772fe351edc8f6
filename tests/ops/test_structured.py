"""Toeplitz, Circulant and LowRank against dense matrices of SciPy and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import S, agree, close, energy, like, normal

import linops_jax as lo
from linops_jax.ops._low_rank import LowRank
from linops_jax.ops._structured import Circulant, Toeplitz

F, C = np.float32, np.complex64


def along(matrix, axis, dtype):
    """The dense matrix along one axis, in NumPy."""
    return lambda x: np.moveaxis(np.tensordot(matrix.astype(dtype), x, (1, axis)), 0, axis).astype(dtype)


def toeplitz(m, n, axis, shape, of_matrix, dtype):
    column, row = normal((m,), of_matrix, 1), None if n is None else normal((n,), of_matrix, 2)
    matrix = scipy.linalg.toeplitz(column, row)
    return Toeplitz(column, row, axis), along(matrix, axis, np.result_type(of_matrix, dtype)), shape, dtype


def test_toeplitz_is_that_of_scipy():
    agree(
        toeplitz(4, 3, -1, (3,), F, F),
        toeplitz(3, 5, 0, (5, 2), F, C),
        toeplitz(3, 5, -2, (2, 5, 2), C, F),
        toeplitz(4, None, -1, (2, 4), C, C),
        toeplitz(7, None, 0, (7,), F, F),
        toeplitz(1, 1, -1, (1,), C, C),
        toeplitz(1, 6, -1, (6,), F, F),
        toeplitz(6, 1, -1, (1,), F, F),
    )


def circulant(n, axis, shape, of_matrix, dtype):
    column = normal((n,), of_matrix, 3)
    wide = np.result_type(of_matrix, dtype)
    return Circulant(column, axis), along(scipy.linalg.circulant(column), axis, wide), shape, dtype


def test_circulant_is_that_of_scipy():
    cases = [
        (4, -1, (4,), F, F),
        (5, 0, (5, 2), F, C),
        (3, 1, (2, 3, 2), C, F),
        (4, -1, (2, 4), C, C),
        (1, 0, (1,), F, F),
    ]
    agree(*(circulant(*case) for case in cases))


def test_the_inverse_and_the_gram_of_a_circulant():
    column, x = np.array([4, 1j, 1, 0.5, -1], C), like(S((5,), C), 1)
    a, op = scipy.linalg.circulant(column), Circulant(column)
    close(op.inv(x), jnp.asarray(np.linalg.solve(a, x)))
    close(op.inv.H(x), jnp.asarray(np.linalg.solve(a.conj().T, x)))
    close(op.gram(x), jnp.asarray(a.conj().T @ (a @ x)))
    real = Circulant(column.real)
    close(real.inv(x.real), jnp.asarray(np.linalg.solve(a.real, x.real)), scale=3)


def low_rank(m, n, r, axis, shape, of_matrix, dtype):
    u, s, v = normal((m, r), of_matrix, 1), normal((r,), of_matrix, 2), normal((n, r), of_matrix, 3)
    wide = np.result_type(of_matrix, dtype)
    return LowRank(u, s, v, axis), along((u * s) @ v.conj().T, axis, wide), shape, dtype


def test_low_rank_is_the_dense_product():
    agree(
        low_rank(4, 3, 2, -1, (3,), F, F),
        low_rank(2, 5, 1, 0, (5, 2), C, C),
        low_rank(3, 3, 3, -2, (2, 3, 4), F, C),
        low_rank(3, 2, 2, 1, (4, 2), C, F),
        low_rank(3, 2, 0, -1, (2,), F, F),
    )


def test_double_precision(x64):
    agree(
        toeplitz(4, 3, -1, (3,), np.float64, np.float64),
        toeplitz(4, 3, -1, (3,), F, np.complex128),
        circulant(5, 0, (5,), np.complex128, F),
        circulant(5, 0, (5,), F, F),
        low_rank(3, 2, 2, 1, (4, 2), np.complex128, np.float64),
    )


def test_half_precision_and_integers_are_computed_in_single():
    column, x = np.array([1, 2, 3]), np.array([1, 0, 2])
    expected = jnp.asarray((scipy.linalg.toeplitz(column) @ x).astype(F))
    for dtype in (np.int32, np.float16, jnp.bfloat16):
        close(Toeplitz(jnp.asarray(column, dtype))(jnp.asarray(x, dtype)), expected)


def test_derivatives_in_the_parameters(x64):
    c, r, x = (like(S((n,), np.complex128), i) for i, n in enumerate((4, 3, 3)))
    u, s, v = (like(S(shape, np.complex128), i) for i, shape in enumerate([(4, 2), (2,), (3, 2)]))
    k = np.arange(4)[:, None] - np.arange(3)

    def gradients(f, *parameters):
        argnums = tuple(range(len(parameters)))
        return jax.grad(lambda *p: energy(f(*p)), argnums)(*parameters)

    def of(toeplitz, hermitian, circulant, low_rank):
        return gradients(toeplitz, c, r), gradients(hermitian, r), gradients(circulant, r), gradients(low_rank, u, s, v)

    def matrix(c, r):
        return jnp.where(k >= 0, c[np.maximum(k, 0)], r[np.maximum(-k, 0)])

    @jax.jit
    def both():
        found = of(
            lambda c, r: (Toeplitz(c, r)(x), Toeplitz(c, r).H(c)),
            lambda r: Toeplitz(r)(x),
            lambda c: (Circulant(c)(x), Circulant(c).H(x)),
            lambda u, s, v: (LowRank(u, s, v)(x), LowRank(u, s, v).H(c)),
        )
        around = (np.arange(3)[:, None] - np.arange(3)) % 3
        expected = of(
            lambda c, r: (matrix(c, r) @ x, matrix(c, r).conj().T @ c),
            lambda r: matrix(jnp.append(r, 0), r.conj())[:3] @ x,
            lambda c: (c[around] @ x, c[around].conj().T @ x),
            lambda u, s, v: ((u * s[None]) @ (v.conj().T @ x), v @ (s.conj() * (u.conj().T @ c))),
        )
        return found, expected

    close(*both())


def test_parameters_are_batched():
    columns, x = like(S((2, 3), F), 1), like(S((3,), F), 2)
    dense = np.stack([scipy.linalg.toeplitz(c) @ x for c in columns])
    close(jax.jit(jax.vmap(lambda c, x: Toeplitz(c)(x), (0, None)))(columns, x), jnp.asarray(dense))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Toeplitz(np.ones((2, 2))), ValueError, r"Toeplitz\.column has shape \(2, 2\); expected 1 axis"),
        (lambda: Toeplitz([1.0], []), ValueError, r"Toeplitz\.row is empty; expected at least one entry"),
        (lambda: Toeplitz([lo.Identity()]), TypeError, r"Toeplitz\.column expects an array"),
        (
            lambda: Toeplitz([1.0, 2.0], [1.0])(np.ones(2)),
            ValueError,
            r"Toeplitz expects size 1 along axis -1, found 2 in",
        ),
        (
            lambda: Toeplitz([1.0, 2.0], [1.0]).H(np.ones(1)),
            ValueError,
            r"Toeplitz\.H expects size 2 along axis -1, found 1",
        ),
        (
            lambda: Toeplitz([1.0], axis=1)(np.ones(1)),
            ValueError,
            r"Toeplitz\.axis 1 is not an axis of an array of shape \(1,\)",
        ),
        (lambda: Circulant([]), ValueError, r"Circulant\.column is empty"),
        (lambda: Circulant([1.0])(np.ones(2)), ValueError, r"Circulant expects size 1 along axis -1, found 2"),
        (
            lambda: LowRank(np.ones((2, 3)), np.ones(3), np.ones((3, 4))),
            ValueError,
            r"LowRank\.u, s and v have shapes \(2, 3\), \(3,\), \(3, 4\); expected \(m, r\), \(r,\) and \(n, r\)",
        ),
        (
            lambda: LowRank(np.ones(3), np.ones(3), np.ones((4, 3))),
            ValueError,
            r"LowRank\.u, s and v have shapes \(3,\)",
        ),
        (
            lambda: LowRank(np.ones((2, 1)), np.ones(1), np.ones((3, 1)))(np.ones(2)),
            ValueError,
            r"LowRank expects size 3 along axis -1, found 2",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
