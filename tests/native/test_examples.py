"""The examples are built as their README says, and prove their adjoints."""

import importlib.util
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

pytestmark = pytest.mark.newest

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples" / "native"
PYTHON = sys.executable
CMAKE = f"cmake -DPython_EXECUTABLE={PYTHON} -B build . && cmake --build build"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("folder", "script", "build", "program", "module"),
    [
        ("c", "first_derivative.py", f"make PYTHON={PYTHON}", "cc", None),
        ("c_simulation", "heat_conduction.py", f"make PYTHON={PYTHON}", "cc", None),
        ("cpp_cmake", "causal_filter.py", CMAKE, "cmake", None),
        ("cython", "running_sum.py", f"{PYTHON} setup.py build_ext --inplace", "cc", "Cython"),
        ("numba", "laplacian.py", None, None, "numba"),
    ],
)
def test_an_example(tmp_path, folder, script, build, program, module):
    if (program and not shutil.which(program)) or (module and not importlib.util.find_spec(module)):
        pytest.skip(f"needs {program or ''} {module or ''}")
    place = tmp_path / folder
    shutil.copytree(EXAMPLES / folder, place, ignore=shutil.ignore_patterns("build", "*.so", "__pycache__"))
    for command in filter(None, (build, f"{PYTHON} {script}")):
        environment = {**os.environ, "PATH": os.pathsep.join([str(pathlib.Path(PYTHON).parent), os.environ["PATH"]])}
        done = subprocess.run(
            command, shell=True, cwd=place, env=environment, timeout=200, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stdout + done.stderr
    assert "passed" in done.stdout
