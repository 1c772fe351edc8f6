"""Where the C header is."""

from __future__ import annotations

import pathlib


def get_include() -> str:
    """The folder with ``linops_jax/native.h``, for the option ``-I`` of a C compiler.

    Returns
    -------
    str
        Its path.
    """
    return str(pathlib.Path(__file__).parent.parent / "include")
