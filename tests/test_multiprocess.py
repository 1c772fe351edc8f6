"""Two processes with two CPU devices each: this file is the test, and the program that every process runs."""

import contextlib
import faulthandler
import os
import socket
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import linops_jax as lo  # before jax.distributed.initialize, on purpose

pytestmark = pytest.mark.versions

PROCESSES, DEVICES, BATCH = 2, 4, 8
TIMEOUT = 150  # seconds


class Gain(lo.LinearOperator, batched=False):
    """x -> gain cumsum(x)."""

    gain: jax.Array

    def apply(self, x, *, out):
        np.multiply(self.gain, np.cumsum(x), out=out)

    def adjoint(self, y):
        return np.flip(np.cumsum(np.flip(np.conj(self.gain) * y)))

    def infer_shape(self, x):
        return x

    def parameter_jvp(self, x, dself):
        return dself.gain * np.cumsum(x)

    def parameter_vjp(self, x, dy):
        return {"gain": np.conj(np.cumsum(x)) * dy}


class Twice(lo.LinearOperator):
    """x -> 2 weights x, or with a wrong adjoint."""

    weights: jax.Array
    wrong: bool = lo.static(default=False)

    @lo.traced
    def apply(self, x):
        return 2 * self.weights * x

    @lo.traced
    def adjoint(self, y):
        return (3 if self.wrong else 2) * self.weights * y

    def infer_shape(self, x):
        return x


def energy(y):
    return jnp.sum(y**2) + jnp.sum(jnp.sin(y))


def main(process, address):
    faulthandler.dump_traceback_later(TIMEOUT - 10, exit=True)
    jax.config.update("jax_num_cpu_devices", DEVICES // PROCESSES)
    jax.distributed.initialize(address, num_processes=PROCESSES, process_id=process)
    assert (jax.process_count(), jax.device_count()) == (PROCESSES, DEVICES)

    from jax.experimental import multihost_utils

    mesh = jax.make_mesh((DEVICES,), ("i",), axis_types=(AxisType.Auto,))
    rng = np.random.default_rng(0)
    gain, x = rng.standard_normal(3).astype(np.float32), rng.standard_normal((BATCH, 3)).astype(np.float32)
    place = lambda array, *spec: jax.make_array_from_callback(  # noqa: E731
        array.shape, NamedSharding(mesh, P(*spec)), lambda index: array[index]
    )
    g, xs = place(gain), place(x, "i")

    def loss(gain, xs):
        return energy(jax.vmap(Gain(gain))(xs))

    @jax.jit
    @jax.value_and_grad
    def in_shard_map(g, xs):
        local = lambda g, xs: jax.lax.psum(loss(g, xs), "i")  # noqa: E731
        return jax.shard_map(local, mesh=mesh, in_specs=(P(), P("i")), out_specs=P())(g, xs)

    y = gain.astype(float) * np.cumsum(x.astype(float), axis=1)
    value, gradient = np.sum(y**2) + np.sum(np.sin(y)), np.sum((2 * y + np.cos(y)) * np.cumsum(x, axis=1), axis=0)
    for program in (in_shard_map, jax.jit(jax.value_and_grad(loss))):
        found = program(g, xs)
        np.testing.assert_allclose(found[0].addressable_data(0), value, rtol=1e-5)
        np.testing.assert_allclose(found[1].addressable_data(0), gradient, rtol=1e-4)

    ys = multihost_utils.process_allgather(jax.jit(jax.vmap(Gain(gain)))(xs), tiled=True)
    np.testing.assert_allclose(ys, y, rtol=1e-5)

    # The checks, of operators on arrays of which each process has a part
    weights, vector = place(x.ravel(), "i"), place(rng.standard_normal(3 * BATCH).astype(np.float32), "i")
    assert lo.dot_test(Twice(weights), vector).passed
    assert not lo.dot_test(Twice(weights, wrong=True), vector).passed
    lo.check_operator(Twice(weights), vector)
    check_solvers(weights, vector, multihost_utils.process_allgather)
    multihost_utils.sync_global_devices("done")
    os.write(1, f"\nright {process}\n".encode())  # at once: other threads write as well


def check_solvers(weights, y, gathered):
    """lo.solve, inverses and norms, one problem for all processes."""
    whole = lambda tree: jax.tree.map(lambda leaf: gathered(leaf, tiled=True), tree)  # noqa: E731
    w, expected = whole(weights), whole(y) / (2 * whole(weights))

    def loss(weights, y, solver):
        return jnp.sum(lo.solve(Twice(weights), y, solver=solver, rtol=1e-6, x0=jnp.zeros_like(y)).value)

    for solver in ("cgls", "bicgstab"):
        found = lo.solve(Twice(weights), y, solver=solver, rtol=1e-6, x0=jnp.zeros_like(y))
        np.testing.assert_allclose(whole(found.value), expected, rtol=1e-3, atol=1e-4)
        slopes = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(weights, y, solver)
        np.testing.assert_allclose(whole(slopes[0]), -expected / w, rtol=1e-2, atol=1e-2 * np.max(np.abs(expected / w)))
        np.testing.assert_allclose(whole(slopes[1]), 1 / (2 * w), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(whole(Twice(weights).with_domain(y).inv(y)), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(whole(lo.norm(Twice(weights), y)), 2 * np.max(np.abs(w)), rtol=1e-4)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def test_two_processes():
    address = f"127.0.0.1:{free_port()}"
    # XLA has a thread for each core: with two, eager collectives of plain JAX wait for each other for good
    environment = {**os.environ, "PJRT_NPROC": "8"}
    commands = [[sys.executable, __file__, str(i), address] for i in range(PROCESSES)]
    output = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with contextlib.ExitStack() as running:
        workers = [running.enter_context(subprocess.Popen(c, env=environment, **output)) for c in commands]
        for worker in workers:
            running.callback(worker.kill)
        outputs = [worker.communicate(timeout=TIMEOUT)[0] for worker in workers]
    for i, (worker, output) in enumerate(zip(workers, outputs, strict=True)):
        assert worker.returncode == 0, output
        assert f"right {i}" in output


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
