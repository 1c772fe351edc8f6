"""Where users find a name is where its ``__module__`` says: in documents, tracebacks, pickles and the keys of programs."""

from __future__ import annotations

import contextlib
import inspect
import sys

ROOT = __name__.partition(".")[0]


def publish(module: str) -> None:
    """Says so of our classes and functions in a package: the outermost package that lists a name is where it is found.

    ``inspect.getsource`` of such a class finds nothing, as for those of NumPy; of its methods it does.
    """
    namespace, outermost = vars(sys.modules[module]), getattr(sys.modules[ROOT], "__all__", ())
    for name in namespace.get("__all__", [name for name in namespace if not name.startswith("_")]):
        value = namespace.get(name)  # one that is loaded when asked for is not there
        if (inspect.isclass(value) or inspect.isroutine(value)) and value.__module__.startswith(f"{ROOT}."):
            if inspect.isclass(value):
                _evaluate_annotations(value)
            value.__module__ = ROOT if name in outermost else module


def _evaluate_annotations(cls: type) -> None:
    """While the names in them can still be found by the module."""
    with contextlib.suppress(NameError):  # of what is imported for type checkers only
        cls.__annotations__ = inspect.get_annotations(cls, eval_str=True)
