"""Deprecated names of arguments, which are accepted for one release: see "Deprecations" in CONTRIBUTING.md."""

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
    """A decorator for a function whose arguments have new names: keywords with old names still work, with a warning.

    Parameters
    ----------
    where : str
        The function as users write it, for example ``lo.norm``.
    since, until : str
        The release that renames the arguments, and the release that removes the old names.
    **new_names : str
        The old names, each with the new name as its value.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def renamed(*args: Any, **kwargs: Any) -> R:
            if kwargs.keys().isdisjoint(new_names):
                return function(*args, **kwargs)
            for old in kwargs.keys() & new_names.keys():
                _refuse_both(function, where, args, kwargs, old, new_names[old])
                message = f"{where}: {old}= is deprecated since {since} and will be removed in {until}: use {new_names[old]}=."
                warnings.warn(message, DeprecationWarning, stacklevel=2)
                kwargs[new_names[old]] = kwargs.pop(old)
            return function(*args, **kwargs)

        return renamed

    return decorate


def _refuse_both(function: Any, where: str, args: Any, kwargs: dict[str, Any], old: str, new: str) -> None:
    names = function.__code__.co_varnames[: len(args)]  # of the arguments that were given by position
    if new in kwargs or new in names:
        message = f"{where} got both {new} and {old}=, which is the old name of {new}. Give {new} only."
        raise TypeError(message)
