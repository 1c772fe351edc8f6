"""Eager calls of foreign code wait, so that the user's own exception is raised where the call stands."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from linops_jax._engine import errors


def run_compiled(function: Callable[..., Any], waits: Callable[[], bool], *arguments: Any) -> Any:
    """Runs a compiled function; where it waits, the exception of a host hook comes out as it was raised.

    ``waits`` is asked afterwards, when the function has been traced.
    """
    errors.begin_eager_call()
    try:
        result = function(*arguments)
        if waits():
            _wait(result)
        return result
    except errors.OF_XLA as error:
        original = errors.original(error)
        if original is None:
            raise
    finally:
        errors.end_eager_call()
    raise original


def _wait(result: Any) -> None:
    for leaf in (result,) if hasattr(result, "block_until_ready") else jax.tree.leaves(result):
        if hasattr(leaf, "block_until_ready"):  # not a tracer: a call on constants while something else is traced
            leaf.block_until_ready()


def always() -> bool:
    return True


def as_raised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of the library's own, often compiled: it waits, and the exception of a host hook comes out as it
    was raised."""

    @functools.wraps(function)
    def run(*arguments: Any, **keywords: Any) -> Any:
        return run_compiled(functools.partial(function, **keywords), always, *arguments)

    return run
