"""Every check of this library on the operators that it ships."""

import pytest

import linops_jax as lo
from linops_jax import ops

pytestmark = pytest.mark.slow

OPERATORS = [getattr(ops, name) for name in ops.__all__]
OWN = [cls for cls in OPERATORS if "adjoint" in vars(cls)]


@pytest.mark.parametrize("cls", OWN, ids=lambda cls: cls.__name__)
def test_those_with_an_adjoint_of_their_own_pass_every_check(cls):
    """On the first of their examples. ``linops-jax check linops_jax.ops`` takes all, and those that JAX derives."""
    lo.check_operator(*next(iter(cls.examples())))


def test_there_are_such_operators():
    assert len(OWN) > 10
