"""A stack on bare threads, without JAX: as fast as the cores allow."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from . import data
from .data import Size


def stack(size: Size, threads: int) -> Callable[[], Any]:
    windows, x = data.windows(size), data.picture(size)
    pool = ThreadPoolExecutor(threads)

    def run() -> np.ndarray:
        y = np.empty_like(windows)
        list(pool.map(partial(_some, x), np.split(windows, threads), np.split(y, threads)))
        return y

    return run


def _some(x: np.ndarray, windows: np.ndarray, y: np.ndarray) -> None:
    for window, out in zip(windows, y, strict=True):
        data.transform(window, x, out)
