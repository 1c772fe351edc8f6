"""Sum, Mean and Broadcast against NumPy."""

import numpy as np
import pytest
from helpers import agree

from linops_jax.ops._reductions import Broadcast, Mean, Sum

F, C = np.float32, np.complex64


def test_sum_and_mean_are_those_of_numpy():
    cases = [(0, (5,), F), (-1, (3, 4), C), ((0, -1), (2, 3, 4), F), (None, (2, 3), C), ((), (2, 3), F), (1, (2, 1), C)]
    agree(
        *((Sum(axis), lambda x, axis=axis: x.sum(axis), shape, dtype) for axis, shape, dtype in cases),
        *((Mean(axis), lambda x, axis=axis: x.mean(axis), shape, dtype) for axis, shape, dtype in cases),
        (Sum((1, 0), keepdims=True), lambda x: x.sum((0, 1), keepdims=True), (2, 3, 4), F),
        (Mean(-2, keepdims=True), lambda x: x.mean(-2, keepdims=True), (2, 3, 4), C),
        (Sum(0), lambda x: x.sum(0), (0, 3), F),
    )


def test_double_precision_is_kept(x64):
    agree(
        (Sum(0), lambda x: x.sum(0), (3, 2), np.complex128),
        (Mean(0), lambda x: x.mean(0), (3, 2), np.float64),
        (Mean(0), lambda x: x.mean(0), (3, 2), F),
        (Broadcast(0, 3), lambda x: np.stack([x] * 3), (2,), np.float64),
    )


def test_broadcast_is_numpys():
    agree(
        (Broadcast(0, 3), lambda x: np.broadcast_to(x, (3, 2)), (2,), F),
        (Broadcast(-1, 3), lambda x: np.broadcast_to(x[..., None], (2, 5, 3)), (2, 5), C),
        (Broadcast((2, 0), (3, 4)), lambda x: np.broadcast_to(x[None, :, None], (4, 2, 3)), (2,), F),
        (Broadcast((0, 1), 2), lambda x: np.broadcast_to(x, (2, 2)), (), C),
        (Broadcast(1, 3, keepdims=True), lambda x: np.broadcast_to(x, (2, 3, 4)), (2, 1, 4), F),
    )


def test_broadcast_is_the_adjoint_of_sum_and_knows_its_domain():
    y = np.arange(24, dtype=F).reshape(2, 3, 4)
    assert (Broadcast((0, -1), (2, 4)).H(y) == Sum((0, -1))(y)).all()
    assert Broadcast(0, 2, keepdims=True).H(y).shape == (1, 3, 4)
    assert Broadcast(0, 2).H(np.ones((2, 3), np.int32)).tolist() == [2, 2, 2]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Sum(2)(np.ones((3, 3))), ValueError, r"Sum\.axis \(2,\) are not distinct axes of .* \(3, 3\)"),
        (lambda: Sum((0, -2))(np.ones((3, 3))), ValueError, r"Sum\.axis \(0, -2\) are not distinct axes"),
        (lambda: Sum(0)((np.ones(3), np.ones(3))), TypeError, r"Sum takes one array, found tuple"),
        (lambda: Sum(0.5), TypeError, r"Sum\.axis is 0\.5; expected an integer"),
        (lambda: Mean(0)(np.ones((0, 3))), ValueError, r"Mean\.axis \(0,\): there is nothing to average .* \(0, 3\)"),
        (lambda: Mean(2)(np.ones(3)), ValueError, r"Mean\.axis \(2,\) are not distinct axes"),
        (lambda: Broadcast(0, -1), ValueError, r"Broadcast\.size is -1; expected an integer from 0"),
        (lambda: Broadcast((0, 1), (1, 2, 3)), ValueError, r"Broadcast\.size is \(1, 2, 3\); .* one for each of the 2"),
        (lambda: Broadcast(2, 3)(np.ones(3)), ValueError, r"Broadcast\.axis \(2,\) are not distinct axes"),
        (
            lambda: Broadcast(0, 3, keepdims=True)(np.ones(2)),
            ValueError,
            r"Broadcast with keepdims=True expects size 1 along axis -1, found 2 in an array of shape \(2,\)",
        ),
        (lambda: Broadcast(0, 3).H(np.ones(2)), ValueError, r"Broadcast\.H expects size 3 along axis -1, found 2"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
