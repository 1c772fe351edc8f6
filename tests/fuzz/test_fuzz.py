"""The fuzz targets, for a few seconds each. What they do: see attributes.cpp and programs.py."""

import pathlib
import subprocess
import sys

import attributes
import pytest

HERE = pathlib.Path(__file__).parent


@pytest.mark.skipif(attributes.compiler() is None, reason="no C++ compiler")
def test_attributes_under_a_sanitizer():
    text, code = attributes.run(seed=1, count=100_000)
    assert code == 0, text
    accepted, refused = (int(word) for word in text.split() if word.isdecimal())
    assert accepted > 20_000
    assert refused > 20_000


def test_random_programs(tmp_path):
    command = [sys.executable, "-X", "faulthandler", str(HERE / "programs.py"), "1", "200"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-6000:]
    assert "'refused'" in done.stdout
