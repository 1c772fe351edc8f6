"""What ``get_linear_call`` and ``get_nonlinear_call`` are given, checked."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import Any

from linops_jax._engine.names import Named
from linops_jax.functional._keywords import is_hashable


def fixed_positions(where: str, first: Any, positions: Any) -> tuple[int, ...]:
    """The positions of fixed arguments, from their number or from positions. Raises where they are neither."""
    if first and len(positions):
        message = f"{where}: first_n_args_fixed={first} and fixed_args={positions} say the same. Pass one of them."
        raise TypeError(message)
    try:
        fixed = sorted(map(operator.index, positions)) if len(positions) else list(range(operator.index(first)))
        valid = len(set(fixed)) == len(fixed) and min((0, *fixed)) == 0 and operator.index(first) >= 0
    except TypeError:
        valid, fixed = False, []
    if not valid:
        message = (
            f"{where}: first_n_args_fixed={first!r}, fixed_args={positions!r}; expected a number of arguments, or different "
            "positions counted from 0."
        )
        raise ValueError(message)
    return tuple(fixed)


def free_positions(where: str, f_T: Sequence[Any], abstract_T: Any, fixed: tuple[int, ...]) -> list[int]:
    """The positions of the arguments that have a transpose. Raises where tuples do not fit each other."""
    if not isinstance(abstract_T, tuple | list) or len(abstract_T) != len(f_T):
        message = (
            f"{where}: f_T is a tuple of {len(f_T)}, so abstract_T must be one, but it is {abstract_T!r:.80}. "
            "Pass one function for each argument, or None."
        )
        raise TypeError(message)
    free = [i for i in range(len(f_T)) if i not in fixed]
    if not free or len(free) + len(fixed) != len(f_T):
        message = (
            f"{where}: f_T is a tuple of {len(f_T)}, one for each argument, but the arguments {', '.join(map(str, fixed))} "
            "are fixed. Pass None for those, and a transpose for at least one other."
        )
        raise ValueError(message)
    return free


def named(where: str, *, optional: tuple[str, ...], **functions: Any) -> tuple[Named | None, ...]:
    """Functions with their names. Raises TypeError for anything that is not a function."""
    for name, function in functions.items():
        is_function = callable(function) and is_hashable(function)
        if not (is_function or (function is None and name in optional)):
            message = f"{where}: {name} is {type(function).__name__} {function!r:.80}, expected a hashable function."
            raise TypeError(message)
    return tuple(None if function is None else Named.bind(function) for function in functions.values())


def pair(where: str, name: str, expected: str, value: Any) -> Any:
    """The value, which must be a pair."""
    if isinstance(value, tuple | list) and len(value) == 2:
        return value
    message = f"{where}: {name} is {value!r:.80}, expected a tuple {expected}."
    raise TypeError(message)
