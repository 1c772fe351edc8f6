"""Many operators in one program: the time to trace, lower and compile a chain, for each operator in it."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp

from . import _negation
from ._measure import Case, Effort, Run
from ._negation import OURS, Function

TITLE = "Many operators in one program"
FUNCTIONS = {
    OURS: _negation.Negation,
    "JAXbind": _negation.jaxbind,
    "pure_callback": _negation.pure_callback,
    "XLA's own -x": _negation.by_xla,
}


def cases(effort: Effort) -> Iterator[Case]:
    for length in effort.chain:
        contestants = {name: partial(_compiling, build, length) for name, build in FUNCTIONS.items()}
        yield Case(f"compile a chain of {length}, each", contestants, length, at=length, slow=True)


def _compiling(build: Callable[[], Function], length: int) -> Run:
    function, x = build(), jax.ShapeDtypeStruct((8,), jnp.float32)

    def run() -> None:
        def chain(v: jax.Array) -> jax.Array:  # a new function: nothing is cached
            for _ in range(length):
                v = function(v)
            return v

        jax.jit(chain).lower(x).compile()

    return run
