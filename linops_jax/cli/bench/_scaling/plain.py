"""The same work in plain JAX: as XLA spreads it, and in `jax.shard_map`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.scipy.sparse.linalg import cg

from . import data
from .data import Size

SPREAD, WHOLE = jax.P("i"), jax.P()


def stack(size: Size, mesh: Any, by_hand: bool) -> Callable[[], Any]:
    function = _mapped(_forward, mesh, (SPREAD, WHOLE), SPREAD) if by_hand else _forward
    return _run(function, _windows(size, mesh), _placed(data.picture(size), mesh, WHOLE))


def halo(size: Size, mesh: Any, by_hand: bool) -> Callable[[], Any]:
    function = (
        _mapped(_extended_blur, mesh, SPREAD, SPREAD) if by_hand else lambda x: _blur(jnp.pad(x, ((1, 1), (0, 0))))
    )
    return _run(function, _placed(data.rows(size), mesh, SPREAD))


def solve(size: Size, mesh: Any, by_hand: bool) -> Callable[[], Any]:
    """CG on the normal equations."""
    gram = _gram(mesh, by_hand)
    adjoint = _mapped(_summed_adjoint, mesh, (SPREAD, SPREAD), WHOLE) if by_hand else _adjoint

    def function(windows: Any, y: Any) -> Any:
        return cg(lambda x: gram(windows, x), adjoint(windows, y), tol=0, atol=0, maxiter=size.steps)[0]

    return _run(function, _windows(size, mesh), _placed(data.measured(size), mesh, SPREAD))


# ---- functions ------------------------------------------------------------------------------------------------------


def _gram(mesh: Any, by_hand: bool) -> Callable[[Any, Any], Any]:
    def gram(windows: Any, x: Any) -> Any:
        return _adjoint(windows, _forward(windows, x))

    return _mapped(lambda w, x: jax.lax.psum(gram(w, x), "i"), mesh, (SPREAD, WHOLE), WHOLE) if by_hand else gram


def _forward(windows: Any, x: Any) -> Any:
    return jnp.fft.fft2(windows * x[None])


def _adjoint(windows: Any, y: Any) -> Any:
    return jnp.sum(jnp.conj(windows) * jnp.fft.ifft2(y, norm="forward"), axis=0)


def _summed_adjoint(windows: Any, y: Any) -> Any:
    return jax.lax.psum(_adjoint(windows, y), "i")


def _blur(x: Any) -> Any:
    return (x[:-2] + x[1:-1] + x[2:]) / 3


def _extended_blur(x: Any) -> Any:
    """Of the rows of a device, with one row of each neighbour."""
    last = jax.lax.axis_size("i") - 1
    above = jax.lax.ppermute(x[-1:], "i", [(i, i + 1) for i in range(last)])
    below = jax.lax.ppermute(x[:1], "i", [(i + 1, i) for i in range(last)])
    return _blur(jnp.concatenate([above, x, below]))


def _mapped(function: Any, mesh: Any, in_specs: Any, out_specs: Any) -> Any:
    return jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs)


def _windows(size: Size, mesh: Any) -> jax.Array:
    return _placed(data.windows(size), mesh, SPREAD)


def _placed(array: Any, mesh: Any, spec: Any) -> jax.Array:
    return jax.device_put(array, jax.NamedSharding(mesh, spec))


def _run(function: Any, *arguments: Any) -> Callable[[], Any]:
    compiled = jax.jit(function)
    return lambda: compiled(*arguments).block_until_ready()
