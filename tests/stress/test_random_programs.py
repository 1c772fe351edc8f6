"""100 random programs against their twins; run.py runs any number of others."""

import jax
import pytest
from stress import faults, programs, verdict

CHUNK = 10


@pytest.fixture(autouse=True)
def empty_caches():
    yield
    jax.clear_caches()


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 100, CHUNK), ids="seeds-from-{}".format)
def test_programs_and_their_twins(first):
    reports = []
    for seed in range(first, first + CHUNK):
        program = programs.draw(seed)
        try:
            verdict.check(program)
        except Exception as error:
            reports.append(verdict.report(seed, program, error))
    new = [report.text for report in reports if faults.known(report) is None]
    assert not new, "\n".join(new)


@pytest.mark.parametrize("kind", faults.KNOWN)
def test_known_faults_are_still_there(kind):
    text, program = faults.KNOWN[kind]
    with pytest.raises(Exception, match=text):
        verdict.check(program)  # no longer a fault? Then delete it in faults.py
