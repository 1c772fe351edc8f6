"""Contestants measured in turn: medians with quartiles, and ratios within the same round."""

import gc
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

Run = Callable[[], Any]  # its work is done when it returns


class Missing(ImportError):
    """Something that a contestant needs and that is not here; the text says what."""


@dataclass(frozen=True)
class Effort:
    """How long and how large a run of the benchmark is.

    Parameters
    ----------
    rounds : int
        How often each contestant is measured.
    slow_rounds : int
        The same for slow ones.
    seconds : float
        What one sample of a fast contestant takes at least.
    sizes : tuple of int
        Numbers of floats.
    batches : tuple of int
        Lengths of ``vmap``.
    chain : tuple of int
        Numbers of operators in one program.
    pixels : int
        Side of the picture.
    pictures : tuple of int
        Sides of the pictures of ready-made operators.
    steps : int
        Steps of the solvers.
    variants : int
        How many ways to write our operator.
    repeated : pair of int
        Calls and operators for growth in memory.
    modules : tuple of str
        What is imported, ours first.
    devices : tuple of int
        Numbers of devices over which work is spread.
    spread : tuple of str
        What is spread over devices.
    """

    rounds: int
    slow_rounds: int
    seconds: float
    sizes: tuple[int, ...]
    batches: tuple[int, ...]
    chain: tuple[int, ...]
    pixels: int
    pictures: tuple[int, ...]
    steps: int
    variants: int
    repeated: tuple[int, int]
    modules: tuple[str, ...]
    devices: tuple[int, ...]
    spread: tuple[str, ...]


FULL = Effort(
    rounds=15,
    slow_rounds=5,
    seconds=0.03,
    sizes=(8, 1000, 100_000, 1_000_000, 10_000_000),
    batches=(1, 10, 1000),
    chain=(1, 10, 100),
    pixels=512,
    pictures=(512, 4096),
    steps=50,
    variants=4,
    repeated=(100_000, 1000),
    modules=("linops_jax", "jax", "jaxbind", "lineax", "pylops"),
    devices=(1, 2, 4),
    spread=("stack", "nufft", "halo", "solve"),
)
QUICK = Effort(
    rounds=5,
    slow_rounds=3,
    seconds=0.005,
    sizes=(8, 1_000_000),
    batches=(1000,),
    chain=(20,),
    pixels=128,
    pictures=(128,),
    steps=10,
    variants=1,
    repeated=(20_000, 200),
    modules=("linops_jax", "jax"),
    devices=(2,),
    spread=("stack",),
)


@dataclass(frozen=True)
class Goal:
    """How large the ratio to a contestant, the difference from it, or the own value may be at most."""

    most: float
    kind: Literal["ratio", "difference", "value"] = "ratio"
    unit: str = ""

    def __str__(self) -> str:
        sign = "+ " if self.kind == "difference" else ""
        return f"≤ {sign}{self.most:g}{self.unit and ' ' + self.unit}"

    def met(self, ours: float, ratio: float, difference: float) -> bool:
        return {"ratio": ratio, "difference": difference, "value": ours}[self.kind] <= self.most


@dataclass(frozen=True)
class Case:
    """One row of contestants; the first is ours, and ratios are its value over that of each other.

    Parameters
    ----------
    name : str
        What the row is called.
    contestants : mapping of callables
        What builds each run; an ImportError there means that it cannot take part.
    calls : int
        How many calls a run stands for; values are divided by it.
    unit : str
        Of the values.
    timed : bool
        Whether runs are timed; if not, the value is what a run returns.
    goals : mapping of Goal
        By contestant.
    at : float, optional
        The place on an axis of the plot.
    slow : bool
        Whether fewer rounds are enough.
    """

    name: str
    contestants: Mapping[str, Callable[[], Run]]
    calls: int = 1
    unit: str = "s"
    timed: bool = True
    goals: Mapping[str, Goal] = field(default_factory=dict)
    at: float | None = None
    slow: bool = False


@dataclass(frozen=True)
class Row:
    """What was found for one contestant; values are None where `note` says why."""

    comparison: str
    case: str
    who: str
    unit: str = "s"
    median: float | None = None
    quartiles: tuple[float, float] | None = None
    ratio: float | None = None  # ours over this one
    ratio_quartiles: tuple[float, float] | None = None
    goal: str | None = None
    met: bool | None = None
    at: float | None = None
    note: str = ""

    @property
    def key(self) -> str:
        return f"{self.comparison} | {self.case} | {self.who}"


def measure(comparison: str, case: Case, effort: Effort) -> list[Row]:
    """One row for each contestant of the case, in their order."""
    runs, notes = _build(case.contestants)
    inner = {name: repetitions(run, effort.seconds) if case.timed else 1 for name, run in runs.items()}
    gc.collect()
    samples: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(effort.slow_rounds if case.slow else effort.rounds):
        for name, run in runs.items():
            samples[name].append((seconds(run, inner[name]) if case.timed else float(run())) / case.calls)
    ours = next(iter(case.contestants))
    return [_row(comparison, case, name, ours, samples, notes.get(name, "")) for name in case.contestants]


def _build(contestants: Mapping[str, Callable[[], Run]]) -> tuple[dict[str, Run], dict[str, str]]:
    runs, notes = {}, {}
    for name, build in contestants.items():
        try:
            run = build()
            run()  # compiles, and fills caches
        except ModuleNotFoundError as error:
            notes[name] = f"{error.name} is not installed"
        except ImportError as error:
            notes[name] = str(error)
        else:
            runs[name] = run
    return runs, notes


def repetitions(run: Run, least: float) -> int:
    """How often a run is repeated for one sample, which takes at least so many seconds."""
    once = min(seconds(run, 1) for _ in range(2))
    return min(10_000, math.ceil(least / max(once, 1e-7)))


def seconds(run: Run, times: int) -> float:
    """Of one run, when it is repeated."""
    start = time.perf_counter()
    for _ in range(times):
        run()
    return (time.perf_counter() - start) / times


def _row(comparison: str, case: Case, name: str, ours: str, samples: dict[str, list[float]], note: str) -> Row:
    goal = case.goals.get(name)
    if note:
        return Row(comparison, case.name, name, case.unit, goal=goal and str(goal), at=case.at, note=note)
    low, median, high = _quartiles(samples[name])
    ratio = ratio_quartiles = met = None
    if ours in samples:
        ratios = [_over(a, b) for a, b in zip(samples[ours], samples[name], strict=True)]
        differences = [a - b for a, b in zip(samples[ours], samples[name], strict=True)]
        low_ratio, middle, high_ratio = _quartiles(ratios)
        if goal:
            met = goal.met(_quartiles(samples[ours])[1], middle, _quartiles(differences)[1])
        if name != ours:
            ratio, ratio_quartiles = middle, (low_ratio, high_ratio)
    return Row(
        comparison,
        case.name,
        name,
        case.unit,
        median,
        (low, high),
        ratio,
        ratio_quartiles,
        goal and str(goal),
        met,
        case.at,
    )


def _over(a: float, b: float) -> float:
    return a / b if b else math.nan


def _quartiles(values: list[float]) -> tuple[float, float, float]:
    low, median, high = np.quantile(values, (0.25, 0.5, 0.75))
    return float(low), float(median), float(high)
