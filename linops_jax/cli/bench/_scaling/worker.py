"""A process with some CPU devices, which measures what runs in JAX and what runs on bare threads."""

import sys
from functools import partial

import jax

from .._measure import Run
from . import bare, ours, plain
from .data import Size
from .serving import serve


def build(library: str, problem: str, size: Size) -> Run:
    devices = jax.device_count()
    if library == "bare threads":
        return getattr(bare, problem)(size, devices)
    mesh = jax.make_mesh((devices,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    if library == "linops_jax":
        return getattr(ours, problem)(size, mesh)
    return getattr(plain, problem)(size, mesh, by_hand=library == "plain JAX in shard_map")


if __name__ == "__main__":
    jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
    serve(sys.stdin, partial(print, flush=True), build)
