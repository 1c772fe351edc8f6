"""FanBeam against a matrix made by loops over rays, against chords of an ellipse, and against XRay."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal

from linops_jax.ops._fan_beam import FanBeam
from linops_jax.ops._xray import XRay

RIGHT_ANGLES = [0, math.pi / 2, math.pi, -math.pi / 2, 7 * math.pi / 4]


def unit(angle):
    """The direction of the source, and that of the detector: (row, column)."""
    return np.array([math.cos(angle), math.sin(angle)]), np.array([-math.sin(angle), math.cos(angle)])


def matrix(angles, shape, source, detector, detectors, width):
    """Where the rays to both ends of a bin cross a row or column: what is between them, over their distance."""
    m = np.zeros((len(angles), detectors, *shape))
    for a, t in np.ndindex(*m.shape[:2]):
        towards, along = unit(angles[a])
        start, middle, stop = (
            along * width * (t + part - detectors / 2) - (detector + source) * towards for part in (0, 0.5, 1)
        )
        line, across = (0, 1) if abs(middle[0]) >= abs(middle[1]) else (1, 0)
        for n in range(shape[line]):
            depth = n - (shape[line] - 1) / 2 - source * towards[line]
            ends = [source * towards[across] + d[across] / d[line] * depth + shape[across] / 2 for d in (start, stop)]
            first, last = sorted(ends)
            for p in range(shape[across]):
                common = max(min(last, p + 1) - max(first, p), 0) / (last - first or 1)
                index = (n, p) if line == 0 else (p, n)
                m[(a, t, *index)] = common * np.linalg.norm(middle) / abs(middle[line])
    return m


@pytest.mark.parametrize(
    ("shape", "distances", "detectors", "width"),
    [((4, 3), (3.0, 2.0), 6, 1.3), ((5, 1), (3.0, 1.0), 4, 3.0)],
    ids=str,
)
def test_it_is_the_matrix_of_mean_values_between_rays(shape, distances, detectors, width, x64):
    angles = np.concatenate([RIGHT_ANGLES, np.random.default_rng(1).uniform(-7, 7, 6)])
    op, m = FanBeam(angles, shape, *distances, detectors, width), matrix(angles, shape, *distances, detectors, width)
    x, y = normal((2, *shape), np.complex128, 1), normal((2, len(angles), detectors), np.complex128, 2)
    found = jax.jit(lambda op, x, y: (op(x), op.H(y)))(op, x, y)
    close(found, tuple(map(jnp.asarray, (np.einsum("atij,bij->bat", m, x), np.einsum("atij,bat->bij", m, y)))))


def test_it_is_this_matrix_in_single_precision_and_as_a_gpu_computes_it(monkeypatch):
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *arrays, cpu, default: default(*arrays))
    angles, shape = np.float32([0.2, 0.8, 2.5, -1.2]), (6, 2)
    op, m = FanBeam(angles, shape, 4.0, 1.0, 7, 1.5), matrix(angles, shape, 4.0, 1.0, 7, 1.5)
    x, y = normal(shape, np.float32, 1), normal((4, 7), np.float32, 2)
    close(op(x), jnp.asarray(np.einsum("atij,ij->at", m, x), np.float32), scale=10)
    close(op.H(y), jnp.asarray(np.einsum("atij,at->ij", m, y), np.float32), scale=10)


def test_a_source_far_away_makes_parallel_beams(x64):
    angles, x = np.concatenate([RIGHT_ANGLES, [0.3, 2.0, 4.4]]), normal((5, 8), np.float64)
    far, parallel = FanBeam(angles, x.shape, math.inf), XRay(angles, x.shape)
    assert far.detectors == parallel.detectors
    close(*jax.jit(lambda x: (far(x), parallel(x)))(x))


def test_a_point_is_seen_where_its_ray_meets_the_detector():
    """The source is below at angle 0 and to the right at 90 degrees, as in ASTRA's fanflat."""
    angles, source, detector, width = np.linspace(0, 7, 12, dtype=np.float32), 30.0, 12.0, 1.25
    x = np.zeros((9, 12), np.float32)
    x[1, 10] = 1
    y = np.asarray(FanBeam(angles, x.shape, source, detector, bin_width=width)(x))
    bins = np.arange(y.shape[1]) - (y.shape[1] - 1) / 2
    for angle, row in zip(angles, y, strict=True):
        towards, along = unit(angle)
        point = np.array([-3.0, 4.5])
        expected = (source + detector) * (point @ along) / (source - point @ towards) / width
        np.testing.assert_allclose(row @ bins / row.sum(), expected, atol=0.15)


def test_the_default_detector_sees_all_of_the_image_and_no_less_does():
    angles = np.linspace(0, 7, 60, dtype=np.float32)
    arguments = {"source_distance": 6.0, "detector_distance": 3.0, "bin_width": 0.5}
    detectors = FanBeam(angles, (7, 4), **arguments).detectors
    wide = FanBeam(angles, (7, 4), detectors=detectors + 8, **arguments)
    seen = np.asarray(wide(np.ones((7, 4), np.float32))).max(0)
    assert not seen[:4].any()
    assert not seen[-4:].any()
    assert seen[4:8].any()
    assert detectors % 2 == 0


