"""Results that print as tables: in colour where there is a terminal, as plain text elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any


class Printable:
    """Subclasses yield rich's renderables from ``_renderables``."""

    def _renderables(self) -> Iterator[Any]:
        raise NotImplementedError

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from self._renderables()

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, force_terminal=False, color_system=None)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip("\n")

    def __repr__(self) -> str:
        return str(self)

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self)}


def table(*headings: str, title: str = "", right: Iterable[int] = ()) -> Any:
    """An empty table; columns with numbers are aligned to the right."""
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left")
    for i, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if i in right else "left")
    return shown


def verdict(passed: bool) -> str:
    return "[green]passed[/]" if passed else "[bold red]FAILED[/]"
