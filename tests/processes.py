"""Several processes on this machine, each of which runs a file of tests as a program."""

import contextlib
import faulthandler
import os
import socket
import subprocess
import sys

import jax
import numpy as np
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import linops_jax as lo  # before jax.distributed.initialize, on purpose

TIMEOUT = 250  # seconds


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@contextlib.contextmanager
def running(file, count, *arguments):
    """Starts ``python file number count address *arguments`` for each process; kills those that are left at the end."""
    address = f"127.0.0.1:{free_port()}"
    # XLA has a thread for each core: with two, eager collectives of plain JAX wait for each other for good
    environment = {**os.environ, "PJRT_NPROC": "8"}
    commands = [[sys.executable, file, str(i), str(count), address, *arguments] for i in range(count)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with contextlib.ExitStack() as started:
        workers = [started.enter_context(subprocess.Popen(c, env=environment, **output)) for c in commands]
        for worker in workers:
            started.callback(worker.kill)
        yield workers


def outputs(workers):
    """What each has printed, once all have ended."""
    return [worker.communicate(timeout=TIMEOUT)[0] for worker in workers]


def join(devices):
    """Makes this process one of those of ``running``. Returns its number, their count and the other arguments."""
    faulthandler.dump_traceback_later(TIMEOUT - 10, exit=True)
    number, count, address, *arguments = sys.argv[1:]
    jax.config.update("jax_num_cpu_devices", devices)
    jax.distributed.initialize(address, num_processes=int(count), process_id=int(number))
    assert (jax.process_count(), jax.device_count()) == (int(count), int(count) * devices)
    return int(number), int(count), arguments


def say(text):
    """Prints at once: other threads print as well."""
    os.write(1, f"\n{text}\n".encode())


# ---- programs that compare numbers ----------------------------------------------------------------------------------


def main(programs, devices):
    """Runs the programs whose names are the arguments, on a mesh with all devices."""
    number, _, names = join(devices)
    lo.distributed.watch()  # nothing fails: the end is as always
    mesh = jax.make_mesh((jax.device_count(),), ("i",), axis_types=(AxisType.Auto,))

    def place(array, *spec):
        sharding = NamedSharding(mesh, PartitionSpec(*spec))
        return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])

    for name in names:
        programs[name](mesh, place, np.random.default_rng(0))
    say(f"right {number}")


def gathered(tree):
    """The whole arrays: a test may, which knows that they are small."""
    from jax.experimental import multihost_utils

    return jax.tree.map(lambda leaf: multihost_utils.process_allgather(leaf, tiled=True), tree)


def assert_right(file, count, *names):
    """Asserts that these programs of a file are right in all processes."""
    with running(file, count, *names) as workers:
        found = outputs(workers)
    for number, (worker, output) in enumerate(zip(workers, found, strict=True)):
        assert worker.returncode == 0, output
        assert f"right {number}" in output
