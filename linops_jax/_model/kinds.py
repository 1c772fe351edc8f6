"""Kinds of hook: their names, what is true of them, and how the value of a hook in a class body says its kind."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class Kind(str):
    """A kind of hook: its name, in messages and in keys, and what is true of it everywhere.

    What a program contains for it is in ``_engine/lowering``.

    Attributes
    ----------
    is_foreign : bool
        Whether it is code that JAX does not know, which may raise an exception while it runs.
    is_counted : bool
        Whether its calls are counted.
    is_numpy : bool
        Whether it is a Python function of NumPy arrays, which the checks also call by hand.
    refuses : mapping of str to str
        The keyword-only arguments that its functions cannot have, and what the error says of each.
    requires : mapping of str to str
        The keyword-only arguments that its functions must have, and what the error says of each.
    """

    is_foreign: bool
    is_counted: bool
    is_numpy: bool
    refuses: Mapping[str, str]
    requires: Mapping[str, str]

    def __new__(
        cls,
        name: str,
        *,
        is_foreign: bool = False,
        is_counted: bool = False,
        is_numpy: bool = False,
        refuses: Mapping[str, str] | None = None,
        requires: Mapping[str, str] | None = None,
    ) -> Kind:
        new = super().__new__(cls, name)
        new.is_foreign, new.is_counted, new.is_numpy = is_foreign, is_counted, is_numpy
        new.refuses, new.requires = refuses or {}, requires or {}
        return new

    def mark(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Makes a function a hook of this kind. Raises TypeError for anything else."""
        if not inspect.isfunction(function):
            advice = " Give several kinds with lo.per_platform." if isinstance(function, Code) else ""
            message = f"lo.{self} marks a plain method, not {type(function).__name__}.{advice}"
            raise TypeError(message)
        function._linops_kind = self  # type: ignore[attr-defined]
        return function


HOST = Kind("host", is_foreign=True, is_counted=True, is_numpy=True)
NATIVE = Kind("native", is_foreign=True, is_counted=True)
DEVICE = Kind(
    "device",
    is_foreign=True,
    requires={
        "out": "is a device hook without out: only the library that computes on the device can write to it. Take out, "
        "`def {name}({arguments}, *, out)`, and fill it."
    },
)
# Not defined: zero for zero tangents, an error for all others.
REFUSED = Kind("refused", is_foreign=True)
TRACED = Kind(
    "traced",
    refuses={
        "out": "is traced: JAX arrays cannot be filled in place, so drop out and return the result.",
        "plan": "is traced and takes plan: XLA cannot hold a Python object. Drop plan, and keep what the hook needs in array "
        "fields; or make it a host or native hook.",
    },
)
PER_PLATFORM, MISSING = Kind("per platform"), Kind("missing")


class Code:
    """A hook that is not a plain method but an object in the class body.

    Attributes
    ----------
    kind : Kind
        Its kind.
    keywords : tuple of str
        What it takes besides the arguments of the hook, as the keyword-only arguments of a method say.
    variants : mapping of str to hook
        The code for each platform, if it differs.
    """

    kind: ClassVar[Kind]
    keywords: tuple[str, ...] = ()
    variants: Mapping[str, Any] = MappingProxyType({})
    _where: str = ""

    def __set_name__(self, owner: Any, name: str) -> None:
        self._where = self._where or f"{owner.__qualname__.rpartition('<locals>.')[2]}.{name}"
        for variant in self.variants.values():
            if isinstance(variant, Code):
                variant.__set_name__(owner, name)


def is_hook(value: Any) -> bool:
    """Whether a value in a class body can be a hook."""
    return inspect.isfunction(value) or isinstance(value, Code)


def kind_of(value: Any) -> Kind:
    """The kind of a hook in a class body."""
    return value.kind if isinstance(value, Code) else getattr(value, "_linops_kind", HOST)


def variants_of(value: Any) -> Mapping[str, Any]:
    """The code of a hook for each platform; empty if it is the same everywhere."""
    return value.variants if isinstance(value, Code) else {}


def runs_anywhere(value: Any) -> bool:
    """Whether a hook, which is not ``lo.per_platform``, runs on all platforms. An FFI handler may be for the CPU alone."""
    return getattr(value, "anywhere", True)


def codes_of(value: Any) -> list[Any]:
    """The variants of a hook, or the hook itself."""
    return list(variants_of(value).values()) or [value]


def is_traced(value: Any) -> bool:
    """Whether a hook is JAX code on at least one platform."""
    return any(kind_of(code) == TRACED for code in codes_of(value))
