"""What hooks do and cost on the device that is there, in at most ten minutes: a table, and a file of JSON.

`python tests/device/script.py --out out/device.json`. On the CPU, and with --small, it takes small arrays.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial

import jax
import jax.numpy as jnp
import kinds
import numpy as np
from rich.console import Console

from linops_jax.cli.bench import _machine, _measure, _negation, _report
from linops_jax.cli.bench._measure import Case, Row

FLOATS = {"small": 1000, "full": 4_000_000}
BYTES = {"small": 1 << 20, "full": 1 << 30}  # of a large array
LINK = {"small": 1 << 20, "full": 1 << 28}
SPOKES, SIDE = {"small": 4, "full": 40}, {"small": 16, "full": 256}
EFFORT = {"small": replace(_measure.QUICK, rounds=2, slow_rounds=2, seconds=1e-4), "full": _measure.FULL}


# ---- correctness ----------------------------------------------------------------------------------------------------


def correctness(size: str) -> list[Row]:
    """The tests beside this file."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "--tb=short",
        str(pathlib.Path(__file__).with_name("test_harness.py")),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout[-5000:])
    last = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr[-200:]
    return [Row("correctness", "tests/device", last.strip("= "), "failures", float(done.returncode))]


# ---- what a call costs ----------------------------------------------------------------------------------------------


def overhead(size: str) -> list[Row]:
    """One call of each kind of hook, and of JAX's callbacks without the library."""
    rows = []
    for floats in (8, FLOATS[size]):
        d = x = jnp.ones(floats, jnp.float32)
        builds: dict[str, Callable[[], Callable]] = {
            f"linops_jax, {name}": partial(cls, d) for name, cls in kinds.linear().items()
        }
        builds["pure_callback"] = _negation.pure_callback
        builds |= {f"buffer_callback, {lib.name}": partial(buffer_callback, lib) for lib in kinds.libraries()}
        contestants = {name: partial(timed, build, x) for name, build in builds.items()}
        rows += _measure.measure("overhead", Case(f"one call, {floats:,} floats", contestants), EFFORT[size])
    return rows


