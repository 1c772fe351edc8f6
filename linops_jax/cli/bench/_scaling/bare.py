"""A stack on bare threads, without JAX: as fast as the cores allow."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import numpy as np

from . import data
from .data import Size


def stack(size: Size, threads: int) -> Callable[[], Any]:
    return _run(data.transform, (size.side, size.side), size, threads)


def nufft(size: Size, threads: int) -> Callable[[], Any]:
    return _run(data.sample, (data.POINTS,), size, threads)


def _run(function: Callable[..., None], shape: tuple[int, ...], size: Size, threads: int) -> Callable[[], Any]:
    windows, x = data.windows(size), data.picture(size)
    pool = ThreadPoolExecutor(threads)

    def run() -> np.ndarray:
        y = np.empty((size.length, *shape), windows.dtype)
        list(pool.map(partial(_some, function, x), np.split(windows, threads), np.split(y, threads)))
        return y

    return run


def _some(function: Callable[..., None], x: np.ndarray, windows: np.ndarray, y: np.ndarray) -> None:
    for window, out in zip(windows, y, strict=True):
        function(window, x, out)
