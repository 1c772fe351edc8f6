"""`linops-jax check`: what it prints, its JSON, its exit codes, and how it refuses bad targets."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
import textwrap
import time

import pytest
from typer.testing import CliRunner

from linops_jax.cli import app
from linops_jax.testing.checks import CHECKS

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "linops_jax"]
OPERATORS = """
import jax, numpy as np, linops_jax as lo
from linops_jax import FFT


class Right(lo.LinearOperator):
    def apply(self, x): return 2 * x
    def adjoint(self, y): return 2 * y
    def infer_shape(self, x): return x
    def infer_adjoint_shape(self, y): return y
    @classmethod
    def examples(cls): yield cls(), jax.ShapeDtypeStruct((3,), np.float64)


class Wrong(Right):
    def adjoint(self, y): return 4 * y


class Without(lo.LinearOperator):
    def apply(self, x): return x
    def adjoint(self, y): return y
    def infer_shape(self, x): return x
"""
FILES = {
    "mine.py": OPERATORS,
    "good.py": OPERATORS.partition("class Wrong")[0],
    "without.py": "import linops_jax as lo\nclass Without" + OPERATORS.partition("class Without")[2],
    "many.py": """
        import jax, numpy as np, linops_jax as lo
        from good import Right
        print("hello from many")

        class Several(Right):
            scale: object = lo.static(default="[red]")

            def apply(self, x):
                print("hello from a hook")
                return 2 * x

            @classmethod
            def examples(cls):
                yield cls(), jax.ShapeDtypeStruct((3,), np.float32)
                yield cls().with_domain(jax.ShapeDtypeStruct((2,), np.float64))

        class Raises(Right):
            @classmethod
            def examples(cls): raise OSError("[bold] kernel.npy is missing")

        class NoInput(Right):
            @classmethod
            def examples(cls): yield cls()
        """,
    "seeds.py": """
        import jax, numpy as np
        from good import Right as Base

        class Sometimes(Base):  # wrong where the first random number is positive
            def adjoint(self, y): return np.where(y[0] > 0, 2.0, -2.0) * y
            @classmethod
            def examples(cls): yield cls(), jax.ShapeDtypeStruct((1,), np.float64)
        """,
    "broken.py": "raise ValueError('two\\nlines')\n",
    "empty.py": "",
    "slow.py": """
        import jax, numpy as np, time, pathlib
        from good import Right

        class Slow(Right):
            def apply(self, x):
                pathlib.Path("started").touch()
                time.sleep(0.2)
                return 2 * x
        """,
    "pack/__init__.py": "from .blur import Blur\n",
    "pack/blur.py": "from good import Right\nclass Blur(Right): pass\n",
    "pack/extra.py": "import no_such_package\n",
}


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A user's folder, which is the current one; what was imported from it is forgotten afterwards."""
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(textwrap.dedent(text))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setenv("COLUMNS", "120")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if str(tmp_path) in str(getattr(sys.modules[name], "__file__", None)):
            del sys.modules[name]


def check(*arguments):
    return CliRunner().invoke(app, ["check", *map(str, arguments)])


def rows(result):
    """Name -> (passed, failed, not run) as the table has it."""
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in result.stdout.splitlines() if "│" in line]
    return {name: tuple(map(int, numbers)) for name, *numbers, _calls, _seconds in cells}


# ---- the table ----------------------------------------------------------------------------------------------------------


def test_a_right_operator(folder):
    result = check("good.py")
    assert result.exit_code == 0, result.output
    ((name, (passed, failed, blocked)),) = rows(result).items()
    assert (name, failed, blocked) == ("good.Right", 0, 0)
    assert passed > 15
    assert f"1 operators: {passed} checks passed, 0 failed, 0 not run, in " in result.stdout
    assert result.stderr == ""
    assert "\x1b" not in result.stdout


def test_a_wrong_adjoint_is_named_with_its_cause(folder):
    result = check("mine.py")
    assert result.exit_code == 1, result.output
    found = rows(result)
    assert found["mine.Right"][1:] == (0, 0)
    assert found["mine.Wrong"][1] == 1
    assert found["mine.Wrong"][2] > 0
    assert "FAILED mine.Wrong adjoint: <A u, v> = <u, A^H v>" in result.stdout
    assert "<u, A^H v> is 2 times <A u, v> in every probe: a constant factor" in result.stdout
    assert "Wrong() on f64[3]" in result.stdout
    assert "not checked:\nmine.Without: it has no examples()" in result.stdout
    assert "FFT" not in result.stdout


