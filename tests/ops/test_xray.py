"""XRay against a dense matrix made by loops, and against the chords of an ellipse."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, normal

from linops_jax.ops._xray import XRay

RIGHT_ANGLES = [0, math.pi / 2, math.pi, -math.pi / 2, 7 * math.pi / 4]


def matrix(angles, shape, detectors):
    """Weights of all pixels in all bins, from where the boxes begin and end."""
    m = np.zeros((len(angles), detectors, *shape))
    for (a, t, row, column), _ in np.ndenumerate(m):
        cos, sin = math.cos(angles[a]), math.sin(angles[a])
        p = (column - (shape[1] - 1) / 2) * cos - (row - (shape[0] - 1) / 2) * sin
        width, bin_ = max(abs(cos), abs(sin)), t - (detectors - 1) / 2
        common = min(bin_ + 0.5, p + width / 2) - max(bin_ - 0.5, p - width / 2)
        m[a, t, row, column] = max(common, 0) / width
    return m


@pytest.mark.parametrize(("shape", "detectors"), [((4, 3), 6), ((1, 5), 3), ((5, 1), 8), ((3, 4), 1)], ids=str)
@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_it_is_the_matrix_of_overlaps(shape, detectors, dtype, x64):
    angles = np.concatenate([RIGHT_ANGLES, np.random.default_rng(1).uniform(-7, 7, 6)])
    op, m = XRay(angles, shape, detectors), matrix(angles, shape, detectors)
    x, y = normal((2, *shape), dtype, 1), normal((2, len(angles), detectors), dtype, 2)
    found = jax.jit(lambda op, x, y: (op(x), op.H(y)))(op, x, y)
    close(found, tuple(map(jnp.asarray, (np.einsum("atij,bij->bat", m, x), np.einsum("atij,bat->bij", m, y)))))


def test_it_is_this_matrix_as_a_gpu_computes_it(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays))
    angles, shape = np.float32([0.2, 2.5, -1.2]), (6, 2)  # of which there is no program yet
    op, m = XRay(angles, shape, 7), matrix(angles, shape, 7)
    x, y = normal(shape, np.float32, 1), normal((3, 7), np.float32, 2)
    close(op(x), jnp.asarray(np.einsum("atij,ij->at", m, x), np.float32), scale=10)
    close(op.H(y), jnp.asarray(np.einsum("atij,at->ij", m, y), np.float32), scale=10)


def test_angle_0_projects_along_axis_0_and_90_degrees_along_axis_1_from_below():
    """As in ASTRA and scikit-image."""
    x = jnp.asarray(normal((4, 6), np.float32))
    op = XRay(np.float32([0, math.pi / 2]), (4, 6), 6)
    close(op(x)[0], x.sum(0), scale=10)
    close(op(x)[1], jnp.pad(x.sum(1)[::-1], 1), scale=10)


@pytest.mark.parametrize("shape", [(4, 3), (3, 4), (2, 2), (1, 1), (512, 512)], ids=str)
def test_the_default_detector_sees_all_and_fits_the_columns(shape):
    detectors = XRay([0.0], shape).detectors
    assert math.hypot(*shape) <= detectors < math.hypot(*shape) + 2
    assert (detectors - shape[1]) % 2 == 0


def test_every_angle_has_the_sum_of_the_image_and_sees_a_point_where_it_is():
    angles = np.linspace(0, 7, 9, dtype=np.float32)
    x = np.zeros((7, 8), np.float32)
    x[1, 6] = 3
    y = np.asarray(XRay(angles, x.shape)(x))
    np.testing.assert_allclose(y.sum(1), 3, rtol=1e-5)
    bins = np.arange(y.shape[1]) - (y.shape[1] - 1) / 2
    np.testing.assert_allclose(y @ bins / 3, 2.5 * np.cos(angles) + 2 * np.sin(angles), atol=0.1)


def test_an_ellipse_has_its_chords():
    (a, b), (x0, y0), errors = (0.4, 0.25), (0.07, -0.05), []
    angles = np.linspace(0, math.pi, 11, dtype=np.float32)
    for n in (32, 128):
        fine = (np.arange(8 * n) + 0.5) / (8 * n) - 0.5
        inside = ((fine - x0) / a) ** 2 + ((fine[:, None] - y0) / b) ** 2 < 1
        image = inside.reshape(n, 8, n, 8).mean((1, 3), dtype=np.float32)
        op = XRay(angles, image.shape)
        centre = x0 * np.cos(angles) - y0 * np.sin(angles)
        radius = np.hypot(a * np.cos(angles), b * np.sin(angles))[:, None]
        t = (np.arange(4 * op.detectors) + 0.5) / (4 * n) - op.detectors / (2 * n) - centre[:, None]
        chords = 2 * a * b * n * np.sqrt(np.maximum(radius**2 - t**2, 0)) / radius**2
        expected = chords.reshape(len(angles), op.detectors, 4).mean(-1)
        errors.append(np.linalg.norm(op(image) - expected) / np.linalg.norm(expected))
    assert errors[0] < 0.02
    assert errors[1] < errors[0] / 3


def test_derivatives_in_the_angles(x64):
    """The weights are piecewise linear in the positions, so differences see no more than the curvature of sine and cosine."""
    angles, direction = normal((7,), seed=1), normal((7,), seed=2)
    x, y = normal((4, 5), np.complex128, 3), normal((7, 6), np.complex128, 4)

    @jax.jit
    def both(angles):
        op = XRay(angles, (4, 5), 6)
        return op(x), op.H(y)

    tangent = jax.jvp(both, (angles,), (direction,))[1]
    gradient = jax.grad(lambda angles: energy(both(angles)))(angles)
    for h in (1e-4, 1e-5):
        plus, minus = both(angles + h * direction), both(angles - h * direction)
        for found, p, m in zip(tangent, plus, minus, strict=True):
            np.testing.assert_allclose(found, (p - m) / (2 * h), rtol=0, atol=300 * h**2 + 1e-13 / h)
        np.testing.assert_allclose(
            gradient @ direction, (energy(plus) - energy(minus)) / (2 * h), rtol=1000 * h**2 + 1e-12 / h
        )


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(np.float16, np.float16), (jnp.bfloat16, jnp.bfloat16), (np.int32, np.float32), (np.complex64, np.complex64)],
)
def test_dtypes(dtype, expected):
    x = jnp.asarray(normal((64, 3), dtype))
    y = XRay([0.3, 2.0], x.shape)(x)
    exact = XRay([0.3, 2.0], x.shape)(x.astype(jnp.promote_types(dtype, jnp.float32)))
    close(y, exact.astype(expected))


def test_slices_on_several_devices():
    mesh = jax.make_mesh((4,), ("slices",), axis_types=(jax.sharding.AxisType.Auto,))
    op, x = XRay([0.3, 2.0, 4.0], (3, 5)), jnp.asarray(normal((4, 3, 5), np.float32))
    spec = jax.sharding.PartitionSpec("slices")
    there_and_back = jax.jit(jax.shard_map(lambda x: op.H(op(x)), mesh=mesh, in_specs=spec, out_specs=spec))
    close(there_and_back(x), op.H(op(x)))


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: XRay([[0.0]], (2, 3)), r"XRay\.angles has shape \(1, 1\); expected 1 axis"),
        (ValueError, lambda: XRay(jnp.zeros(0), (2, 3)), r"XRay needs at least one angle .* found 0 angles"),
        (ValueError, lambda: XRay([0.0], (2, 3, 4)), r"two sizes of the image, found 1 angles and shape \(2, 3, 4\)"),
        (ValueError, lambda: XRay([0.0], (2, 0)), r"XRay\.shape is 0; expected an integer from 1"),
        (TypeError, lambda: XRay([0.0], (2, 3), 4.5), r"XRay\.detectors is 4\.5; expected an integer"),
        (
            ValueError,
            lambda: XRay([0.0], (2, 3))(np.ones((3, 2))),
            r"XRay takes .* last axes have the sizes \(2, 3\), found shape \(3, 2\)",
        ),
        (
            ValueError,
            lambda: XRay([0.0], (2, 3), 4).H(np.ones((2, 4))),
            r"XRay\.H takes .* sizes \(1, 4\), found shape \(2, 4\)",
        ),
        (
            ValueError,
            lambda: XRay([0.0], (2, 3))(np.ones(3)),
            r"XRay takes an array .* \(2, 3\), found shape \(3,\)",
        ),
        (TypeError, lambda: XRay(1.0, (2, 3)), r"XRay\.angles holds 1\.0 .*, which is not an array"),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()
