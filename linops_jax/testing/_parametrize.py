"""One pytest item per operator and check."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from linops_jax.testing import _probes
from linops_jax.testing._discover import Found, _with_examples
from linops_jax.testing._harness import Checkup
from linops_jax.testing._report import BLOCKED, FAILED
from linops_jax.testing._subject import Operator
from linops_jax.testing.checks import CHECKS

_OPERATOR, _CHECK = ("operator", "op"), "check"


def parametrize_operators(
    operators: Sequence[Any], *, expected_failures: Mapping[str, str] | None = None, seed: int = 0
) -> Callable[[Any], Any]:
    """Parametrises a test of pytest over operators and the checks that apply to them.

    Parameters
    ----------
    operators : sequence
        ``(operator, x)`` pairs, x being specs or example arrays of the input; operators that know their domain; or
        classes with ``examples()``.
    expected_failures : mapping of str to str, optional
        From the name of a check to a reason; such an item must fail, and fails the test when it starts to pass.
    seed : int, optional
        That of all random vectors; 0 by default.

    Returns
    -------
    callable
        The decorator. The test takes ``check``, and ``operator`` if it wants to see it.

    Raises
    ------
    ValueError
        If no operators are given, or ``expected_failures`` names what is no check of these operators.
    TypeError
        If an entry is anything else, or the test does not take ``check``.

    Notes
    -----
    The items are ``test_operators[Blur-adjoint]`` and so on, so ``-k "Blur and adjoint"`` picks one. A check is skipped
    where another one, without which it says nothing new, has failed.

    Examples
    --------
    In a file of tests::

        @lo.testing.parametrize_operators([(Blur(kernel), spec), Radon])
        def test_operators(operator, check):
            check()
    """
    import pytest

    expected = dict(expected_failures or {})
    parameters, names = [], set()
    for label, op, x in _labelled(operators):
        case = _Case(op, x, seed)
        for name in case.checkup().checks:
            names.add(name)
            marks = [pytest.mark.xfail(reason=expected[name], strict=True)] if name in expected else []
            parameters.append(pytest.param(op, _Bound(case, name), id=f"{label}-{name}", marks=marks))
    if not parameters:
        message = "parametrize_operators: no operators were given, so nothing would be checked."
        raise ValueError(message)
    if unknown := sorted(set(expected) - names):
        known = ", ".join(name for name in CHECKS if name in names)
        message = f"parametrize_operators: expected_failures names {', '.join(unknown)}; the checks are {known}."
        raise ValueError(message)

    def decorate(function: Any) -> Any:
        arguments = inspect.signature(function).parameters
        operator = next((name for name in _OPERATOR if name in arguments), None)
        if _CHECK not in arguments:
            message = f"parametrize_operators: {function.__name__} must take `check`, and may take `operator`."
            raise TypeError(message)
        if operator is None:
            only = [pytest.param(p.values[1], id=p.id, marks=p.marks) for p in parameters]
            return pytest.mark.parametrize(_CHECK, only)(function)
        return pytest.mark.parametrize((operator, _CHECK), parameters)(function)

    return decorate


class _Case:
    """An operator and its input.

    Fixtures may turn x64 on for the test: its dtypes are then others than at collection.
    """

    def __init__(self, op: Any, x: Any, seed: int):
        self._make = functools.partial(Checkup, op, x, seed=seed, where="parametrize_operators")
        self._made: dict[bool, Checkup] = {}

    def checkup(self) -> Checkup:
        x64 = _probes.has_x64()
        if x64 not in self._made:
            self._made[x64] = self._make()
        return self._made[x64]


class _Bound:
    """A check of one operator; call it."""

    def __init__(self, case: _Case, name: str):
        self._case, self.name = case, name

    def __call__(self) -> None:
        import pytest

        checkup = self._case.checkup()
        if self.name not in checkup.checks:
            pytest.skip("does not apply")
        outcome = checkup.outcome(self.name)
        if outcome.status == BLOCKED:
            pytest.skip(outcome.message)
        if outcome.status == FAILED:
            message = f"{checkup.subject.op!r}: {outcome.message}"
            raise AssertionError(message) from outcome.error

    def __repr__(self) -> str:
        return self.name


def _labelled(operators: Sequence[Any]) -> list[tuple[str, Any, Any]]:
    cases: list[tuple[str, Any, Any]] = []
    for entry in operators:
        if isinstance(entry, type) and issubclass(entry, Operator):
            cases += [(entry.__name__, op, x) for op, x in _examples(_with_examples(entry))]
        elif isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], Operator):
            cases.append((type(entry[0]).__name__, *entry))
        elif isinstance(entry, Operator):
            cases.append((type(entry).__name__, entry, None))
        else:
            message = (
                "parametrize_operators takes (operator, x) pairs, operators with a domain and classes with examples(), "
                f"found {entry!r:.80}."
            )
            raise TypeError(message)
    labels = [label for label, _, _ in cases]
    return [
        (label if labels.count(label) == 1 else f"{label}{labels[:i].count(label)}", op, x)
        for i, (label, op, x) in enumerate(cases)
    ]


def _examples(found: Found) -> tuple[tuple[Any, Any], ...]:
    if found.error is not None:
        raise found.error
    if found.examples is None:
        message = (
            f"parametrize_operators: {found.name} has no examples(). Add the classmethod, or pass (operator, x) pairs."
        )
        raise TypeError(message)
    return found.examples
