"""Causal integration against PyLops and NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pytest
from helpers import close, normal

from linops_jax.ops._integration import CausalIntegration, RunningSum

KINDS = ["full", "half", "trapezoidal"]


@pytest.mark.parametrize("dtype", [np.float32, np.complex128])
@pytest.mark.parametrize("shape", [(1,), (2, 5), (5, 2), (3, 8, 9)], ids=str)
def test_integrals_are_those_of_pylops(shape, dtype, x64):
    x, y = normal(shape, dtype, 1), normal(shape, dtype, 2)
    cases = [(axis, kind) for axis in (0, -1) for kind in KINDS]

    @jax.jit
    def found(x, y):
        return [(A(x), A.H(y)) for axis, kind in cases for A in [CausalIntegration(axis, 0.3, kind)]]

    def expected(axis, kind):
        theirs = pylops.CausalIntegration(shape, axis, 0.3, kind, dtype=dtype)
        pair = theirs.matvec(x.ravel()), theirs.rmatvec(y.ravel())
        return tuple(jnp.asarray(values.reshape(shape).astype(dtype)) for values in pair)

    close(found(x, y), [expected(axis, kind) for axis, kind in cases])


def test_rows_in_batches_and_in_xla():
    """Rows of many sums are added one by one, and other platforms have XLA's sums."""
    x = normal((2, 3, 5, 64), np.float32, 1)
    op = RunningSum(-2)
    sums, back = jnp.cumsum(x, 2), jnp.flip(jnp.cumsum(jnp.flip(x, 2), 2), 2)
    close((jax.vmap(jax.vmap(op))(x), jax.vmap(op.H, 1, 1)(x)), (sums, back))
    close((RunningSum.apply.traced(op, x), RunningSum.adjoint.traced(op, x)), (sums, back))


def test_empty_arrays_integers_and_booleans():
    for kind in KINDS:
        assert CausalIntegration(kind=kind)(jnp.ones((2, 0))).shape == (2, 0)
    close(CausalIntegration()(np.array([True, True, False])), jnp.array([1.0, 2.0, 2.0]))
    close(CausalIntegration(kind="half")(np.arange(3, dtype=np.uint8)), jnp.array([0.0, 0.5, 2.0]))


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: CausalIntegration(None), TypeError, r"CausalIntegration\.axis is None; expected an integer"),
        (lambda: CausalIntegration(1)(np.ones(3)), ValueError, r"CausalIntegration\.axis 1 is not an axis of .*\(3,\)"),
        (
            lambda: CausalIntegration(step=-1.0),
            ValueError,
            r"CausalIntegration\.step is -1\.0; expected a number above",
        ),
        (
            lambda: CausalIntegration(kind="third"),
            ValueError,
            r"kind is 'third'; expected one of 'full', 'half', 'trap",
        ),
        (lambda: CausalIntegration()((np.ones(3),)), TypeError, r"CausalIntegration takes one array, found tuple"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
