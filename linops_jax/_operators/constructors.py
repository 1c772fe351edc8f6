"""What ``A + B``, ``A @ B``, ``A.H`` and the like build: handles, which combinators give their meaning.

A combinator lives in a file that imports the class of all operators, so that class cannot import it. It calls a handle, and
the combinator's file says what that does: ``@constructors.add.define``. What is loaded when first asked for is told to the
handle by the package itself: ``constructors.solver_inverse.load(lambda: ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


class Constructor(Generic[P]):
    """A function that is called here and defined elsewhere."""

    __slots__ = ("_find", "_function", "_name")

    def __init__(self, name: str):
        self._name = name
        self._function: Callable[P, Any] | None = None
        self._find: Callable[[], Callable[P, Any]] = self._refuse

    def define(self, function: F) -> F:
        """Declares what it does; a decorator."""
        self._function = function
        return function

    def load(self, find: Callable[[], Callable[P, Any]]) -> None:
        """Declares who knows what it does; asked once, at the first call."""
        self._find = find

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._function is None:
            self._function = self._find()
        return self._function(*args, **kwargs)

    def _refuse(self) -> Callable[P, Any]:
        message = f"nothing has defined {self._name}: import linops_jax, not a part of it."
        raise ImportError(message)


# Operators, numbers and specs are Any to these handles: the file of the operators' class imports this one.
add: Constructor[[Any, Any]] = Constructor("add")
compose: Constructor[[Any, Any]] = Constructor("compose")
scale: Constructor[[Any, Any]] = Constructor("scale")
power: Constructor[[Any, int]] = Constructor("power")
conj: Constructor[[Any]] = Constructor("conj")
adjoint: Constructor[[Any]] = Constructor("adjoint")
inverse: Constructor[[Any]] = Constructor("inverse")
solver_inverse: Constructor[[Any]] = Constructor("solver_inverse")
with_domain: Constructor[[Any, Any]] = Constructor("with_domain")
html: Constructor[[Any]] = Constructor("html")
lineax_method: Constructor[[Any, str]] = Constructor("lineax_method")  # the bound method that lineax calls by this name
