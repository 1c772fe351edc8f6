"""What is computed: windowed FFTs and NUFFTs, and a blur, as NumPy arrays and functions for all libraries."""

from functools import cache
from typing import Any, NamedTuple

import numpy as np

POINTS = 20_000  # of a NUFFT


class Size(NamedTuple):
    """How much work there is.

    Parameters
    ----------
    length : int
        Windows in a stack; a blur has `length` times `side` rows.
    side : int
        Of each square window.
    steps : int
        Of the solver.
    """

    length: int
    side: int
    steps: int


def windows(size: Size) -> np.ndarray:
    return _complex((size.length, size.side, size.side), seed=0)


def picture(size: Size) -> np.ndarray:
    return _complex((size.side, size.side), seed=1)


def measured(size: Size) -> np.ndarray:
    """The right side for the solver."""
    return _complex((size.length, size.side, size.side), seed=2)


def rows(size: Size) -> np.ndarray:
    return np.random.default_rng(3).standard_normal((size.length * size.side, size.side), np.float32)


def _complex(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]


def transform(window: Any, x: Any, out: Any) -> None:
    """FFT of a picture times a window, on one thread and without the GIL."""
    from ducc0 import fft

    np.multiply(window, x, out=out)
    fft.c2c(out, out=out)


def transform_adjoint(window: Any, y: Any, out: Any) -> None:
    from ducc0 import fft

    fft.c2c(y, out=out, forward=False)
    np.multiply(np.conj(window), out, out=out)


@cache
def points() -> np.ndarray:
    return np.random.default_rng(4).uniform(0, 2 * np.pi, (POINTS, 2))


def sample(window: Any, x: Any, out: Any) -> None:
    """NUFFT of a picture times a window, on one thread and without the GIL: it computes more than it reads and writes."""
    from ducc0 import nufft

    nufft.u2nu(grid=window * x, coord=points(), forward=True, epsilon=1e-4, out=out)


def blur(x: Any, out: Any) -> None:
    """The mean of three rows each; the result has two rows less."""
    np.add(x[:-2], x[2:], out=out)
    np.add(out, x[1:-1], out=out)
    np.multiply(out, np.float32(1 / 3), out=out)


def fingerprint(result: Any) -> float:
    """A number by which to see that two results are the same."""
    values = np.ravel(result)
    return float(np.linalg.norm(values * np.linspace(1, 2, values.size)))
