"""The same calls through the functional interface and through JAXbind, in one process and run.

    python benchmarks/functional.py            # needs: pip install jaxbind

Prints microseconds per call (medians over repeats, peers in turn) and linops_jax's time over JAXbind's.
"""

from __future__ import annotations

import argparse
import functools
import json
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from types import ModuleType
from typing import Any

import jax
import jax.numpy as jnp
import jaxbind
import numpy as np

import linops_jax as lo

PEERS = {"linops_jax": lo, "jaxbind": jaxbind}


def doubling(peer: ModuleType, *, func_can_batch: bool = False) -> Callable[..., Any]:
    """2 x, with a keyword that is read at each call."""

    def double(out, args, kwargs_dump):
        np.multiply(args[0], peer.load_kwargs(kwargs_dump)["factor"], out=out[0])

    def abstract(x, *, factor, batch_axes=None):
        axes = batch_axes[0] if batch_axes else ()
        return ((x.shape, x.dtype, axes[-1] if axes else None),)

    call = peer.get_linear_call(double, double, abstract, abstract, func_can_batch=func_can_batch)
    return functools.partial(call, factor=2.0)


def paper_example(peer: ModuleType) -> Callable[..., Any]:
    """f(x1, x2) = x1 * x2**2."""

    def f(out, args, kwargs_dump):
        x1, x2 = args
        out[0][()] = x1 * x2**2

    def jvp(out, args, kwargs_dump):
        x1, x2, dx1, dx2 = args
        out[0][()] = x2**2 * dx1 + 2 * x1 * x2 * dx2

    def vjp(out, args, kwargs_dump):
        x1, x2, dy = args
        out[0][()] = x2**2 * dy
        out[1][()] = 2 * x1 * x2 * dy

    def abstract(*args, **kwargs):
        return ((args[0].shape, args[0].dtype),)

    def abstract_reverse(*args, **kwargs):
        return ((args[0].shape, args[0].dtype), (args[1].shape, args[1].dtype))

    return peer.get_nonlinear_call(f, (jvp, vjp), abstract, abstract_reverse)


def in_loop(step: Callable[[Any], Any], calls: int, scale: float) -> Callable[[Any], Any]:
    """A compiled loop of dependent steps; the scaling keeps ones at one."""
    return jax.jit(lambda x: jax.lax.fori_loop(0, calls, lambda _, v: step(v) * scale, x))


def cases(peer: ModuleType, size: int, calls: int) -> dict[str, tuple[Callable[[], Any], int]]:
    """What is run, and the number of calls it stands for."""
    x = jnp.ones(size, jnp.float32)
    batch = jnp.ones((1000, size), jnp.float32)
    double, double_batch, f = doubling(peer), doubling(peer, func_can_batch=True), paper_example(peer)

    def in_native_vmap(v):
        return jax.vmap(lambda x: double_batch(x)[0])(v)

    eager = functools.partial(double, x)
    compiled = in_loop(lambda v: double(v)[0], calls, 1 / 2)
    gradient = in_loop(jax.grad(lambda v: jnp.sum(f(v, v)[0])), calls, 1 / 3)
    looped = jax.jit(jax.vmap(lambda v: double(v)[0]))
    eager_vmap = jax.vmap(lambda v: double(v)[0])
    native = in_loop(in_native_vmap, calls, 1 / 2)
    return {
        "eager": (eager, 1),
        "jit": (lambda: compiled(x), calls),
        "gradient": (lambda: gradient(x), calls),
        "looped vmap over 1000": (lambda: looped(batch), 1000),
        "looped vmap over 1000, eager": (lambda: eager_vmap(batch), 1000),
        "native vmap over 1000": (lambda: native(batch), calls),
    }


def measure(size: int, calls: int, repeats: int) -> dict[str, dict[str, float]]:
    """Microseconds per call, by case and peer."""
    prepared = {name: cases(peer, size, calls) for name, peer in PEERS.items()}
    times: dict[str, dict[str, list[float]]] = {}
    for case in prepared["linops_jax"]:
        for name in PEERS:
            jax.block_until_ready(prepared[name][case][0]())
        times[case] = {name: [] for name in PEERS}
        for _ in range(repeats):
            for name in PEERS:
                run, count = prepared[name][case]
                inner = 50 if count == 1 else 1
                start = time.perf_counter()
                for _ in range(inner):
                    jax.block_until_ready(run())
                times[case][name].append((time.perf_counter() - start) / (count * inner) * 1e6)
    return {case: {name: statistics.median(v) for name, v in found.items()} for case, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=8)
    parser.add_argument("--calls", type=int, default=500)
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = measure(options.size, options.calls, options.repeats)
    for found in results.values():
        found["ratio"] = found["linops_jax"] / found["jaxbind"]
    if options.json:
        print(json.dumps(results))
        return
    print(
        f"jax {jax.__version__}, jaxbind {version('jaxbind')}, {options.size} floats, us per call, medians of {options.repeats}; "
        "ratio: linops_jax of jaxbind"
    )
    for case, found in results.items():
        print(
            f"{case:<32} linops_jax {found['linops_jax']:9.2f}  jaxbind {found['jaxbind']:9.2f}  ratio {found['ratio']:.3f}"
        )


if __name__ == "__main__":
    main()
