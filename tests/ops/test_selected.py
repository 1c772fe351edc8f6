"""Restriction, Permutation and Mask against NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, agree, close, energy, like

import linops_jax as lo
from linops_jax.ops._selected import Mask, Permutation, Restriction

F, C = np.float32, np.complex64


def test_restriction_is_take_of_numpy():
    agree(
        *(
            (Restriction(indices, 5, axis), lambda x, i=indices, axis=axis: np.take(x, i, axis), shape, dtype)
            for indices, axis, shape, dtype in [
                ([1, 1, 3], -1, (5,), F),
                ([4, 0, -1], -1, (2, 5), C),
                ([-5, 2], 0, (5, 3), F),
                ([2, 2, 2, 0, 1, 4], 1, (2, 5, 3), C),
            ]
        ),
        (Restriction([], 5), lambda x: x[..., :0], (2, 5), F),
        (Restriction(np.int8([-1, 3]), 300, axis=0), lambda x: x[[-1, 3]], (300, 1), F),
        (Restriction(np.uint8([200]), 300), lambda x: x[200:201], (300,), F),
    )


def test_repeated_indices_are_added_up_as_in_pylops():
    pylops = pytest.importorskip("pylops")
    P = pylops.Restriction((2, 5), [1, 1, 3], axis=-1, dtype=F)
    y = np.arange(6, dtype=F).reshape(2, 3)
    close(Restriction([1, 1, 3], 5).H(y), jnp.asarray(P.H @ y))
    assert Restriction([1, 1, 3], 5).H(np.ones(3, np.int32)).tolist() == [0, 2, 0, 1, 0]


def test_permutation_is_indexing_of_numpy():
    p = [2, 0, 3, 1]
    agree(
        (Permutation(p), lambda x: x[..., p], (2, 4), F),
        (Permutation(np.array(p), axis=0), lambda x: x[p], (4, 3), C),
        (Permutation([-1, 0]), lambda x: x[::-1], (2,), F),
    )
    x = jnp.arange(8).reshape(2, 4)
    close(Permutation(p).inv(Permutation(p)(x)), x)


def test_mask_is_where_of_numpy():
    rows, entries = np.array([[True], [False]]), np.arange(6).reshape(2, 3) % 2 == 0
    agree(
        *(
            (Mask(mask), lambda x, mask=mask: np.where(mask, x, x.dtype.type(0)), shape, dtype)
            for mask, shape, dtype in [(entries, (2, 3), F), (entries, (4, 2, 3), C), (rows, (2, 3), F)]
        )
    )
    assert Mask(jnp.array([True, False]))(jnp.array([1.0, jnp.nan])).tolist() == [1.0, 0.0]
    assert Mask([True, False]).H(np.array([3, 4])).tolist() == [3, 0]


def test_the_gram_of_a_mask_is_one_mask():
    mask, x = jnp.array([True, False, True]), jnp.arange(3.0)
    program = str(jax.make_jaxpr(lambda x: Mask(mask).gram(x))(x))
    assert program.count("select_n") == 1
    close((Mask(mask).H @ Mask(mask))(x), Mask(mask)(x))


def test_indices_and_masks_are_batched_and_are_arguments_of_programs():
    x, y = like(S((5,), F), 1), like(S((3,), F), 2)
    rows = jnp.array([[1, -1, 1], [0, 4, 2]])
    found = jax.jit(jax.vmap(lambda i, x, y: (Restriction(i, 5)(x), Restriction(i, 5).H(y)), (0, None, None)))(
        rows, x, y
    )
    close(found, (x[rows], jnp.stack([jnp.zeros(5).at[i].add(y) for i in rows])))
    orders = jnp.array([[2, 0, 1], [0, 2, 1]])
    found = jax.jit(jax.vmap(lambda p, y: (Permutation(p)(y), Permutation(p).H(y)), (0, None)))(orders, y)
    close(found, (y[orders], jnp.stack([jnp.zeros(3).at[p].set(y) for p in orders])))
    close(jax.jit(lambda A, x: A(x))(Restriction([1, 1], 5), x), x[jnp.array([1, 1])])


def test_derivatives():
    x = like(S((2, 5), C), 1)
    i, mask = jnp.array([1, 1, 3]), jnp.array([True, False, True, True, False])
    pairs = [(Restriction(i, 5), lambda x: x[:, i]), (Mask(mask), lambda x: jnp.where(mask[None], x, 0))]
    gradients = jax.jit(lambda x: [[jax.grad(lambda x, f=f: energy(f(x)))(x) for f in pair] for pair in pairs])
    for found, expected in gradients(x):
        close(found, expected)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: Restriction([0, 5], 5),
            ValueError,
            r"Restriction\.indices holds 5, which is not an index of an axis of size 5",
        ),
        (lambda: Restriction([-6], 5), ValueError, r"Restriction\.indices holds -6, which is not an index"),
        (lambda: Restriction([0.5], 5), TypeError, r"Restriction\.indices holds float64; expected integers"),
        (lambda: Restriction([True, False], 2), TypeError, r"Restriction\.indices holds bool; expected integers"),
        (lambda: Restriction([[0]], 5), ValueError, r"Restriction\.indices has shape \(1, 1\); expected 1 axis"),
        (lambda: Restriction([0], -1), ValueError, r"Restriction\.size is -1; expected an integer from 0"),
        (
            lambda: Restriction([0], 5)(np.ones(4)),
            ValueError,
            r"Restriction expects size 5 along axis -1, found 4 in .* \(4,\)",
        ),
        (
            lambda: Restriction([0], 5).H(np.ones(2)),
            ValueError,
            r"Restriction\.H expects size 1 along axis -1, found 2",
        ),
        (
            lambda: Restriction([0], 5, 1)(np.ones(5)),
            ValueError,
            r"Restriction\.axis 1 is not an axis of an array of shape \(5,\)",
        ),
        (lambda: Permutation([0, 0]), ValueError, r"Permutation\.indices is \[0, 0\]; expected each of 0 to 1 once"),
        (
            lambda: Permutation([0, 2]),
            ValueError,
            r"Permutation\.indices holds 2, which is not an index of an axis of size 2",
        ),
        (lambda: Permutation([0, 1])(np.ones(3)), ValueError, r"Permutation expects size 2 along axis -1, found 3"),
        (lambda: Mask([0, 1]), TypeError, r"Mask\.mask holds int32; expected an array of booleans"),
        (lambda: Mask([lo.Identity()]), TypeError, r"Mask\.mask expects an array"),
        (
            lambda: Mask([[True], [False]])(np.ones(2)),
            ValueError,
            r"Mask\.mask has shape \(2, 1\), which does not broadcast",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
