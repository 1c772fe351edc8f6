"""Steps of a running solve, counted where the operator is applied, shown once it has taken a while."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import jax

from linops_jax._operators.linear import LinearOperator
from linops_jax.algebra._composite import LinearComposite, Wrapper

PATIENCE = 1.0  # seconds before anything is shown, unless it was asked for
_displays: list[_Display] = []  # of running solves; compiled programs know this list, not its members


class Counted(Wrapper, LinearComposite):
    """The same operator, of which every application is counted."""

    op: LinearOperator

    def apply(self, x: Any) -> Any:
        count()
        return self.op(x)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(y, like)


class _Display:
    """One line on standard error: what has been counted, and since when."""

    def __init__(self, patience: float, text: str):
        self.steps, self.start, self.patience, self.text = 0, time.monotonic(), patience, text
        self.bar: Any = None
        self.task: Any = None

    def advance(self) -> None:
        self.steps += 1
        if self.bar is None and time.monotonic() - self.start >= self.patience:
            self.open()
        if self.bar is not None:
            self.bar.update(self.task, completed=self.steps)

    def open(self) -> None:
        from rich.console import Console
        from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        columns = SpinnerColumn(), TextColumn(self.text), TimeElapsedColumn()
        console = Console(stderr=True)
        self.bar = Progress(*columns, console=console, transient=console.is_terminal)
        self.task = self.bar.add_task(self.text, total=None)
        self.bar.start()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def count() -> None:
    """Counts, when a program runs that has this in it."""
    jax.debug.callback(_count)


def _count() -> None:
    if _displays:
        _displays[-1].advance()


@contextlib.contextmanager
def shown(progress: bool | None, traced: bool) -> Iterator[Callable[[Any], Any]]:
    """A context for the time of a solve. It gives a function that makes an operator count."""
    with steps_shown(progress, traced, "lo.solve: A applied {task.completed} times") as counts:
        yield Counted if counts else lambda op: op


@contextlib.contextmanager
def steps_shown(progress: bool | None, traced: bool, text: str) -> Iterator[bool]:
    """A context for the time of a computation. It gives whether that should count."""
    wanted = sys.stderr.isatty() if progress is None else progress
    if traced or not wanted:
        yield False
        return
    display = _Display(PATIENCE if progress is None else 0, text)
    _displays.append(display)
    try:
        yield True
        jax.effects_barrier()
    finally:
        _displays.remove(display)
        display.close()
