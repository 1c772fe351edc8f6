"""The side of a process that measures what it is asked to, one line of JSON at a time."""

import json
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import numpy as np

from .. import _measure
from . import data


def serve(
    lines: Iterable[str],
    write: Callable[[str], None],
    build: Callable[[str, str, data.Size], _measure.Run],
    gathered: Callable[[Any], Any] = np.asarray,
    together: Callable[[int], int] = int,
) -> None:
    """Answers requests until there are no more.

    Parameters
    ----------
    lines : iterable of str
        A library, a problem, its size, and seconds that a measurement takes at least.
    write : callable
        Takes the answer: seconds of one run, and what tells the result.
    build : callable
        Makes a run.
    gathered : callable
        Makes one array of what a run returns.
    together : callable
        The number of repetitions in this process -> the one of all processes.
    """

    @cache
    def prepared(library: str, problem: str, size: data.Size, least: float) -> tuple[_measure.Run, int, float]:
        run = build(library, problem, size)
        found = data.fingerprint(gathered(run()))
        return run, together(_measure.repetitions(run, least)), found

    for line in lines:
        library, problem, size, least = json.loads(line)
        run, times, found = prepared(library, problem, data.Size(*size), least)
        write(json.dumps({"seconds": _measure.seconds(run, times), "fingerprint": found}))