def test_one_class_several_targets_and_none_twice(folder):
    result = check("mine.py::Right", "good.py", "good", "mine.py::Right")
    assert result.exit_code == 0, result.output
    assert list(rows(result)) == ["mine.Right", "good.Right"]


def test_packages_name_the_modules_that_are_left_out(folder):
    result = check("pack")
    assert result.exit_code == 0, result.output
    assert list(rows(result)) == ["pack.blur.Blur"]
    assert "pack.extra: it needs no_such_package, which is not installed" in result.stdout


def test_examples_of_all_kinds(folder):
    result = check("many.py", "--only", "adjoint")
    assert result.exit_code == 1
    found = rows(result)
    assert list(found) == ["many.Several-0", "many.Several-1", "many.Raises", "many.NoInput"]
    assert [failed for _, failed, _ in found.values()] == [0, 0, 1, 1]
    assert "FAILED many.Raises: examples(): OSError: [bold] kernel.npy is missing" in result.stdout
    assert (
        "FAILED many.NoInput: TypeError: many.NoInput: examples()(NoInput()) needs to know the input" in result.stdout
    )


def test_strict(folder):
    result = check("mine.py::Without", "--strict")
    assert result.exit_code == 1
    assert (
        "FAILED mine.Without: it has no examples(): add a classmethod that yields (operator, spec) pairs"
        in result.stdout
    )
    assert "not checked" not in result.stdout


# ---- options ------------------------------------------------------------------------------------------------------------


def test_json_and_nothing_else(folder):
    result = check("many.py", "mine.py", "--only", "dense_adjoint", "--json")
    assert result.exit_code == 1
    found = json.loads(result.stdout)
    assert found["passed"] is False
    operators = {row["operator"]: row for row in found["operators"]}
    assert {name for name, row in operators.items() if row["passed"]} == {
        "many.Several-0",
        "many.Several-1",
        "mine.Right",
    }
    assert operators["many.Several-0"]["repr"] == "Several(scale='[red]') on f32[3]"
    assert "[bold] kernel.npy is missing" in operators["many.Raises"]["problem"]
    status = {one["name"]: one["status"] for one in operators["mine.Wrong"]["checks"]}
    assert (status["promises"], status["adjoint"], status["dense_adjoint"]) == ("passed", "failed", "blocked")
    assert set(status) <= set(CHECKS)
    assert all(one["seconds"] >= 0 for one in operators["mine.Right"]["checks"])
    calls = {one["name"]: one["calls"] for one in operators["mine.Right"]["checks"]}
    assert calls["adjoint"] == {"Right.apply": 5, "Right.adjoint": 5}
    assert found["not_checked"] == ["mine.Without: it has no examples()"]
    assert "hello from many" in result.stderr
    assert "hello from a hook" in result.stderr
    assert json.loads(check("good.py", "--json").stdout)["passed"] is True


def test_only_runs_the_check_and_what_it_needs(folder):
    found = json.loads(check("mine.py", "--only", "adjoint", "--json").stdout)
    for row in found["operators"]:
        ran = {one["name"] for one in row["checks"]}
        assert {"promises", "linear", "adjoint"} <= ran
        assert not {"dense_adjoint", "jit", "vmap"} & ran
    result = check("mine.py", "--only", "dense_adjoint")  # the failure of what it needs is not hidden
    assert result.exit_code == 1
    assert "FAILED mine.Wrong adjoint" in result.stdout


def test_dtype_replaces_that_of_the_examples(folder):
    result = check("good.py", "--dtype", "float32", "--dtype", "complex128", "--only", "adjoint")
    assert result.exit_code == 0, result.output
    assert list(rows(result)) == ["good.Right[float32]", "good.Right[complex128]"]
    result = check("many.py::Several", "--dtype", "float32", "--only", "adjoint")  # a domain that is fixed stays
    assert result.exit_code == 0, result.output
    assert list(rows(result)) == ["many.Several-0[float32]", "many.Several-1"]


