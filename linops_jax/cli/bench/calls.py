"""Time per call of a NumPy function in a compiled loop, from 8 to 10 million floats."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import _negation
from ._measure import Case, Effort, Goal, Run
from ._negation import FUNCTIONS, OURS, Function

TITLE = "Calls in a compiled loop"
HANDLER = "FFI handler by hand"
GOALS = {
    8: {"JAXbind": Goal(0.4), "pure_callback": Goal(0.035)},
    10_000_000: {HANDLER: Goal(1.05)},
}
GOALS_OF_LOOP = {10_000_000: {HANDLER: Goal(1.05)}}


def cases(effort: Effort) -> Iterator[Case]:
    for size in effort.sizes:
        calls = count(size)
        contestants: dict[str, Callable[[], Run]] = {
            name: partial(_looped, build, size, calls) for name, build in FUNCTIONS.items()
        }
        contestants["bare NumPy"] = partial(_numpy, size, calls)
        yield Case(f"{size:,} floats", contestants, calls, goals=GOALS.get(size, {}), at=size)
    small = effort.sizes[0]
    contestants = {
        OURS: partial(_looped, _negation.weighted, small, count(small)),
        "JAXbind": partial(_looped, _negation.jaxbind_weighted, small, count(small)),
    }
    yield Case(f"a second array, as a field, {small:,} floats", contestants, count(small))
    contestants = {
        f"{OURS}, a plan": partial(_looped, _negation.planned, small, count(small)),
        "a field, no plan": partial(_looped, _negation.weighted, small, count(small)),
    }
    goals = {"a field, no plan": Goal(1.3)}
    yield Case(f"a plan for the values of a field, {small:,} floats", contestants, count(small), goals=goals)
    large = effort.sizes[-1]
    contestants = {
        f"{OURS}, the loop of the handler": partial(_looped, _negation.same_loop, large, count(large)),
        HANDLER: partial(_looped, _negation.handler, large, count(large)),
    }
    yield Case(f"the same loop, {large:,} floats", contestants, count(large), goals=GOALS_OF_LOOP.get(large, {}))
    for kind, build in {"native hook": _negation.native, "C function": _negation.c_function}.items():
        contestants = {
            f"{OURS}, {kind}": partial(_looped, build, small, count(small)),
            HANDLER: partial(_looped, _negation.handler, small, count(small)),
        }
        yield Case(f"{kind}, {small:,} floats", contestants, count(small), goals={HANDLER: Goal(1.2)})


def count(size: int) -> int:
    """An even number of calls: many of small arrays, at least 20 of large ones."""
    return 2 * max(10, min(250, 50_000_000 // size))


def loop(function: Function, calls: int) -> Function:
    """A compiled loop of dependent calls, two in each turn: between them XLA copies nothing."""
    return jax.jit(lambda x: jax.lax.fori_loop(0, calls // 2, lambda _, v: function(function(v)), x))


def _looped(build: Callable[[], Function], size: int, calls: int) -> Run:
    run, x = loop(build(), calls), jnp.ones(size, jnp.float32)
    np.testing.assert_array_equal(run(x), x)
    return lambda: run(x).block_until_ready()


def _numpy(size: int, calls: int) -> Run:
    x, y = np.ones(size, np.float32), np.empty(size, np.float32)

    def run() -> None:
        for _ in range(calls // 2):
            np.multiply(x, -1, out=y)
            np.multiply(y, -1, out=x)

    return run
