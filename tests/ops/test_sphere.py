"""SphericalHarmonics against the functions of SciPy, against ducc0 called directly, and against differences in positions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers import normal

import linops_jax as lo
from linops_jax.ops import SphericalHarmonics, healpix

ducc0 = pytest.importorskip("ducc0")


def basis(lmax, mmax, theta, phi):
    """The real basis of the packed coefficients, one column for each; by SciPy."""
    columns = [scipy.special.sph_harm_y(l, 0, theta, phi).real for l in range(lmax + 1)]  # noqa: E741
    for m in range(1, mmax + 1):
        for l in range(m, lmax + 1):  # noqa: E741
            values = 2**0.5 * scipy.special.sph_harm_y(l, m, theta, phi)
            columns += [values.real, -values.imag]
    return np.stack(columns, -1)


def unpacked(x, lmax):
    """The complex coefficients of ducc0, (components, coefficients)."""
    n = lmax + 1
    pairs = x[..., n:].reshape(*x.shape[:-1], -1, 2) / 2**0.5
    return np.concatenate([x[..., :n] + 0j, pairs[..., 0] + 1j * pairs[..., 1]], -1)


def near(found, expected, rtol):
    assert np.shape(found) == np.shape(expected)
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


POSITIONS = np.array([[0.3, 1.0], [1.7, -2.0], [2.5, 7.0], [1.1, 3.0]])


def test_it_is_the_sum_over_the_basis(x64):
    """Three geometries, batches, adjoints."""
    pixels = ducc0.healpix.Healpix_Base(2, "RING").pix2ang(np.arange(48)).T
    nodes = np.arccos(-np.polynomial.legendre.leggauss(5)[0][::1])
    grid = [part.ravel() for part in np.meshgrid(nodes, 2 * np.pi * np.arange(7) / 7, indexing="ij")]
    cases = [
        (SphericalHarmonics(4, geometry=healpix(2), threads=1), (4, 4, *pixels), (1, 48)),
        (SphericalHarmonics(4, 3, threads=1), (4, 3, *grid), (1, 5, 7)),
        (SphericalHarmonics(3, 2, geometry=POSITIONS, epsilon=1e-12, threads=1), (3, 2, *POSITIONS.T), (1, 4)),
    ]
    for A, case, shape in cases:
        B = basis(*case)
        x, y = normal((2, 1, B.shape[1])), normal((2, *shape), float, 1)

        @jax.jit
        def found(x, y, A=A):
            return A(x), A.H(y), jax.vmap(A, 2, 2)(jnp.stack([x, 2 * x], 2))

        ax, ay, av = found(x, y)
        near(ax, (x[:, 0] @ B.T).reshape(y.shape), 1e-11)
        near(ay, (y.reshape(2, -1) @ B)[:, None], 1e-11)
        near(av, np.stack([ax, 2 * ax], 2), 1e-14)


@pytest.mark.parametrize("name", ["CC", "F1", "F2", "MW", "MWflip", "GL", "DH"])
def test_grids_and_spins_are_those_of_ducc0(name, x64):
    """Odd and even sizes; coefficients below the spin do not count."""
    for spin, lmax, mmax, dtype, rtol in ((2, 5, 4, np.float64, 1e-13), (1, 4, 4, np.float32, 1e-6)):
        A = SphericalHarmonics(lmax, mmax, spin, (name, 7, 10), threads=1)
        x = normal((2, lmax + 1 + mmax * (2 * lmax - mmax + 1)), dtype)
        options = dict(lmax=lmax, mmax=mmax, spin=spin, geometry=name)
        alm = unpacked(x, lmax).astype(np.result_type(dtype, np.complex64))
        expected = ducc0.sht.synthesis_2d(alm=alm, ntheta=7, nphi=10, **options)
        y = normal((2, 7, 10), dtype, 1)
        ax, ay = A(x), A.H(y)
        assert (ax.dtype, ay.dtype) == (dtype, dtype)
        near(ax, expected, rtol)
        near(np.vdot(ax, y), np.vdot(x, ay), 100 * np.finfo(dtype).eps)
        assert not np.any(np.asarray(ay)[:, :spin])


def test_pixels_and_positions_with_spin(x64):
    x = normal((2, 25))
    alm = unpacked(x, 4)
    A = SphericalHarmonics(4, spin=2, geometry=healpix(2), threads=1)
    info = ducc0.healpix.Healpix_Base(2, "RING").sht_info()
    near(A(x), ducc0.sht.synthesis(alm=alm, lmax=4, mmax=4, spin=2, **info), 1e-13)
    B = SphericalHarmonics(4, spin=2, geometry=POSITIONS, threads=1)
    near(B(x), ducc0.sht.synthesis_general(alm=alm, lmax=4, spin=2, loc=POSITIONS % (2 * np.pi), epsilon=1e-10), 1e-12)


@pytest.mark.parametrize("spin", [0, 1, 2, 3])
def test_derivatives_in_the_positions(spin, x64):
    """First and second ones, of a loss, against differences of the loss and of its gradient."""
    components = 1 if spin == 0 else 2
    x, y = normal((2, components, 14)), normal((2, components, 4), float, 1)
    dp = normal((4, 2), float, 2)

    @jax.jit
    def value(p):
        return jnp.sum(y * SphericalHarmonics(3, 2, spin, p, 1e-12, threads=1)(x) ** 2)

    along, curved = jax.jit(jax.value_and_grad(lambda p: jax.jvp(value, (p,), (dp,))[1]))(POSITIONS)
    near(along, np.sum(jax.grad(value)(POSITIONS) * dp), 1e-12)
    errors = [abs((value(POSITIONS + h * dp) - value(POSITIONS - h * dp)) / (2 * h) - along) for h in (1e-2, 1e-3)]
    assert errors[1] < 1.1e-2 * errors[0]
    change = (jax.grad(value)(POSITIONS + 1e-4 * dp) - jax.grad(value)(POSITIONS - 1e-4 * dp)) / 2e-4
    near(curved, change, 1e-5)


ONE = np.ones((1, 9), np.float32)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: SphericalHarmonics(-1), ValueError, r"SphericalHarmonics\.lmax is -1; expected an integer from 0"),
        (lambda: SphericalHarmonics(2, 3), ValueError, r"mmax is 3; expected an integer from 0 to lmax, which is 2"),
        (lambda: SphericalHarmonics(2, spin=3), ValueError, r"spin is 3; expected an integer from 0 to lmax"),
        (
            lambda: SphericalHarmonics(2, geometry=("XX", 3, 4)),
            ValueError,
            r"geometry is \('XX', 3, 4\); expected .*CC",
        ),
        (lambda: SphericalHarmonics(2, geometry=()), ValueError, r"geometry is \(\); expected lo\.ops\.healpix"),
        (lambda: SphericalHarmonics(2, geometry=("CC", 1, 4)), ValueError, r"geometry: ntheta is 1; .* from 2"),
        (lambda: SphericalHarmonics(2, geometry="GL"), ValueError, r"geometry is 'GL'; expected lo\.ops\.healpix"),
        (
            lambda: SphericalHarmonics(2, geometry=np.ones((0, 2))),
            ValueError,
            r"an array of shape \(0, 2\); .* one point",
        ),
        (lambda: SphericalHarmonics(2, geometry=np.ones((2, 2), int)), TypeError, r"positions has dtype int"),
        (lambda: healpix(0), ValueError, r"healpix\.nside is 0; expected an integer from 1"),
        (
            lambda: SphericalHarmonics(3)(ONE),
            ValueError,
            r"SphericalHarmonics takes .* sizes \(1, 16\), found .* \(1, 9\)",
        ),
        (lambda: SphericalHarmonics(2)(1j * ONE), TypeError, r"SphericalHarmonics takes a real array, found complex64"),
        (
            lambda: SphericalHarmonics(2, geometry=[[0.1, np.inf]])(ONE),
            ValueError,
            r"positions holds inf at \(0, 1\); expected finite numbers",
        ),
        (
            lambda: SphericalHarmonics(2, geometry=[[-0.1, 2.0]])(ONE),
            ValueError,
            r"positions holds the colatitude -0\.1",
        ),
        (
            lambda: SphericalHarmonics(2, geometry=[[0.1, 2.0]], epsilon=1e-9)(ONE),
            ValueError,
            r"SphericalHarmonics\.epsilon is 1e-09; in single precision the best",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_geometries_are_plain_values():
    """So that programs can be exported."""
    assert lo.ops.healpix(4) == ("healpix", 4)
    assert SphericalHarmonics(2).geometry == ("GL", 3, 5)
