"""What is seen of a running solve: ``callback=`` and ``history=`` of lo.solve."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

_keys = itertools.count()
_listeners: dict[int, _Listener] = {}  # of running solves; compiled programs know this table, not who listens


@functools.partial(jax.tree_util.register_dataclass, data_fields=["key"], meta_fields=["function", "length"])
@dataclasses.dataclass(frozen=True)
class Watch:
    """What a solver notes after each step, and whom it tells.

    Parameters
    ----------
    key : 0-d integer array, optional
        Of a listener in the table, so that another listener is no new program.
    function : callable, optional
        The listener itself, of a program that outlives the call.
    length : int
        For how many residuals there is room; 0 if they are not kept.
    """

    key: Any = None
    function: Callable[[int, float], Any] | None = None
    length: int = 0

    def begin(self, like: Any) -> Any:
        """What is noted before the first step; ``like`` is a residual."""
        return jnp.full(self.length, jnp.nan, like.dtype) * (1 + 0 * like) if self.length else None

    def note(self, noted: Any, step: Any, residual: Any) -> Any:
        """What is noted after ``step`` steps."""
        if self.function is not None:
            jax.debug.callback(functools.partial(_tell, self.function), step, residual)
        elif self.key is not None:
            jax.debug.callback(_pass_on, self.key, step, residual)
        return noted.at[step - 1].set(residual) if self.length else None


SILENT = Watch()


class _Listener:
    """A function that is called until it raises."""

    def __init__(self, function: Callable[[int, float], Any]):
        self.function = function
        self.error: BaseException | None = None

    def __call__(self, step: Any, residual: Any) -> None:
        if self.error is None:
            try:
                _tell(self.function, step, residual)
            except BaseException as error:  # of the user's function, for the user's call
                self.error = error


def _tell(function: Callable[[int, float], Any], step: Any, residual: Any) -> None:
    function(int(step), float(residual))


def _pass_on(key: Any, step: Any, residual: Any) -> None:
    if listener := _listeners.get(int(key)):
        listener(step, residual)


@contextlib.contextmanager
def watching(callback: Any, length: int, traced: bool, where: str = "lo.solve") -> Iterator[Watch]:
    """A context for the time of a solve. It gives what the solver has to note."""
    if callback is None:
        yield Watch(length=length)
        return
    if not callable(callback):
        message = f"{where}: callback must be a function of the step and the residual, found {callback!r:.80}."
        raise TypeError(message)
    if traced:
        yield Watch(function=callback, length=length)
        return
    key, listener = next(_keys) % 2**31, _Listener(callback)
    _listeners[key] = listener
    try:
        yield Watch(jnp.int32(key), length=length)
        jax.effects_barrier()
    finally:
        del _listeners[key]
    if listener.error is not None:
        raise listener.error
