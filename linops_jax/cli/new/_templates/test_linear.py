"""Every check of MyOperator, and a comparison with a matrix written entry by entry."""

import jax
import linops_jax as lo
import numpy as np
import pytest

from .linear_host import MyOperator


@pytest.fixture(autouse=True)
def double_precision():
    """Show mistakes that the rounding of single precision hides."""
    with jax.enable_x64(True):
        yield


@lo.testing.parametrize_operators([MyOperator])
def test_all_checks(check):
    check()


@pytest.mark.parametrize(("op", "spec"), [*MyOperator.examples()])
def test_against_a_matrix(op, spec):
    """The checks cannot see a mistake that forward and adjoint share."""
    n = spec.shape[-1]
    matrix = np.zeros((n, n), spec.dtype)
    for i in range(n):
        matrix[i, i] += 1
        matrix[i, (i - op.shift) % n] += op.weight
    x = random(spec)
    np.testing.assert_allclose(op(x), x @ matrix.T)
    np.testing.assert_allclose(op.H(x), x @ matrix.conj())


def random(spec):
    rng = np.random.default_rng(0)
    x = rng.normal(size=spec.shape) + 1j * rng.normal(size=spec.shape)
    return x if np.issubdtype(spec.dtype, np.complexfloating) else x.real
