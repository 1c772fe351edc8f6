"""Time per call of a host hook inside a compiled loop, beside JAXbind and jax.pure_callback, in one process and run.

    python benchmarks/host_call.py            # needs: pip install jaxbind

Prints microseconds per call (medians over repeats, peers in turn) and the ratios that DESIGN's figures are about.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import jaxbind
import numpy as np

import linops_jax as lo


class Double(lo.LinearOperator):
    """2 x, into the output buffer."""

    def apply(self, x, *, out):
        np.multiply(x, 2, out=out)

    def adjoint(self, y, *, out):
        np.multiply(y, 2, out=out)

    def infer_shape(self, x):
        return x


def jaxbind_double() -> Callable[[Any], Any]:
    def double(out, args, kwargs_dump):
        np.multiply(args[0], 2, out=out[0])

    def abstract(x, **kwargs):
        return ((x.shape, x.dtype),)

    call = jaxbind.get_linear_call(double, double, abstract, abstract)
    return lambda x: call(x)[0]


def callback_double(x: jax.Array) -> jax.Array:
    return jax.pure_callback(lambda v: np.multiply(v, 2), jax.ShapeDtypeStruct(x.shape, x.dtype), x)


def loop(f: Callable[[Any], Any], calls: int) -> Callable[[Any], Any]:
    """A compiled loop of dependent calls; the scaling keeps the numbers finite."""
    return jax.jit(lambda x: jax.lax.fori_loop(0, calls, lambda _, v: f(v) * 0.5, x))


def measure(size: int, calls: int, repeats: int) -> dict[str, float]:
    x = jnp.ones(size, jnp.float32)
    runs = {
        "linops_jax": loop(Double(), calls),
        "jaxbind": loop(jaxbind_double(), calls),
        "pure_callback": loop(callback_double, calls),
    }
    for run in runs.values():
        run(x).block_until_ready()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x).block_until_ready()
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=11)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for size, calls in ((8, 2000), (10_000_000, 5)):
        found = measure(size, calls, options.repeats)
        results[size] = {
            "us_per_call": found,
            "of_jaxbind": found["linops_jax"] / found["jaxbind"],
            "of_pure_callback": found["linops_jax"] / found["pure_callback"],
        }
    if options.json:
        print(json.dumps(results))
        return
    print(f"jax {jax.__version__}, numpy {np.__version__}, one compiled loop, float32, medians of {options.repeats}")
    for size, result in results.items():
        times = ", ".join(f"{name} {value:,.2f}" for name, value in result["us_per_call"].items())
        print(f"{size:>10,} floats: us per call: {times}")
        print(f"{'':>10}  of jaxbind {result['of_jaxbind']:.3f}, of pure_callback {result['of_pure_callback']:.3f}")


if __name__ == "__main__":
    main()
