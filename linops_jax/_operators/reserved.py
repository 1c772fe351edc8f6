"""Names that operators use themselves: a class of somebody's that gives them another meaning would break in silence."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

# What operators keep on an instance, and what is looked up on a class that may not have it.
_BESIDE_ATTRIBUTES = frozenset({"_shapes", "_steps", "_statics", "_fold", "_unfold"})


def refuse_reserved_fields(cls: Any) -> None:
    """Raises TypeError for a field with any name of ours; other things may have the public ones, to override them."""
    for field in dataclasses.fields(cls):
        if field.name in getattr(cls, "_reserved", ()):
            message = f"{cls._label}.{field.name}: operators use this name themselves. Give the field another one."
            raise TypeError(message)


def refuse_private_names(cls: Any, body: Iterable[str]) -> None:
    """Raises TypeError for anything of somebody's with a private name of ours, in the class body or in a mixin.

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
        f"{cls._label}.{name}{origin}: operators use this private name themselves, and would break in silence. Give it another "
        "one. What a class may say of itself has a public name: see the hooks, and lo.algebra.Combinator."
    )
    raise TypeError(message)


def _is_ours(cls: Any) -> bool:
    return cls.__module__.partition(".")[0] == __name__.partition(".")[0]


def _private_names(cls: Any) -> set[str]:
    """Those of the library's classes that this one inherits from; not those by which notebooks show an object."""
    used = {name for base in cls.__mro__ if _is_ours(base) for name in vars(base)} | _BESIDE_ATTRIBUTES
    return {name for name in used if name.startswith("_") and not name.endswith("_") and not name.startswith("_abc_")}
