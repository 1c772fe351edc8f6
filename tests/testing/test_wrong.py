"""The proof of the proof: each operator that is wrong on purpose is caught, once, by the check that explains it."""

import re
import warnings

import jax
import numpy as np
import pytest
import wrong_functionals as wrong_functionals  # joins WRONG
import wrong_mixed as wrong_mixed  # so does this
from wrong import BROKEN, WRONG

import linops_jax as lo
from linops_jax.testing import CheckError, Checkup
from linops_jax.testing.checks import CHECKS

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def double_precision(x64):
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_there_are_enough():
    assert len(WRONG) >= 40


@pytest.mark.parametrize("name", WRONG)
def test_wrong_operators_are_caught_once(name):
    op, x, check, message = WRONG[name]
    report = Checkup(op, x).report()
    failures = {outcome.name: outcome.message for outcome in report.failures}
    assert list(failures) == [check], failures
    assert re.search(message, failures[check], re.DOTALL), failures[check]


@pytest.mark.parametrize("name", list(WRONG)[::4])
def test_each_check_alone_catches_what_is_its_own(name):
    op, x, check, message = WRONG[name]
    checks = dict(lo.operator_checks(op, x))
    with pytest.raises(Exception, match=r".") as caught:
        checks[check]()
    assert not isinstance(caught.value, CheckError)
    notes = "".join(f" [{note}]" for note in getattr(caught.value, "__notes__", ()))
    assert re.search(message, f"{type(caught.value).__name__}: {caught.value}{notes}", re.DOTALL)


@pytest.mark.parametrize("check", BROKEN)
def test_broken_by_the_library_itself(check):
    op, x, message = BROKEN[check]
    with pytest.raises(AssertionError, match=rf"(?s){message}"):
        CHECKS[check](op, x)


def test_every_check_can_fail():
    assert set(CHECKS) == {check for _, _, check, _ in WRONG.values()} | set(BROKEN)


def test_check_operator_lists_what_failed():
    op, x, *_ = WRONG["MissingFactor"]
    with pytest.raises(
        CheckError, match=r"(?s)MissingFactor\(.*fails 1 of \d+ checks:\n  adjoint: <A u, v> = "
    ) as caught:
        lo.check_operator(op, x)
    assert not caught.value.report.passed
    assert "not run" in str(caught.value.report)


def test_seeds_do_not_matter():
    for name in ("MissingFactor", "OneWrongEntry", "MissingConjugate", "WrongJacobian"):
        op, x, check, _ = WRONG[name]
        for seed in range(20):
            report = Checkup(op, x, seed=seed)
            assert report.outcome(check).status == "failed"
    assert jax.config.jax_enable_x64
