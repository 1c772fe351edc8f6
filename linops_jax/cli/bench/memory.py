"""Memory: the peak during a call on 40 MB, and growth over many calls and many operators. Linux only."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from . import _negation
from ._measure import Case, Effort, Goal, Missing, Run
from ._negation import FUNCTIONS, OURS, Function

TITLE = "Memory"
SIZE = 10_000_000  # floats: large arrays get pages of their own, which go back when they are freed
HANDLER = "FFI handler by hand"
NOTHING = Goal(1.0, "value", "MB")  # less than what an interpreter comes and goes with


class Shift(lo.LinearOperator):
    """Negates; `scale` is there to be compared."""

    scale: float = lo.static()

    def apply(self, x, *, out):
        np.multiply(x, self.scale, out=out)

    def adjoint(self, y, *, out):
        np.multiply(y, self.scale, out=out)

    def infer_shape(self, x):
        return x


def cases(effort: Effort) -> Iterator[Case]:
    filling = {name: partial(_peak, build) for name, build in FUNCTIONS.items()}
    yield _in_arrays("peak of a call on 40 MB, the hook fills `out`", filling, {HANDLER: Goal(1.05)})
    returning = {name: FUNCTIONS[name] for name in (HANDLER, "pure_callback")}
    contestants = {OURS: _negation.ReturnedNegation, **returning}
    peaks = {name: partial(_peak, build) for name, build in contestants.items()}
    yield _in_arrays("peak of a call on 40 MB, the hook returns an array", peaks, {HANDLER: Goal(2.05)})
    calls, operators = effort.repeated
    for name, growth in {
        f"growth over {calls:,} calls": partial(_growth, partial(_call, calls)),
        f"growth over {operators:,} new operators": partial(_growth, partial(_recreate, operators)),
    }.items():
        yield Case(name, {OURS: growth}, unit="MB", timed=False, goals={OURS: NOTHING}, slow=True)


def _in_arrays(name: str, contestants: dict[str, Callable[[], Run]], goals: dict[str, Goal]) -> Case:
    return Case(name, contestants, unit="arrays", timed=False, goals=goals, slow=True)


def _peak(build: Callable[[], Function]) -> Run:
    """Peak of resident memory during a call over that before it, in arrays of `SIZE` floats."""
    function = build()
    compiled = jax.jit(function).lower(jax.ShapeDtypeStruct((SIZE,), jnp.float32)).compile()

    def run(keep: Function = function) -> float:  # what JAXbind compiles does not keep the function
        x = jnp.ones(SIZE, jnp.float32).block_until_ready()
        gc.collect()
        before = _resident()
        _reset_peak()
        compiled(x).block_until_ready()
        return (_status("VmHWM") - before) / (4 * SIZE)

    return run


def _growth(work: Callable[[], None]) -> Run:
    """Resident memory after the work over that before it, in MB."""
    work()

    def run() -> float:
        gc.collect()
        before = _resident()
        work()
        gc.collect()
        return (_resident() - before) / 1e6

    return run


def _call(calls: int) -> None:
    x, function = jnp.ones(8, jnp.float32), jax.jit(Shift(-1.0))
    for _ in range(calls):
        y = function(x)
    y.block_until_ready()


def _recreate(operators: int) -> None:
    x, function = jnp.ones(8, jnp.float32), jax.jit(lambda op, x: op(x))
    for _ in range(operators):
        op = Shift(-1.0)
        function(op, x).block_until_ready()
        op(x).block_until_ready()


def _resident() -> int:
    return _status("VmRSS")


def _status(name: str) -> int:
    """Bytes, as the kernel counts them for this process."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError as error:
        msg = "memory is read from /proc, which this system does not have"
        raise Missing(msg) from error
    return 1024 * int(next(line for line in text.splitlines() if line.startswith(name)).split()[1])


def _reset_peak() -> None:
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError as error:
        msg = "the kernel does not allow resetting the peak (/proc/self/clear_refs)"
        raise Missing(msg) from error
