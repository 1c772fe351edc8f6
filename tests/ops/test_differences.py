"""Finite differences against PyLops and NumPy."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pytest
from helpers import close, normal

import linops_jax as lo
from linops_jax.ops._differences import FirstDerivative, SecondDerivative
from linops_jax.ops._laplacian import Laplacian

SHAPE = (5, 6, 7)
KINDS = ["forward", "backward", "centered"]


def compare_with_pylops(pairs, dtype):
    """Forward and adjoint of pairs of our operator and theirs, in one program."""
    x, y = normal(SHAPE, dtype, 1), normal(SHAPE, dtype, 2)
    ours = jax.jit(lambda x, y: [(A(x), A.H(y)) for A, _ in pairs])(x, y)
    as_array = lambda values: jnp.asarray(values.reshape(SHAPE).astype(dtype))  # noqa: E731
    close(ours, [(as_array(P.matvec(x.ravel())), as_array(P.rmatvec(y.ravel()))) for _, P in pairs])


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_first_derivatives_are_those_of_pylops(dtype, x64):
    options = [(kind, edge, 3) for kind, edge in itertools.product(KINDS, [False, True])]
    options += [("centered", edge, 5) for edge in [False, True]]
    compare_with_pylops(
        [
            (
                FirstDerivative(axis, 0.3, kind, edge, order),
                pylops.FirstDerivative(SHAPE, axis, 0.3, kind, edge, order, dtype=dtype),
            )
            for axis, (kind, edge, order) in itertools.product([0, 1, -1], options)
        ],
        dtype,
    )


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
def test_second_derivatives_and_laplacians_are_those_of_pylops(dtype, x64):
    options = [*((kind, False) for kind in KINDS), ("centered", True)]
    pairs = [
        (SecondDerivative(axis, 0.3, kind, edge), pylops.SecondDerivative(SHAPE, axis, 0.3, kind, edge, dtype=dtype))
        for axis, (kind, edge) in itertools.product([0, -2, 2], options)
    ]
    for axes, steps, (kind, edge) in itertools.product([(0, 2), (-1, 1)], [(0.5, 2.0)], options):
        theirs = pylops.Laplacian(SHAPE, axes, (1, 1), steps, edge, kind, dtype=dtype)
        pairs.append((Laplacian(axes, steps, kind, edge), theirs))
    three = pylops.Laplacian(SHAPE, (0, 1, 2), (1, 1, 1), (1, 1, 1), dtype=dtype)
    compare_with_pylops([*pairs, (Laplacian(), three)], dtype)


@pytest.mark.parametrize("n", [1, 2, 3, 6])
def test_boundaries_are_those_of_numpys_pad_and_roll(n):
    x = normal((2, n), np.float32, 1)
    expected = {
        "zero": [np.pad(x, ((0, 0), (2, 2)))[:, 2 + i : 2 + i + n] for i in range(-2, 3)],
        "periodic": [np.roll(x, -i, -1) for i in range(-2, 3)],
    }
    for boundary, (twice_before, before, here, after, twice_after) in expected.items():
        first = {"forward": after - here, "backward": here - before, "centered": (after - before) / 2}
        second = {"forward": here - 2 * after + twice_after, "backward": twice_before - 2 * before + here}
        second["centered"] = before - 2 * here + after
        of_order_5 = (twice_before - 8 * before + 8 * after - twice_after) / 12
        found = jax.jit(
            lambda x, boundary=boundary: (
                {kind: FirstDerivative(kind=kind, boundary=boundary)(x) for kind in KINDS},
                {kind: SecondDerivative(kind=kind, boundary=boundary)(x) for kind in KINDS},
                FirstDerivative(order=5, boundary=boundary)(x),
            )
        )(x)
        for value, array in zip(jax.tree.leaves(found), jax.tree.leaves((first, second, of_order_5)), strict=True):
            np.testing.assert_allclose(value, array, atol=2e-6)  # some rows are zero


def test_symmetric_where_declared():
    for op in (SecondDerivative(boundary="zero"), SecondDerivative(0, boundary="periodic"), Laplacian(boundary="zero")):
        matrix = lo.todense(op, jnp.zeros((3, 4)))
        assert op.properties.symmetric
        close(matrix, matrix.T)
    assert not SecondDerivative().properties.symmetric
    assert not Laplacian(kind="forward", boundary="zero").properties.symmetric


def test_short_arrays_have_rows_of_zeros():
    for n in (0, 1, 2):
        x = jnp.ones((2, n))
        for op in (FirstDerivative(), FirstDerivative(order=5), SecondDerivative(kind="backward"), Laplacian(-1)):
            close(op(x), jnp.zeros((2, n)))
            close(op.H(x), jnp.zeros((2, n)))
    close(FirstDerivative(edge=True)(jnp.array([1.0, 3.0])), jnp.array([2.0, 2.0]))
    close(FirstDerivative(boundary="periodic")(jnp.ones((3, 0))), jnp.ones((3, 0)))


def test_integers_and_booleans_become_floats():
    close(FirstDerivative(kind="forward")(np.array([5, 2, 4], np.uint8)), jnp.array([-3.0, 2.0, 0.0]))
    close(SecondDerivative()(np.array([True, False, True])), jnp.array([0.0, 2.0, 0.0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: FirstDerivative(0.5), TypeError, r"FirstDerivative\.axis is 0\.5; expected an integer"),
        (
            lambda: FirstDerivative(2)(np.ones((2, 3))),
            ValueError,
            r"FirstDerivative\.axis 2 is not an axis of .*\(2, 3\)",
        ),
        (lambda: FirstDerivative()((np.ones(3),)), TypeError, r"FirstDerivative takes one array, found tuple"),
        (lambda: FirstDerivative(step=0), ValueError, r"FirstDerivative\.step is 0; expected a number above zero"),
        (lambda: FirstDerivative(step="1"), TypeError, r"FirstDerivative\.step is '1'; expected a number\."),
        (
            lambda: FirstDerivative(kind="central"),
            ValueError,
            r"FirstDerivative\.kind is 'central'; expected one of 'for",
        ),
        (lambda: FirstDerivative(order=4), ValueError, r"FirstDerivative\.order is 4; expected one of 3, 5"),
        (
            lambda: FirstDerivative(edge="yes"),
            ValueError,
            r"FirstDerivative\.edge is 'yes'; expected one of False, True",
        ),
        (
            lambda: FirstDerivative(edge=True, boundary="zero"),
            ValueError,
            r"FirstDerivative\.edge is True and FirstDerivative\.boundary is 'zero'; expected one of them only",
        ),
        (
            lambda: FirstDerivative(edge=True, order=5)(np.ones((9, 3))),
            ValueError,
            r"FirstDerivative\.edge=True needs at least 4 samples, found 3 along axis -1 of \(9, 3\)",
        ),
        (
            lambda: SecondDerivative(edge=True)(np.ones(2)),
            ValueError,
            r"SecondDerivative\.edge=True needs at least 3 sam",
        ),
        (
            lambda: SecondDerivative(boundary="edge"),
            ValueError,
            r"boundary is 'edge'; expected one of None, 'zero', 'per",
        ),
        (lambda: SecondDerivative(-2)(np.ones(3)), ValueError, r"SecondDerivative\.axis -2 is not an axis"),
        (lambda: Laplacian((0, -2))(np.ones((3, 3))), ValueError, r"Laplacian\.axes \(0, -2\) are not distinct axes"),
        (
            lambda: Laplacian()(np.float32(1)),
            ValueError,
            r"Laplacian\.axes is None for .*\(\); expected at least one axis",
        ),
        (
            lambda: Laplacian(step=(1, 2, 3))(np.ones((3, 3))),
            ValueError,
            r"Laplacian\.step is \(1\.0, 2\.0, 3\.0\); expected one value, or one for each of the 2 axes",
        ),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("op", "x", "expected"),
    [
        (lo.ops.SecondDerivative(step=300.0), np.float16([0, 0, 9000, 0, 0]), [0, 0.1, -0.2, 0.1, 0]),
        (lo.ops.Laplacian(step=300.0), np.float16([0, 0, 9000, 0, 0]), [0, 0.1, -0.2, 0.1, 0]),
        (lo.ops.SecondDerivative(step=1e-4), np.float16([0, 0, 1e-6, 0, 0]), [0, 100, -200, 100, 0]),
        (lo.ops.SecondDerivative(step=1e20), np.float32([0, 0, 1e30, 0, 0]), [0, 1e-10, -2e-10, 1e-10, 0]),
        (lo.ops.FirstDerivative(step=1e5), np.float16([0, 0, 9000, 0, 0]), [0, 0.045, 0, -0.045, 0]),
        (lo.ops.CausalIntegration(step=1e5), np.full(3, 1e-2, np.float16), [1e3, 2e3, 3e3]),
    ],
    ids=str,
)
def test_steps_that_the_dtype_does_not_have(op, x, expected):
    y = jax.jit(op)(x)
    assert y.dtype == x.dtype
    np.testing.assert_allclose(y, expected, rtol=0.02 if x.dtype == np.float16 else 1e-6)
