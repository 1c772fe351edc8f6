"""One and two threads: a library that starts threads of its own, called directly and through an operator."""

import os
from collections.abc import Iterator
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from ._measure import Case, Effort, Run
from ._negation import OURS

TITLE = "Threads"
DIRECT = "ducc0 from Python"


class Transform(lo.LinearOperator):
    """Two-dimensional FFT by ducc0."""

    threads: int = lo.static()

    def apply(self, x, *, out):
        from ducc0 import fft

        fft.c2c(x, out=out, nthreads=self.threads)

    def adjoint(self, y, *, out):
        from ducc0 import fft

        fft.c2c(y, out=out, forward=False, nthreads=self.threads)

    def infer_shape(self, x):
        return x


def cases(effort: Effort) -> Iterator[Case]:
    side = 2 * effort.pixels
    for threads in (1, 2):
        if threads <= (os.cpu_count() or 1):
            contestants = {OURS: partial(_ours, threads, side), DIRECT: partial(_direct, threads, side)}
            yield Case(f"FFT of {side} x {side}, {threads} thread{'s' * (threads > 1)}", contestants, at=threads)


def _data(side: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal((side, side, 2), np.float32).view(np.complex64)[..., 0]


def _ours(threads: int, side: int) -> Run:
    import ducc0  # noqa: F401  # before it is needed in a hook

    function, x = jax.jit(Transform(threads)), jnp.asarray(_data(side))
    return lambda: function(x).block_until_ready()


def _direct(threads: int, side: int) -> Run:
    from ducc0 import fft

    x = _data(side)
    return lambda: fft.c2c(x, nthreads=threads)
