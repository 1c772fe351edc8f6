"""At kinks: no convention that is in use is refused, and what is no derivative on any side is."""

import numpy as np
import pytest
from kinks import KINKS, POINTS, WRONG

import linops_jax as lo
from linops_jax.testing import Checkup
from linops_jax.testing.checks import check_jacobian

pytestmark = pytest.mark.usefixtures("x64")
SEEDS = 3


@pytest.mark.parametrize("name", KINKS)
@pytest.mark.parametrize("at", POINTS)
def test_conventions_are_no_false_alarms(name, at):
    for dtype in (np.float32, np.float64):
        x = lo.testing.with_dtype(KINKS[name], POINTS[at], dtype)
        for seed in range(SEEDS):
            check_jacobian(KINKS[name], x, seed=seed)


@pytest.mark.slow
@pytest.mark.parametrize("name", KINKS)
def test_nor_are_they_in_any_other_check(name):
    report = Checkup(KINKS[name], POINTS["some zeros"]).report()
    assert report.passed, report.summary


@pytest.mark.parametrize("name", WRONG)
def test_what_is_no_derivative_is_seen(name):
    op, x, message = WRONG[name]
    with pytest.raises(AssertionError, match=message):
        check_jacobian(op, x, seed=1)