def test_seed(folder):
    def verdicts(seed):
        found = json.loads(check("seeds.py", "--only", "adjoint", "--seed", seed, "--json").stdout)
        return str([(one["name"], one["message"]) for one in found["operators"][0]["checks"]])

    assert verdicts(0) == verdicts(0)
    assert verdicts(0) != verdicts(1)


# ---- what cannot be checked ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no_such"], "linops-jax: no_such: there is no module no_such"),
        (["good.py", "no.py"], "linops-jax: no.py: there is no file no.py"),
        (["broken.py"], "linops-jax: broken.py: importing broken failed: ValueError: two lines"),
        (["empty.py"], "linops-jax: empty.py: found no operator classes (subclasses of LinearOperator or NonlinearOperator)"),
        (["mine.py::Missing"], "linops-jax: mine.py::Missing: mine.py has no operator class Missing; it has "),
        (["without.py"], "linops-jax: without.py: there is nothing to check: without.Without: it has no examples()"),
        (["good.py", "--only", "ajoint"], "linops-jax: --only ajoint: there is no such check; use one of promises, "),
        (["good.py", "--only", "jacobian_adjoint"], "linops-jax: good.py: --only jacobian_adjoint does not apply to any"),
        (["good.py", "--dtype", "int32"], "linops-jax: --dtype int32: this is not a floating dtype, such as float64"),
        (["good.py", "--dtype", "flaot"], "linops-jax: --dtype flaot: this is not a floating dtype, such as float64"),
    ],
)  # fmt: skip
def test_usage_errors_are_one_line(arguments, message, folder):
    result = check(*arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(message)
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "arguments", [[], ["good.py", "--seed", "-1"], ["good.py", "--seed", "x"], ["--no-such-option"]]
)
def test_usage_errors_of_the_command_line(arguments, folder):
    result = check(*arguments)
    assert result.exit_code == 2
    assert "Usage:" in result.output


# ---- processes ----------------------------------------------------------------------------------------------------------


def command(folder, *arguments, timeout=120):
    return subprocess.run(
        [*COMMAND, "check", *arguments], cwd=folder, capture_output=True, text=True, timeout=timeout, check=False
    )


def test_as_processes(folder):
    done = command(folder, "mine.py", "--only", "adjoint")
    assert (done.returncode, done.stderr) == (1, "")
    assert "<u, A^H v> is 2 times <A u, v> in every probe" in done.stdout
    done = command(folder, "broken.py")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "linops-jax: broken.py: importing broken failed: ValueError: two lines\n"


def test_shipped_operators(folder):
    done = command(
        folder,
        "linops_jax.ops._fft",
        "linops_jax.ops._sparse",
        "linops_jax.cli.demo.mri",
        "--strict",
        "--only",
        "adjoint",
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert " 0 failed, 0 not run" in done.stdout


def test_a_live_table_where_there_is_a_terminal(folder):
    """The table is drawn over and over, with the check that runs."""
    reader, writer = pty.openpty()
    with subprocess.Popen(
        [*COMMAND, "check", "good.py"],
        cwd=folder,
        env={**os.environ, "TERM": "xterm-256color", "COLUMNS": "100"},
        stdin=subprocess.DEVNULL,
        stdout=writer,
        stderr=subprocess.DEVNULL,
    ) as child:
        os.close(writer)
        shown = b""
        with contextlib.suppress(OSError):  # the end of a terminal
            while data := os.read(reader, 4096):
                shown += data
        assert child.wait(timeout=60) == 0
    os.close(reader)
    assert b"running good.Right: " in shown
    assert b"\x1b[" in shown
    assert shown.rstrip().rpartition(b"\n")[2].find(b"checks passed, 0 failed") > 0


def test_ctrl_c_ends_it(folder):
    as_in_a_terminal = (
        "import runpy, signal; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "runpy.run_module('linops_jax', run_name='__main__')"
    )
    with subprocess.Popen(
        [sys.executable, "-c", as_in_a_terminal, "check", "slow.py"],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        end = time.monotonic() + 60
        while not (folder / "started").exists() and time.monotonic() < end:
            time.sleep(0.05)
        child.send_signal(signal.SIGINT)
        try:
            out, err = child.communicate(timeout=30)
        finally:
            child.kill()
    assert child.returncode == 130, f"{out}\n{err}"
    assert "Traceback" not in err
    assert "checks passed" not in out
