"""Fifty steps of CGLS on a convolution of 512 x 512 pixels (9 x 9 kernel, float64): lo.solve and PyLops, in one run.

    python benchmarks/cgls.py            # needs: pip install pylops ducc0

Both run the algorithm of Hestenes and Stiefel, A and A^H once a step, from zero, without stopping early, and must reach
the same picture. Prints medians of seconds over repeats, peers in turn, and linops_jax's time over PyLops'.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import ducc0
import jax
import jax.numpy as jnp
import numpy as np
import pylops
from scipy.fft import next_fast_len

import linops_jax as lo

STEPS, SIZE, WIDTH = 50, 512, 9
PADDED = next_fast_len(SIZE + WIDTH // 2)  # what wraps around is cut off


class Convolution(lo.LinearOperator):
    """Convolution by FFTs in JAX, with zeros outside; `spectrum` is that of the padded kernel, centred on pixel 0."""

    spectrum: jax.Array

    @lo.traced
    def apply(self, x):
        return self._filtered(x, self.spectrum)

    @lo.traced
    def adjoint(self, y):
        return self._filtered(y, jnp.conj(self.spectrum))

    def infer_adjoint_shape(self, y):
        return y

    def _filtered(self, x, spectrum):
        padded = PADDED, PADDED
        return jnp.fft.irfft2(jnp.fft.rfft2(x, padded) * spectrum, padded)[: x.shape[0], : x.shape[1]]


class HostConvolution(lo.LinearOperator):
    """The same by ducc0, on NumPy arrays."""

    spectrum: jax.Array
    threads: int = lo.static(default=1)

    def apply(self, x, *, out):
        out[...] = self._filtered(x, self.spectrum)

    def adjoint(self, y, *, out):
        out[...] = self._filtered(y, np.conj(self.spectrum))

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y

    def _filtered(self, x, spectrum):
        padded = np.zeros((PADDED, PADDED), x.dtype)
        padded[: x.shape[0], : x.shape[1]] = x
        transformed = ducc0.fft.r2c(padded, axes=(0, 1), nthreads=self.threads)
        transformed *= spectrum
        back = ducc0.fft.c2r(transformed, axes=(0, 1), lastsize=PADDED, forward=False, inorm=2, nthreads=self.threads)
        return back[: x.shape[0], : x.shape[1]]


def problem() -> tuple[np.ndarray, np.ndarray, Any]:
    rng = np.random.default_rng(0)
    axis = np.arange(WIDTH) - WIDTH // 2
    kernel = np.exp(-(axis[:, None] ** 2) / 8 - axis[None, :] ** 2 / 3) * (
        1 + 0.3 * rng.standard_normal((WIDTH, WIDTH))
    )
    kernel /= kernel.sum()
    peer = pylops.signalprocessing.Convolve2D((SIZE, SIZE), kernel, offset=(WIDTH // 2, WIDTH // 2))
    picture = rng.random((SIZE, SIZE))
    return kernel, (peer @ picture) + 0.01 * rng.standard_normal((SIZE, SIZE)), peer


def spectrum_of(kernel: np.ndarray) -> np.ndarray:
    padded = np.zeros((PADDED, PADDED))
    padded[:WIDTH, :WIDTH] = kernel
    return np.fft.rfft2(np.roll(padded, (-(WIDTH // 2), -(WIDTH // 2)), (0, 1)))


def contestants() -> tuple[dict[str, Callable[[], np.ndarray]], Any, np.ndarray]:
    kernel, y, peer = problem()
    spectrum = jnp.asarray(spectrum_of(kernel))
    solve = jax.jit(lambda A, y: lo.solve(A, y, solver="cgls", max_steps=STEPS, rtol=0).value)

    def ours(A: Any) -> Callable[[], np.ndarray]:
        data = jnp.asarray(y)
        return lambda: np.asarray(solve(A, data))

    def theirs(preallocate: bool) -> Callable[[], np.ndarray]:
        options = {"niter": STEPS, "tol": 0.0, "preallocate": preallocate}
        return lambda: pylops.optimization.basic.cgls(peer, y, x0=np.zeros((SIZE, SIZE)), **options)[0]

    threads = os.cpu_count() or 1
    return (
        {
            "PyLops": theirs(False),
            "PyLops, preallocate": theirs(True),
            "linops_jax, FFTs in JAX": ours(Convolution(spectrum)),
            "linops_jax, ducc0 on the host": ours(HostConvolution(spectrum)),
            f"linops_jax, ducc0, {threads} threads": ours(HostConvolution(spectrum, threads)),
        },
        peer,
        y,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)

    runs, peer, y = contestants()
    answers = {name: np.asarray(run()).reshape(SIZE, SIZE) for name, run in runs.items()}  # compiles as well
    residuals = {name: np.linalg.norm(peer @ x - y) / np.linalg.norm(y) for name, x in answers.items()}
    reference = answers["PyLops"]
    for name, x in answers.items():
        np.testing.assert_allclose(x, reference, rtol=0, atol=1e-7 * np.abs(reference).max(), err_msg=name)

    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(options.repeats):
        for name, run in runs.items():
            start = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - start)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    best = min(value for name, value in medians.items() if name.startswith("PyLops"))
    rows = [
        {"what": name, "seconds": medians[name], "ratio": medians[name] / best, "residual": residuals[name]}
        for name in runs
    ]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    print(f"jax {jax.__version__}, pylops {version('pylops')}, {os.cpu_count()} CPUs; {STEPS} steps, {PADDED=}")
    print(f"{'':34}{'seconds':>9}{'ratio':>8}{'residual':>16}")
    for row in rows:
        print(f"{row['what']:34}{row['seconds']:9.3f}{row['ratio']:8.2f}{row['residual']:16.12f}")


if __name__ == "__main__":
    main()
