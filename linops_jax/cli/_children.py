"""Processes that commands start: they find the package where this process has found it."""

import os
import sys


def environment(**more: str) -> dict[str, str]:
    """That of this process, with its import path and with more variables."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))} | more
