"""Smoothing against PyLops, Gaussian blurs against SciPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pytest
import scipy.ndimage
from helpers import close, energy, normal

import linops_jax as lo
from linops_jax.ops._smoothing import GaussianBlur, Smoothing

SCIPY_MODES = {"zero": "constant", "periodic": "wrap", "edge": "nearest", "reflect": "mirror", "symmetric": "reflect"}


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_smoothing_is_that_of_pylops(dtype, x64):
    shape = (9, 7, 1)
    x, y = normal(shape, dtype, 1), normal(shape, dtype, 2)
    ours = [Smoothing(3, 0), Smoothing(5, -2), Smoothing((5, 3), (0, 1))]
    theirs = [
        pylops.Smoothing1D(3, shape, 0, dtype=dtype),
        pylops.Smoothing1D(5, shape, 1, dtype=dtype),
        pylops.Smoothing2D((5, 3), shape, (0, 1), dtype=dtype),
    ]
    found = jax.jit(lambda x, y: [(A(x), A.H(y)) for A in ours])(x, y)
    expected = [(P.matvec(x.ravel()), P.rmatvec(y.ravel())) for P in theirs]
    close(found, jax.tree.map(lambda values: jnp.asarray(values.reshape(shape).astype(dtype)), expected))


def test_even_sizes_and_periodic_boundaries():
    x = normal((3, 5), np.float32, 1)
    close(Smoothing(4, -1, "periodic")(x), jnp.asarray(sum(np.roll(x, k - 1, 1) for k in range(4)) / 4))
    close(Smoothing(4, -1, "periodic").H(x), jnp.asarray(sum(np.roll(x, 1 - k, 1) for k in range(4)) / 4))
    close(Smoothing(9, -1, "periodic")(x), jnp.asarray(sum(np.roll(x, k - 4, 1) for k in range(9)) / 9))
    assert Smoothing((3, 1)).properties.symmetric
    assert not Smoothing(4).properties.symmetric


@pytest.mark.parametrize(
    ("shape", "axes", "width", "dtype"),
    [
        ((7, 5), None, (0.5, 2.0), np.float32),
        ((30, 2, 1), (2, 0), 1.3, np.float64),
        ((4, 80), (-1,), 18.0, np.complex64),
    ],
    ids=str,
)
def test_blurs_are_those_of_scipy(shape, axes, width, dtype, x64):
    """Also with a traced width, with kernels longer than the array, and by FFT."""
    x, width = normal(shape, dtype, 1), np.asarray(width)

    def blurs(x, traced):
        return {boundary: GaussianBlur(width, axes, boundary)(x) for boundary in SCIPY_MODES}, GaussianBlur(
            traced, axes
        )(x)

    found, of_traced = jax.jit(blurs)(x, width)
    for boundary, mode in SCIPY_MODES.items():
        close(found[boundary], jnp.asarray(scipy.ndimage.gaussian_filter(x, width, mode=mode, axes=axes)))
    close(of_traced, found["zero"])


@pytest.mark.parametrize("boundary", ["periodic", "edge", "symmetric"])
def test_the_adjoint_of_a_blur_is_the_transposed_matrix(boundary):
    A = GaussianBlur(1.2, boundary=boundary).with_domain(jnp.zeros((2, 4)))
    matrix = lo.todense(A)
    close(lo.todense(A.H), matrix.T)
    assert A.properties.symmetric == np.allclose(matrix, matrix.T) == (boundary != "edge")


def test_truncation_and_radius():
    x = normal((40,), np.float32, 1)
    short = jnp.asarray(scipy.ndimage.gaussian_filter(x, 3.0, mode="constant", truncate=2.0))
    close(GaussianBlur(3.0, truncate=2)(x), short)
    close(GaussianBlur(3.0, radius=6)(x), short)
    close(GaussianBlur(0.1, radius=0)(x), jnp.asarray(x))


def test_derivatives_in_the_width(x64):
    """Against central differences, whose error falls with the square of the step."""
    x = normal((12, 9), np.float64, 1)
    for op in (lambda w: GaussianBlur(w, radius=7), lambda w: GaussianBlur(w, boundary="reflect")):
        loss = lambda w, op=op: energy(op(w)(x))  # noqa: E731
        width, direction = jnp.array([0.8, 1.7]), jnp.array([1.0, -0.5])

        @jax.jit
        def errors(h, width, loss=loss, direction=direction):
            difference = (loss(width + h * direction) - loss(width - h * direction)) / (2 * h)
            return abs(difference - jax.grad(loss)(width) @ direction)

        coarse, fine = errors(1e-2, width), errors(1e-3, width)
        assert fine < coarse / 50 < 1e-2


def test_a_width_changed_in_an_operator():
    x = normal((70,), np.float32, 1)
    op = GaussianBlur(1.0)
    changed = lambda width: jax.tree.map(lambda _: jnp.float32(width), op)  # noqa: E731
    close(changed(1.6)(x), GaussianBlur(1.6)(x))  # there is room for it
    assert jnp.isnan(changed(5.0)(x)).all()
    close(dataclasses.replace(op, width=jnp.float32(5.0))(x), GaussianBlur(5.0)(x))
    close(jax.vmap(lambda width: GaussianBlur(width)(x))(jnp.array([1.0, 5.0]))[1], GaussianBlur(5.0)(x))


def test_dtypes():
    for dtype in (jnp.bfloat16, np.float32, np.complex64):
        for op in (Smoothing(3), GaussianBlur(0.1)):
            assert op(jnp.ones(4, dtype)).dtype == dtype
    close(Smoothing(2)(np.array([1, 2, 3])), jnp.array([0.5, 1.5, 2.5]))
    close(GaussianBlur(0.1)(np.array([True, False])), jnp.array([1.0, 0.0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Smoothing(0), ValueError, r"Smoothing\.size is 0; expected an integer from 1"),
        (lambda: Smoothing(2.5), TypeError, r"Smoothing\.size is 2\.5; expected an integer"),
        (
            lambda: Smoothing(3, boundary="edge"),
            ValueError,
            r"Smoothing\.boundary is 'edge'; expected one of 'zero', 'peri",
        ),
        (lambda: Smoothing(3, (0, 0))(np.ones((3, 3))), ValueError, r"Smoothing\.axes \(0, 0\) are not distinct axes"),
        (
            lambda: Smoothing((3, 3))(np.ones(3)),
            ValueError,
            r"Smoothing\.size is \(3, 3\); expected one value, or one for",
        ),
        (lambda: Smoothing(3)([np.ones(3)]), TypeError, r"Smoothing takes one array, found list"),
        (lambda: GaussianBlur(0.0), ValueError, r"GaussianBlur\.width is .*0\.0.*; expected a number above zero"),
        (
            lambda: GaussianBlur((1.0, -1.0)),
            ValueError,
            r"GaussianBlur\.width is .*-1\.0.*; expected a number above zero",
        ),
        (lambda: GaussianBlur(np.ones((2, 2))), ValueError, r"GaussianBlur\.width has shape \(2, 2\); expected 1 axis"),
        (lambda: GaussianBlur("a"), TypeError, r"GaussianBlur\.width .*'a'"),
        (lambda: GaussianBlur([GaussianBlur(1.0)]), TypeError, r"GaussianBlur\.width expects an array"),
        (
            lambda: GaussianBlur(1.0, boundary="wrap"),
            ValueError,
            r"GaussianBlur\.boundary is 'wrap'; expected one of 'zero'",
        ),
        (
            lambda: GaussianBlur(1.0, truncate=0),
            ValueError,
            r"GaussianBlur\.truncate is 0; expected a number above zero",
        ),
        (lambda: GaussianBlur(1.0, radius=-1), ValueError, r"GaussianBlur\.radius is -1; expected an integer from 0"),
        (lambda: GaussianBlur(1.0, axes=1)(np.ones(3)), ValueError, r"GaussianBlur\.axes \(1,\) are not distinct axes"),
        (
            lambda: GaussianBlur((1.0, 2.0))(np.ones(3)),
            ValueError,
            r"GaussianBlur\.width has shape \(2,\); expected one value, or one for each of the 1 axes",
        ),
        (lambda: GaussianBlur(1.0)((np.ones(3),)), TypeError, r"GaussianBlur takes one array, found tuple"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
