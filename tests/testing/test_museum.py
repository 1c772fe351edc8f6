"""Mistakes that other projects have shipped: what the checks say of each, and that they pass what it should have been."""

import warnings

import numpy as np
import pytest
from museum import (
    COMPILING,
    EXPECTED_MISLED,
    EXPECTED_REFUSED,
    EXPECTED_UNNAMED,
    EXPECTED_UNSEEN,
    MUSEUM,
    examined,
    expected,
    verdict,
)

import linops_jax as lo
from linops_jax.testing.checks import CHECKS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def double_precision(x64):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_there_are_enough():
    assert len(MUSEUM) >= 40
    assert len({exhibit.project for exhibit in MUSEUM.values()}) >= 20


def test_the_lists_are_of_this_museum():
    seen = [*EXPECTED_UNSEEN, *EXPECTED_UNNAMED, *EXPECTED_MISLED]
    assert len(seen) == len(set(seen))
    assert {*seen, *EXPECTED_REFUSED} <= set(MUSEUM)
    assert set(CHECKS) >= COMPILING


@pytest.mark.parametrize("name", MUSEUM)
def test_mistakes_are_seen_and_their_twins_pass(name):
    wrong, right = examined(name)
    assert verdict(name, wrong) == expected(name), wrong.summary
    assert right.passed == (name not in EXPECTED_REFUSED), right.summary


@pytest.mark.parametrize("name", ["MatrixTransposed", "ComplexMapTransposed", "AtTheWrongPoint"])
def test_check_operator_refuses(name):
    exhibit = MUSEUM[name]
    with pytest.raises(lo.testing.CheckError, match=exhibit.cause):
        lo.check_operator(exhibit.wrong, exhibit.x)
    assert lo.check_operator(exhibit.right, exhibit.x)
