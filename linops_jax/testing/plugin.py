"""The pytest plugin: ``pytest --linops TARGET`` checks every operator class of a package without a line of test code.

Options are declared in _linops_jax_pytest.py, which pytest imports always; this module only where they are used.
"""

from __future__ import annotations

import itertools
from typing import Any

import jax
import pytest

from linops_jax.testing._discover import TargetError
from linops_jax.testing._harness import Checkup, explain
from linops_jax.testing._report import BLOCKED, Outcome
from linops_jax.testing._survey import Example, survey


class Plugin:
    """Adds the operators of the targets to what pytest collects; alone, if no path was given on the command line."""

    def __init__(self, config: pytest.Config):
        self._config = config
        self._targets: list[str] = config.getoption("linops") or []
        self._strict = bool(config.getoption("linops_strict"))
        self._left_out: list[str] = []
        self._error = ""  # of a target
        if config.args_source is not pytest.Config.ArgsSource.ARGS:
            config.args[:] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        try:
            with jax.enable_x64(True):
                examples, self._left_out = survey(self._targets, strict=self._strict)
        except TargetError as error:
            self._error = f"--linops {error}"
            raise pytest.UsageError(self._error) from None
        for _, group in itertools.groupby(examples, key=lambda example: example.found.cls):
            of_class = list(group)
            name = of_class[0].found.name
            node = _OperatorClass.from_parent(session, name=name, nodeid=name, examples=of_class)
            items.extend(session.genitems(node))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if self._left_out:
            terminalreporter.section("operators not checked")
            for line in dict.fromkeys(self._left_out):
                terminalreporter.line(line)

    # ---- pytest-xdist: workers collect, the controller prints -------------------------------------------------------

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self) -> None:
        output = getattr(self._config, "workeroutput", None)
        if output is not None:
            output["linops"] = self._left_out, self._error

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodedown(self, node: Any) -> None:
        left_out, error = getattr(node, "workeroutput", {}).get("linops", ([], ""))
        self._left_out += left_out
        if error:
            raise pytest.UsageError(error)


class _OperatorClass(pytest.Collector):
    def __init__(self, *, examples: list[Example], **keywords: Any):
        super().__init__(**keywords)
        self._examples = examples

    def collect(self) -> list[Any]:
        return [item for example in self._examples for item in self._items(example)]

    def _items(self, example: Example) -> list[Any]:
        checkup, number = example.checkup, f"[{example.number}]"
        if checkup is None:
            name = "examples" if example.number is None else f"examples{number}"
            return [_Broken.from_parent(self, name=name, error=example.error)]
        return [
            _CheckItem.from_parent(
                self, name=f"{name}{number}" if example.several else name, check=name, checkup=checkup
            )
            for name in checkup.checks
        ]


class _Item(pytest.Item):
    def reportinfo(self) -> tuple[Any, int | None, str]:
        return self.path, None, self.nodeid


class _CheckItem(_Item):
    def __init__(self, *, check: str, checkup: Checkup, **keywords: Any):
        super().__init__(**keywords)
        self._check, self._checkup = check, checkup

    def runtest(self) -> None:
        with jax.enable_x64(True):
            outcome = self._checkup.outcome(self._check)
        if outcome.status == BLOCKED:
            pytest.skip(outcome.message)
        if outcome.error is not None:
            raise outcome.error
        if outcome.message:
            self.add_report_section("call", "note", outcome.message)

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        """A check's own words; a traceback only for what a hook raised."""
        outcome: Outcome = self._checkup.outcome(self._check)
        if not isinstance(excinfo.value, AssertionError):
            return super().repr_failure(excinfo, style)
        return f"{outcome.message}\n\n{outcome.name}: {outcome.identity}\n{self._checkup.subject}"


class _Broken(_Item):
    """An item for ``examples()`` that raised, or gave something that cannot be checked."""

    def __init__(self, *, error: Exception, **keywords: Any):
        super().__init__(**keywords)
        self._error = error

    def runtest(self) -> None:
        raise self._error

    def repr_failure(self, excinfo: Any, style: Any = None) -> Any:
        return explain(excinfo.value)
