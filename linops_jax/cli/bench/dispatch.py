"""Time of one call from Python: compiled, and eager."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from . import _negation
from ._measure import Case, Effort, Run
from ._negation import FUNCTIONS, Function

TITLE = "One call from Python"


def cases(effort: Effort) -> Iterator[Case]:
    size = effort.sizes[0]
    functions = FUNCTIONS | {"XLA's own -x": _negation.by_xla}
    for name, wrap in {"jitted call": jax.jit, "eager call": lambda f: f}.items():
        contestants = {who: partial(_called, build, wrap, size) for who, build in functions.items()}
        contestants["bare NumPy"] = partial(_numpy, size)
        yield Case(f"{name}, {size:,} floats", contestants)


def _called(build: Callable[[], Function], wrap: Callable[[Function], Function], size: int) -> Run:
    function, x = wrap(build()), jnp.ones(size, jnp.float32)
    return lambda: function(x).block_until_ready()


def _numpy(size: int) -> Run:
    x = np.ones(size, np.float32)
    return lambda: np.multiply(x, -1)
