"""Builds attributes.cpp with AddressSanitizer, alone with the files of cpp/ that it is about, and runs it.

python tests/fuzz/attributes.py [SEED [COUNT]]
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).parent
CPP = HERE.parent.parent / "cpp"
FLAGS = ["-std=c++17", "-Wall", "-Wextra", "-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]


def compiler():
    return shutil.which("c++") or shutil.which("g++") or shutil.which("clang++")


def run(seed=0, count=100_000):
    """What it printed, and its exit code: not 0 where the sanitizer or the program itself found something."""
    with tempfile.TemporaryDirectory() as folder:
        target = pathlib.Path(folder) / "attributes"
        sources = [HERE / "attributes.cpp", CPP / "batch.cpp", CPP / "loop.cpp"]
        subprocess.run([compiler(), *FLAGS, f"-I{CPP}", *sources, "-o", target], check=True, timeout=300)
        done = subprocess.run([target, str(seed), str(count)], capture_output=True, text=True, timeout=3600)
        return done.stdout + done.stderr, done.returncode


if __name__ == "__main__":
    text, code = run(*map(int, sys.argv[1:]))
    print(text)
    sys.exit(code)
