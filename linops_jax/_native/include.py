"""The folder of the C header."""

from __future__ import annotations

import pathlib


def get_include() -> str:
    """The include folder for C compilers (``-I``), which contains ``linops_jax/native.h``.

    Returns
    -------
    str
        The path of the folder.

    Examples
    --------
    >>> command = ["cc", "-shared", "-fPIC", "-I", lo.get_include(), "blur.c", "-o", "blur.so"]
    """
    return str(pathlib.Path(__file__).parent.parent / "include")
