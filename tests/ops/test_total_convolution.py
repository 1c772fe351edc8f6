"""TotalConvolution against the integral that defines it: quadrature of the functions of SciPy, rotated point by point."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
from helpers import normal

from linops_jax.ops import TotalConvolution

pytest.importorskip("ducc0")

LMAX, KMAX = 4, 2
POINTINGS = np.array([[0.4, 1.0, 0.3], [2.0, -5.0, 9.0], [0.0, 0.0, 0.0]])


def basis(mmax, theta, phi):
    """The real basis of the packed coefficients, one column for each."""
    columns = [scipy.special.sph_harm_y(l, 0, theta, phi).real for l in range(LMAX + 1)]  # noqa: E741
    for m in range(1, mmax + 1):
        for l in range(m, LMAX + 1):  # noqa: E741
            values = 2**0.5 * scipy.special.sph_harm_y(l, m, theta, phi)
            columns += [values.real, -values.imag]
    return np.stack(columns, -1)


def turn(axis, angle):
    """A rotation around z or y."""
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]] if axis == "z" else [[c, 0, s], [0, 1, 0], [-s, 0, c]])


def matrix(beam):
    """(points, components * coefficients): the sky's basis times the rotated beam, by exact quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(LMAX + 1)
    longitudes = 2 * np.pi * np.arange(2 * LMAX + 1) / (2 * LMAX + 1)
    theta, phi = (part.ravel() for part in np.meshgrid(np.arccos(nodes), longitudes, indexing="ij"))
    weights = np.repeat(weights, len(longitudes)) * longitudes[1]
    n = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], -1)
    rows = []
    for a, b, c in POINTINGS:
        x, y, z = (n @ (turn("z", b) @ turn("y", a) @ turn("z", c))).T
        values = basis(KMAX, np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)) @ beam.T
        rows.append(((weights[:, None] * values).T @ basis(LMAX, theta, phi)).ravel())
    return np.array(rows)


def near(found, expected, rtol):
    assert np.shape(found) == np.shape(expected)
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize("components", [1, 3])
def test_it_is_the_integral(components, x64):
    beam = normal((components, 19))
    M, A = matrix(beam), TotalConvolution(POINTINGS, beam, LMAX, KMAX, 1e-10, threads=1)
    x, y = normal((2, components, 25)), normal((2, 3), float, 1)
    ax, ay, av = jax.jit(lambda x, y: (A(x), A.H(y), jax.vmap(A, 2, 1)(jnp.stack([x, 2 * x], 2))))(x, y)
    near(ax, x.reshape(2, -1) @ M.T, 1e-9)
    near(ay, (y @ M).reshape(x.shape), 1e-9)
    near(av, np.stack([ax, 2 * ax], 1), 1e-14)
    np.testing.assert_allclose(np.vdot(y, ax), np.vdot(ay, x), rtol=1e-12)
    single = TotalConvolution(POINTINGS, beam, LMAX, KMAX, threads=1)(x.astype(np.float32))
    assert single.dtype == np.float32
    near(single, ax, 1e-4)


BEAM, SKY = np.ones((1, 19), np.float32), np.ones((1, 25), np.float32)


def make(pointings=POINTINGS, beam=BEAM, kmax=KMAX, **options):
    return TotalConvolution(np.asarray(pointings, np.float32), beam, LMAX, kmax, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(POINTINGS[:0]), ValueError, r"TotalConvolution\.pointings has shape \(0, 3\); .* one point"),
        (
            lambda: make(beam=BEAM[:, 1:]),
            ValueError,
            r"beam has shape \(1, 18\); expected \(components, 19\) for lmax=4",
        ),
        (lambda: make(kmax=5), ValueError, r"TotalConvolution\.kmax is 5; expected an integer from 0 to lmax"),
        (lambda: make(beam=1j * BEAM), TypeError, r"TotalConvolution\.beam has dtype complex64; expected real"),
        (lambda: make()(1j * SKY), TypeError, r"TotalConvolution takes a real array, found complex64"),
        (lambda: make()(SKY[:, 1:]), ValueError, r"TotalConvolution takes .* sizes \(1, 25\), found shape \(1, 24\)"),
        (lambda: make(-POINTINGS)(SKY), ValueError, r"TotalConvolution\.pointings holds the colatitude -0\.4"),
        (lambda: make(beam=np.nan * BEAM)(SKY), ValueError, r"TotalConvolution\.beam holds nan at \(0, 0\)"),
        (lambda: make(epsilon=1e-9)(SKY), ValueError, r"TotalConvolution\.epsilon is 1e-09; in single precision"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
