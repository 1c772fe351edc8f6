"""The rows as a picture for people: times over sizes, batches and chains, and every ratio with its goal."""

from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter

from .._errors import BadInput
from ._machine import Machine
from ._measure import Row
from ._report import amount

COLOURS = {
    "linops_jax": "#d62728",
    "JAXbind": "#1f77b4",
    "pure_callback": "#7f7f7f",
    "buffer_callback": "#17becf",
    "FFI handler by hand": "#2ca02c",
    "bare NumPy": "#ff7f0e",
    "PyLops": "#9467bd",
    "SciPy on PyLops": "#9467bd",
    "lineax": "#8c564b",
    "SCICO": "#e377c2",
}
OTHER = "#bcbd22"
CURVES = (
    ("calls", "Time per call in a compiled loop", "floats"),
    ("batches", "vmap, a call for each element", "elements of 8 floats"),
    ("programs", "Compiling a chain, per operator", "operators in the program"),
)
WIDTH = 8.4  # inches: about the width of a page of the documents, where letters of 8 points can be read
BYTES = 4 * 2  # a float is read and one is written


def require_format(file: Path) -> None:
    known = Figure().canvas.get_supported_filetypes()
    if file.suffix[1:].lower() not in known:
        msg = f"--plot {file}: the name must end with one of {', '.join(sorted(known))}"
        raise BadInput(msg)


def draw(machine: Machine, rows: list[Row], file: Path) -> None:
    """Curves where there are any, and ratios below: each as wide as it likes, since labels of ratios are long."""
    ratios = _selected(rows)
    curves = [(name, *texts) for name, *texts in CURVES if _lines(rows, name)]
    lines = (len(curves) + 2) // 2 if curves else 0
    heights = 3.1 * lines or 0.1, 0.165 * len(ratios) + 1.3
    figure = Figure(figsize=(WIDTH, 0.5 + sum(heights)), layout="constrained")
    both: Any = figure.subfigures(2, 1, height_ratios=heights)
    above, below = both
    grid = above.add_gridspec(max(lines, 1), 2)
    for number, (name, title, axis) in enumerate(curves):
        place = grid[0, :] if number == 0 else grid[(number + 1) // 2, (number + 1) % 2]
        _curve(above.add_subplot(place), _lines(rows, name), title, axis, machine if name == "calls" else None)
    if ratios:
        _ratios(below.add_subplot(), ratios)
    versions = machine.versions
    figure.suptitle(
        f"linops_jax {versions['linops-jax']} on JAX {versions['jax']}, {machine.processor}, {machine.cores} cores.\n"
        "Medians; bands and bars from the lower to the upper quartile.",
        fontsize=9,
    )
    figure.savefig(file, dpi=150)


def _selected(rows: list[Row]) -> list[Row]:
    """All that have a ratio; of curves the two ends, and what has a goal."""
    ends: dict[str, set[float | None]] = {}
    for name in ("calls", "batches", "programs"):
        places = [row.at for row in rows if row.comparison == name and row.at is not None]
        ends[name] = {None, min(places, default=None), max(places, default=None)}
    shown = [row for row in rows if row.goal or row.at in ends.get(row.comparison, {row.at})]
    return [row for row in shown if row.ratio is not None]


def _lines(rows: list[Row], comparison: str) -> dict[str, list[Row]]:
    """By contestant, what has a place on the axis: of several kinds of cases the first."""
    placed = [row for row in rows if row.comparison == comparison and row.at is not None]
    seen: dict[tuple[str, float], Row] = {}
    for row in placed:
        seen.setdefault((row.who, row.at or 0.0), row)
    found: dict[str, list[Row]] = {}
    for row in seen.values():
        if row.median is not None:
            found.setdefault(row.who, []).append(row)
    return found


def _curve(axes: Any, lines: dict[str, list[Row]], title: str, label: str, machine: Machine | None) -> None:
    for who, rows in lines.items():
        ours = who == "linops_jax"
        x, colour = [row.at for row in rows], COLOURS.get(who, OTHER)
        axes.plot(
            x,
            [row.median for row in rows],
            "o-",
            ms=4,
            color=colour,
            label=who,
            lw=2.5 if ours else 1.3,
            zorder=3 + ours,
        )
        low, high = zip(*(row.quartiles or (0, 0) for row in rows), strict=True)
        axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
    if machine:
        x = sorted({row.at for rows in lines.values() for row in rows if row.at})
        limit = [BYTES * size / machine.bandwidth for size in x]
        axes.plot(x, limit, "k--", lw=1, label="copy beyond the caches")
        axes.set_ylim(bottom=min(row.median or 1 for rows in lines.values() for row in rows) / 3)
    axes.set(xscale="log", yscale="log", xlabel=label)
    axes.set_title(title, fontsize=10)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: amount(value, "s")))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7)


def _ratios(axes: Any, rows: list[Row]) -> None:
    """One line for each ratio, in groups; a bar marks a goal."""
    place, places, labels = 0.0, [], []
    for (comparison, case), group in groupby(rows, lambda row: (row.comparison, row.case)):
        for row in group:
            low, high = row.ratio_quartiles or (row.ratio, row.ratio)
            colour = COLOURS.get(row.who, OTHER)
            axes.plot([low, high], [place, place], color=colour, lw=3, alpha=0.5)
            axes.plot(row.ratio, place, "o", ms=5, color=colour)
            goal = float(row.goal.split()[1]) if row.goal and "+" not in row.goal else None
            if goal is not None:
                axes.plot(goal, place, "|", ms=12, mew=2, color="green" if row.met else "red")
            places.append(place)
            labels.append(f"{case}: {row.who}" if comparison != "startup" else f"{row.who}, {case}")
            place += 1
        place += 0.6
    axes.axvline(1, color="k", lw=1)
    axes.set(xscale="log", ylim=(place, -1))
    axes.set_title("Time (or memory) of linops_jax over that of …", fontsize=10)
    axes.set_yticks(places, labels, fontsize=8)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.grid(axis="x", alpha=0.3)
    axes.set_xlabel("ratio: left of 1 is better;\na small bar is the goal, green where it is met")
