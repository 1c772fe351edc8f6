"""Patches against sliding_window_view of NumPy, and the adjoint of PyLops' patches."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, agree, close, energy, like

from linops_jax.ops._patches import Patches

F, C = np.float32, np.complex64


def windows(size, step=1, axes=None):
    def extract(x):
        along = tuple(range(x.ndim)) if axes is None else axes if isinstance(axes, tuple) else (axes,)
        steps = step if isinstance(step, tuple) else (step,) * len(along)
        sizes = size if isinstance(size, tuple) else (size,) * len(along)
        places = {axis % x.ndim: step for axis, step in zip(along, steps, strict=True)}
        y = np.lib.stride_tricks.sliding_window_view(x, sizes, along)
        return y[tuple(slice(None, None, places.get(axis, 1)) for axis in range(x.ndim))]

    return extract


def test_patches_are_windows_of_numpy():
    cases = [
        ((3, 1), (5,), F),
        ((3, 2), (6,), F),  # a remainder of 1
        ((2, 3), (9,), C),  # gaps
        ((3, 3), (7,), F),
        ((4, 1), (4,), C),
        ((5, 2), (12,), F),
        ((1, 1), (3,), F),
        ((1, 4), (3,), F),
        (((2, 3), (1, 2)), (4, 6), F),
        ((2, 2, -1), (3, 5), C),
        (((2, 3), (2, 1), (-1, 0)), (4, 2, 5), F),
        ((2, 1, (0, 2)), (3, 2, 4), C),
    ]
    agree(*((Patches(*arguments), windows(*arguments), shape, dtype) for arguments, shape, dtype in cases))


def test_the_adjoint_is_the_forward_of_pylops_sliding():
    pylops = pytest.importorskip("pylops")
    P = pylops.signalprocessing.Sliding1D(pylops.Identity(4), 24, 14, 4, 2, tapertype=None)
    y = like(S((6, 4), F), 1)
    close(Patches(4, 2).with_domain(S((14,), F)).H(y), jnp.asarray((P @ np.float64(y)).astype(F)))


def test_double_precision_and_integers(x64):
    agree((Patches(3, 2), windows(3, 2), (6,), np.float64), (Patches(2), windows(2), (3,), np.complex128))
    close(Patches(2)(jnp.arange(3)), jnp.array([[0, 1], [1, 2]]))


def test_derivatives():
    x = like(S((7,), C), 1)
    i = 2 * np.arange(3)[:, None] + np.arange(3)
    pair = (Patches(3, 2), lambda x: x[i])
    close(*jax.jit(lambda x: [jax.hessian(lambda v, f=f: energy(f(v + x)))(x.real) for f in pair])(x))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Patches(0), r"Patches\.size is 0; expected an integer from 1"),
        (lambda: Patches(2, step=0), r"Patches\.step is 0; expected an integer from 1"),
        (
            lambda: Patches((2, 2), axes=0),
            r"Patches\.size is \(2, 2\); expected one value, or one for each of the 1 axes",
        ),
        (lambda: Patches(2, (1, 1))(np.ones(3)), r"Patches\.step is \(1, 1\); .* each of the 1 axes"),
        (lambda: Patches(2, axes=1)(np.ones(3)), r"Patches\.axes \(1,\) are not distinct axes"),
        (
            lambda: Patches(4)(np.ones((5, 3))),
            r"Patches\.size \(4,\) is larger than the axes .* an array of shape \(5, 3\)",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_adjoint_needs_the_domain():
    with pytest.raises(TypeError, match=r"Patches\.H\(y\) needs .*with_domain"):
        Patches(2).H(np.ones((2, 2)))


def test_an_empty_batch_has_empty_patches():
    assert Patches(2, axes=-1)(jnp.zeros((0, 5))).shape == (0, 4, 2)
