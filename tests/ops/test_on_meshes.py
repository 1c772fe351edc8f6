"""No gather between devices that plain JAX would not make: operators along one axis of an array that is split along another."""

import jax
import jax.numpy as jnp
import pytest

from linops_jax.ops._convolution import Convolution
from linops_jax.ops._differences import FirstDerivative
from linops_jax.ops._integration import CausalIntegration
from linops_jax.ops._padded import Downsample, Pad
from linops_jax.ops._patches import Patches
from linops_jax.ops._rearranged import Flip, Roll
from linops_jax.ops._selected import Mask, Permutation, Restriction

OPERATORS = [
    Restriction([1, 1, 3], 6),
    Permutation([1, 0, 2, 5, 4, 3]),
    Mask([True, False] * 3),
    Pad(1, axes=1),
    Patches(3, 2, axes=1),
    Downsample(2, axes=1),
    Flip(1),
    Roll(1, 0),
    FirstDerivative(1, edge=True),
    CausalIntegration(1, kind="half"),
    Convolution(jnp.ones(3), 1),
    Convolution(jnp.ones(20), 1, boundary="periodic", method="direct"),
]


@pytest.mark.parametrize("op", OPERATORS, ids=str)
def test_nothing_is_gathered(op):
    mesh = jax.make_mesh((4,), ("rows",), axis_types=(jax.sharding.AxisType.Auto,))
    rows = jax.NamedSharding(mesh, jax.P("rows"))
    split = lambda spec: jax.ShapeDtypeStruct(spec.shape, spec.dtype, sharding=rows)  # noqa: E731
    x = jax.ShapeDtypeStruct((8, 6), jnp.float32)
    fixed = op.with_domain(x)
    for function, spec in ((op, x), (fixed.H, fixed.codomain)):
        program = jax.jit(function, out_shardings=rows).lower(split(spec)).compile().as_text()
        assert "all-gather" not in program
        assert "all-reduce" not in program
