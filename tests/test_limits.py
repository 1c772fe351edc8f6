"""Where the library ends: each limit is an error that says so."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo

pytestmark = pytest.mark.newest


class Double(lo.LinearOperator):
    def apply(self, x):
        return jax.tree.map(lambda leaf: 2 * leaf, x)

    adjoint = apply

    def infer_shape(self, x):
        return x


def test_an_operator_needs_an_array():
    with pytest.raises(TypeError, match=r"Double\.apply needs at least one array as input"):
        Double()(())


def test_nested_vmaps_end_at_sixteen():
    def nested(n):
        return functools.reduce(lambda f, _: jax.vmap(f), range(n), Double())

    np.testing.assert_array_equal(nested(16)(jnp.ones((1,) * 16 + (2,))), np.full((1,) * 16 + (2,), 2.0))
    with pytest.raises(ValueError, match=r"more than 16 nested vmaps are not supported"):
        nested(17)(jnp.ones((1,) * 17 + (2,)))


def test_ranks_end_at_thirty_two():
    np.testing.assert_array_equal(Double()(jnp.ones((1,) * 32)), np.full((1,) * 32, 2.0))
    with pytest.raises(ValueError, match=r"arrays of rank 33 are not supported \(at most 32, batch axes included\)"):
        Double()(jnp.ones((1,) * 33))


def test_derived_adjoints_are_for_floating_arrays():
    class Reverse(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return x[::-1]

        def infer_adjoint_shape(self, y):
            return y

    np.testing.assert_array_equal(Reverse()(jnp.arange(3)), [2, 1, 0])
    with pytest.raises(
        NotImplementedError, match=r"Reverse\.adjoint: JAX derives adjoints for floating arrays only, not for int"
    ):
        Reverse().H(jnp.arange(3))
