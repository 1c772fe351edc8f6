"""Results that print as tables: in colour where there is a terminal, as HTML in notebooks, as plain text elsewhere."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator
from typing import Any

_COLORS = {"green": "#2f8f4e", "red": "#c9485b"}  # readable on white and on black
_CELL = "padding: 0.15em 0.6em; vertical-align: top"
# Notebooks do not wrap in tables, which cuts long texts; numbers stay whole.
_ALIGNED = {"left": "text-align: left; white-space: normal", "right": "text-align: right; white-space: nowrap"}


class Printable:
    """Subclasses yield rich's renderables from ``_renderables``: tables as ``table`` makes them, and lines of markup."""

    def _renderables(self) -> Iterator[Any]:
        raise NotImplementedError

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        yield from self._renderables()

    def __str__(self) -> str:
        from rich.console import Console

        console = Console(width=120, force_terminal=False, color_system=None, emoji=False)
        with console.capture() as capture:
            console.print(self)
        return capture.get().rstrip("\n")

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        parts = "".join(_line(part) if isinstance(part, str) else _table(part) for part in self._renderables())
        return f'<div style="overflow-x: auto">{parts}</div>'

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._repr_html_()}


def table(*headings: str, title: str = "", right: Iterable[int] = ()) -> Any:
    """An empty table; columns with numbers are aligned to the right."""
    from rich.table import Table

    shown = Table(title=title or None, title_justify="left")
    for i, heading in enumerate(headings):
        shown.add_column(heading, justify="right" if i in right else "left")
    return shown


def verdict(passed: bool) -> str:
    return "[green]passed[/]" if passed else "[bold red]FAILED[/]"


def _line(markup: str) -> str:
    return f'<p style="margin: 0.4em 0">{_inline(markup)}</p>'


def _table(shown: Any) -> str:
    """A table of strings as HTML. Long texts wrap, so that nothing of them is cut off."""
    columns = shown.columns
    head = _row("th", columns, [column.header for column in columns])
    rows = zip(*(column.cells for column in columns), strict=True)
    body = "".join(_row("td", columns, cells) for cells in rows)
    title = _line(f"{shown.title}") if shown.title else ""
    return f'{title}<table style="border-collapse: collapse"><thead>{head}</thead><tbody>{body}</tbody></table>'


def _row(tag: str, columns: Any, cells: Iterable[str]) -> str:
    pairs = zip(columns, cells, strict=True)
    shown = (f'<{tag} style="{_CELL}; {_ALIGNED[column.justify]}">{_inline(cell)}</{tag}>' for column, cell in pairs)
    return f"<tr>{''.join(shown)}</tr>"


def _inline(markup: str) -> str:
    """Text with rich's markup as HTML; lines stay lines."""
    from rich.console import Console
    from rich.text import Text

    segments = Text.from_markup(markup, emoji=False).render(Console())
    return "".join(_styled(text, style) for text, style, _ in segments).replace("\n", "<br>")


def _styled(text: str, style: Any) -> str:
    shown = {
        "color": _COLORS.get(style.color.name) if style and style.color else None,
        "font-weight": "bold" if style and style.bold else None,
        "opacity": "0.6" if style and style.dim else None,
    }
    css = "; ".join(f"{name}: {value}" for name, value in shown.items() if value)
    return f'<span style="{css}">{html.escape(text)}</span>' if css else html.escape(text)
