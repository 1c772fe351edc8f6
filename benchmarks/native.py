"""Time per call of native hooks in a compiled loop, beside a hand-written XLA FFI handler that does the same.

    python benchmarks/native.py               # needs a C++ compiler; numba is optional

All in one process and run, kinds in turn: the median time of a call over the rounds, and the median over the rounds of
its ratio to the handler called without an operator, which other loads of the machine disturb less.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import pathlib
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

SOURCE = r"""
#include <linops_jax/native.h>
#include "xla/ffi/api/ffi.h"
namespace ffi = xla::ffi;

static void twice(const float *x, float *y, int64_t n) { for (int64_t i = 0; i < n; ++i) y[i] = 2 * x[i]; }

static ffi::Error Twice(ffi::Buffer<ffi::F32> x, ffi::ResultBuffer<ffi::F32> y) {
  twice(x.typed_data(), y->typed_data(), static_cast<int64_t>(x.element_count()));
  return ffi::Error::Success();
}
XLA_FFI_DEFINE_HANDLER_SYMBOL(TwiceHandler, Twice, ffi::Ffi::Bind().Arg<ffi::Buffer<ffi::F32>>().Ret<ffi::Buffer<ffi::F32>>());

extern "C" int twice_in_c(linops_call *call) {
  twice(static_cast<const float *>(call->inputs[0].data), static_cast<float *>(call->outputs[0].data), call->inputs[0].size);
  return 0;
}
"""


def build() -> ctypes.CDLL:
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "twice.cpp").write_text(SOURCE)
    include = [f"-I{lo.get_include()}", f"-I{jax.ffi.include_dir()}"]
    command = ["c++", "-O3", "-w", "-std=c++17", "-shared", "-fPIC", *include, "twice.cpp", "-o", "twice.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "twice.so"))


def operator(**options: Any) -> lo.LinearOperator:
    class Twice(lo.LinearOperator):
        apply = adjoint = lo.native(**options)

        def infer_shape(self, x):
            return x

    return Twice()


def in_numba(x, out):
    for i in range(x.size):
        out[i] = 2 * x[i]


class OnTheHost(lo.LinearOperator):
    def apply(self, x, *, out):
        np.multiply(x, 2, out=out)

    adjoint = None

    def infer_shape(self, x):
        return x


def kinds() -> dict[str, Callable[[Any], Any]]:
    """The handler itself comes first: the others are compared with it."""
    library = build()
    jax.ffi.register_ffi_target("twice", jax.ffi.pycapsule(library.TwiceHandler), platform="cpu")
    found: dict[str, Callable[[Any], Any]] = {
        "handler": lambda x: jax.ffi.ffi_call("twice", jax.ShapeDtypeStruct(x.shape, x.dtype))(x),
        "lo.native(ffi=)": operator(ffi=library.TwiceHandler),
        "lo.native(C)": operator(function=library.twice_in_c),
    }
    try:
        found["lo.native(numba=)"] = operator(numba=in_numba)
    except ImportError as error:
        print(error)
    return found | {"host hook": OnTheHost()}


def loop(f: Callable[[Any], Any], calls: int) -> Callable[[Any], Any]:
    """A compiled loop of dependent calls; the scaling keeps the numbers finite."""
    return jax.jit(lambda x: jax.lax.fori_loop(0, calls, lambda _, v: f(v) * 0.5, x))


def measure(functions: dict[str, Callable[[Any], Any]], size: int, calls: int, repeats: int) -> dict[str, list[float]]:
    """Nanoseconds per call in each round."""
    x = jnp.ones(size, jnp.float32)
    runs = {name: loop(f, calls) for name, f in functions.items()}
    for run in runs.values():
        run(x).block_until_ready()
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run(x).block_until_ready()
            times[name].append((time.perf_counter() - start) / calls * 1e9)
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=101)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    functions = kinds()
    results = {}
    for size, calls in ((8, 20_000), (100_000, 200), (10_000_000, 1)):
        times = measure(functions, size, calls, options.repeats)
        nanoseconds = {name: statistics.median(values) for name, values in times.items()}
        ratios = {
            name: statistics.median(a / b for a, b in zip(values, times["handler"], strict=True))
            for name, values in times.items()
        }
        results[size] = {"ns_per_call": nanoseconds, "of_handler": ratios}
    if options.json:
        print(json.dumps(results))
        return
    print(f"jax {jax.__version__}, one compiled loop, float32, medians of {options.repeats}; ns per call (of handler)")
    for size, result in results.items():
        parts = [
            f"{name} {value:,.0f} ({result['of_handler'][name]:.2f})" for name, value in result["ns_per_call"].items()
        ]
        print(f"{size:>10,} floats: {', '.join(parts)}")


if __name__ == "__main__":
    main()
