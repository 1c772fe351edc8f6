"""Sets ``__module__`` of public names to the package from which users import them.

Documents, tracebacks, pickles and the keys of programs show this name.
"""

from __future__ import annotations

import contextlib
import inspect
import sys

ROOT = __name__.partition(".")[0]


def publish(module: str) -> None:
    """Sets ``__module__`` of the classes and functions of this library that a package exports.

    A name that the outermost package exports too belongs to that package. As in NumPy, ``inspect.getsource`` finds the
    source of such a class's methods, but not that of the class.

    Parameters
    ----------
    module : str
        The name of the package.
    """
    namespace, outermost = vars(sys.modules[module]), getattr(sys.modules[ROOT], "__all__", ())
    for name in namespace.get("__all__", [name for name in namespace if not name.startswith("_")]):
        value = namespace.get(name)  # a name that is loaded on first use is not there yet
        if (inspect.isclass(value) or inspect.isroutine(value)) and value.__module__.startswith(f"{ROOT}."):
            if inspect.isclass(value):
                _evaluate_annotations(value)
            value.__module__ = ROOT if name in outermost else module


def _evaluate_annotations(cls: type) -> None:
    """Evaluates the annotations of a class, which must happen before its ``__module__`` changes."""
    with contextlib.suppress(NameError):  # names that are imported for type checkers only
        cls.__annotations__ = inspect.get_annotations(cls, eval_str=True)
