"""Reshape, Transpose, Flip and Roll against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, agree, close, energy, like

from linops_jax.ops._rearranged import Flip, Reshape, Roll, Transpose

F, C = np.float32, np.complex64


def test_reshape_and_transpose_are_those_of_numpy():
    agree(
        (Reshape((2, -1)), lambda x: x.reshape(2, -1), (3, 4), F),
        (Reshape(6), lambda x: x.reshape(6), (3, 2), C),
        (Reshape(()), lambda x: x.reshape(()), (1,), F),
        (Reshape((0, 5)), lambda x: x.reshape(0, 5), (3, 0), F),
        *(
            (Transpose(axes), lambda x, axes=axes: x.transpose(axes), (2, 3, 4), dtype)
            for axes, dtype in [(None, F), ((1, 2, 0), C), ((-1, 0, 1), F)]
        ),
        (Transpose((-1, -2)), lambda x: x.swapaxes(1, 2), (2, 3, 4), C),
        (Transpose((2, 0)), lambda x: x.swapaxes(0, 2), (2, 3, 4), F),
        (Transpose(), lambda x: x, (), F),
    )


def test_flip_and_roll_are_those_of_numpy():
    agree(
        *((Flip(axis), lambda x, axis=axis: np.flip(x, axis), (2, 3, 4), F) for axis in (0, -1, (0, 2), None)),
        *(
            (Roll(shift, axis), lambda x, shift=shift, axis=axis: np.roll(x, shift, axis), (2, 3, 5), C)
            for shift, axis in [(1, 0), (-2, -1), ((1, 7), (1, 2)), (2, (0, 1))]
        ),
        (Roll(1, None), lambda x: np.roll(x, (1, 1), (0, 1)), (2, 3), F),
        (Roll(1, 0), lambda x: x, (1, 3), F),
        (Roll(1, 0), lambda x: x, (0, 3), F),
    )


def test_against_pylops():
    pylops = pytest.importorskip("pylops")
    dims = (3, 4)
    found = [(Flip(1), pylops.Flip(dims, axis=1)), (Roll(2, 0), pylops.Roll(dims, axis=0, shift=2))]
    agree(*((op, lambda x, P=P: (P @ x.ravel().astype(float)).reshape(dims).astype(F), dims, F) for op, P in found))


@pytest.mark.parametrize("op", [Transpose((1, 0)), Flip(0), Roll(1, -1)], ids=str)
def test_the_adjoint_is_the_inverse_and_knows_its_domain(op):
    for dtype in (F, np.int32, np.bool_):
        x = like(S((2, 3), dtype), 1)
        close(op.H(op(x)), x)
        close(op.inv(op(x)), x)


def test_derivatives():
    x = like(S((3, 2), C), 1)
    ops = {
        0: (Transpose(), jnp.transpose),
        1: (Flip(0), lambda x: x[::-1]),
        2: (Roll(1, 0), lambda x: jnp.roll(x, 1, 0)),
    }
    gradients = jax.jit(lambda x: {i: [jax.grad(lambda x, f=f: energy(f(x)))(x) for f in fs] for i, fs in ops.items()})
    for found, expected in gradients(x).values():
        close(found, expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Reshape((2, -1, -1)),
            ValueError,
            r"Reshape\.shape is \(2, -1, -1\); expected sizes, .* at most one is -1",
        ),
        (lambda: Reshape((2, -2)), ValueError, r"Reshape\.shape is -2; expected an integer from -1"),
        (
            lambda: Reshape((2, -1))(np.ones(3)),
            ValueError,
            r"Reshape\.shape \(2, -1\) does not fit .* \(3,\) with 3 entries",
        ),
        (lambda: Reshape((2, 2))(np.ones(3)), ValueError, r"Reshape\.shape \(2, 2\) does not fit"),
        (lambda: Reshape((0, -1))(np.ones(0)), ValueError, r"Reshape\.shape \(0, -1\) does not fit"),
        (lambda: Reshape(3).H(np.ones(3)), TypeError, r"Reshape\.H\(y\) needs .*with_domain"),
        (lambda: Transpose((0, 2))(np.ones((3, 3))), ValueError, r"Transpose\.axes \(0, 2\) are not distinct axes"),
        (lambda: Flip(2)(np.ones((3, 3))), ValueError, r"Flip\.axis \(2,\) are not distinct axes of .* \(3, 3\)"),
        (
            lambda: Roll((1, 2), 0),
            ValueError,
            r"Roll\.shift is \(1, 2\); expected one value, or one for each of the 1 axes",
        ),
        (lambda: Roll((1, 2), None)(np.ones((3, 3, 3))), ValueError, r"Roll\.shift is \(1, 2\); .* each of the 3 axes"),
        (lambda: Roll(1, (0, 0))(np.ones(3)), ValueError, r"Roll\.axis \(0, 0\) are not distinct axes"),
        (lambda: Roll(0.5, 0), TypeError, r"Roll\.shift is 0\.5; expected an integer"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
