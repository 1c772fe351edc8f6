"""`linops-jax bench`: what calls, derivatives, batches and solvers cost, compared with all other libraries installed."""

import importlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .._errors import one_line_errors, require

if TYPE_CHECKING:
    from ._measure import Effort, Row

COMPARISONS = (
    "calls",
    "dispatch",
    "batches",
    "callbacks",
    "derivatives",
    "programs",
    "memory",
    "startup",
    "operators",
    "solvers",
    "minimize",
    "models",
    "threads",
    "devices",
)
_PLAIN_WIDTH = 150  # where there is no terminal


def bench(
    names: Annotated[
        list[str] | None, typer.Argument(help="Comparisons to run (default: all).", metavar="NAME...")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer rounds and small sizes.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Run --quick; exit code 1 if a ratio is more than twice the recorded one.")
    ] = False,
    record: Annotated[bool, typer.Option("--record", help="Run --quick and save its ratios for --check.")] = False,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write all figures to this file.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw a picture in this file (PNG, SVG, PDF).")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write tables into this page, between its two marks.")] = None,
    show_list: Annotated[bool, typer.Option("--list", help="List the comparisons.")] = False,
) -> None:
    """Compare the cost of linops_jax with that of other libraries, in one process.

    Each round measures each library once. Times are medians over the rounds, and ratios are taken within rounds. A library that
    is not installed has a row that says so. Exit code 1: --check found a ratio that is too large. 2: wrong arguments.
    """
    with one_line_errors(extra="test"):
        for name in names or ():
            require(name in COMPARISONS, f"{name}: there is no such comparison; use one of {', '.join(COMPARISONS)}")
        if show_list:
            for name in COMPARISONS:
                typer.echo(f"{name:12} {_title(name)}")
            return
        require(not (check and record), "--check and --record cannot be combined: choose one")
        bench_run = _Run([name for name in COMPARISONS if name in (names or COMPARISONS)], quick or check or record)
        outputs = _Outputs(json_file, plot, markdown)
        bench_run.measure()
        outputs.write(bench_run)
        if record:
            from . import _recorded

            _recorded.record(bench_run.rows)
    if check:
        _check(bench_run)


class _Run:
    """The rows of all comparisons, shown as they come."""

    def __init__(self, names: list[str], quick: bool):
        from rich.console import Console

        from . import _machine, _measure

        self.names = names
        self.effort: Effort = _measure.QUICK if quick else _measure.FULL
        self.console = Console(highlight=False)
        if not self.console.is_terminal:
            self.console = Console(highlight=False, width=_PLAIN_WIDTH)
        _machine.start_devices()
        self.machine = _machine.look()
        self.rows: list[Row] = []

    @property
    def titles(self) -> dict[str, str]:
        return {name: _title(name) for name in self.names}

    def measure(self) -> None:
        from . import _report

        self.console.print(self.machine.sentences())
        for name in self.names:
            started = time.monotonic()
            rows = self.rows_of(name)
            _report.table(self.console, f"{_title(name)}: {time.monotonic() - started:.0f} s", rows)
            self.rows += rows

    def rows_of(self, name: str) -> "list[Row]":
        import jax

        from . import _machine, _measure

        rows: list[Row] = []
        with jax.enable_x64(True), _machine.one_blas_thread(), self.console.status(name) as status:
            for case in _module(name).cases(self.effort):
                status.update(f"{name}: {case.name}")
                rows += _measure.measure(name, case, self.effort)
        return rows


class _Outputs:
    """Files to write; what would fail at the end fails at the start."""

    def __init__(self, json_file: Path | None, plot: Path | None, markdown: Path | None):
        from . import _report

        self._json, self._plot, self._markdown = json_file, plot, markdown
        for file in (json_file, plot):
            require(
                file is None or file.parent.is_dir(),
                f"{file}: there is no folder {file and file.parent}: create it first",
            )
        if markdown:
            _report.readable_page(markdown)
        if plot:
            from . import _plot

            _plot.require_format(plot)

    def write(self, run: _Run) -> None:
        from . import _machine, _report

        if self._json:
            self._json.write_text(_report.as_json(run.machine, run.rows))
        if self._markdown:
            text = _report.markdown(run.machine, _machine.load(), run.rows, run.titles)
            _report.write_between_marks(self._markdown, text)
        if self._plot:
            from . import _plot

            _plot.draw(run.machine, run.rows, self._plot)


def _check(run: _Run) -> None:
    """Measures comparisons with a ratio that is too large again, and fails if it is still too large."""
    from . import _recorded

    known = _recorded.compared(run.rows)
    first = _recorded.too_large(run.rows)
    again = [
        row for name in run.names if any(key.startswith(f"{name} |") for key in first) for row in run.rows_of(name)
    ]
    failed = {key: found for key, found in _recorded.too_large(again).items() if key in first}
    for key, (now, then) in failed.items():
        typer.echo(f"FAILED {key}: the ratio is {now:.3g}, the recorded one is {then:.3g}", err=True)
    typer.echo(f"{len(known)} ratios compared, {len(first)} measured again, {len(failed)} failed")
    if failed or not known:
        raise typer.Exit(1)


def _module(name: str) -> Any:
    return importlib.import_module(f"{__name__}.{name}")


def _title(name: str) -> str:
    return _module(name).TITLE
