"""Interpolation against SciPy's map_coordinates."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage
from helpers import close, energy, normal

from linops_jax.ops._interpolation import Interpolation

MODES = {"zero": "constant", "reflect": "mirror", "periodic": "grid-wrap"}
SHAPES = [(1,), (2,), (6,), (5, 4), (3, 1, 4)]


def positions(shape, points=30):
    """In the array, beyond its ends, at samples, and some twice."""
    rng = np.random.default_rng(len(shape))
    found = rng.uniform(-2.0 * np.array(shape) - 1, 3.0 * np.array(shape) + 1, (points, len(shape)))
    found[: points // 2] = rng.uniform(0, np.array(shape) - 1, (points // 2, len(shape)))
    found[:4] = rng.integers(0, shape, (4, len(shape)))
    return np.concatenate([found, found[:5]])


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_values_are_those_of_map_coordinates(shape, order, x64):
    t, x = positions(shape), normal((2, *shape), complex)
    oracle = lambda t, mode: jnp.asarray(  # noqa: E731
        [scipy.ndimage.map_coordinates(part, t.T, order=order, mode=mode) for part in x]
    )
    inside = np.clip(t, 0, np.array(shape) - 1)
    boundaries = ("zero", "reflect", "periodic", "edge")
    found = jax.jit(lambda x: [Interpolation(t, shape, order, boundary)(x) for boundary in boundaries])(x)
    close(found, [oracle(t, MODES[name]) for name in boundaries[:3]] + [oracle(inside, "mirror")], scale=20)


@pytest.mark.parametrize("order", [1, 3])
def test_the_adjoint_grids_and_adds_up_what_comes_twice(order, x64):
    shape, t = (5, 4), positions((5, 4))
    basis, y = np.eye(20).reshape(20, 5, 4), normal((3, len(t)), complex)

    def both(boundary):
        op = Interpolation(t, shape, order, boundary)
        return op(basis), op.H(y)

    for matrix, found in jax.jit(lambda: list(map(both, ("zero", "edge", "reflect", "periodic"))))():
        close(found, (y @ matrix.T).reshape(3, *shape))


def test_bilinear_is_that_of_pylops(x64):
    pylops = pytest.importorskip("pylops")
    t = np.random.default_rng(0).uniform(0, 3.9, (20, 2))
    x, y = normal((5, 6)), normal((20,), np.float64, 1)
    oracle = pylops.signalprocessing.Bilinear(t.T, dims=(5, 6))
    op = Interpolation(t, (5, 6))
    close(op(x), jnp.asarray(oracle @ x))
    close(op.H(y), jnp.asarray((oracle.H @ y).reshape(5, 6)))


@pytest.mark.parametrize("order", [1, 3])
def test_derivatives_in_the_positions(order, x64):
    """At positions that are no samples, where order 1 has kinks."""
    rng = np.random.default_rng(3)
    t, x, y = rng.integers(-3, 8, (12, 2)) + rng.uniform(0.1, 0.9, (12, 2)), normal((5, 4)), normal((12,), float, 1)
    direction = normal(t.shape, float, 2)

    @jax.jit
    def loss(t):
        ops = [Interpolation(t, (5, 4), order, boundary) for boundary in ("zero", "edge", "reflect", "periodic")]
        return energy([(op(x), op.H(y)) for op in ops])

    slope = np.vdot(jax.jit(jax.grad(loss))(t), direction)
    for h in (1e-4, 1e-5):
        difference = (loss(t + h * direction) - loss(t - h * direction)) / (2 * h)
        np.testing.assert_allclose(slope, difference, rtol=1e-5)


def test_interpolation_in_batches_and_types():
    t, x = positions((6,)).astype(np.float32), normal((3, 6), np.float32)
    op = Interpolation(t, 6, order=3, boundary="reflect")
    close(jax.jit(jax.vmap(op, 1, 1))(x.T.reshape(6, 3)), op(x).T)
    many = jax.vmap(lambda t: Interpolation(t, 6)(x[0]))(jnp.stack([t, t + 1]))
    close(many, jnp.stack([Interpolation(t, 6)(x[0]), Interpolation(t + 1, 6)(x[0])]))
    for dtype in (jnp.bfloat16, jnp.complex64, jnp.int32):
        assert Interpolation(t, 6)(jnp.ones(6, dtype)).dtype == (jnp.float32 if dtype == jnp.int32 else dtype)
    close(Interpolation([[1], [0]], 3)(jnp.arange(3.0)), jnp.array([1.0, 0.0]))
    assert Interpolation(jnp.zeros((0, 1)), 3).H(jnp.ones(0)).tolist() == [0, 0, 0]


def test_double_precision_positions_of_single_precision_values(x64):
    assert Interpolation(np.ones((2, 1)), 3)(np.ones(3, np.float32)).dtype == np.float32


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: Interpolation([[0.0]], (3, 4)),
            r"Interpolation\.positions has shape \(1, 1\); expected \(points, 2\)",
        ),
        (lambda: Interpolation([0.0], 3), r"Interpolation\.positions has shape \(1,\); expected \(points, 1\)"),
        (lambda: Interpolation([[0.0]], 3, order=2), r"Interpolation\.order is 2; expected one of 1, 3"),
        (lambda: Interpolation([[0.0]], 0), r"Interpolation\.shape is 0; expected an integer from 1"),
        (
            lambda: Interpolation([[0.0]], 3, boundary="wrap"),
            r"boundary is 'wrap'; expected one of 'zero', 'edge', 'reflect'",
        ),
        (
            lambda: Interpolation([[0.0]], 3)(np.ones(4)),
            r"Interpolation takes an array .* sizes \(3,\), found shape \(4,\)",
        ),
        (
            lambda: Interpolation([[0.0]], 3).H(np.ones(2)),
            r"Interpolation\.H takes an array .* sizes \(1,\), found .*\(2,\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize("boundary", ["zero", "edge", "reflect", "periodic"])
def test_positions_that_are_no_numbers_are_seen(boundary):
    values = Interpolation([[jnp.nan], [1.0]], 3, boundary=boundary)(jnp.arange(3.0))
    assert np.isnan(values[0])
    assert values[1] == 1
