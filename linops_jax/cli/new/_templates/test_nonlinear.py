"""Every check of MyOperator, and a comparison with NumPy's polynomials."""

import jax
import linops_jax as lo
import numpy as np
import pytest

from .nonlinear_host import MyOperator


@pytest.fixture(autouse=True)
def double_precision():
    """Show mistakes that the rounding of single precision hides."""
    with jax.enable_x64(True):
        yield


@lo.testing.parametrize_operators([MyOperator])
def test_all_checks(check):
    check()


@pytest.mark.parametrize(("op", "spec"), [*MyOperator.examples()])
def test_against_a_polynomial(op, spec):
    """The checks cannot see a formula that is not the one you mean."""
    x, dx = random(spec, seed=0), random(spec, seed=1)
    polynomial = np.polynomial.Polynomial([0, 1, op.weight])
    slope = polynomial.deriv()(x)
    np.testing.assert_allclose(op(x), polynomial(x))
    np.testing.assert_allclose(op.jacobian(x)(dx), slope * dx)
    np.testing.assert_allclose(op.jacobian(x).H(dx), slope.conj() * dx)


def random(spec, seed):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=spec.shape) + 1j * rng.normal(size=spec.shape)
    return x if np.issubdtype(spec.dtype, np.complexfloating) else x.real
