"""Other libraries' operators from ours, and ours from theirs. Nothing of theirs is imported before it is asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from linops_jax.interop._nifty import to_nifty as to_nifty
    from linops_jax.interop._nifty_re import to_nifty_re as to_nifty_re
    from linops_jax.interop._pylops import from_pylops as from_pylops
    from linops_jax.interop._pylops import to_pylops as to_pylops
    from linops_jax.interop._pyproximal import from_pyproximal as from_pyproximal
    from linops_jax.interop._pyproximal import to_pyproximal as to_pyproximal
    from linops_jax.interop._scipy import from_scipy as from_scipy
    from linops_jax.interop._scipy import to_scipy as to_scipy

__all__ = [
    "from_pylops",
    "from_pyproximal",
    "from_scipy",
    "to_nifty",
    "to_nifty_re",
    "to_pylops",
    "to_pyproximal",
    "to_scipy",
]

_FILES = {
    "from_pylops": "_pylops",
    "from_pyproximal": "_pyproximal",
    "from_scipy": "_scipy",
    "to_nifty": "_nifty",
    "to_nifty_re": "_nifty_re",
    "to_pylops": "_pylops",
    "to_pyproximal": "_pyproximal",
    "to_scipy": "_scipy",
}


def __getattr__(name: str) -> Any:
    if name not in _FILES:
        message = f"module {__name__!r} has no attribute {name!r}; it has {', '.join(_FILES)}."
        raise AttributeError(message)
    try:
        value = getattr(importlib.import_module(f"{__name__}.{_FILES[name]}"), name)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith(__name__):
            raise
        message = f'lo.interop.{name} needs {error.name}, which is not installed: pip install "linops-jax[interop]"'
        raise ImportError(message, name=error.name) from error
    value.__module__ = __name__
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
