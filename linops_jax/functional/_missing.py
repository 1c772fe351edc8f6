"""Errors for functions that were not given, and for derivatives in fixed arguments."""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from linops_jax.functional import _rules
from linops_jax.functional._given import Given


def missing(given: Given, name: str) -> NotImplementedError:
    for modes, words in _rules.UNKNOWN.items():
        if name in modes and not any(map(given.function, modes)):
            return NotImplementedError(words.format(given.name))
    why = given._rules[name].why or "reverse-mode differentiation needs it"
    message = f"{given.name} has no {given.given_as(name)}: {why}. Pass a function instead of None."
    return NotImplementedError(message)


def not_linear(given: Given, names: Sequence[str]) -> NotImplementedError:
    if "fixed" in names:
        return _fixed_error(given, given.fixed)
    message = f"{given.name} cannot be transposed in several arguments together: it is linear in each of them alone."
    return NotImplementedError(message)


def not_differentiable(given: Given, argument: str, moves: Sequence[bool]) -> NotImplementedError:
    if argument == "fixed":
        return _fixed_error(given, [i for i, has_tangent in zip(given.fixed, moves, strict=True) if has_tangent])
    message = f"Third derivatives of {given.name} are not available: no function gives them."
    return NotImplementedError(message)


def _fixed_error(given: Given, positions: Sequence[int]) -> NotImplementedError:
    names = _argument_names(given.abstract("apply"))
    which = ", ".join(f"{i} ({names[i]})" if i < len(names) else str(i) for i in positions)
    message = (
        f"{given.name} is being differentiated in argument {which}, which is fixed. Wrap it in jax.lax.stop_gradient, or "
        "do not declare it fixed."
    )
    return NotImplementedError(message)


def _argument_names(abstract: Any) -> list[str]:
    try:
        parameters = inspect.signature(abstract).parameters.values()
    except (TypeError, ValueError):
        return []
    return [p.name for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
