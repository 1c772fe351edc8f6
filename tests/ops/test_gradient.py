"""Gradients against PyLops and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pytest
from helpers import close, normal

from linops_jax.ops._gradient import Divergence, Gradient, SymmetrizedGradient

SHAPE = (5, 4, 6)


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_gradients_are_those_of_pylops(dtype, x64):
    x, y = normal(SHAPE, dtype, 1), normal((3, *SHAPE), dtype, 2)
    steps = (0.5, 1.0, 2.0)
    options = [("forward", False), ("backward", False), ("centered", False), ("centered", True)]
    found = jax.jit(
        lambda x, y: [
            (A(x), A.H(y), Divergence(None, steps, kind, edge)(y))
            for kind, edge in options
            for A in [Gradient(None, steps, kind, edge)]
        ]
    )(x, y)
    expected = []
    for kind, edge in options:
        theirs = pylops.Gradient(SHAPE, steps, edge, kind, dtype=dtype)
        adjoint = theirs.rmatvec(y.ravel()).reshape(SHAPE)
        expected.append((theirs.matvec(x.ravel()).reshape(3, *SHAPE), adjoint, -adjoint))
    close(found, jax.tree.map(lambda values: jnp.asarray(values.astype(dtype)), expected))


def test_divergence_is_minus_the_adjoint_of_the_gradient_to_the_last_bit():
    x, y = normal((5, 4), np.complex64, 1), normal((2, 5, 4), np.complex64, 2)
    for options in ({}, {"axes": (1, 0), "step": (0.3, 0.7), "kind": "centered", "boundary": "periodic"}):
        np.testing.assert_array_equal(Divergence(**options)(y), -Gradient(**options).H(y))
        np.testing.assert_array_equal(Divergence(**options).H(x), -Gradient(**options)(x))


def test_some_axes_in_their_order_and_a_boundary():
    x = normal((5, 4), np.float32, 1)
    rows = jnp.asarray(np.roll(x, -1, 0) - x)
    columns = jnp.asarray(np.roll(x, -1, 1) - x)
    close(Gradient((1, 0), (0.5, 1.0), boundary="periodic")(x), jnp.stack([2 * columns, rows]))
    close(Gradient(-2, boundary="periodic")(x), rows[None])
    close(jax.vmap(Gradient(0, boundary="periodic"), 1, 2)(x), rows[None])


def test_symmetrized_gradient_has_the_norm_of_the_symmetric_part():
    field = normal((3, *SHAPE), np.float32, 1)
    jacobian = np.stack([np.roll(field, -1, axis) - field for axis in (1, 2, 3)])  # derivative, component
    symmetric = (jacobian + jacobian.swapaxes(0, 1)) / 2
    found = SymmetrizedGradient(boundary="periodic")(field)
    close(found[jnp.array([0, 3, 5])], jnp.stack([jacobian[0, 0], jacobian[1, 1], jacobian[2, 2]]))
    off = np.sqrt(np.float32(2)) * np.stack([symmetric[0, 1], symmetric[0, 2], symmetric[1, 2]])
    close(found[jnp.array([1, 2, 4])], jnp.asarray(off))
    np.testing.assert_allclose(np.linalg.norm(found), np.linalg.norm(symmetric), rtol=1e-5)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Gradient(kind="both"), ValueError, r"Gradient\.kind is 'both'; expected one of 'forward', 'backward'"),
        (lambda: Gradient(axes="x"), TypeError, r"Gradient\.axes is 'x'; expected an integer"),
        (
            lambda: Gradient()(np.float32(1)),
            ValueError,
            r"Gradient\.axes is None for .*\(\); expected at least one axis",
        ),
        (lambda: Gradient((0, 2))(np.ones((3, 3))), ValueError, r"Gradient\.axes \(0, 2\) are not distinct axes of"),
        (lambda: Gradient(step=(1, -1)), ValueError, r"Gradient\.step is -1; expected a number above zero"),
        (
            lambda: Gradient(step=(1, 1))(np.ones(3)),
            ValueError,
            r"Gradient\.step is \(1\.0, 1\.0\); expected one value, or one",
        ),
        (
            lambda: Gradient().H(np.ones((3, 4, 4))),
            ValueError,
            r"Gradient expects 2 components on the first axis for 2 ax",
        ),
        (lambda: Gradient().H(np.float32(1)), ValueError, r"Gradient expects its components on the first axis.*\(\)"),
        (lambda: Gradient()([np.ones(3)]), TypeError, r"Gradient takes one array, found list"),
        (
            lambda: Divergence()(np.ones((3, 4, 4))),
            ValueError,
            r"Divergence expects 2 components .*found .*\(3, 4, 4\)",
        ),
        (
            lambda: Gradient(kind="centered", edge=True)(np.ones((4, 1))),
            ValueError,
            r"Gradient\.edge=True needs at least 2 samples, found 1 along axis -1",
        ),
        (lambda: SymmetrizedGradient()(np.ones((2, 4))), ValueError, r"SymmetrizedGradient expects 1 components"),
        (lambda: SymmetrizedGradient().H(np.ones((2, 4, 4))), ValueError, r"SymmetrizedGradient expects 3 components"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