def test_an_ellipse_has_its_chords():
    """The ellipse is neither in the centre nor round, so that a wrong sign or a reflection is seen."""
    (a, b), (x0, y0), errors = (0.3, 0.15), (0.12, -0.08), []
    angles = np.linspace(0, 2 * math.pi, 13, dtype=np.float32)
    for n in (24, 96):
        fine = (np.arange(8 * n) + 0.5) / (8 * n) - 0.5
        inside = ((fine - x0) / a) ** 2 + ((fine[:, None] - y0) / b) ** 2 < 1
        image = inside.reshape(n, 8, n, 8).mean((1, 3), dtype=np.float32)
        op = FanBeam(angles, image.shape, 1.2 * n, 0.5 * n, bin_width=1.5)
        t = ((np.arange(4 * op.detectors) + 0.5) / 4 - op.detectors / 2) * 1.5 / n
        expected = np.empty((len(angles), op.detectors))
        for k, angle in enumerate(angles):
            towards, along = unit(angle)
            d = t[:, None] * along - 1.7 * towards
            d /= np.linalg.norm(d, axis=1)[:, None]
            s, d = (1.2 * towards - [y0, x0]) / [b, a], d / [b, a]  # the ellipse as a circle
            dd, sd, ss = (d * d).sum(1), d @ s, s @ s
            chords = 2 * np.sqrt(np.maximum(sd**2 - dd * (ss - 1), 0)) / dd
            expected[k] = n * chords.reshape(-1, 4).mean(1)
        errors.append(np.linalg.norm(op(image) - expected) / np.linalg.norm(expected))
    assert errors[0] < 0.03
    assert errors[1] < errors[0] / 3


def test_derivatives_in_angles_distances_and_width(x64):
    geometry = [normal((5,), seed=1), np.float64(7.3), np.float64(2.1), np.float64(1.2)]
    directions = [normal(number.shape, seed=2) for number in geometry]
    x, y = normal((4, 5), seed=3), normal((5, 6), seed=4)

    def product(geometry):
        angles, source, detector, width = geometry
        op = FanBeam(angles, (4, 5), source, detector, 6, width)
        return jnp.vdot(y, op(x)) + jnp.vdot(op.H(y), x**2)

    gradient = jax.jit(jax.grad(product))(geometry)
    product, h = jax.jit(product), 1e-5
    for k, direction in enumerate(directions):  # one argument at a time
        plus, minus = (product([*geometry[:k], geometry[k] + step * direction, *geometry[k + 1 :]]) for step in (h, -h))
        np.testing.assert_allclose(np.vdot(direction, gradient[k]), (plus - minus) / (2 * h), rtol=1e-6)


@pytest.mark.parametrize(("dtype", "expected"), [(np.float16, np.float16), (np.int32, np.float32)])
def test_dtypes(dtype, expected):
    x = jnp.asarray(normal((12, 3), dtype))
    op = FanBeam([0.3, 2.0], x.shape, 20)
    close(op(x), op(x.astype(jnp.float32)).astype(expected))


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (ValueError, lambda: FanBeam([[0.0]], (2, 3), 9), r"FanBeam\.angles has shape \(1, 1\); expected 1 axis"),
        (ValueError, lambda: FanBeam(jnp.zeros(0), (2, 3), 9), r"FanBeam needs at least one angle .* found 0 angles"),
        (ValueError, lambda: FanBeam([0.0], (2, 3, 4), 9), r"two sizes of the image, found .* shape \(2, 3, 4\)"),
        (ValueError, lambda: FanBeam([0.0], (2, 0), 9), r"FanBeam\.shape is 0; expected an integer from 1"),
        (
            ValueError,
            lambda: FanBeam([0.0], (6, 8), 5.0),
            r"FanBeam\.source_distance is 5; expected more than 5, half the diagonal of the image: the source is outside",
        ),
        (ValueError, lambda: FanBeam([0.0], (2, 3), math.nan), r"FanBeam\.source_distance is nan; expected more than"),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), 9, -1),
            r"FanBeam\.detector_distance is -1; expected a finite number from 0",
        ),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), 9, math.inf),
            r"FanBeam\.detector_distance is inf; expected a finite",
        ),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), 9, bin_width=math.inf),
            r"FanBeam\.bin_width is inf; expected a finite",
        ),
        (
            TypeError,
            lambda: FanBeam([0.0], (2, 3), np.complex64(9)),
            r"FanBeam\.source_distance has dtype complex.*real",
        ),
        (
            TypeError,
            lambda: FanBeam(None, (2, 3), 9),
            r"FanBeam\.angles is None; expected an array of real numbers, or a list",
        ),
        (TypeError, lambda: FanBeam([1j], (2, 3), 9), r"FanBeam\.angles is .*; expected an array of real numbers"),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), 9, bin_width=0),
            r"FanBeam\.bin_width is 0; expected a finite number above 0",
        ),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), np.ones(2)),
            r"FanBeam\.source_distance has shape \(2,\); expected 0",
        ),
        (TypeError, lambda: FanBeam([0.0], (2, 3), "far"), r"FanBeam\.source_distance is 'far'; expected a number"),
        (
            TypeError,
            lambda: FanBeam([0.0], (2, 3), 9, detectors=4.5),
            r"FanBeam\.detectors is 4\.5; expected an integer",
        ),
        (ValueError, lambda: FanBeam([0.0], (2, 3), 9, detectors=0), r"FanBeam\.detectors is 0; expected .* from 1"),
        (
            TypeError,
            lambda: jax.eval_shape(lambda r: FanBeam([0.0], (2, 3), r), 9.0),
            r"FanBeam\.detectors is None while JAX traces a distance or a width; expected an integer",
        ),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), 9)(np.ones((3, 2))),
            r"FanBeam takes .* last axes have the sizes \(2, 3\), found shape \(3, 2\)",
        ),
        (
            ValueError,
            lambda: FanBeam([0.0], (2, 3), 9, detectors=4).H(np.ones((2, 4))),
            r"FanBeam\.H takes .* sizes \(1, 4\), found shape \(2, 4\)",
        ),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()
