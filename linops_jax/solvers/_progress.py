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
        jax.debug.callback(_count)
        return self.op(x)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(y, like)


class _Display:
    """One line on standard error: how often A was applied, and since when."""

    def __init__(self, patience: float):
        self.steps, self.start, self.patience = 0, time.monotonic(), patience
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

        columns = SpinnerColumn(), TextColumn("lo.solve: A applied {task.completed} times"), TimeElapsedColumn()
        console = Console(stderr=True)
        self.bar = Progress(*columns, console=console, transient=console.is_terminal)
        self.task = self.bar.add_task("lo.solve", total=None)
        self.bar.start()

    def close(self) -> None:
        if self.bar is not None:
            self.bar.stop()


def _count() -> None:
    if _displays:
        _displays[-1].advance()


@contextlib.contextmanager
def shown(progress: bool | None, traced: bool) -> Iterator[Callable[[Any], Any]]:
    """Gives a function that makes an operator count; to be left when the solve is over."""
    wanted = sys.stderr.isatty() if progress is None else progress
    if traced or not wanted:
        yield lambda op: op
        return
    display = _Display(PATIENCE if progress is None else 0)
    _displays.append(display)
    try:
        yield Counted
        jax.effects_barrier()
    finally:
        _displays.remove(display)
        display.close()
