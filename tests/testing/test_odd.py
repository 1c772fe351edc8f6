"""Right operators of odd kinds pass every check."""

import numpy as np
import pytest
from odd import ODD

from linops_jax.testing import Checkup

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.slow]


@pytest.mark.parametrize("name", ODD)
@pytest.mark.parametrize("seed", [0, 1])
def test_no_check_refuses(name, seed):
    op, x = ODD[name]
    with np.errstate(all="ignore"):
        report = Checkup(op, x, seed=seed).report()
    assert report.passed, report.summary


def test_what_is_inside_of_a_traced_hook_says_what_can_be_checked():
    checks = {name: set(Checkup(*ODD[name]).checks) for name in ODD}
    assert {"jacobian", "jacobian_adjoint", "grads"} <= checks["WithoutHessianInside"]
    assert "jacobian" not in checks["ReverseInside"]
    assert "pullback" in checks["ReverseInside"]
    assert "adjoint" not in checks["ForwardOnlyInside"]
    assert {"symmetric", "positive"} <= checks["ForwardOnlyPositive"]
