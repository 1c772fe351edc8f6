"""What checks found, as a table and as an error."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from linops_jax.testing._show import Printable, table

PASSED, FAILED, BLOCKED = "passed", "failed", "blocked"
_STYLES = {PASSED: "[green]passed[/]", FAILED: "[bold red]FAILED[/]", BLOCKED: "[dim]not run[/]"}


class CheckError(AssertionError):
    """Some checks of an operator failed; the text lists every one.

    Attributes
    ----------
    report : Report
        The results of all checks.
    """

    report: Report


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one check found.

    Attributes
    ----------
    name : str
        The name of the check.
    identity : str
        What must hold, in one line.
    status : {"passed", "failed", "blocked"}
        Blocked: a check that this one needs has failed.
    message : str
        Why it failed, what blocks it, or a note.
    seconds : float
        How long it took.
    calls : dict of int, or None
        How often host and native hooks ran, ``{"Blur.apply": 7}``; None if they are not counted.
    error : Exception or None
        What the check raised.
    """

    name: str
    identity: str
    status: str
    message: str = ""
    seconds: float = 0.0
    calls: dict[str, int] | None = None
    error: Exception | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def simulations(self) -> int | None:
        """How often hooks ran, all together; None if they are not counted."""
        return None if self.calls is None else sum(self.calls.values())


@dataclasses.dataclass(frozen=True, repr=False)
class Report(Printable):
    """The results of all checks of one operator: true where all passed; prints as a table.

    Attributes
    ----------
    operator : str
        How the operator prints.
    input : str
        Shapes and dtypes of its input.
    outcomes : tuple of Outcome
        One for each check: ``name``, ``identity``, ``status``, ``message``, ``seconds``, ``calls`` and ``error``.
    """

    operator: str
    input: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        """Whether no check has failed."""
        return not self.failures

    def __bool__(self) -> bool:
        return self.passed

    @property
    def failures(self) -> tuple[Outcome, ...]:
        """The outcomes of the checks that failed."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == FAILED)

    @property
    def summary(self) -> str:
        """What failed, one line each."""
        lines = [f"{self.operator} fails {len(self.failures)} of {len(self.outcomes)} checks:"]
        return "\n".join([*lines, *(f"  {outcome.name}: {outcome.message}" for outcome in self.failures)])

    def raise_if_failed(self) -> None:
        """Raises ``CheckError`` with the summary and the report if a check has failed."""
        if self.failures:
            error = CheckError(self.summary)
            error.report = self
            raise error

    def _renderables(self) -> Iterator[Any]:
        yield from report_table(self.operator, self.input, self.outcomes)


def report_table(operator: str, given: str, outcomes: Sequence[Outcome]) -> Iterator[Any]:
    from rich.markup import escape

    title = f"{escape(operator)} on {escape(given)}"
    shown = table("check", "identity", "", "calls", "seconds", title=title, right=(3, 4))
    for outcome in outcomes:
        numbers = number_of_calls(outcome.simulations), f"{outcome.seconds:.2f}"
        shown.add_row(outcome.name, escape(outcome.identity), _STYLES[outcome.status], *numbers)
    yield shown
    if said := _all_calls(outcomes):
        yield said
    for outcome in outcomes:
        if outcome.message and outcome.status != BLOCKED:
            kind = "[bold red]FAILED[/]" if outcome.status == FAILED else "note"
            yield f"{kind} {outcome.name}: {escape(outcome.message)}"


def number_of_calls(count: int | None) -> str:
    return "–" if count is None else str(count)


def _all_calls(outcomes: Sequence[Outcome]) -> str:
    total: collections.Counter[str] = collections.Counter()
    for outcome in outcomes:
        total.update(outcome.calls or {})
    counts = ", ".join(f"{label} {count}" for label, count in total.items() if count)
    return f"calls: {counts}, in {sum(outcome.seconds for outcome in outcomes):.1f} s" if counts else ""
