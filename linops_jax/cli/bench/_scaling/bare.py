"""A stack on bare threads, without JAX: as fast as the cores allow."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from . import data
from .data import Size


def stack(size: Size, threads: int) -> Callable[[], Any]:
    parts, x = np.split(data.windows(size), threads), data.picture(size)
    pool = ThreadPoolExecutor(threads)
    return lambda: sum(pool.map(lambda part: _gram(part, x), parts))


def _gram(windows: np.ndarray, x: np.ndarray) -> np.ndarray:
    total, y, back = np.zeros_like(x), np.empty_like(x), np.empty_like(x)
    for window in windows:
        data.transform(window, x, y)
        data.transform_adjoint(window, y, back)
        total += back
    return total
