"""What builds the composites for ``A + B``, ``A @ B``, ``A.H`` and so on: functions that the combinators define.

A combinator's file imports the base class of operators, so that class cannot import the combinator. It calls one of the
functions below instead, and the combinator's file defines what the function does: ``@constructors.add.define``. Some are
defined in packages that are imported on demand: ``constructors.solver_inverse.load(lambda: ...)``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
F = TypeVar("F", bound=Callable[..., Any])


class Constructor(Generic[P]):
    """A function that is called in one file and defined in another one."""

    __slots__ = ("_find", "_function", "_name")

    def __init__(self, name: str):
        self._name = name
        self._function: Callable[P, Any] | None = None
        self._find: Callable[[], Callable[P, Any]] = self._refuse

    def define(self, function: F) -> F:
        """A decorator: this function is the definition."""
        self._function = function
        return function

    def load(self, find: Callable[[], Callable[P, Any]]) -> None:
        """Sets a function that returns the definition; it is called once, before the first use."""
        self._find = find

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Any:
        if self._function is None:
            self._function = self._find()
        return self._function(*args, **kwargs)

    def _refuse(self) -> Callable[P, Any]:
        message = f"{self._name} is not defined: import linops_jax itself, not only a module in it."
        raise ImportError(message)


# Their arguments are Any, because the file of the operators' base class imports this one.
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
