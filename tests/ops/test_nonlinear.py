"""Ready-made nonlinear operators: values against NumPy, first and second derivatives against differences of NumPy's values."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import scipy.special
from helpers import close, like, normal

import linops_jax as lo
from linops_jax.ops._bilinear import BiConvolution, Product
from linops_jax.ops._elementwise import Cos, Exp, Log, Power, Sigmoid, Sin, Softplus, Sqrt, Tanh
from linops_jax.ops._modulus import Abs, AbsSquared, Phase
from linops_jax.ops._softmax import Softmax
from linops_jax.ops._warp import Warp

POSITIVE = np.array([[0.4, 1.3, 2.7], [3.1, 0.9, 1.0]])
REAL = np.array([-1.7, 0.3, 2.2])
COMPLEX = np.array([0.5 + 1.1j, -1.2 + 0.4j, 0.3 - 0.7j])

# operator, NumPy's function, points
ELEMENTWISE = {
    "exp": (Exp(), np.exp, [REAL, COMPLEX]),
    "log": (Log(), np.log, [POSITIVE, COMPLEX]),
    "sqrt": (Sqrt(), np.sqrt, [POSITIVE, COMPLEX]),
    "power 3": (Power(3), lambda x: x**3, [REAL, COMPLEX]),
    "power -2": (Power(np.int64(-2)), lambda x: x**-2.0, [REAL, COMPLEX]),
    "power 1.5": (Power(1.5), lambda x: x**1.5, [POSITIVE, COMPLEX]),
    "sin": (Sin(), np.sin, [REAL, COMPLEX]),
    "cos": (Cos(), np.cos, [REAL, COMPLEX]),
    "tanh": (Tanh(), np.tanh, [REAL, COMPLEX]),
    "sigmoid": (Sigmoid(), lambda x: 1 / (1 + np.exp(-x)), [REAL, COMPLEX]),
    "softplus": (Softplus(), lambda x: np.log(1 + np.exp(x)), [REAL, COMPLEX]),
    "abs": (Abs(), np.abs, [REAL, COMPLEX]),
    "abs squared": (AbsSquared(), lambda x: np.abs(x) ** 2, [REAL, COMPLEX]),
    "phase": (Phase(), np.angle, [REAL, COMPLEX]),
}
IMAGE = normal((4, 3), seed=1)
GRID = np.indices(IMAGE.shape)


def interpolated(x, mode="nearest"):
    return scipy.ndimage.map_coordinates(IMAGE, GRID + x, order=1, mode=mode)


OTHERS = {
    "softmax": (Softmax(0), lambda x: scipy.special.softmax(x, 0), POSITIVE),
    "softmax over all": (Softmax((0, -1)), scipy.special.softmax, POSITIVE),
    "product": (Product(), lambda x: x["a"] * x["b"] * x["c"], {"a": REAL, "b": COMPLEX, "c": REAL - 1}),
    "convolution": (BiConvolution(boundary="full"), lambda x: scipy.signal.convolve(*x), (IMAGE, COMPLEX[:, None])),
    "convolution along an axis": (
        BiConvolution(axes=0, offset=0, boundary="periodic", method="fft"),
        lambda x: scipy.ndimage.convolve1d(x[0], x[1], 0, mode="wrap", origin=-1),
        (IMAGE, REAL),
    ),
    "warp": (Warp(IMAGE), interpolated, np.round(normal((2, 4, 3), seed=2)) + 0.37),
    "warp periodically": (
        Warp(IMAGE, boundary="periodic"),
        lambda x: interpolated(x, "grid-wrap"),
        np.round(5 * normal((2, 4, 3), seed=3)) - 0.21,
    ),
}
CASES = {
    **{
        f"{name} of {x.dtype}": (op, function, x)
        for name, (op, function, points) in ELEMENTWISE.items()
        for x in points
    },
    **OTHERS,
}


def inner(a, b):
    return sum(np.vdot(*pair).real for pair in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_derivatives(case, x64):
    op, function, x = case
    dx, dx2 = like(x, 1), like(x, 2)
    dy = like(jnp.asarray(function(x)), 3)

    @jax.jit
    def everything(x, dx, dx2, dy):
        jacobian = op.jacobian(x)
        curvature = jax.jvp(lambda x: op.jacobian(x)(dx), (x,), (dx2,))[1]
        return op(x), jacobian(dx), jacobian.H(dy), curvature

    y, ydx, xdy, curvature = everything(x, dx, dx2, dy)
    close(y, jnp.asarray(function(x)), scale=10)
    np.testing.assert_allclose(inner(ydx, dy), inner(dx, xdy), rtol=1e-12)
    for h in (1e-3, 1e-4, 1e-5):
        moved = lambda d, s, h=h: jax.tree.map(lambda x, d: np.asarray(x + s * h * d), x, d)  # noqa: E731
        difference = (function(moved(dx, 1)) - function(moved(dx, -1))) / (2 * h)
        np.testing.assert_allclose(ydx, difference, atol=50 * h**2 + 1e-13 / h, rtol=50 * h**2)
        slopes = [everything(moved(dx2, s), dx, dx2, dy)[1] for s in (1, -1)]
        np.testing.assert_allclose(curvature, (slopes[0] - slopes[1]) / (2 * h), atol=1e3 * h**2 + 1e-12 / h)


@pytest.mark.parametrize("name", ELEMENTWISE)
def test_precisions(name):
    """Single precision in, single precision out; real for the modulus and the phase."""
    op, function, points = ELEMENTWISE[name]
    single = [x.astype(np.complex64 if np.iscomplexobj(x) else np.float32) for x in points]
    wide = tuple(function(x) for x in points)
    close(
        op(tuple(single)),
        tuple(jnp.asarray(y.astype(np.complex64 if np.iscomplexobj(y) else np.float32)) for y in wide),
    )


def test_outside_of_the_domain_and_at_its_border():
    zero, minus = jnp.zeros(1), -jnp.ones(1)
    slope = lambda op, x=zero: op.jacobian(x)(jnp.ones_like(x)).item()  # noqa: E731
    values = [Log()(zero), Log()(minus), Sqrt()(zero), Sqrt()(minus), Power(0.5)(minus), Power(-1)(zero), Phase()(zero)]
    np.testing.assert_array_equal(np.ravel(values), [-np.inf, np.nan, 0, np.nan, np.nan, np.inf, 0])
    slopes = [slope(Sqrt()), slope(Abs()), slope(Abs(), zero + 0j), slope(AbsSquared(), zero + 0j)]
    np.testing.assert_array_equal(slopes, [np.inf, 0, 0, 0])
    assert np.isnan(slope(Phase(), zero + 0j))
    close(Log()(minus + 0j), jnp.array([np.pi * 1j], np.complex64))
    close(Phase()(minus), jnp.array([np.pi], np.float32))


def test_nothing_overflows():
    large = jnp.array([-1e4, 1e4])
    close(Softplus()(large), jnp.array([0, 1e4]))
    close(Sigmoid()(large), jnp.array([0, 1.0]))
    close(Sigmoid().jacobian(large)(jnp.ones(2)), jnp.zeros(2))
    close(Softmax()(large), jnp.array([0, 1.0]))
    close(Softmax().jacobian(large)(jnp.ones(2)), jnp.zeros(2))


def test_a_product_of_operators():
    a, b = lo.Diagonal(jnp.array([1.0, 2.0])), lo.FFT()
    op, x, dx = Product() @ lo.vstack([a, b]), jnp.array([3.0, -1.0]), jnp.array([0.5, 1.0])
    close(op(x), a(x) * b(x))
    close(op.jacobian(x)(dx), a(dx) * b(x) + a(x) * b(dx))


def test_derivatives_in_the_image_of_a_warp():
    image, x, d = (jnp.asarray(normal(s, np.float32, 1)) for s in ((4, 3), (2, 4, 3), (4, 3)))
    close(jax.jvp(lambda image: Warp(image)(x), (image,), (d,))[1], Warp(d)(x))
    close(jax.vmap(lambda image: Warp(image)(x))(jnp.stack([image, d])), jnp.stack([Warp(image)(x), Warp(d)(x)]))
    close(Warp(image, order=3)(jnp.zeros((2, 4, 3))), image)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (TypeError, lambda: Power("2"), r"Power\.exponent is '2'; expected a number"),
        (TypeError, lambda: Power(True), r"Power\.exponent is True; expected a number"),
        (ValueError, lambda: Softmax(2)(np.ones((2, 3))), r"Softmax\.axis \(2,\) are not distinct axes .*\(2, 3\)"),
        (TypeError, lambda: Softmax()(np.ones(2, complex)), r"Softmax takes a real array, found one of complex64"),
        (TypeError, lambda: Softmax()((np.ones(2), np.ones(2))), r"Softmax takes one array, found tuple"),
        (ValueError, lambda: Product()((np.ones(2), np.ones(3))), r"one shape, found the shapes \[\(2,\), \(3,\)\]"),
        (ValueError, lambda: Product()(()), r"Product takes a pytree of arrays of one shape, found the shapes \[\]"),
        (
            TypeError,
            lambda: BiConvolution()(np.ones(3)),
            r"BiConvolution takes a pair of arrays, x and the kernel, found",
        ),
        (
            ValueError,
            lambda: BiConvolution(boundary="none"),
            r"BiConvolution\.boundary is 'none'; expected one of 'zero'",
        ),
        (ValueError, lambda: BiConvolution(method="slow"), r"BiConvolution\.method is 'slow'; expected one of"),
        (
            ValueError,
            lambda: Warp(np.ones((2, 3)))(np.ones((2, 3))),
            r"takes displacements of shape \(2, 2, 3\), found \(2, 3\)",
        ),
        (
            TypeError,
            lambda: Warp(np.ones(2))(np.ones((1, 2), complex)),
            r"Warp takes real displacements, found complex64",
        ),
        (
            ValueError,
            lambda: Warp(np.ones(2), boundary="none"),
            r"Warp\.boundary is 'none'; expected one of 'zero', 'edge'",
        ),
        (ValueError, lambda: Warp(np.ones(2), order=2), r"Warp\.order is 2; expected one of 1, 3"),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()
