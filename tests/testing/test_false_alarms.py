"""A right operator never fails: over a generated family, 10 seeds each."""

import jax
import pytest
from right import FAMILY

from linops_jax.testing import Checkup, checks
from linops_jax.testing._subject import Subject

SEEDS = 10
OF_THE_SEED = (
    *(checks.check_linear, checks.check_adjoint, checks.check_gram, checks.check_inverse, checks.check_inverse_adjoint),
    *(checks.check_jacobian, checks.check_jacobian_linear, checks.check_jacobian_adjoint),
)  # those with random probes and a tolerance

pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.slow]


def test_the_family_is_large():
    assert len(FAMILY) >= 200


def elements(spec):
    return sum(leaf.size for leaf in jax.tree.leaves(spec))


@pytest.mark.parametrize("name", FAMILY)
def test_no_false_alarm_in_any_seed(name):
    op, spec = FAMILY[name]()
    chosen = [check for check in OF_THE_SEED if check.applies(Subject(op, spec))]
    assert chosen
    for seed in range(SEEDS):
        for check in chosen:
            check(op, spec, seed=seed)


SMALL = [name for name in FAMILY if elements(FAMILY[name]()[1]) <= 30]


@pytest.mark.parametrize("name", SMALL[::20])  # dtypes take turns
def test_no_false_alarm_in_any_check(name):
    report = Checkup(*FAMILY[name]()).report()
    assert report.passed, report.summary