def buffer_callback(lib):
    from jax.experimental.buffer_callback import buffer_callback

    def negate(context, out, x):
        lib.multiply(lib.asarray(x), -1, out=lib.asarray(out))

    return lambda x: buffer_callback(negate, jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


def timed(build, x):
    function = build()
    run = jax.jit(lambda x: function(x))
    return lambda: run(x).block_until_ready()


# ---- large arrays ---------------------------------------------------------------------------------------------------


def large(size: str) -> list[Row]:
    """A device hook on a large array: whether it sees the memory of the array itself, and how fast it is."""
    return [row for lib in kinds.libraries() for row in large_with(lib, size)]


def large_with(lib, size):
    x, seen = jnp.ones(BYTES[size] // 4, jnp.float32), []
    op = looking(lib, seen)
    run = jax.jit(lambda x: op(x))
    y = run(x).block_until_ready()
    copied = seen[-1] != (x.unsafe_buffer_pointer(), y.unsafe_buffer_pointer())
    del y
    where = f"{x.nbytes / 1e9:.3g} GB, device hook, {lib.name}"
    contestants = {
        "linops_jax, device": lambda: lambda: run(x).block_until_ready(),
        "traced": lambda: timed(lambda: lambda x: 2 * x, x),
    }
    return [
        Row("large", where, "arrays that are copied", "copies", float(copied)),
        *_measure.measure("large", Case(where, contestants, slow=True), EFFORT[size]),
    ]


def looking(lib, seen):
    """2 x, which notes where its arrays are."""
    import linops_jax as lo

    class Looking(lo.LinearOperator):
        adjoint = None

        @lo.device
        def apply(self, x, *, out):
            x, out = lib.asarray(x), lib.asarray(out)
            seen.append((pointer(x), pointer(out)))
            lib.multiply(x, 2, out=out)

        def infer_shape(self, x):
            return x

    return Looking()


def pointer(array):
    """The address of the memory of an array of NumPy, CuPy or PyTorch."""
    if hasattr(array, "data_ptr"):
        return array.data_ptr()
    return array.data.ptr if hasattr(array.data, "ptr") else array.ctypes.data


# ---- host hooks against the link ------------------------------------------------------------------------------------


def link(size: str) -> list[Row]:
    """A host hook on a large array, beside the copies that it cannot avoid: to the host, and back."""
    x, d = jnp.ones(LINK[size] // 4, jnp.float32), jnp.ones((1,), jnp.float32)
    device = jax.devices()[0]

    def copies():
        host = np.asarray(jnp.copy(x))  # not what JAX remembers
        return jax.device_put(host, device).block_until_ready()

    contestants = {
        "linops_jax, host hook": lambda: timed(lambda: kinds.HostWeights(d), x),
        "both copies": lambda: copies,
        "pure_callback": lambda: timed(_negation.pure_callback, x),
    }
    return _measure.measure("link", Case(f"{x.nbytes / 1e9:.3g} GB, host hook", contestants, slow=True), EFFORT[size])


# ---- the demo -------------------------------------------------------------------------------------------------------


def mri(size: str) -> list[Row]:
    """The MRI demo: its host hooks are the NUFFT, all other work is on the device."""
    import contextlib
    import types

    from linops_jax.cli.demo import mri

    @contextlib.contextmanager
    def monitor(title, solves=1):
        residuals = []
        watch = Monitor(residuals)
        yield watch
        jax.effects_barrier()

    truth = np.asarray(np.random.default_rng(0).random((SIDE[size], SIDE[size])))
    display = types.SimpleNamespace(dot_tests=lambda tests: None, monitor=monitor)
    result = mri.run(truth, spokes=SPOKES[size], noise=0.01, lam=0.3, seed=0, display=display)
    passed = all(test.passed for test in result.dot_tests.values())
    return [
        Row("mri", f"{SIDE[size]} x {SIDE[size]}", "reconstruction, with its compilation", "s", result.seconds),
        Row("mri", f"{SIDE[size]} x {SIDE[size]}", "dot tests that fail", "tests", float(not passed)),
    ]


class Monitor:
    """Keeps the residuals, as the demo's own does."""

    def __init__(self, residuals):
        self.residuals = residuals

    def __call__(self, norm):
        self.residuals.append(float(norm))


# ---- the run --------------------------------------------------------------------------------------------------------

SECTIONS = {section.__name__: section for section in (correctness, overhead, large, link, mri)}


def run(names: list[str], size: str, minutes: float) -> Iterator[Row]:
    """The rows of the sections, as far as the time goes."""
    start, console = time.monotonic(), Console(highlight=False, width=150)
    for name in names:
        if time.monotonic() - start > 60 * minutes:
            yield Row(name, "all", "", note=f"not run: {minutes:g} minutes are over")
            continue
        try:
            rows = SECTIONS[name](size)
        except Exception as error:
            rows = [Row(name, "all", "", note=f"failed: {type(error).__name__}: {str(error)[:300]}")]
        _report.table(console, f"{name}: {SECTIONS[name].__doc__.partition(chr(10))[0]}", rows)
        yield from rows


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=f"of {', '.join(SECTIONS)} (default: all)")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out/device.json"), help="the file of JSON")
    parser.add_argument("--small", action="store_true", help="small arrays, as on the CPU")
    parser.add_argument("--minutes", type=float, default=9, help="after which no section begins")
    given = parser.parse_args(arguments)
    if unknown := set(given.sections) - set(SECTIONS):
        parser.error(f"{', '.join(unknown)}: there is no such section; use {', '.join(SECTIONS)}")
    size = "small" if given.small or kinds.PLATFORM == "cpu" else "full"
    rows = list(run(given.sections or list(SECTIONS), size, given.minutes))
    found = {"platform": kinds.PLATFORM, "device": jax.devices()[0].device_kind, "size": size}
    given.out.parent.mkdir(parents=True, exist_ok=True)
    machine = _machine.look().as_dict()
    given.out.write_text(json.dumps({**found, "machine": machine, "rows": list(map(asdict, rows))}, indent=1) + "\n")
    print(f"{found['device']} ({found['platform']}), {size} arrays; written to {given.out}")
    return int(any(row.note.startswith("failed") or (row.unit in _COUNTS and row.median) for row in rows))


_COUNTS = ("failures", "copies", "tests")  # units of what must be 0


if __name__ == "__main__":
    sys.exit(main())
