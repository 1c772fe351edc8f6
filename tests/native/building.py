"""Shared libraries from the sources beside this file."""

import ctypes
import functools
import pathlib
import shutil
import subprocess
import tempfile

import jax
import pytest

import linops_jax as lo

HERE = pathlib.Path(__file__).parent


@functools.cache
def folder():
    return pathlib.Path(tempfile.mkdtemp(prefix="linops_jax_native_"))


def path(source, beside=HERE):
    """The shared library made from a C or C++ file, as a path."""
    compiler = shutil.which("cc" if source.endswith(".c") else "c++")
    if compiler is None:
        pytest.skip("no compiler", allow_module_level=True)
    target = folder() / f"{source}.so"
    if not target.exists():
        language = ["-std=gnu11", "-Wall", "-Wextra", "-Werror"] if source.endswith(".c") else ["-std=c++17", "-w"]
        include = [f"-I{lo.get_include()}", f"-I{jax.ffi.include_dir()}"]
        command = [
            compiler,
            *language,
            *include,
            "-O1",
            "-shared",
            "-fPIC",
            "-o",
            str(target),
            str(beside / source),
            "-lm",
        ]
        subprocess.run(command, check=True)
    return target


@functools.cache
def library(source, beside=HERE):
    return ctypes.CDLL(str(path(source, beside)))
