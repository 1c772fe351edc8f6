"""Hooks that JAX's own callbacks call, as they do on a GPU: host hooks, and device hooks."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import jax
import jax.numpy as jnp

from . import _negation, calls
from ._measure import Case, Effort, Goal, Run
from ._negation import OURS, Function

TITLE = "Calls by JAX's callbacks, as on a GPU"
ROUTE = "LINOPS_JAX_ROUTE"
PLAIN, BUFFERS = "pure_callback", "buffer_callback"
SIZE, LENGTH = 8, 1000
HOST = {f"{OURS}, host hook": _negation.Negation, PLAIN: _negation.pure_callback}
DEVICE = {f"{OURS}, device hook": _negation.DeviceNegation, BUFFERS: _negation.buffer_callback}


def cases(effort: Effort) -> Iterator[Case]:
    for peer, functions in ((PLAIN, HOST), (BUFFERS, DEVICE)):
        for size in effort.sizes:
            contestants = {name: partial(_called, build, (size,)) for name, build in functions.items()}
            goals = {peer: Goal(1.1)} if (peer, size) == (PLAIN, SIZE) else {}
            yield Case(f"one call, {_hook(peer)}, {size:,} floats", contestants, goals=goals, at=size)
        number = calls.count(SIZE)
        contestants = {name: partial(_looped, build, number) for name, build in functions.items()}
        yield Case(f"in a compiled loop, {_hook(peer)}, {SIZE} floats", contestants, number)
    for length in effort.batches:
        contestants = {name: partial(_called, build, (length, SIZE), jax.vmap) for name, build in HOST.items()}
        goals = {PLAIN: Goal(0.1)} if length == LENGTH else {}
        yield Case(f"vmap, host hook, {length} x {SIZE} floats, a call for each", contestants, goals=goals)


def _hook(peer: str) -> str:
    return "host hook" if peer == PLAIN else "device hook"


def _called(
    build: Callable[[], Function], shape: tuple[int, ...], wrap: Callable[[Function], Function] = lambda f: f
) -> Run:
    function = build()
    return _by_callback(jax.jit(wrap(lambda x: function(x))), shape)  # a function that JAX has not compiled before


def _looped(build: Callable[[], Function], number: int) -> Run:
    return _by_callback(calls.loop(build(), number), (SIZE,))


def _by_callback(function: Function, shape: tuple[int, ...]) -> Run:
    x = jnp.ones(shape, jnp.float32)
    with _route("callback"):
        function(x).block_until_ready()
    return lambda: function(x).block_until_ready()


@contextmanager
def _route(name: str) -> Iterator[None]:
    """Programs that are compiled in this context call host hooks as on a GPU."""
    before = os.environ.get(ROUTE)
    os.environ[ROUTE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[ROUTE]
        else:
            os.environ[ROUTE] = before
