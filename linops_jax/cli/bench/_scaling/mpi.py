"""The same work by pylops-mpi: the program that `mpiexec` runs. The hooks are the same functions."""

import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pylops
import pylops_mpi  # pyright: ignore[reportMissingImports]
from mpi4py import MPI  # pyright: ignore[reportMissingImports]

from . import data, serving
from .data import Size

WORLD = MPI.COMM_WORLD
POLL = 1e-3  # seconds between looks of a process that waits for work: waiting in MPI would take a core


class Windowed(pylops.LinearOperator):
    """FFT of a picture times a window, on flat arrays."""

    def __init__(self, window: np.ndarray):
        self.window = window
        super().__init__(dtype=window.dtype, shape=(window.size, window.size))

    def _matvec(self, x: Any) -> Any:
        return self._by(data.transform, x)

    def _rmatvec(self, y: Any) -> Any:
        return self._by(data.transform_adjoint, y)

    def _by(self, function: Any, x: Any) -> Any:
        out = np.empty_like(self.window)
        function(self.window, x.reshape(out.shape), out)
        return out.ravel()


class Blur(pylops.LinearOperator):
    """The mean of three rows each, on flat arrays."""

    def __init__(self, shape: tuple[int, int]):
        self.rows, self.columns = shape
        super().__init__(dtype=np.float32, shape=((self.rows - 2) * self.columns, self.rows * self.columns))

    def _matvec(self, x: Any) -> Any:
        out = np.empty((self.rows - 2, self.columns), np.float32)
        data.blur(x.reshape(self.rows, self.columns), out)
        return out.ravel()


def stack(size: Size) -> Callable[[], Any]:
    A, x = _stacked(size), _whole(data.picture(size))
    return lambda: A @ x


def halo(size: Size) -> Callable[[], Any]:
    rows = data.rows(size)
    A = pylops_mpi.MPIHalo(rows.shape, (1, 1, 0, 0), (WORLD.size, 1), dtype=rows.dtype)
    blur = pylops_mpi.MPIBlockDiag([Blur(A.local_extent)])
    x = _part(rows)
    return lambda: blur @ (A @ x)


def solve(size: Size) -> Callable[[], Any]:
    A, y = _stacked(size), _part(data.measured(size))
    x0 = _whole(np.zeros_like(data.picture(size)))
    return lambda: pylops_mpi.cgls(A, y, x0=x0, niter=size.steps, tol=0.0)[0]


def _stacked(size: Size) -> Any:
    return pylops_mpi.MPIVStack([Windowed(window) for window in np.split(data.windows(size), WORLD.size)[WORLD.rank]])


def _whole(array: np.ndarray) -> Any:
    """An array that each process has."""
    partition = pylops_mpi.Partition.BROADCAST
    found = pylops_mpi.DistributedArray(global_shape=array.size, partition=partition, dtype=array.dtype)
    found[:] = array.ravel()
    return found


def _part(array: np.ndarray) -> Any:
    """An array of which each process has some rows."""
    found = pylops_mpi.DistributedArray(global_shape=array.size, dtype=array.dtype)
    found[:] = np.split(array, WORLD.size)[WORLD.rank].ravel()
    return found


# ---- serving --------------------------------------------------------------------------------------------------------


def _next_line() -> str:
    """The next request, which the first process reads and sends to the others."""
    if WORLD.rank == 0:
        line = sys.stdin.readline()
        for other in range(1, WORLD.size):
            WORLD.send(line, other)
        return line
    while not WORLD.iprobe(0):
        time.sleep(POLL)
    return WORLD.recv(source=0)


def _build(library: str, problem: str, size: Size) -> Callable[[], Any]:
    run = {"stack": stack, "halo": halo, "solve": solve}[problem](size)
    return lambda: _when_all_are_done(run())


def _when_all_are_done(result: Any) -> Any:
    WORLD.Barrier()
    return result


def _write(line: str) -> None:
    if WORLD.rank == 0:
        print(line, flush=True)


if __name__ == "__main__":
    serving.serve(iter(_next_line, ""), _write, _build, lambda result: result.asarray(), WORLD.bcast)
