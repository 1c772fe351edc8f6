"""All checks of an operator, run together: each failure is reported once, by the check that explains it."""

from __future__ import annotations

import collections
import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from linops_jax.testing import _probes
from linops_jax.testing._show import Printable, table
from linops_jax.testing._subject import Subject, describe_tree
from linops_jax.testing.checks import CHECKS, Check

PASSED, FAILED, BLOCKED = "passed", "failed", "blocked"
_OF_JAX = ("For simplicity, JAX", "--------------------")  # notes on its own tracebacks
_STYLES = {PASSED: "[green]passed[/]", FAILED: "[bold red]FAILED[/]", BLOCKED: "[dim]not run[/]"}


class CheckError(AssertionError):
    """Some checks of an operator failed; the text lists every one. ``.report`` holds all results."""

    report: Report


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What one check found."""

    name: str
    identity: str
    status: str  # passed, failed, or blocked: what it needs has failed
    message: str = ""  # why it failed, what blocks it, or a note
    seconds: float = 0.0
    calls: dict[str, int] | None = None  # of host and native hooks: {"Blur.apply": 7}; None where nobody counts them
    error: Exception | None = dataclasses.field(default=None, compare=False, repr=False)

    @property
    def simulations(self) -> int | None:
        """How often hooks have run, all together."""
        return None if self.calls is None else sum(self.calls.values())


@dataclasses.dataclass(frozen=True, repr=False)
class Report(Printable):
    """The results of all checks of one operator; prints as a table."""

    operator: str
    input: str
    outcomes: tuple[Outcome, ...]

    @property
    def passed(self) -> bool:
        return not self.failures

    def __bool__(self) -> bool:
        return self.passed

    @property
    def failures(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == FAILED)

    @property
    def summary(self) -> str:
        """What failed, one line each."""
        lines = [f"{self.operator} fails {len(self.failures)} of {len(self.outcomes)} checks:"]
        return "\n".join([*lines, *(f"  {outcome.name}: {outcome.message}" for outcome in self.failures)])

    def raise_if_failed(self) -> None:
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


class Checkup:
    """The checks of one operator on one input; each runs once, after those that it needs."""

    def __init__(self, op: Any, x: Any = None, *, seed: int = 0, where: str = "check_operator"):
        self.subject = Subject(op, x, seed=seed, where=where)
        self._outcomes: dict[str, Outcome] = {}

    @functools.cached_property
    def checks(self) -> dict[str, Check]:
        """Those that apply to this operator and input."""
        try:
            _ = self.subject.out
        except Exception:  # the check of promises says why
            return {"promises": CHECKS["promises"]}
        return {name: check for name, check in CHECKS.items() if check.applies(self.subject)}

    def outcome(self, name: str) -> Outcome:
        if name not in self._outcomes:
            self._outcomes[name] = self._run(self.checks[name])
        return self._outcomes[name]

    def _run(self, check: Check) -> Outcome:
        needs = [self.outcome(name) for name in check.needs if name in self.checks]
        failed = next((outcome for outcome in needs if outcome.status != PASSED), None)
        if failed is not None:
            return Outcome(check.name, check.identity, BLOCKED, f"{failed.name} {_has(failed.status)}")
        start, before = time.perf_counter(), self.subject.calls()
        error, message = None, ""
        try:
            message = check.run(self.subject) or ""
        except Exception as caught:
            error, message = caught, explain(caught)
        seconds, after = time.perf_counter() - start, self.subject.calls()
        calls = (
            None if after is None else {label: count - (before or {}).get(label, 0) for label, count in after.items()}
        )
        return Outcome(check.name, check.identity, FAILED if error else PASSED, message, seconds, calls, error)

    def report(self, progress: Callable[[Outcome], None] = lambda outcome: None) -> Report:
        """Runs all; ``progress`` is called after each."""
        for name in self.checks:
            progress(self.outcome(name))
        return Report(
            repr(self.subject.op), describe_tree(self.subject.spec), tuple(self.outcome(name) for name in self.checks)
        )


def _has(status: str) -> str:
    return "has failed" if status == FAILED else "was not run"


def explain(error: Exception) -> str:
    """The exception's text, its type where it is not a check's own, and its notes: they name the hook."""
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    notes = "".join(f" [{note}]" for note in getattr(error, "__notes__", ()) if not note.startswith(_OF_JAX))
    return f"{kind}{error}{notes}"


def operator_checks(
    op: Any, x: Any = None, *, dtypes: Sequence[Any] = (), seed: int = 0
) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Yields ``(name, check)`` for every identity that applies to ``op``; ``check()`` raises AssertionError.

    - op: an operator
    - x: specs or example arrays of the input; may be left out where ``op.domain`` is known
    - dtypes: floating dtypes for the input, in place of those of x: all checks run with each, named ``adjoint[float64]``
    - seed: of all random vectors
    """
    for suffix, checkup in _checkups(op, x, dtypes, seed, "operator_checks"):
        for name, check in checkup.checks.items():
            yield f"{name}{suffix}", functools.partial(check.run, checkup.subject)


def check_operator(op: Any, x: Any = None, *, dtypes: Sequence[Any] = (), seed: int = 0) -> Report:
    """Runs every check. Returns a report, which prints as a table; raises one CheckError that lists all failures.

    - op: an operator
    - x: specs or example arrays of the input; may be left out where ``op.domain`` is known. Nonlinear operators are tested
      at the arrays, where arrays are given, and at random points otherwise
    - dtypes: floating dtypes for the input, in place of those of x: all checks run with each
    - seed: of all random vectors
    """
    reports = [(suffix, checkup.report()) for suffix, checkup in _checkups(op, x, dtypes, seed, "check_operator")]
    outcomes = [
        dataclasses.replace(outcome, name=f"{outcome.name}{suffix}")
        for suffix, report in reports
        for outcome in report.outcomes
    ]
    report = Report(reports[0][1].operator, ", ".join(report.input for _, report in reports), tuple(outcomes))
    report.raise_if_failed()
    return report


def _checkups(op: Any, x: Any, dtypes: Sequence[Any], seed: int, where: str) -> Iterator[tuple[str, Checkup]]:
    if not dtypes:
        yield "", Checkup(op, x, seed=seed, where=where)
    for dtype in dtypes:
        yield f"[{jax.numpy.dtype(dtype).name}]", Checkup(op, with_dtype(op, x, dtype), seed=seed, where=where)


def with_dtype(op: Any, x: Any, dtype: Any) -> Any:
    """The input of an operator with another dtype of its floating arrays: specs for specs, arrays for arrays.

    Raises TypeError for a dtype of 64 bits where x64 is off.
    """
    if jax.dtypes.canonicalize_dtype(dtype) != jax.numpy.dtype(dtype):
        message = f"dtype {jax.numpy.dtype(dtype).name} needs jax.enable_x64(True)."
        raise TypeError(message)

    def cast(leaf: Any) -> Any:
        if not _probes.is_inexact(leaf):
            return leaf
        is_spec = isinstance(leaf, jax.ShapeDtypeStruct)
        return jax.ShapeDtypeStruct(leaf.shape, dtype) if is_spec else jax.numpy.asarray(leaf, dtype=dtype)

    return jax.tree.map(cast, op.domain if x is None else x)
