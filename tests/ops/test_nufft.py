"""NUFFT against the sum that defines it, against ducc0 called directly, and against differences in its points."""

import itertools
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

import linops_jax as lo
from linops_jax.ops import NUFFT, _nufft

ducc0 = pytest.importorskip("ducc0")


def matrix(coord, shape, sign=-1, periodicity=2 * np.pi):
    """The definition: one row for each point, samples counted from the middle."""
    samples = list(itertools.product(*(np.arange(n) - n // 2 for n in shape)))
    return np.exp(sign * 2j * np.pi / periodicity * np.asarray(coord, float) @ np.array(samples).T)


def near(found, expected, rtol):
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


def points(count, ndim, seed=0):
    return np.random.default_rng(seed).uniform(-5, 5, (count, ndim))


@pytest.mark.parametrize(
    ("shape", "options", "factor"),
    [
        ((7,), {"sign": 1}, 1.0),
        ((6, 5), {"norm": "ortho"}, 30**-0.5),
        ((4, 3, 5), {"norm": "forward", "periodicity": 3.0, "sign": 1}, 1 / 60),
        ((1, 8), {"periodicity": 1.0}, 1.0),
    ],
    ids=str,
)
def test_it_is_the_sum(shape, options, factor, x64):
    coord = points(9, len(shape))
    conventions = {key: value for key, value in options.items() if key != "norm"}
    A, expected = NUFFT(coord, shape, 1e-12, threads=1, **options), factor * matrix(coord, shape, **conventions)
    x, y = normal((2, *shape), complex), normal((2, 9), complex, 1)

    @jax.jit
    def found(x, y):
        return A(x), A.H(y), A.gram(x), jax.vmap(A, 1, 1)(jnp.stack([x, 2 * x], 1))

    ax, ay, ag, av = found(x, y)
    flat = x.reshape(2, -1)
    near(ax, flat @ expected.T, 1e-11)
    near(ay, (y @ expected.conj()).reshape(x.shape), 1e-11)
    near(ag, (flat @ expected.T @ expected.conj()).reshape(x.shape), 1e-11)
    near(av, np.stack([ax, 2 * ax], 1), 1e-14)
    np.testing.assert_allclose(np.vdot(y, ax), np.vdot(ay, x), rtol=1e-13)


def test_it_is_what_ducc0_computes(x64):
    """In both precisions, at the default accuracy: the same numbers as from its functions."""
    coord, x = points(50, 2), normal((3, 12, 9), complex)
    for dtype, real, epsilon in ((np.complex64, np.float32, 1e-5), (np.complex128, np.float64, 1e-10)):
        A, x, coord = NUFFT(coord.astype(real), (12, 9), threads=1), x.astype(dtype), coord.astype(real)
        options = {"coord": coord, "epsilon": epsilon, "nthreads": 1}
        y = ducc0.nufft.u2nu(grid=x, forward=True, **options)
        near(A(x), y, 1e-5 if real == np.float32 else 1e-13)
        back = ducc0.nufft.nu2u(points=y, out=np.empty_like(x), forward=False, **options)
        near(A.H(y), back, 1e-5 if real == np.float32 else 1e-13)
        assert (A(x).dtype, A.H(y).dtype) == (dtype, dtype)


def test_precision_is_that_of_the_more_precise(x64):
    """Points in double precision are not rounded for an image in single precision, and far points are exact."""
    coord, x = points(9, 1) + 2000 * np.pi, normal((400,), np.complex64)
    A = NUFFT(coord, 400, 1e-10, threads=1)
    near(A(x), matrix(coord, (400,)) @ x, 1e-6)
    assert (A(x).dtype, A.gram(x).dtype) == (np.complex64, np.complex64)
    near(A.gram(x), A.H(A(x)), 1e-6)
    assert [NUFFT(coord, 400)(jnp.ones(400, dtype)).dtype for dtype in (np.int32, jnp.bfloat16)] == [np.complex64] * 2


def test_real_images():
    """Their adjoint is the real part, and so is that of Aᴴ A."""
    coord, x = points(9, 2).astype(np.float32), normal((4, 5), np.float32)
    A = NUFFT(coord, (4, 5), threads=1).with_domain(x)
    M = matrix(coord, (4, 5))
    y = A(x)
    near(A.H(y), (M.conj().T @ y).real.reshape(4, 5), 1e-5)
    near(A.gram(x), (M.conj().T @ M @ x.ravel()).real.reshape(4, 5), 1e-5)
    assert A.H(y).dtype == np.float32


def test_the_check_of_gram_allows_for_rounding_and_for_epsilon(x64):
    for dtype, epsilon in ((np.complex64, 1e-12), (np.complex128, 1e-4)):
        A = NUFFT(points(9, 1), 4, epsilon, threads=1)
        dict(lo.operator_checks(A, jax.ShapeDtypeStruct((4,), dtype)))["gram"]()


def test_multiples_have_the_gram_of_the_operator(monkeypatch, x64):
    """With the square of the factor, so that no transform at points is needed; and none of the factor's precision is lost."""
    coord, x = points(9, 2), normal((4, 5), complex)
    A, M = NUFFT(coord, (4, 5), 1e-12, threads=1), matrix(coord, (4, 5))
    expected = (M.conj().T @ M @ x.ravel()).reshape(4, 5)
    wide = (np.float64(3) * A).H @ (np.float64(3) * A)
    assert wide(x.astype(np.complex64)).dtype == np.complex128
    monkeypatch.setattr(_nufft.Plan, "to_points", None)
    for factor in (3.0, jnp.asarray(3.0), 3j):
        B = factor * A
        near((B.H @ B)(x), 9 * expected, 1e-11)
        near(B.gram(x), 9 * expected, 1e-11)


def test_derivatives_in_the_points(x64):
    """Of A, of its adjoint and of Aᴴ A, first and second, against the same of the sum."""
    coord, x, y = points(6, 2), normal((3, 4), complex), normal((6,), complex, 1)
    samples = np.array(list(itertools.product(np.arange(3) - 1, np.arange(4) - 2)), float)
    dc = normal(coord.shape, float, 2)

    def ours(coord):
        A = NUFFT(coord, (3, 4), 1e-12, periodicity=2.0, threads=1)
        return jnp.sum(abs(A(x)) ** 2) + jnp.vdot(x, A.H(y)).real + jnp.vdot(x, A.gram(x)).real

    def direct(coord):
        M = jnp.exp(-1j * np.pi * coord @ samples.T)
        z = M @ x.ravel()
        return jnp.sum(abs(z) ** 2) + jnp.vdot(x.ravel(), M.conj().T @ y).real + jnp.vdot(z, z).real

    @jax.jit
    def found(coord):
        value, slope = jax.value_and_grad(ours)(coord)
        return value, slope, jax.jvp(jax.grad(ours), (coord,), (dc,))[1], jax.jvp(ours, (coord,), (dc,))[1]

    value, slope, curved, along = found(coord)
    near(value, direct(coord), 1e-10)
    near(slope, jax.grad(direct)(coord), 1e-10)
    near(curved, jax.jvp(jax.grad(direct), (coord,), (dc,))[1], 1e-9)
    near(along, np.sum(slope * dc), 1e-9)
    for step in (1e-3, 3e-4):
        difference = (ours(coord + step * dc) - ours(coord - step * dc)) / (2 * step)
        assert abs(difference - along) < 100 * step**2 * abs(along) + 1e-6


def test_many_operators_and_plans(x64):
    """Points under vmap, and in a loop; the plan of one operator serves threads one after the other."""
    coords, x = np.stack([points(5, 1, seed) for seed in range(2)]), normal((6,), complex)
    expected = np.stack([matrix(coord, (6,)) @ x for coord in coords])
    near(jax.vmap(lambda coord: NUFFT(coord, 6, threads=1)(x))(coords), expected, 1e-9)
    near(jax.lax.map(lambda coord: NUFFT(coord, 6, threads=1)(x), coords), expected, 1e-9)
    assert NUFFT(coords[0], 6)(np.zeros((0, 6), complex)).shape == (0, 5)


C = np.zeros((3, 2), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: NUFFT(C, 5), ValueError, r"NUFFT\.coord has shape \(3, 2\); expected \(points, 1\)"),
        (lambda: NUFFT(C[:0], (5, 4)), ValueError, r"NUFFT\.coord has shape \(0, 2\); .* at least one point"),
        (lambda: NUFFT(C, (2, 2, 2, 2)), ValueError, r"NUFFT\.shape is \(2, 2, 2, 2\); expected 1, 2 or 3 sizes"),
        (lambda: NUFFT(C + 1j, (5, 4)), TypeError, r"NUFFT\.coord has dtype complex64; expected real"),
        (lambda: NUFFT(C.astype(int), (5, 4)), TypeError, r"NUFFT\.coord has dtype int"),
        (lambda: NUFFT(C, (5, 4), -1.0), ValueError, r"NUFFT\.epsilon is -1\.0; expected a number above zero"),
        (lambda: NUFFT(C, (5, 4), norm="unit"), ValueError, r"NUFFT\.norm is 'unit'; expected one of 'backward'"),
        (lambda: NUFFT(C, (5, 4), sign=2), ValueError, r"NUFFT\.sign is 2; expected one of -1, 1"),
        (lambda: NUFFT(C, (5, 4))(np.ones((4, 5))), ValueError, r"NUFFT takes an array whose last axes .* \(5, 4\)"),
        (lambda: NUFFT(C, (5, 4)).H(np.ones(4)), ValueError, r"NUFFT\.H takes an array whose last axes .* \(3,\)"),
        (
            lambda: NUFFT(C, (5, 4), 1e-9)(np.ones((5, 4), np.float32)),
            ValueError,
            r"NUFFT\.epsilon is 1e-09; in single precision the best is .* Use double precision",
        ),
        (lambda: NUFFT(C * np.nan, (5, 4))(np.ones((5, 4))), ValueError, r"NUFFT\.coord holds nan at \(0, 0\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_without_ducc0(monkeypatch):
    monkeypatch.setitem(sys.modules, "ducc0", None)
    for make in (
        lambda: NUFFT(C, (5, 4)),
        lambda: lo.ops.SphericalHarmonics(2),
        lambda: lo.ops.TotalConvolution(np.zeros((1, 3)), np.ones((1, 1)), 0, 0),
        lambda: lo.ops.RadioResponse(C, C[0], (4, 4), 0.1),
    ):
        with pytest.raises(ImportError, match=r"lo\.ops\.\w+ needs ducc0.*linops-jax\[ducc\]"):
            make()
