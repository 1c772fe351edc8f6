"""The fuzz targets, for a few seconds each. What they do: see attributes.cpp and programs.py."""

import pathlib
import re
import shutil
import subprocess
import sys

import pytest

HERE = pathlib.Path(__file__).parent


def run(script, *arguments, folder):
    command = [sys.executable, "-X", "faulthandler", str(HERE / script), *map(str, arguments)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    return done.stdout


@pytest.mark.skipif(not any(map(shutil.which, ["c++", "g++", "clang++"])), reason="no C++ compiler")
def test_attributes_under_a_sanitizer(tmp_path):
    accepted, refused = map(
        int, re.findall(r"(\d+) (?:accepted|refused)", run("attributes.py", 1, 100_000, folder=tmp_path))
    )
    assert accepted > 20_000
    assert refused > 20_000


def test_random_programs(tmp_path):
    outcomes = run("programs.py", 1, 200, folder=tmp_path).splitlines()[-1]
    right, refused = map(int, re.findall(r"\d+", outcomes))
    assert right > 20
    assert refused > 100
