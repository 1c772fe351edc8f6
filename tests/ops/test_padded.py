"""Pad, Crop and Downsample against NumPy."""

import numpy as np
import pytest
from helpers import S, agree, close, like

from linops_jax.ops._padded import Crop, Downsample, Pad

F, C = np.float32, np.complex64
WIDTHS = [1, (2, 0), [(1, 2)], [(0, 1), (2, 3)], [[1], [2]], np.array([1, 2])]


def test_pad_is_that_of_numpy():
    agree(
        *(
            (Pad(widths), lambda x, w=widths: np.pad(x, w), (3, 2), dtype)
            for widths, dtype in zip(WIDTHS, [F, C] * 3, strict=True)
        ),
        (Pad((1, 2), axes=-1), lambda x: np.pad(x, ((0, 0), (1, 2))), (3, 2), F),
        (Pad(((1, 2), (0, 3)), axes=(-1, 0)), lambda x: np.pad(x, ((0, 3), (0, 0), (1, 2))), (3, 1, 2), C),
        (Pad(1), lambda x: np.pad(x, 1), (0, 2), F),
        (Pad(0), lambda x: x, (2,), F),
    )


def test_crop_is_slicing_of_numpy():
    agree(
        (Crop(1), lambda x: x[1:-1, 1:-1], (4, 3), F),
        (Crop((0, 2), axes=0), lambda x: x[:-2], (5, 2), C),
        (Crop([(1, 0), (0, 1)], axes=(1, 0)), lambda x: x[:-1, 1:], (3, 4), C),
        (Crop(1), lambda x: x[1:-1], (2,), F),
    )


@pytest.mark.parametrize("widths", WIDTHS, ids=str)
def test_crop_and_pad_are_adjoint_and_know_their_domains(widths):
    x = like(S((7, 8), np.int32), 1)
    close(Crop(widths)(Pad(widths)(x)), x)
    close(Pad(widths).H(Pad(widths)(x)), x)
    close(Crop(widths).H(x), Pad(widths)(x))


def test_downsample_begins_with_the_first_entry():
    agree(
        *((Downsample(n), lambda x, n=n: x[::n], (size,), F) for n, size in [(1, 4), (2, 4), (2, 5), (3, 7), (9, 4)]),
        (Downsample((2, 3), axes=(-1, 0)), lambda x: x[::3, :, ::2], (4, 2, 5), C),
        (Downsample(2), lambda x: x[::2, ::2], (3, 4), C),
    )


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Pad(-1), ValueError, r"Pad\.widths is -1; expected an integer, a pair .* not negative"),
        (lambda: Pad((1, 2, 3)), ValueError, r"Pad\.widths is \(1, 2, 3\); expected"),
        (lambda: Pad(0.5), ValueError, r"Pad\.widths is 0\.5; expected"),
        (
            lambda: Pad([(1, 2)] * 2, axes=(0, 1, 2)),
            ValueError,
            r"Pad\.widths is .* a pair for each axis of \(0, 1, 2\)",
        ),
        (
            lambda: Pad([(1, 2)] * 2)(np.ones(3)),
            ValueError,
            r"Pad\.widths .* not a pair for each axis of an array of shape \(3,\)",
        ),
        (lambda: Pad(1, axes=1)(np.ones(3)), ValueError, r"Pad\.axes \(1,\) are not distinct axes"),
        (
            lambda: Pad(1).H(np.ones(1)),
            ValueError,
            r"Pad\.widths \(\(1, 1\),\) are wider than an array of shape \(1,\)",
        ),
        (
            lambda: Crop(2)(np.ones(3)),
            ValueError,
            r"Crop\.widths \(\(2, 2\),\) are wider than an array of shape \(3,\)",
        ),
        (lambda: Crop(-1), ValueError, r"Crop\.widths is -1"),
        (lambda: Downsample(0), ValueError, r"Downsample\.factor is 0; expected an integer from 1"),
        (lambda: Downsample((2, 2), axes=0), ValueError, r"Downsample\.factor is \(2, 2\); .* each of the 1 axes"),
        (lambda: Downsample(2, axes=1)(np.ones(3)), ValueError, r"Downsample\.axes \(1,\) are not distinct axes"),
        (lambda: Downsample(2).H(np.ones(3)), TypeError, r"Downsample\.H\(y\) needs .*with_domain"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
