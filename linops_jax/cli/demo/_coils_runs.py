"""Where `demo mri --devices --processes` runs: on CPU devices of this process, and in processes that are started for it."""

import pickle
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax

from .._children import environment
from .._errors import require
from .coils import COILS, Run, run

COMMAND = [sys.executable, "-P", "-m", __name__]
POLL = 0.05  # seconds between looks at the processes


def start(devices: int, processes: int) -> None:
    """Starts as many CPU devices. Raises BadInput unless they can share the coils evenly."""
    require(processes >= 1, f"--processes must be 1 or more, found {processes}")
    wanted = f"--devices must be a number that divides {COILS}, that of the coils"
    require(devices >= 1 and COILS % devices == 0, f"{wanted}, found {devices}")
    text = f"--devices must be a multiple of --processes, found {devices} and {processes}"
    require(devices % processes == 0, text)
    with suppress(RuntimeError):  # JAX runs already
        jax.config.update("jax_num_cpu_devices", devices)
    found = len(jax.devices("cpu"))
    require(found >= devices, f"--devices {devices}: JAX runs already in this process, with {found} CPU devices")


def runs(devices: int, processes: int, problem: dict[str, Any]) -> Iterator[Run]:
    """On 1 device and all larger numbers that divide `devices`, in this process; then on all in several processes."""
    for count in range(1, devices + 1):
        if devices % count == 0:
            yield run(**problem, devices=jax.devices("cpu")[:count])
    if processes > 1:
        yield _in_processes(devices, processes, problem)


# --- Several processes -------------------------------------------------------------------------------------


def _in_processes(devices: int, processes: int, problem: dict[str, Any]) -> Run:
    """Starts this file once for each process. The first one writes what it found."""
    with TemporaryDirectory(prefix="linops-jax-") as folder, ExitStack() as started:
        settings = {"devices": devices // processes, "processes": processes, "address": f"127.0.0.1:{_free_port()}"}
        Path(folder, "problem").write_bytes(pickle.dumps((settings, problem)))
        workers = [_start(started, folder, number) for number in range(processes)]
        _wait(workers, folder)
        return pickle.loads(Path(folder, "run").read_bytes())


def _start(started: ExitStack, folder: str, number: int) -> subprocess.Popen[bytes]:
    log = started.enter_context(_log(folder, number).open("wb"))
    command = [*COMMAND, folder, str(number)]
    worker = started.enter_context(
        subprocess.Popen(command, stdout=log, stderr=log, env=environment(JAX_PLATFORMS="cpu"))
    )
    started.callback(worker.kill)
    return worker


def _log(folder: str, number: int) -> Path:
    return Path(folder, f"{number}.log")


def _wait(workers: list[subprocess.Popen[bytes]], folder: str) -> None:
    """Raises as soon as one has failed: the others would wait for it."""
    while None in (codes := [worker.poll() for worker in workers]) and not any(codes):
        time.sleep(POLL)
    for number, code in enumerate(codes):
        if code:
            msg = f"process {number} of {len(workers)} ended with exit code {code}:\n{_log(folder, number).read_text()}"
            raise RuntimeError(msg)


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def main(folder: str, number: int) -> None:
    """One of the processes: here, as in a program of yours, only this function knows that there are several."""
    settings, problem = pickle.loads(Path(folder, "problem").read_bytes())
    jax.config.update("jax_num_cpu_devices", settings["devices"])
    address = settings["address"]
    jax.distributed.initialize(address, settings["processes"], number, coordinator_bind_address=address)
    found = run(**problem, devices=jax.devices())
    if number == 0:
        Path(folder, "run").write_bytes(pickle.dumps(found))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
