"""What there is to check in some targets: the front doors run it, each in its way."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from linops_jax.testing._discover import Found, discover
from linops_jax.testing._harness import Checkup, with_dtype


@dataclasses.dataclass(frozen=True, eq=False)
class Example:
    """One example of an operator class and its checks, or why there is nothing to run."""

    found: Found
    number: int | None = None  # of the example; None where the class gives none
    dtype: str = ""  # of its floating input, where that is not the example's own
    op: Any = None
    checkup: Checkup | None = None
    error: Exception | None = None  # where there is no checkup

    @property
    def several(self) -> bool:
        """Whether it is one of several of its class."""
        return len(self.found.examples or ()) > 1

    @property
    def name(self) -> str:
        number = f"-{self.number}" if self.several else ""
        return f"{self.found.name}{number}" + (f"[{self.dtype}]" if self.dtype else "")


def survey(
    targets: Sequence[str], *, strict: bool = False, dtypes: Sequence[str] = (), seed: int = 0
) -> tuple[list[Example], list[str]]:
    """The examples of all operator classes of the targets, each class once; and what was left out, with the reasons.

    Parameters
    ----------
    targets : sequence of str
        As ``discover`` takes them.
    strict : bool, optional
        A class without ``examples()`` is an example with an error. By default it is left out.
    dtypes : sequence of str, optional
        Floating dtypes for the inputs, in place of the examples' own; not where the domain is fixed.
    seed : int, optional
        That of all random vectors.

    Returns
    -------
    examples : list of Example
        One for each example and dtype.
    left_out : list of str
        What was left out, with the reasons.

    Raises
    ------
    TargetError
        If a target has no operator classes.
    """
    left_out: list[str] = []
    classes: dict[Any, Found] = {}
    for target in targets:
        for found in discover(target, left_out=left_out):
            classes.setdefault(found.cls, found)
    examples: list[Example] = []
    for found in classes.values():
        if found.examples is None and not strict:
            left_out.append(f"{found.name}: it has no examples()")
        else:
            examples += _examples(found, dtypes, seed)
    return examples, list(dict.fromkeys(left_out))


def _examples(found: Found, dtypes: Sequence[str], seed: int) -> Iterator[Example]:
    if found.examples is None:
        message = "it has no examples(): add a classmethod that yields (operator, spec) pairs, and it is checked"
        yield Example(found, error=AssertionError(message))
    elif found.error is not None:
        yield Example(found, error=found.error)
    for number, (op, x) in enumerate(found.examples or ()):
        for dtype in dtypes if dtypes and op.domain is None else ("",):
            yield _with_checkup(Example(found, number, dtype, op), x, seed)


def _with_checkup(example: Example, x: Any, seed: int) -> Example:
    try:
        x = with_dtype(example.op, x, example.dtype) if example.dtype else x
        checkup = Checkup(example.op, x, seed=seed, where=f"{example.name}: examples()")
        _ = checkup.checks
    except Exception as error:
        return dataclasses.replace(example, error=error)
    return dataclasses.replace(example, checkup=checkup)
