"""Names that operators use themselves. A user's class that gave them another meaning would fail without an error."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

# Attributes of instances, and methods that a class may have.
_BESIDE_ATTRIBUTES = frozenset({"_shapes", "_steps", "_statics", "_fold", "_unfold"})


def refuse_reserved_fields(cls: Any) -> None:
    """Raises TypeError for a field with the name of any attribute of operators. Methods may override public attributes."""
    for field in dataclasses.fields(cls):
        if field.name in getattr(cls, "_reserved", ()):
            message = f"{cls._label}.{field.name}: operators use this name themselves. Give the field another one."
            raise TypeError(message)


def refuse_private_names(cls: Any, body: Iterable[str]) -> None:
    """Raises TypeError if a user's class or a mixin defines a private name of the library.

    ``body`` holds the names that the class statement binds.
    """
    if _is_ours(cls):
        return
    private = _private_names(cls)
    mixins = [base for base in cls.__mro__[1:] if not isinstance(base, type(cls)) and not _is_ours(base)]
    for owner, names in ((cls, body), *((base, vars(base)) for base in mixins)):
        if found := sorted(private.intersection(names) | private.intersection(inspect.get_annotations(owner))):
            _refuse(cls, owner, found[0])


def _refuse(cls: Any, owner: Any, name: str) -> None:
    origin = "" if owner is cls else f", inherited from {owner.__qualname__}"
    message = (
        f"{cls._label}.{name}{origin}: operators use this private name themselves, and would fail without an error. Use another "
        "name. What a class may define has a public name: see the hooks, and lo.algebra.Combinator."
    )
    raise TypeError(message)


def _is_ours(cls: Any) -> bool:
    """Whether the library defines this class."""
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _private_names(cls: Any) -> set[str]:
    """The private names of the library's classes from which this class inherits, except those that notebooks look up."""
    used = {name for base in cls.__mro__ if _is_ours(base) for name in vars(base)} | _BESIDE_ATTRIBUTES
    return {name for name in used if name.startswith("_") and not name.endswith("_") and not name.startswith("_abc_")}
