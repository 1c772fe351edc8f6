"""`vmap`: a hook that is called for each element, and one that takes the whole batch."""

from collections.abc import Callable, Iterator
from functools import partial

import jax
import jax.numpy as jnp

from . import _negation
from ._measure import Case, Effort, Goal, Run
from ._negation import OURS, Function

TITLE = "vmap"
LOOPED = {OURS: _negation.Negation, "JAXbind": _negation.jaxbind, "pure_callback": _negation.pure_callback}
WHOLE = {
    OURS: _negation.BatchedNegation,
    "JAXbind": partial(_negation.jaxbind, True),
    "pure_callback": partial(_negation.pure_callback, "expand_dims"),
}
SIZE = 8


def cases(effort: Effort) -> Iterator[Case]:
    for length in effort.batches:
        goals = {"JAXbind": Goal(0.35)} if length == 1000 else {}
        looped = {name: partial(_compiled, build, length) for name, build in LOOPED.items()}
        yield Case(f"{length} x {SIZE} floats, a call for each", looped, goals=goals, at=length)
    for length in effort.batches:
        whole = {name: partial(_compiled, build, length) for name, build in WHOLE.items()}
        yield Case(f"{length} x {SIZE} floats, one call", whole, at=length)


def _compiled(build: Callable[[], Function], length: int) -> Run:
    function, x = jax.jit(jax.vmap(build())), jnp.ones((length, SIZE), jnp.float32)
    return lambda: function(x).block_until_ready()
