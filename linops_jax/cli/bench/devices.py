"""A batch sharded over CPU devices, under plain `jit`: whether each device computes its own part."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import linops_jax as lo

from ._machine import DEVICES
from ._measure import Case, Effort, Missing, Run
from ._negation import OURS

TITLE = "Sharded batches"
LENGTH = 16


class Windowed(lo.LinearOperator):
    """FFT by ducc0 of a picture times a window, which is the same for the whole batch."""

    window: jax.Array

    def apply(self, x, *, out):
        _transform(self.window, x, out)

    def adjoint(self, y, *, out):
        from ducc0 import fft

        np.multiply(np.conj(self.window), fft.c2c(y, forward=False), out=out)

    def infer_shape(self, x):
        return x


def cases(effort: Effort) -> Iterator[Case]:
    side = effort.pixels // 2
    contestants = {
        OURS: partial(_sharded, _by_operator, side),
        "the same in shard_map": partial(_in_shard_map, side),
        "the same on one device": partial(_on_one_device, side),
        "JAXbind": partial(_sharded, _by_jaxbind, side),
    }
    yield Case(f"{LENGTH} windowed FFTs of {side} x {side} on {DEVICES} devices", contestants, slow=True)


def _transform(window: Any, x: Any, out: Any) -> None:
    from ducc0 import fft

    np.multiply(window, x, out=out)
    fft.c2c(out, out=out)


def _by_operator(window: jax.Array) -> Callable[[Any], Any]:
    import ducc0  # noqa: F401  # before it is needed in a hook

    return Windowed(window)


def _by_jaxbind(window: jax.Array) -> Callable[[Any], Any]:
    import ducc0  # noqa: F401
    from jaxbind import get_linear_call

    def transform(out, args, kwargs_dump):
        window, x = args
        _transform(window, x, out[0])

    def abstract(window, x):
        return ((x.shape, x.dtype),)

    call = get_linear_call(transform, None, abstract, abstract, first_n_args_fixed=1)
    return lambda x: call(window, x)[0]


def _data(side: int) -> tuple[jax.Array, np.ndarray]:
    random = np.random.default_rng(0).standard_normal
    window = random((side, side), np.float32).astype(np.complex64)
    return jnp.asarray(window), random((LENGTH, side, side, 2), np.float32).view(np.complex64)[..., 0]


def _mesh() -> jax.sharding.Mesh:
    if jax.local_device_count() < DEVICES:
        msg = f"there are fewer than {DEVICES} devices"
        raise Missing(msg)
    return jax.make_mesh((DEVICES,), ("i",), axis_types=(AxisType.Auto,), devices=jax.devices()[:DEVICES])


def _sharded(build: Callable[[jax.Array], Callable[[Any], Any]], side: int) -> Run:
    window, batch = _data(side)
    x = jax.device_put(batch, NamedSharding(_mesh(), P("i")))
    function = jax.jit(jax.vmap(build(window)))
    return lambda: function(x).block_until_ready()


def _in_shard_map(side: int) -> Run:
    window, batch = _data(side)
    mesh = _mesh()
    x = jax.device_put(batch, NamedSharding(mesh, P("i")))
    function = jax.jit(jax.shard_map(jax.vmap(_by_operator(window)), mesh=mesh, in_specs=P("i"), out_specs=P("i")))
    return lambda: function(x).block_until_ready()


def _on_one_device(side: int) -> Run:
    window, batch = _data(side)
    function, x = jax.jit(jax.vmap(_by_operator(window))), jnp.asarray(batch)
    return lambda: function(x).block_until_ready()
