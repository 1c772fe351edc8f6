"""Arguments under a former name, for one release: see "Deprecations" in CONTRIBUTING.md."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed_arguments(
    where: str, since: str, until: str, **new_names: str
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator: keywords under their old names are still taken, with a warning. Calls by position are as they were.

    Parameters
    ----------
    where : str
        How users write the function, ``lo.norm``.
    since, until : str
        The release that renames the arguments, and the one that refuses the old names.
    **new_names : str
        The new name of each old one.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> R:
            if kwargs.keys().isdisjoint(new_names):
                return function(*args, **kwargs)
            for old in kwargs.keys() & new_names.keys():
                _refuse_both(function, where, args, kwargs, old, new_names[old])
                message = f"{where}: {old}= is deprecated since {since} and goes in {until}: use {new_names[old]}=."
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new_names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renamed

    return decorate


def _refuse_both(function: Any, where: str, args: Any, kwargs: dict[str, Any], old: str, new: str) -> None:
    names = function.__code__.co_varnames[: len(args)]  # of what was given by position
    if new in kwargs or new in names:
        message = f"{where} got {new}, and {old}=, which is the old name for it. Give {new} only."
        raise TypeError(message)
