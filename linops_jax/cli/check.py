"""`linops-jax check`: every check of every operator of a module, for people without pytest."""

import contextlib
import json
import sys
import time
from dataclasses import dataclass, field
from typing import Annotated, Any

import typer

from ._errors import BadInput, one_line_errors, require

_PLAIN_WIDTH = 120  # where there is no terminal


def check(
    targets: Annotated[
        list[str], typer.Argument(help="Modules, packages, file.py or file.py::Class.", metavar="TARGET...")
    ],
    only: Annotated[
        list[str] | None, typer.Option(help="Run only this check and those it depends on (repeatable).")
    ] = None,
    dtype: Annotated[
        list[str] | None,
        typer.Option(
            help="Dtype of floating inputs, instead of that in examples() (repeatable). Ignored for fixed domains."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of all random vectors.")] = 0,
    strict: Annotated[bool, typer.Option("--strict", help="Fail for operator classes without examples().")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON, and nothing else.")] = False,
) -> None:
    """Check every operator class that has examples().

    Runs with jax_enable_x64. Exit code 0: all checks passed. 1: a check failed. 2: there was nothing to check.
    """
    with one_line_errors(extra="all"):
        import jax

        with jax.enable_x64(True), contextlib.redirect_stdout(sys.stderr if as_json else sys.stdout):
            run = _Run(targets, only or [], dtype or [], seed, strict)
            run.silently() if as_json else run.live()
    if as_json:
        typer.echo(json.dumps(run.summary(), indent=2))
    raise typer.Exit(0 if run.passed else 1)


@dataclass
class _Row:
    """One example of one class."""

    name: str
    what: str = ""
    checkup: Any = None
    checks: list[str] = field(default_factory=list)  # to run
    outcomes: list[Any] = field(default_factory=list)
    problem: str = ""  # why there is nothing to run

    def count(self, status: str) -> int:
        return sum(outcome.status == status for outcome in self.outcomes)

    @property
    def failures(self) -> int:
        return self.count("failed") + bool(self.problem)

    @property
    def seconds(self) -> float:
        return sum(outcome.seconds for outcome in self.outcomes)

    @property
    def calls(self) -> int | None:
        """How often host and native hooks ran; None if they are not counted."""
        counts = [outcome.simulations for outcome in self.outcomes if outcome.simulations is not None]
        return sum(counts) if counts else None


class _Run:
    """The rows of all targets, and how they are shown while and after they run."""

    def __init__(self, targets: list[str], only: list[str], dtypes: list[str], seed: int, strict: bool):
        from linops_jax import testing

        known = ", ".join(testing.checks.CHECKS)
        for name in only:
            require(name in testing.checks.CHECKS, f"--only {name}: there is no such check; use one of {known}")
        for name in dtypes:
            require(_is_floating(name), f"--dtype {name}: this is not a floating dtype, such as float64")
        try:
            examples, self.left_out = testing.survey(targets, strict=strict, dtypes=dtypes, seed=seed)
        except testing.TargetError as error:
            raise BadInput(str(error)) from None
        chosen = _with_needs(only or list(testing.checks.CHECKS))
        self.rows = [_row(example, chosen) for example in examples]
        where = " ".join(targets)
        require(bool(self.rows), f"{where}: there is nothing to check: {'; '.join(self.left_out)}")
        applying = {name for row in self.rows for name in row.checks}
        for name in only:
            require(
                name in applying or any(row.problem for row in self.rows),
                f"{where}: --only {name} does not apply to any of these operators",
            )

    @property
    def passed(self) -> bool:
        return not any(row.failures for row in self.rows)

    # ---- running ----------------------------------------------------------------------------------------------------

    def silently(self) -> None:
        for row in self.rows:
            row.outcomes += [row.checkup.outcome(name) for name in row.checks]

    def live(self) -> None:
        from rich.console import Console
        from rich.live import Live

        console = Console(highlight=False)
        if not console.is_terminal:
            console.width = max(console.width, _PLAIN_WIDTH)
        start = time.perf_counter()
        with Live(console=console, refresh_per_second=8) as live:  # prints its last state where there is no terminal
            for row in self.rows:
                for name in row.checks:
                    live.update(self._table(f"{row.name}: {name}"))
                    row.outcomes.append(row.checkup.outcome(name))
            live.update(self._table())
        if not console.is_terminal:
            console.line()
        self._explain(console)
        self._conclude(console, time.perf_counter() - start)

    # ---- output -----------------------------------------------------------------------------------------------------

    def summary(self) -> dict[str, Any]:
        """The results, for JSON."""
        operators = [
            {
                "operator": row.name,
                "repr": row.what,
                "passed": not row.failures,
                "problem": row.problem,
                "checks": [
                    {
                        "name": outcome.name,
                        "status": outcome.status,
                        "message": outcome.message,
                        "calls": outcome.calls,
                        "seconds": round(outcome.seconds, 4),
                    }
                    for outcome in row.outcomes
                ],
            }
            for row in self.rows
        ]
        return {"passed": self.passed, "operators": operators, "not_checked": self.left_out}

    def _table(self, running: str = "") -> Any:
        from rich.table import Table
        from rich.text import Text

        table = Table(caption=Text(f"running {running}") if running else None, caption_justify="left")
        table.add_column("operator", overflow="fold")
        for heading in ("passed", "failed", "not run", "calls", "seconds"):
            table.add_column(heading, justify="right")
        for row in self.rows:
            style = "bold red" if row.failures else "green" if len(row.outcomes) == len(row.checks) else "dim"
            numbers = (row.count("passed"), row.failures, row.count("blocked"), "–" if row.calls is None else row.calls)
            table.add_row(Text(row.name, style), *map(str, numbers), f"{row.seconds:.2f}")
        return table

    def _explain(self, console: Any) -> None:
        from rich.markup import escape

        def tell(verdict: str, about: str, text: str) -> None:
            console.print(f"\n{verdict} [bold]{escape(about)}[/]: {escape(text)}", soft_wrap=True)

        for row in self.rows:
            if row.problem:
                tell("[bold red]FAILED[/]", row.name, row.problem)
            for outcome in row.outcomes:
                if outcome.message and outcome.status != "blocked":
                    verdict = "[bold red]FAILED[/]" if outcome.status == "failed" else "note"
                    tell(verdict, f"{row.name} {outcome.name}", outcome.identity)
                    console.print(f"{escape(outcome.message)}\n[dim]{escape(row.what)}[/]", soft_wrap=True)

    def _conclude(self, console: Any, seconds: float) -> None:
        from rich.text import Text

        if self.left_out:
            console.print(Text("\n".join(["\nnot checked:", *self.left_out])), soft_wrap=True)
        failed = sum(row.failures for row in self.rows)
        passed, blocked = (sum(row.count(status) for row in self.rows) for status in ("passed", "blocked"))
        console.print(
            f"\n{len(self.rows)} operators: {passed} checks passed, {failed} failed, {blocked} not run, in {seconds:.1f} s",
            style="green" if self.passed else "bold red",
        )


def _row(example: Any, chosen: set[str]) -> _Row:
    from linops_jax import testing

    if example.checkup is not None:
        checks = [name for name in example.checkup.checks if name in chosen]
        return _Row(example.name, repr(example.checkup.subject), example.checkup, checks)
    where = "examples(): " if example.error is example.found.error else ""
    what = "" if example.op is None else repr(example.op)
    return _Row(example.name, what, problem=f"{where}{testing.explain(example.error)}")


def _with_needs(names: list[str]) -> set[str]:
    from linops_jax.testing.checks import CHECKS

    return {*names, *(need for name in names for need in _with_needs(list(CHECKS[name].needs)))}


def _is_floating(name: str) -> bool:
    import jax.numpy as jnp

    try:
        return bool(jnp.issubdtype(jnp.dtype(name), jnp.inexact))
    except TypeError:
        return False
