"""Where the C header is."""

from __future__ import annotations

import pathlib


def get_include() -> str:
    """The folder to give to a C compiler (``-I``) for ``#include <linops_jax/native.h>``."""
    return str(pathlib.Path(__file__).parent.parent / "include")
