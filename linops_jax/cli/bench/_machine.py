"""What was measured where: versions, cores, load, and how fast memory is."""

import importlib.metadata
import os
import platform
import statistics
import time
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

DEVICES = 2
LIBRARIES = (
    "linops-jax",
    "jax",
    "jaxlib",
    "numpy",
    "scipy",
    "jaxbind",
    "pylops",
    "lineax",
    "scico",
    "ducc0",
    "pywavelets",
    "astra-toolbox",
)


@dataclass(frozen=True)
class Machine:
    """What was measured where.

    Parameters
    ----------
    processor : str
        The name of the processor.
    cores : int
        How many there are.
    load : float
        Processes that ran or wanted to, over the last minute before the start.
    bandwidth : float
        Bytes a second, read and written, in a copy of arrays larger than the caches by one thread.
    versions : dict of str
        Of the packages; empty where one is not installed.
    blas_limited : bool
        Whether BLAS is held to one thread.
    """

    processor: str
    cores: int
    load: float
    bandwidth: float
    versions: dict[str, str]
    blas_limited: bool

    def sentences(self, later: float | None = None) -> str:
        """One paragraph; `later` is the load at the end."""
        known = ", ".join(f"{name} {version}" for name, version in self.versions.items() if version)
        missing = [name for name, version in self.versions.items() if not version]
        absent = f" Not installed: {', '.join(missing)}." if missing else ""
        end = f" and {later:.1f} at the end" if later is not None else ""
        return (
            f"{self.processor}, {self.cores} cores, load {self.load:.1f} at the start{end}; memory is copied at "
            f"{self.bandwidth / 1e9:.1f} GB/s, read and written. "
            f"NumPy's BLAS has {'one thread' if self.blas_limited else 'its own number of threads'}. {known}.{absent}"
        )

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def load() -> float:
    """Processes that run or want to, over the last minute."""
    return os.getloadavg()[0]


def start_devices() -> None:
    """CPU devices among which a batch can be shared, unless JAX is running already."""
    import jax

    with suppress(RuntimeError):
        jax.config.update("jax_num_cpu_devices", DEVICES)


def look() -> Machine:
    versions = {"Python": platform.python_version()} | {name: _version(name) for name in LIBRARIES}
    return Machine(_processor(), os.cpu_count() or 1, load(), _bandwidth(), versions, bool(_version("threadpoolctl")))


def one_blas_thread() -> AbstractContextManager[Any]:
    """Holds BLAS to one thread.

    Threads of OpenBLAS wait for each other by spinning: on busy cores, PyLops' loops then take 100 times as long.
    """
    if not _version("threadpoolctl"):
        return nullcontext()
    from threadpoolctl import threadpool_limits

    return threadpool_limits(1, user_api="blas")


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _bandwidth() -> float:
    source, target = np.ones((2, 16_000_000))
    seconds = []
    for _ in range(7):
        start = time.perf_counter()
        np.copyto(target, source)
        seconds.append(time.perf_counter() - start)
    return 2 * source.nbytes / statistics.median(seconds)
