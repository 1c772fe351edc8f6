"""lo.distributed.watch: this file is the test, and the program that every process runs."""

import re
import signal
import sys
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from processes import join, outputs, running, say

import linops_jax as lo
from linops_jax import _compat

pytestmark = pytest.mark.versions

SECONDS = 10  # in which all must have ended


class Mean(lo.LinearOperator):
    """Means of three rows, in NumPy, on computers of which one has no licence from its fifth call on."""

    licensed: bool = lo.static()

    def apply(self, x):
        global calls
        calls += 1
        if calls == 5 and not self.licensed:
            say(f"failed at {time.time()}")
            message = "no licence"
            raise RuntimeError(message)
        return (x[:-2] + x[1:-1] + x[2:]) / 3

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((x.shape[0] - 2, *x.shape[1:]), x.dtype)

    adjoint = None


calls = 0


def iterate(licensed):
    """Steps without end: halos and a sum in each."""
    mesh = jax.make_mesh((jax.device_count(),), ("i",), axis_types=(AxisType.Auto,))
    A = lo.sharded(Mean(licensed) @ lo.Halo(1, "i"), mesh, P("i"), P("i"))
    step = jax.jit(lambda x: A(x) / jnp.sum(A(x)))
    x = np.ones((4 * jax.device_count(), 3), np.float32)
    x = jax.make_array_from_callback(x.shape, NamedSharding(mesh, P("i")), lambda index: x[index])
    for number in range(10**9):
        x = step(x).block_until_ready()
        if number == 1:
            say("iterates")


def main():
    what, devices = sys.argv[4], int(sys.argv[5])
    number, count, _ = join(devices)
    fails = number == count - 1
    if what == "hook":
        lo.distributed.watch(poll=0.2)
        iterate(licensed=not fails)
    elif what == "kill":
        lo.distributed.watch()
        iterate(licensed=True)
    elif what == "exit":
        with lo.distributed.watch():
            if fails:
                say(f"failed at {time.time()}")
                sys.exit("no \ud800")
            iterate(licensed=True)


def ends(workers):
    """The outputs, and how long after the failure the last process has ended."""
    found = outputs(workers)
    failed = re.search(r"failed at ([\d.]+)", "".join(found))
    return found, time.time() - float(failed[1])


@pytest.mark.parametrize(("count", "devices"), [(4, 1), (2, 2)])
def test_a_hook_that_raises_ends_all_processes(count, devices):
    # With two devices, one of them waits for the other for good, and the exception does not reach Python
    with running(__file__, count, "hook", str(devices)) as workers:
        found, seconds = ends(workers)
    assert seconds < SECONDS
    assert [worker.returncode for worker in workers] == [1] * count, found
    why = r"Mean\.apply failed: RuntimeError: no licence \(.*test_watch\.py:\d+, in apply: raise RuntimeError\(message\)\)"
    for i in range(count - 1):
        assert re.search(f"process {count - 1} of {count} has failed, so process {i} ends: {why}", found[i]), found[i]
    assert re.search(why, found[-1])
    assert ("Traceback" in found[-1]) == (devices == 1)


def test_leaving_the_program_ends_all_processes():
    with running(__file__, 2, "exit", "1") as workers:
        found, seconds = ends(workers)
    assert seconds < SECONDS
    assert [worker.returncode for worker in workers] == [1, 1], found
    assert "process 1 of 2 has failed, so process 0 ends: SystemExit: no \\ud800" in found[0]


@pytest.mark.parametrize(("count", "killed"), [(4, 2), (2, 0)])  # process 0 has JAX's coordination service
def test_a_process_that_is_killed_ends_all_processes(count, killed):
    with running(__file__, count, "kill", "1") as workers:
        while "iterates" not in (line := workers[killed].stdout.readline()):
            assert line, workers[killed].wait()
        workers[killed].send_signal(signal.SIGKILL)
        start = time.monotonic()
        found = outputs(workers)
        assert time.monotonic() - start < SECONDS
    assert all(worker.returncode for worker in workers), found
    if killed:
        assert all("linops_jax: process" in found[i] or "Traceback" in found[i] for i in range(count) if i != killed)


# ---- in this process ------------------------------------------------------------------------------------------------


def test_a_program_of_one_process():
    with pytest.raises(
        RuntimeError, match=r"JAX knows of no other processes\. Call jax\.distributed\.initialize before"
    ):
        lo.distributed.watch()
    with pytest.raises(ValueError, match=r"poll=0 is not a time between two looks\. Give a positive number"):
        lo.distributed.watch(poll=0)


def test_one_process_has_nothing_to_watch(monkeypatch):
    monkeypatch.setattr(jax.distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(_compat, "coordination", lambda: (None, 0, 1))
    before = sys.excepthook, threading.active_count()
    with pytest.raises(ZeroDivisionError, match="by zero"), lo.distributed.watch():
        _ = 1 / 0
    assert (sys.excepthook, threading.active_count()) == before


def test_a_jax_without_notes():
    with pytest.raises(
        NotImplementedError, match=r"watch does not work with JAX .* Run the program without it, or with"
    ):
        _compat.coordination()  # of this process, which has no client


if __name__ == "__main__":
    main()
