"""`pytest --linops TARGET`, in processes and folders of its own: a package without a line of test code."""

import importlib.util
import os
import subprocess
import sys
import textwrap
import xml.etree.ElementTree as ET

import pytest

pytestmark = pytest.mark.slow

OPERATORS = """
import jax, numpy as np, linops_jax as lo
from linops_jax import FFT


class Good(lo.LinearOperator):
    def apply(self, x): return 2 * x
    def adjoint(self, y): return 2 * y
    def infer_shape(self, x): return x
    @classmethod
    def examples(cls): yield cls(), jax.ShapeDtypeStruct((3,), np.float32)


class Wrong(Good):
    def adjoint(self, y): return 4 * y


class Fails(Good):
    def apply(self, x): raise KeyError("kernel")
"""
PACKAGE = {
    "pack/__init__.py": "from pack.good import Good\n",
    "pack/good.py": OPERATORS.partition("class Wrong")[0],
    "pack/wrong.py": """
        import jax, numpy as np, linops_jax as lo
        from linops_jax import FFT
        from pack.good import Good

        class Wrong(Good):
            def adjoint(self, y): return 4 * y

        class Fails(Good):
            def apply(self, x): raise KeyError("kernel")
        """,
    "pack/doubles.py": """
        import jax, numpy as np, linops_jax as lo

        class Doubles(lo.LinearOperator):  # only with x64 is its promise a double
            def apply(self, x): return np.float64(2) * x
            def adjoint(self, y): return 2 * y
            def infer_shape(self, x): return jax.ShapeDtypeStruct(x.shape, np.float64)
            @classmethod
            def examples(cls):
                yield cls().with_domain(jax.ShapeDtypeStruct((2,), np.float64))
                yield cls(), np.arange(1.0, 5.0)

        def test_not_collected(): raise AssertionError
        """,
    "pack/others.py": """
        import jax, numpy as np, linops_jax as lo
        from .good import Good

        class Without(lo.LinearOperator):
            def apply(self, x): return x
            def adjoint(self, y): return y
            def infer_shape(self, x): return x

        class Raises(Good):
            @classmethod
            def examples(cls): raise FileNotFoundError("kernel.npy")

        class Nonsense(Good):
            @classmethod
            def examples(cls): yield "Nonsense()"

        class NoInput(Good):
            @classmethod
            def examples(cls): yield cls()
        """,
    "pack/extra.py": "import no_such_package\n",
    "test_here.py": "def test_beside(): pass\n",
}
NODES = {
    "good.Good",
    "wrong.Wrong",
    "wrong.Fails",
    "doubles.Doubles",
    "others.Raises",
    "others.Nonsense",
    "others.NoInput",
}


