"""`linops-jax new`: what it writes passes its own tests, under names that can be used."""

import os
import pathlib
import shutil
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from linops_jax.cli import app

pytestmark = pytest.mark.slow

VARIANTS = {
    "HostEcho": [],
    "TracedEcho": ["--traced"],
    "NativeEcho": ["--native"],
    "HostSquare": ["--nonlinear", "--directory", "pack/inner"],
    "TracedSquare": ["--nonlinear", "--traced"],
    "NativeSquare": ["--nonlinear", "--native", "--directory", "made for it"],
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def new(*arguments):
    return CliRunner().invoke(app, ["new", *arguments])


def files():
    return sorted(path.as_posix() for path in pathlib.Path().rglob("*") if path.is_file())


def test_what_is_written_passes_its_own_tests():
    """All variants in one process, one of them in a package; the C functions are built as the command says."""
    if not shutil.which("cc"):
        pytest.skip("no compiler")
    for package in ("pack", "pack/inner"):
        pathlib.Path(package).mkdir()
        pathlib.Path(package, "__init__.py").touch()
    printed = [new(name, *options) for name, options in VARIANTS.items()]
    assert [result.exit_code for result in printed] == [0] * len(VARIANTS)
    lines = [line.strip() for result in printed for line in result.stdout.splitlines()]
    assert lines.count("python -m pytest 'made for it/test_native_square.py'") == 1
    assert lines.count("linops-jax check pack/inner/host_square.py") == 1
    builds = [line for line in lines if line.startswith("cc ")]
    assert len(builds) == 2
    for build in builds:
        run(build.replace("-O3", "-O1 -Wall -Wextra -Werror"))
    assert "passed" in run("python -m pytest -q -W error -p no:cacheprovider .")


def run(command):
    python = str(pathlib.Path(sys.executable).parent)
    environment = os.environ | {"PATH": os.pathsep.join([python, os.environ["PATH"]])}
    done = subprocess.run(command, shell=True, env=environment, timeout=200, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "cls", "module"),
    [
        ("MyBlur", "MyBlur", "my_blur"),
        ("my_blur", "MyBlur", "my_blur"),
        ("myBlur2", "MyBlur2", "my_blur2"),
        ("XRayTransform", "XRayTransform", "x_ray_transform"),
        ("FFT2D", "FFT2D", "fft2d"),
        ("Blur3Taps", "Blur3Taps", "blur3_taps"),
        ("p_2d", "P2d", "p_2d"),
    ],
)
def test_names(name, cls, module):
    assert new(name).exit_code == 0
    assert files() == sorted([f"{module}.py", f"test_{module}.py"])
    assert f"class {cls}(lo.LinearOperator):" in pathlib.Path(f"{module}.py").read_text()
    assert f"from {module} import {cls}\n" in pathlib.Path(f"test_{module}.py").read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["my-blur"], "'my-blur' cannot be used: a name has letters, digits and underscores and begins with a letter"),
        (["2Blur"], "'2Blur' cannot be used: a name has letters"),
        (["_blur"], "'_blur' cannot be used: a name has letters"),
        (["größe"], "'größe' cannot be used: a name has letters"),
        (["Lambda"], "'Lambda' cannot be used: lambda is a keyword of Python"),
        (["none"], "'none' cannot be used: None is a keyword of Python"),
        (["Random"], "'Random' cannot be used: random.py would hide the module random, which is installed"),
        (["Numpy"], "'Numpy' cannot be used: numpy.py would hide the module numpy, which is installed"),
        (["Conftest"], "'Conftest' cannot be used: pytest loads conftest.py by itself"),
        (
            ["Blur", "--directory", "my-pack"],
            "--directory my-pack is in the package 'my-pack', which Python cannot import",
        ),
        (["Blur", "--native", "--traced"], "--native and --traced cannot be combined: choose one"),
        (["Blur", "--directory", "taken"], "test_blur.py exists and is not overwritten: choose another name or --dir"),
        (["Blur", "--directory", "taken/test_blur.py"], "--directory taken/test_blur.py is a file: give a folder"),
    ],
)
def test_refusals(arguments, message):
    pathlib.Path("taken").mkdir()
    pathlib.Path("taken/test_blur.py").write_text("mine")
    pathlib.Path("my-pack").mkdir()
    pathlib.Path("my-pack/__init__.py").touch()
    result = new(*arguments)
    assert result.exit_code == 2
    assert result.stderr.count("\n") == 1
    assert message in result.stderr
    assert files() == ["my-pack/__init__.py", "taken/test_blur.py"]
    assert pathlib.Path("taken/test_blur.py").read_text() == "mine"


def test_in_a_package_names_hide_nothing():
    pathlib.Path("pack").mkdir()
    pathlib.Path("pack/__init__.py").touch()
    assert new("Random", "--directory", "pack").exit_code == 0
    assert "from pack.random import Random\n" in pathlib.Path("pack/test_random.py").read_text()
