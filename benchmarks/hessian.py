"""Time of a jitted Hessian-vector product of a NumPy function, beside JAX's own of the same function, in one process.

    python benchmarks/hessian.py

The function is that of the JAXbind paper, f(x1, x2) = x1 x2^2, with Hessian hooks. Prints microseconds per call
(medians over repeats, peers in turn) and the ratio, for the sum of f (one host call: D2f) and for half its sum of
squares (four: f, J, J^H, D2f).
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
import numpy as np

from linops_jax.cli.bench.derivatives import Paper, of_jax

LOSSES: dict[str, Callable[[Any], Callable[[Any], jax.Array]]] = {
    "sum(f)": lambda f: lambda x: jnp.sum(f(x)),
    "sum(f^2) / 2": lambda f: lambda x: 0.5 * jnp.sum(f(x) ** 2),
}


def hessian_product(loss: Callable[[Any], jax.Array]) -> Callable[[Any, Any], Any]:
    """(x, v) -> H(x) v, forward over reverse."""
    return jax.jit(lambda x, v: jax.jvp(jax.grad(loss), (x,), (v,))[1])


def measure(loss: str, size: int, calls: int, repeats: int) -> dict[str, float]:
    rng = np.random.default_rng(0)
    x, v = (tuple(jnp.asarray(rng.standard_normal(size), jnp.float32) for _ in range(2)) for _ in range(2))
    products = {"linops_jax": hessian_product(LOSSES[loss](Paper())), "jax": hessian_product(LOSSES[loss](of_jax))}
    found, expected = (product(x, v) for product in products.values())
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5 * float(jnp.max(abs(b))))
    times: dict[str, list[float]] = {name: [] for name in products}
    for _ in range(repeats):
        for name, product in products.items():
            start = time.perf_counter()
            for _ in range(calls):
                result = product(x, v)
            jax.block_until_ready(result)
            times[name].append((time.perf_counter() - start) / calls * 1e6)
    return {name: statistics.median(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=21)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    for loss in LOSSES:
        for size, calls in ((8, 1000), (10_000, 300), (1_000_000, 5)):
            found = measure(loss, size, calls, options.repeats)
            results[f"{loss}, {size:,} floats each"] = {
                "us_per_call": found,
                "ratio": found["linops_jax"] / found["jax"],
            }
    if options.json:
        print(json.dumps(results))
        return
    print(f"jax {jax.__version__}, numpy {np.__version__}, jitted H(x) v, float32, medians of {options.repeats}")
    for name, result in results.items():
        times = ", ".join(f"{who} {value:,.1f}" for who, value in result["us_per_call"].items())
        print(f"{name:>35}: us per call: {times}; ratio {result['ratio']:.2f}")


if __name__ == "__main__":
    main()
