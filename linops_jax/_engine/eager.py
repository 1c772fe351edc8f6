"""Eager calls of foreign code, which wait for the result so that an exception of the hook is raised at the call."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from linops_jax._engine import errors


def run_compiled(function: Callable[..., Any], waits: Callable[[], bool], *arguments: Any) -> Any:
    """Runs a compiled function. If it waits for the result, the exception of a host hook is raised unchanged.

    Parameters
    ----------
    function : callable
        The compiled function.
    waits : callable
        Returns whether to wait. It is called after the function, because the answer may depend on what tracing finds.
    *arguments
        The arguments of the function.
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
        if hasattr(leaf, "block_until_ready"):  # tracers have no such method; a call while JAX traces may return some
            leaf.block_until_ready()


def always() -> bool:
    """The argument ``waits`` of ``run_compiled`` for functions that always wait."""
    return True


def as_raised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, changed to wait for its result and to raise exceptions of host hooks unchanged."""

    @functools.wraps(function)
    def run(*arguments: Any, **keywords: Any) -> Any:
        return run_compiled(functools.partial(function, **keywords), always, *arguments)

    return run
