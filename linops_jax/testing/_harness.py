"""All checks of an operator, run together: each failure is reported once, by the check that explains it."""

from __future__ import annotations

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax

from linops_jax._types import Specs
from linops_jax.testing import _probes
from linops_jax.testing._report import BLOCKED, FAILED, PASSED, Outcome, Report
from linops_jax.testing._subject import Operator, Subject, describe_tree
from linops_jax.testing.checks import CHECKS, Check

_OF_JAX = ("For simplicity, JAX", "--------------------")  # notes on its own tracebacks


class Checkup:
    """The checks of one operator on one input; each runs once, after those that it needs.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        Specs or example arrays of the input; may be left out where ``op.domain`` is known.
    seed : int, optional
        That of all random vectors; 0 by default.
    where : str, optional
        What errors begin with.
    """

    def __init__(self, op: Operator, x: Specs | None = None, *, seed: int = 0, where: str = "check_operator"):
        self.subject = Subject(op, x, seed=seed, where=where)
        self._outcomes: dict[str, Outcome] = {}

    @functools.cached_property
    def checks(self) -> dict[str, Check]:
        """The checks that apply to this operator and input, by name."""
        try:
            _ = self.subject.out
        except Exception:  # the check of promises says why
            return {"promises": CHECKS["promises"]}
        return {name: check for name, check in CHECKS.items() if check.applies(self.subject)}

    def outcome(self, name: str) -> Outcome:
        """Runs one check, and before it those that it needs.

        Parameters
        ----------
        name : str
            One of ``checks``.

        Returns
        -------
        Outcome
            What it found; remembered.
        """
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
        """Runs all checks.

        Parameters
        ----------
        progress : callable, optional
            ``progress(outcome)`` is called after each.

        Returns
        -------
        Report
            All outcomes.
        """
        for name in self.checks:
            progress(self.outcome(name))
        return Report(
            repr(self.subject.op), describe_tree(self.subject.spec), tuple(self.outcome(name) for name in self.checks)
        )


def _has(status: str) -> str:
    return "has failed" if status == FAILED else "was not run"


def explain(error: Exception) -> str:
    """The text of an exception of a check, in one line, as reports print it.

    Parameters
    ----------
    error : Exception
        The exception.

    Returns
    -------
    str
        Its type if it is not a check's own, its text, and its notes, which name the hook.

    Examples
    --------
    >>> lo.testing.explain(ValueError("no licence"))
    'ValueError: no licence'
    """
    kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
    notes = "".join(f" [{note}]" for note in getattr(error, "__notes__", ()) if not note.startswith(_OF_JAX))
    return f"{kind}{error}{notes}"


def operator_checks(
    op: Operator, x: Specs | None = None, *, dtypes: Sequence[Any] = (), seed: int = 0
) -> Iterator[tuple[str, Callable[[], str | None]]]:
    """Yields every check that applies to an operator, to be run one by one.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        Specs or example arrays of the input; may be left out where ``op.domain`` is known.
    dtypes : sequence of dtypes, optional
        Floating dtypes for the input, in place of those of ``x``: all checks run with each, under names as
        ``adjoint[float64]``.
    seed : int, optional
        That of all random vectors; 0 by default.

    Yields
    ------
    name : str
        The name of the check.
    check : callable
        ``check()`` raises AssertionError where its identity does not hold. It returns None, or a note on what the
        operator could say better.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> for name, check in lo.operator_checks(A, jnp.zeros(2)):
    ...     if name in ("linear", "adjoint"):
    ...         print(name, check())
    linear None
    adjoint None
    """
    for suffix, checkup in _checkups(op, x, dtypes, seed, "operator_checks"):
        for name, check in checkup.checks.items():
            yield f"{name}{suffix}", functools.partial(check.run, checkup.subject)


def check_operator(op: Operator, x: Specs | None = None, *, dtypes: Sequence[Any] = (), seed: int = 0) -> Report:
    """Runs every check that applies to an operator.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, optional
        Specs or example arrays of the input; may be left out where ``op.domain`` is known. A nonlinear operator is
        tested at the arrays, where arrays are given, and at random points otherwise.
    dtypes : sequence of dtypes, optional
        Floating dtypes for the input, in place of those of ``x``: all checks run with each.
    seed : int, optional
        That of all random vectors; 0 by default.

    Returns
    -------
    linops_jax.testing.Report
        All results; prints as a table.

    Raises
    ------
    linops_jax.testing.CheckError
        If a check fails. It lists all failures.
    TypeError
        If ``op`` is not an operator, or its input is not known.

    Notes
    -----
    Where other processes hold parts of the arrays, all processes must call the checks, and get the same answers. Checks that
    need whole arrays are skipped: the report says which and why.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> lo.check_operator(A, jnp.zeros(2)).passed
    True
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


def _checkups(
    op: Operator, x: Specs | None, dtypes: Sequence[Any], seed: int, where: str
) -> Iterator[tuple[str, Checkup]]:
    if not dtypes:
        yield "", Checkup(op, x, seed=seed, where=where)
    for dtype in dtypes:
        yield f"[{jax.numpy.dtype(dtype).name}]", Checkup(op, with_dtype(op, x, dtype), seed=seed, where=where)


def with_dtype(op: Operator, x: Specs | None, dtype: Any) -> Specs:
    """The input of an operator with another dtype of its floating arrays.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    x : pytree of arrays or jax.ShapeDtypeStruct, or None
        Specs or example arrays of the input; None where ``op.domain`` is known.
    dtype : dtype
        The dtype of the floating arrays of the result.

    Returns
    -------
    pytree of arrays or jax.ShapeDtypeStruct
        Specs for specs, arrays for arrays.

    Raises
    ------
    TypeError
        If the dtype has 64 bits and ``jax_enable_x64`` is off.

    Examples
    --------
    >>> lo.testing.with_dtype(lo.FFT(), jax.ShapeDtypeStruct((4,), jnp.float32), jnp.complex64)
    ShapeDtypeStruct(shape=(4,), dtype=complex64)
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
