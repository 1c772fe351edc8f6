"""XRay3D against a matrix made by loops over rays, against chords of an ellipsoid, and against XRay on slices."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, normal

from linops_jax.ops._xray import XRay
from linops_jax.ops._xray_3d import XRay3D


def rotations(count, seed=0):
    """The first two rows of random rotations: unit steps at right angles."""
    rng = np.random.default_rng(seed)
    return np.stack([np.linalg.qr(rng.standard_normal((3, 3)))[0][:2] for _ in range(count)])


def matrix(steps, shape, detectors):
    """Bilinear weights where each ray crosses the planes across the axis along which it is longest."""
    m = np.zeros((len(steps), *detectors, *shape))
    middle = (np.array(shape) - 1) / 2
    for view, (row, column) in enumerate(steps):
        direction = np.cross(row, column)
        axis = np.argmax(abs(direction))
        direction /= direction[axis]
        for v, u in np.ndindex(*detectors):
            point = (v - (detectors[0] - 1) / 2) * row + (u - (detectors[1] - 1) / 2) * column
            for plane in range(shape[axis]):
                place = point + direction * (plane - middle[axis] - point[axis]) + middle
                for voxel in np.ndindex(*shape):
                    if voxel[axis] == plane:
                        weights = np.maximum(1 - abs(np.delete(place - voxel, axis)), 0)
                        m[(view, v, u, *voxel)] = np.prod(weights) * np.linalg.norm(direction)
    return m


def test_it_is_the_matrix_of_interpolated_values_along_rays(x64):
    shape, detectors = (4, 1, 3), (3, 4)
    steps = np.concatenate([rotations(6), normal((3, 2, 3), seed=1)])  # also longer ones, at other angles
    op, m = XRay3D(steps, shape, detectors), matrix(steps, shape, detectors)
    x, y = normal((2, *shape), np.complex128, 1), normal((2, len(steps), *detectors), np.complex128, 2)
    found = jax.jit(lambda op, x, y: (op(x), op.H(y)))(op, x, y)
    expected = np.einsum("avuijk,bijk->bavu", m, x), np.einsum("avuijk,bavu->bijk", m, y)
    close(found, tuple(map(jnp.asarray, expected)))


def test_angles_turn_the_volume_around_its_first_axis_as_xray_turns_its_slices():
    """They differ in what a ray takes from a row: interpolated or mean values, the same ones along the axes."""
    i, j = np.indices((16, 12))
    x = np.exp(-(((i - 4) / 3) ** 2) - ((j - 7) / 2) ** 2) * np.float32([[[1]], [[2]], [[0]], [[-1]], [[3]]])
    x = x.astype(np.float32)
    angles = np.float32([0, 0.5, 2.0, math.pi / 2, 4.0])
    op, slices = XRay3D(angles, x.shape), np.moveaxis(np.asarray(XRay(angles, (16, 12))(x)), 0, 1)
    y = np.asarray(op(x))
    assert y.shape == slices.shape == (5, 5, 20)
    np.testing.assert_allclose(y[[0, 3]], slices[[0, 3]], atol=1e-4)
    np.testing.assert_allclose(y, slices, atol=0.03 * abs(slices).max())


def test_an_ellipsoid_has_its_chords():
    """Its centre and its axes differ along all three axes, so that a wrong sign or order is seen."""
    axes, centre, steps, errors = np.array([0.3, 0.2, 0.14]), np.array([0.08, -0.12, 0.05]), rotations(5, 3), []
    for n in (12, 36):
        fine = [((np.arange(4 * n) + 0.5) / (4 * n) - 0.5 - c) / a for a, c in zip(axes, centre, strict=True)]
        inside = fine[0][:, None, None] ** 2 + fine[1][:, None] ** 2 + fine[2] ** 2 < 1
        op = XRay3D(steps.astype(np.float32), (n, n, n))
        t = [((np.arange(4 * size) + 0.5) / 4 - size / 2) / n for size in op.detectors]
        expected = []
        for row, column in steps:
            d = np.cross(row, column) / axes
            p = (t[0][:, None, None] * row + t[1][:, None] * column - centre) / axes
            dd, pd, pp = d @ d, p @ d, (p * p).sum(-1)
            chords = 2 * n * np.sqrt(np.maximum(pd**2 - dd * (pp - 1), 0)) / dd
            expected.append(chords.reshape(op.detectors[0], 4, op.detectors[1], 4).mean((1, 3)))
        found = op(inside.reshape(n, 4, n, 4, n, 4).mean((1, 3, 5), dtype=np.float32))
        errors.append(np.linalg.norm(found - np.array(expected)) / np.linalg.norm(expected))
    assert errors[0] < 0.12
    assert errors[1] < errors[0] / 2


def test_derivatives_in_the_steps(x64):
    steps, direction = rotations(3, 1), normal((3, 2, 3), seed=2)
    x, y = normal((2, 3, 4), np.complex128, 3), normal((3, 3, 3), np.complex128, 4)

    @jax.jit
    def value_and_gradient(steps):
        return jax.value_and_grad(lambda steps: jnp.vdot(y, XRay3D(steps, (2, 3, 4), (3, 3))(x)).real)(steps)

    h = 1e-5
    (_, gradient), (plus, _), (minus, _) = (value_and_gradient(steps + k * h * direction) for k in (0, 1, -1))
    np.testing.assert_allclose(np.vdot(direction, gradient), (plus - minus) / (2 * h), rtol=1e-7)


@pytest.mark.parametrize(
    ("error", "call", "message"),
    [
        (
            ValueError,
            lambda: XRay3D([[0.0]], (2, 3, 4)),
            r"XRay3D\.views has shape \(1, 1\); expected \(views,\) for angles",
        ),
        (
            ValueError,
            lambda: XRay3D(np.zeros((0, 2, 3)), (2, 3, 4)),
            r"XRay3D\.views has shape \(0, 2, 3\); .* one view",
        ),
        (
            ValueError,
            lambda: XRay3D([[[1.0, 0, 0], [2.0, 0, 0]]], (2, 3, 4)),
            r"XRay3D\.views holds the steps \[\[1\.0, 0\.0, 0\.0\], \[2\.0, 0\.0, 0\.0\]\], which are parallel",
        ),
        (
            ValueError,
            lambda: XRay3D([[[1.0, 0, 0], [0, np.nan, 0]]], (2, 3, 4)),
            r"XRay3D\.views holds the steps .*nan.*, which are parallel or not finite",
        ),
        (TypeError, lambda: XRay3D(None, (2, 3, 4)), r"XRay3D\.views is None; expected an array of real numbers"),
        (ValueError, lambda: XRay3D([0.0], (2, 3)), r"XRay3D\.shape is \(2, 3\); expected three sizes"),
        (ValueError, lambda: XRay3D([0.0], (2, 3, 0)), r"XRay3D\.shape is 0; expected an integer from 1"),
        (
            ValueError,
            lambda: XRay3D([0.0], (2, 3, 4), 5),
            r"XRay3D\.detectors is 5; expected the numbers of rows and of col",
        ),
        (TypeError, lambda: XRay3D([0.0], (2, 3, 4), (2, 4.5)), r"XRay3D\.detectors is 4\.5; expected an integer"),
        (TypeError, lambda: XRay3D(1.0, (2, 3, 4)), r"XRay3D\.views holds 1\.0 .*, which is not an array"),
        (
            ValueError,
            lambda: XRay3D([0.0], (2, 3, 4))(np.ones((3, 2, 4))),
            r"XRay3D takes .* last axes have the sizes \(2, 3, 4\), found shape \(3, 2, 4\)",
        ),
        (
            ValueError,
            lambda: XRay3D([0.0], (2, 3, 4), (2, 5)).H(np.ones((2, 5))),
            r"XRay3D\.H takes .* sizes \(1, 2, 5\), found shape \(2, 5\)",
        ),
    ],
)
def test_errors(error, call, message):
    with pytest.raises(error, match=message):
        call()