def run_pytest(folder, *arguments, timeout=120, **environment):
    """The output and the exit code of pytest in a folder, without this project's settings."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTEST", "PYTHONPATH", "LINOPS"))
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-W", "ignore", *map(str, arguments)]
    return subprocess.run(
        command, cwd=folder, env={**kept, **environment}, capture_output=True, text=True, timeout=timeout, check=False
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name, text in PACKAGE.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(textwrap.dedent(text))
    (folder / "shadow").mkdir()
    (folder / "shadow" / "operator.py").write_text(OPERATORS)
    return folder


@pytest.fixture(scope="module")
def outcomes(folder):
    """One run over the whole package: the process, and its items from the JUnit file."""
    done = run_pytest(folder, "--linops", "pack", "--junit-xml", folder / "junit.xml", "-rsf")
    items = {}
    for case in ET.parse(folder / "junit.xml").iter("testcase"):
        result = next(iter(case), None)
        name = f"{case.get('classname').removeprefix('pack.')}::{case.get('name')}"
        items[name] = ("passed", "") if result is None else (result.tag, f"{result.get('message')} {result.text}")
    return done, items


def of(items, name):
    return {key.partition("::")[2]: value for key, value in items.items() if key.startswith(f"{name}::")}


# ---- one run ------------------------------------------------------------------------------------------------------------


def test_every_class_is_collected_once_and_nothing_else(outcomes):
    done, items = outcomes
    assert {key.partition("::")[0] for key in items} == NODES
    assert f"collected {len(items)} items" in done.stdout
    assert done.returncode == 1


def test_a_right_operator_passes_every_check(outcomes):
    checks = of(outcomes[1], "good.Good")
    assert {"promises", "linear", "adjoint", "dense_adjoint", "jit", "vmap", "jvp"} <= set(checks)
    assert {status for status, _ in checks.values()} == {"passed"}


def test_a_wrong_adjoint_fails_once_with_its_cause(outcomes):
    done, items = outcomes
    checks = of(items, "wrong.Wrong")
    assert {name for name, (status, _) in checks.items() if status == "failure"} == {"adjoint"}
    assert "<u, A^H v> is 2 times <A u, v> in every probe" in checks["adjoint"][1]
    assert "adjoint has failed" in checks["dense_adjoint"][1]
    assert checks["dense_adjoint"][0] == "skipped"
    assert "FAILED pack.wrong.Wrong::adjoint - <A u, v> = " in done.stdout
    report = done.stdout.partition("_ pack.wrong.Wrong::adjoint _")[2].partition("\n_")[0]
    assert "Traceback" not in report
    assert ".py:" not in report
    assert "Wrong() on f32[3]" in report


def test_an_exception_of_a_hook_keeps_its_line(outcomes):
    checks = of(outcomes[1], "wrong.Fails")
    status, text = checks["promises"]
    assert status == "failure"
    assert "KeyError: 'kernel'" in text
    assert "Fails.apply failed" in text
    assert 'def apply(self, x): raise KeyError("kernel")' in text


def test_items_run_with_x64_and_examples_of_every_form(outcomes):
    checks = of(outcomes[1], "doubles.Doubles")
    assert {name.partition("[")[2] for name in checks} == {"0]", "1]"}
    assert {status for status, _ in checks.values()} == {"passed"}
    assert "promises[1]" in checks


def test_bad_examples_are_failing_items(outcomes):
    _, items = outcomes
    ((name, (status, text)),) = of(items, "others.Raises").items()
    assert (name, status) == ("examples", "failure")
    assert "FileNotFoundError: kernel.npy" in text
    assert "others.py:12" in text
    assert "Nonsense.examples() must yield (operator, spec) pairs, it yielded 'Nonsense()'" in str(
        of(items, "others.Nonsense")
    )
    ((name, (status, text)),) = of(items, "others.NoInput").items()
    assert (name, status) == ("examples[0]", "failure")
    assert "needs to know the input: pass specs or example arrays, or fix the domain with with_domain(spec)" in text


def test_what_was_not_checked_is_listed(outcomes):
    done, _ = outcomes
    section = done.stdout.partition("operators not checked")[2]
    assert "pack.others.Without: it has no examples()" in section
    assert "pack.extra: it needs no_such_package, which is not installed" in section


# ---- other runs ---------------------------------------------------------------------------------------------------------


def test_strict(folder):
    done = run_pytest(folder, "--linops", "pack.others::Without", "--linops-strict")
    assert done.returncode == 1
    message = "it has no examples(): add a classmethod that yields (operator, spec) pairs, and it is checked"
    assert message in done.stdout
    assert "FAILED pack.others.Without::examples" in done.stdout
    assert "1 failed" in done.stdout
    assert "operators not checked" not in done.stdout
    done = run_pytest(folder, "--linops", "pack.others::Without")
    assert (done.returncode, "no tests ran" in done.stdout) == (pytest.ExitCode.NO_TESTS_COLLECTED, True)


def test_collect_only_and_k(folder):
    done = run_pytest(folder, "--linops", "pack", "--collect-only", "-q", "-k", "Fails and promises or Good and jit")
    assert done.returncode == 0
    assert done.stdout.splitlines()[:2] == ["pack.good.Good::jit", "pack.wrong.Fails::promises"]
    assert "2/" in done.stdout
    assert "deselected" in done.stdout


def test_with_a_path_both_are_collected(folder):
    done = run_pytest(folder, "test_here.py", "--linops", "pack", "--linops", "pack.good", "-k", "beside or Good", "-v")
    assert done.returncode == 0
    assert "test_here.py::test_beside PASSED" in done.stdout
    assert done.stdout.count("Good::adjoint PASSED") == 1


def test_a_file_named_like_a_module_of_python(folder):
    done = run_pytest(folder, "--linops", "shadow/operator.py", "-k", "promises or adjoint", "--tb=no", "-v")
    assert done.returncode == 1
    assert "Good::adjoint PASSED" in done.stdout
    assert "Wrong::adjoint FAILED" in done.stdout
    assert "FFT" not in done.stdout


@pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="needs pytest-xdist")
def test_xdist(folder):
    done = run_pytest(
        folder, "--linops", "pack", "-n", "2", "-k", "promises or adjoint or NoInput or beside", "--tb=line", "-v"
    )
    assert done.returncode == 1, done.stdout + done.stderr
    assert "3 failed" in done.stdout
    assert "FAILED pack.wrong.Wrong::adjoint - <A u, v>" in done.stdout
    assert "beside" not in done.stdout
    assert done.stdout.count("pack.others.Without: it has no examples()") == 1
    done = run_pytest(folder, "--linops", "no_such", "-n", "1")
    assert (done.returncode, done.stderr.strip()) == (4, "ERROR: --linops no_such: there is no module no_such")


def test_a_bad_target_is_a_usage_error_in_one_line(folder):
    done = run_pytest(folder, "--linops", "pack.good", "--linops", "pack/none.py")
    assert (done.returncode, done.stderr.strip()) == (4, "ERROR: --linops pack/none.py: there is no file pack/none.py")


def test_without_the_option_nothing_is_imported(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "import sys\ndef pytest_configure(config):\n"
        "    assert config.pluginmanager.hasplugin('linops_jax')\n"
        "    assert '_linops_jax_pytest' in sys.modules\n"
    )
    (tmp_path / "test_imports.py").write_text(
        "import sys\n"
        "def test_imports():\n"
        "    assert not {'jax', 'jaxlib', 'numpy', 'linops_jax', 'linops_jax.testing'} & set(sys.modules)\n"
    )
    done = run_pytest(tmp_path, "-p", "no:jaxtyping", "-p", "no:hypothesispytest", "--linops-strict")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "1 passed" in done.stdout


def test_a_conftest_may_still_configure_jax(tmp_path):
    (tmp_path / "conftest.py").write_text(
        "import os, sys\nassert 'jax' not in sys.modules\nos.environ['JAX_NUM_CPU_DEVICES'] = '3'\n"
    )
    (tmp_path / "ops.py").write_text(
        OPERATORS.partition("class Wrong")[0].replace("yield cls()", "assert len(jax.devices()) == 3; yield cls()")
    )
    (tmp_path / "test_devices.py").write_text("")
    done = run_pytest(tmp_path, ".", "--linops", "ops.py", "-k", "adjoint")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_shipped_operators_are_found_by_the_name_of_their_package(tmp_path):
    some = "Identity"
    done = run_pytest(tmp_path, "--linops", "linops_jax.ops", "--linops-strict", "-q", "-k", some)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "passed" in done.stdout
    assert "skipped" not in done.stdout
