"""RadioResponse against the sum that defines it, and against ducc0 called directly."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal

from linops_jax.ops import RadioResponse

ducc0 = pytest.importorskip("ducc0")

ROWS, SHAPE, SIZES = 6, (8, 6), (0.03, 0.02)
UVW = 30 * np.random.default_rng(0).standard_normal((ROWS, 3))
FREQ = np.array([1e8, 1.3e8])
WEIGHTS = np.random.default_rng(1).uniform(0.5, 2, (ROWS, 2))
MASK = np.random.default_rng(2).uniform(size=(ROWS, 2)) > 0.3


@jax.numpy_rank_promotion("allow")
def matrix(uvw, freq, w_gridding=True, center=(0.0, 0.0)):
    """(rows, channels, nx, ny): the definition, in terms of functions that JAX can differentiate."""
    l = center[0] + (np.arange(SHAPE[0]) - SHAPE[0] // 2)[:, None] * SIZES[0]  # noqa: E741
    m = center[1] + (np.arange(SHAPE[1]) - SHAPE[1] // 2)[None] * SIZES[1]
    n = np.sqrt(1 - l**2 - m**2) if w_gridding else np.ones(SHAPE)
    u, v, w = (uvw[:, i, None, None, None] * freq[:, None, None] / 299792458.0 for i in range(3))
    return jnp.exp(-2j * np.pi * (u * l + v * m - w * (n - 1))) / n


def near(found, expected, rtol):
    assert np.shape(found) == np.shape(expected)
    assert np.linalg.norm(found - expected) <= rtol * np.linalg.norm(expected)


@pytest.mark.parametrize(
    "options", [{}, {"center": (0.05, -0.1)}, {"w_gridding": False}, {"weights": WEIGHTS, "mask": MASK}], ids=str
)
def test_it_is_the_sum(options, x64):
    kinds = {key: value for key, value in options.items() if key in ("center", "w_gridding")}
    factor = options.get("weights", 1.0) * options.get("mask", np.ones((ROWS, 2)))
    M = np.asarray(matrix(UVW, FREQ, **kinds)) * np.broadcast_to(factor, (ROWS, 2))[..., None, None]
    A = RadioResponse(UVW, FREQ, SHAPE, SIZES, 1e-11, threads=1, **options)
    x, y = normal((2, *SHAPE)), normal((2, ROWS, 2), complex, 1)
    ax, ay, av = jax.jit(lambda x, y: (A(x), A.H(y), jax.vmap(A, 2, 1)(jnp.stack([x, 2 * x], 2))))(x, y)
    near(ax, np.einsum("rcij,bij->brc", M, x), 1e-9)
    near(ay, np.einsum("rcij,brc->bij", M.conj(), y).real, 1e-9)
    near(av, np.stack([ax, 2 * ax], 1), 1e-13)
    np.testing.assert_allclose(np.vdot(y, ax).real, np.vdot(ay, x), rtol=1e-12)


def test_it_is_what_ducc0_computes(x64):
    for dtype, rtol, epsilon in ((np.float32, 1e-5, 1e-4), (np.float64, 1e-12, 1e-9)):
        A = RadioResponse(UVW, FREQ, (32, 34), SIZES, threads=1)
        x = normal((32, 34), dtype)
        options = dict(uvw=UVW, freq=FREQ, pixsize_x=SIZES[0], pixsize_y=SIZES[1], epsilon=epsilon, do_wgridding=True)
        vis = ducc0.wgridder.dirty2vis(dirty=x, **options)
        dirty = ducc0.wgridder.vis2dirty(vis=vis, npix_x=32, npix_y=34, **options)
        ax, ay = A(x), A.H(vis)
        assert (ax.dtype, ay.dtype) == (vis.dtype, dtype)
        near(ax, vis, rtol)
        near(ay, dirty, rtol)


def test_zeros_among_the_visibilities(x64):
    """ducc0 leaves them out: the adjoint is exact up to rounding all the same, at a coarse accuracy."""
    A = RadioResponse(UVW, FREQ, SHAPE, SIZES, 1e-3, threads=1)
    x, y = normal(SHAPE), np.zeros((2, ROWS, 2), complex)
    y[0, 2, 1] = 1.0 - 2.0j
    back = A.H(y)
    np.testing.assert_allclose(np.vdot(y[0], A(x)).real, np.vdot(back[0], x), rtol=1e-12)
    assert not np.any(back[1])


def test_derivatives_in_coordinates_frequencies_and_weights(x64):
    x = normal(SHAPE)

    def loss(vis):
        return jnp.sum(jnp.abs(vis) ** 2 * (1 + np.arange(ROWS)[:, None])) + vis.imag.sum()

    def ours(fields):
        uvw, freq, weights = fields
        return loss(RadioResponse(uvw, 1e8 * freq, SHAPE, SIZES, 1e-11, weights=weights, mask=MASK, threads=1)(x))

    def direct(fields):
        uvw, freq, weights = fields
        return loss(MASK * weights * jnp.einsum("rcij,ij->rc", matrix(uvw, 1e8 * freq), x))

    fields = UVW, FREQ / 1e8, WEIGHTS
    change = tuple(normal(field.shape, float, 3) for field in fields)
    slope, along = jax.jit(lambda f: (jax.grad(ours)(f), jax.jvp(ours, (f,), (change,))[1]))(fields)
    for found, expected in zip(slope, jax.grad(direct)(fields), strict=True):
        near(found, expected, 1e-7)
    np.testing.assert_allclose(along, sum(np.vdot(d, s) for d, s in zip(change, slope, strict=True)), rtol=1e-9)
    errors = [
        abs((ours(_moved(fields, change, h)) - ours(_moved(fields, change, -h))) / (2 * h) - along)
        for h in (1e-2, 1e-3)
    ]
    assert errors[1] < 2e-2 * errors[0]


def _moved(fields, change, step):
    return tuple(field + step * d for field, d in zip(fields, change, strict=True))


def make(uvw=UVW, freq=FREQ, shape=SHAPE, sizes=SIZES, **options):
    return RadioResponse(np.asarray(uvw), np.asarray(freq), shape, sizes, **options)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: make(UVW[:, :2]), ValueError, r"RadioResponse\.uvw has shape \(6, 2\); expected \(rows, 3\)"),
        (lambda: make(UVW[:0]), ValueError, r"uvw has shape \(0, 3\); expected \(rows, 3\), with at least one of each"),
        (lambda: make(freq=FREQ[:, None]), ValueError, r"freq has shape \(2, 1\); expected \(channels,\)"),
        (lambda: make(weights=WEIGHTS.T), ValueError, r"weights has shape \(2, 6\); expected \(rows, channels\)"),
        (lambda: make(mask=WEIGHTS), TypeError, r"RadioResponse\.mask has dtype float\d+; expected booleans"),
        (lambda: make(UVW + 1j), TypeError, r"RadioResponse\.uvw has dtype complex\d+; expected real"),
        (lambda: make(shape=(8, 5)), ValueError, r"RadioResponse\.shape is \(8, 5\); expected two even sizes"),
        (lambda: make(sizes=(0.1, 0.2, 0.3)), ValueError, r"pixel_sizes is \(0\.1, 0\.2, 0\.3\); expected two numbers"),
        (lambda: make(sizes=-0.1), ValueError, r"pixel_sizes is -0\.1; expected a number above zero"),
        (lambda: make(center=(0.1, np.nan)), ValueError, r"center holds nan; expected finite numbers"),
        (lambda: make()(np.ones((8, 8))), ValueError, r"RadioResponse takes an array whose last axes .* \(8, 6\)"),
        (lambda: make()(np.ones(SHAPE, complex)), TypeError, r"RadioResponse takes a real image, found complex"),
        (
            lambda: make(epsilon=1e-6)(np.ones(SHAPE, np.float32)),
            ValueError,
            r"RadioResponse\.epsilon is 1e-06; in single precision the best is 1e-05",
        ),
        (lambda: make(UVW * np.inf)(np.ones(SHAPE)), ValueError, r"RadioResponse\.uvw holds -?inf at \(0, 0\)"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
