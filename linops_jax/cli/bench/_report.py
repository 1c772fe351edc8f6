"""The rows in the terminal, as Markdown and as JSON."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from .._errors import require
from ._machine import Machine
from ._measure import Row

HEADER = ("", "", "median", "quartiles", "linops_jax / this", "quartiles", "goal", "met")
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def table(console: Console, title: str, rows: list[Row]) -> None:
    """One comparison in the terminal."""
    made = Table(*HEADER[:2], title=title, title_justify="left")
    for name in HEADER[2:]:
        made.add_column(name, justify="right")
    for _, group in groupby(rows, lambda row: row.case):
        *first, last = [*_cells(list(group))]
        for row, cells in [*((row, cells) for row, cells in first), last]:
            style = {True: "green", False: "bold red", None: ""}[row.met]
            *plain, met = map(escape, cells)
            made.add_row(*plain, f"[{style}]{met}[/]" if style else met, end_section=row is last[0])
    console.print(made)


def markdown(machine: Machine, load: float, rows: list[Row], titles: dict[str, str]) -> str:
    """The goals first, then every comparison as a table."""
    parts = [machine.sentences(load), _goals(rows, titles)]
    for name, group in groupby(rows, lambda row: row.comparison):
        lines = [HEADER, ("---", "---", *["---:"] * (len(HEADER) - 2))]
        for _, case in groupby(group, lambda row: row.case):
            lines += [cells for _, cells in _cells(list(case))]
        parts.append(f"### {titles[name]}\n\n" + _lines(lines))
    return "\n\n".join(parts)


def _goals(rows: list[Row], titles: dict[str, str]) -> str:
    found = [row for row in rows if row.goal]
    if not found:
        return ""
    lines = [("what", "against", "measured", "goal", "met"), ("---", "---", "---:", "---:", "---")]
    for row in found:
        measured = f"{row.ratio:.3g}" if row.ratio is not None else amount(row.median, row.unit)
        if row.goal and "+" in row.goal:
            measured = _difference(row, rows)
        what, against = f"{titles[row.comparison]}: {row.case}", row.who if row.ratio is not None else "itself"
        lines.append((what, against, measured, row.goal or "", row.note or _verdict(row)))
    return "### Goals\n\n" + _lines(lines)


def _difference(row: Row, rows: list[Row]) -> str:
    ours = next(r for r in rows if (r.comparison, r.case) == (row.comparison, row.case))
    if ours.median is None or row.median is None:
        return ""
    return f"+ {amount(ours.median - row.median, row.unit)}"


def _lines(lines: Iterable[tuple[str, ...]]) -> str:
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _cells(rows: list[Row]) -> Iterator[tuple[Row, tuple[str, ...]]]:
    for number, row in enumerate(rows):
        case = row.case if number == 0 else ""
        if row.note:
            yield row, (case, row.who, row.note, "", "", "", row.goal or "", "")
            continue
        ratio = "" if row.ratio is None else f"{row.ratio:.3g}"
        spread = _spread(row.ratio_quartiles)
        shown = [amount(value, row.unit) for value in row.quartiles or ()]
        same = len({text.partition(" ")[2] for text in shown}) == 1
        between = " to ".join([shown[0].partition(" ")[0], shown[1]] if same else shown)
        yield (
            row,
            (case, row.who, amount(row.median, row.unit), between, ratio, spread, row.goal or "", _verdict(row)),
        )


def _spread(quartiles: tuple[float, float] | None) -> str:
    return "" if quartiles is None else " to ".join(f"{value:.3g}" for value in quartiles)


def _verdict(row: Row) -> str:
    return {True: "yes", False: "no", None: ""}[row.met]


def amount(value: float | None, unit: str) -> str:
    """Three digits, with a unit that fits."""
    if value is None:
        return ""
    if unit != "s":
        return f"{value:.2f} {unit}"
    for factor, name in ((1, "s"), (1e3, "ms"), (1e6, "µs")):
        if abs(value) * factor >= 1:
            return f"{value * factor:.3g} {name}"
    return f"{value * 1e9:.3g} ns"


def as_json(machine: Machine, rows: list[Row]) -> str:
    return json.dumps({"machine": machine.as_dict(), "rows": [asdict(row) for row in rows]}, indent=1) + "\n"


def write_between_marks(page: Path, text: str) -> None:
    """Puts the text into the page, in place of what stands between the two marks."""
    before, _, after = readable_page(page)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{after}")


def readable_page(page: Path) -> tuple[str, str, str]:
    """What stands before, between and after the marks."""
    require(page.is_file(), f"--markdown {page}: there is no such page; give one that has the lines {BEGIN} and {END}")
    before, found, rest = page.read_text().partition(BEGIN)
    between, closed, after = rest.partition(END)
    require(bool(found and closed), f"--markdown {page}: the page must have the lines {BEGIN} and {END}")
    return before, between, after
