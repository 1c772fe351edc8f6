"""`@lo.testing.parametrize_operators`: one pytest item per operator and check."""

import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET

import jax
import numpy as np
import pytest

import linops_jax as lo
from linops_jax.testing import parametrize_operators

pytestmark = pytest.mark.slow

SPEC = jax.ShapeDtypeStruct((3,), np.float32)


class Twice(lo.LinearOperator):
    def apply(self, x):
        return 2 * x

    def adjoint(self, y):
        return 2 * y

    def infer_shape(self, x):
        return x


class WithExamples(Twice):
    @classmethod
    def examples(cls):
        yield cls().with_domain(SPEC)


# ---- as users write it --------------------------------------------------------------------------------------------------


@parametrize_operators([(Twice(), np.ones(2, np.float32)), WithExamples])
def test_operators(operator, check):
    assert isinstance(operator, lo.LinearOperator)
    check()


class TestInAClass:
    @parametrize_operators([(Twice(), SPEC)], seed=7)
    def test_operators(self, check, tmp_path):
        check()


@parametrize_operators([(lo.Diagonal(np.ones(3)), jax.ShapeDtypeStruct((3,), np.float64))])
def test_x64_is_that_of_the_test(op, check, x64):
    assert "f64" in repr(check._case.checkup().subject)
    check()


# ---- what pytest sees ---------------------------------------------------------------------------------------------------

FILE = """
import jax, numpy as np, pytest
import linops_jax as lo

SPEC = jax.ShapeDtypeStruct((3,), np.float32)


class Right(lo.LinearOperator):
    def apply(self, x): return 2 * x
    def adjoint(self, y): return 2 * y
    def infer_shape(self, x): return x


class Wrong(Right):
    def adjoint(self, y): return 4 * y


class Raises(Right):
    def apply(self, x): raise KeyError("kernel")


@lo.testing.parametrize_operators([(Right(), SPEC), (Right(), SPEC), (Wrong(), SPEC)])
def test_plain(operator, check):
    check()


@lo.testing.parametrize_operators([(Wrong(), SPEC)], expected_failures={"adjoint": "known", "promises": "fixed"})
def test_expected(check):
    check()


@lo.testing.parametrize_operators([(Raises(), SPEC)])
def test_raises(op, check):
    check()
"""


def run_pytest(folder, *arguments):
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH", "LINOPS"))
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=kept, capture_output=True, text=True, timeout=120, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "test_file.py").write_text(textwrap.dedent(FILE))
    return folder


@pytest.fixture(scope="module")
def items(folder):
    """Outcome and text of each item of one run."""
    done = run_pytest(folder, "--junit-xml", folder / "junit.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    outcomes = {}
    for case in ET.parse(folder / "junit.xml").iter("testcase"):
        result = next(iter(case), None)
        kind = "passed" if result is None else result.get("type", "").removeprefix("pytest.") or result.tag
        outcomes[case.get("name")] = (kind, "" if result is None else f"{result.get('message')} {result.text}")
    return outcomes


def outcome(items, start):
    return {name.partition("-")[2][:-1]: value for name, value in items.items() if name.startswith(start)}


def test_ids_name_operator_and_check(items):
    first, second = outcome(items, "test_plain[Right0-"), outcome(items, "test_plain[Right1-")
    assert list(first) == list(second)
    assert {"promises", "linear", "adjoint", "dense_adjoint", "jit"} <= set(first)
    assert {kind for kind, _ in (*first.values(), *second.values())} == {"passed"}


def test_a_wrong_operator_fails_once_and_skips_what_says_nothing_new(items):
    checks = outcome(items, "test_plain[Wrong-")
    assert [name for name, (kind, _) in checks.items() if kind == "failure"] == ["adjoint"]
    assert "AssertionError: Wrong(): <A u, v> = " in checks["adjoint"][1]
    assert "2 times <A u, v> in every probe" in checks["adjoint"][1]
    assert checks["dense_adjoint"][0] == "skip"
    assert "adjoint has failed" in checks["dense_adjoint"][1]


def test_expected_failures_are_strict(items):
    checks = outcome(items, "test_expected[Wrong-")
    assert checks["adjoint"][0] == "xfail"
    assert "known" in checks["adjoint"][1]
    assert checks["promises"][0] == "failure"
    assert "[XPASS(strict)] fixed" in checks["promises"][1]
    assert checks["dense_adjoint"][0] == "skip"
    assert checks["linear"][0] == "passed"


def test_an_exception_of_a_hook_is_the_cause(items):
    kind, text = outcome(items, "test_raises[Raises-")["promises"]
    assert kind == "failure"
    assert "Raises(): KeyError: 'kernel' [Raises.apply failed]" in text
    assert 'def apply(self, x): raise KeyError("kernel")' in text


def test_k_picks_operator_and_check(folder):
    done = run_pytest(folder, "-v", "-k", "Right0 and adjoint and not dense")
    assert done.returncode == 0
    ran = [line.partition(" ")[0] for line in done.stdout.splitlines() if " PASSED " in line]
    assert "test_file.py::test_plain[Right0-adjoint]" in ran
    assert all(name.startswith("test_file.py::test_plain[Right0-") and "adjoint" in name for name in ran)


# ---- what is refused ----------------------------------------------------------------------------------------------------


class NoExamples(Twice):
    pass


class BrokenExamples(Twice):
    @classmethod
    def examples(cls):
        message = "no kernel"
        raise OSError(message)


@pytest.mark.parametrize(
    ("operators", "kind", "message"),
    [
        ([], ValueError, "no operators were given"),
        ([3], TypeError, r"takes \(operator, x\) pairs, .* found 3\."),
        ([(Twice(), SPEC, SPEC)], TypeError, r"takes \(operator, x\) pairs"),
        ([int], TypeError, r"found <class 'int'>"),
        ([Twice()], TypeError, r"parametrize_operators\(Twice\(\)\) needs to know the input"),
        (
            [NoExamples],
            TypeError,
            r"NoExamples has no examples\(\)\. Add the classmethod, or pass \(operator, x\) pairs",
        ),
        ([BrokenExamples], OSError, "no kernel"),
    ],
)
def test_bad_operators(operators, kind, message):
    with pytest.raises(kind, match=message):
        parametrize_operators(operators)


def test_unknown_names_in_expected_failures():
    with pytest.raises(ValueError, match=r"expected_failures names ajoint, taylor; the checks are promises, .*adjoint"):
        parametrize_operators(
            [(Twice(), SPEC)], expected_failures={"ajoint": "typo", "adjoint": "", "taylor": "nonlinear"}
        )


def test_the_test_must_take_check():
    with pytest.raises(TypeError, match="test_it must take `check`, and may take `operator`"):

        @parametrize_operators([(Twice(), SPEC)])
        def test_it(operator):
            pass
