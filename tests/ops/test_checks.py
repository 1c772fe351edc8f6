"""Every check of this library on every operator that it ships."""

import pytest

import linops_jax as lo
from linops_jax import ops

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", ops.__all__)
def test_shipped_operators_pass_every_check(name):
    """On the first of their examples; ``linops-jax check linops_jax.ops`` takes all."""
    lo.check_operator(*next(iter(getattr(ops, name).examples())))
