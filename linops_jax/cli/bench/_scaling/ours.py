"""The work by linops_jax: hooks in NumPy, spread by `lo.vstack` and `lo.sharded`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo

from . import data
from .data import Size

SPREAD, WHOLE = jax.P("i"), jax.P()


class Windowed(lo.LinearOperator):
    """FFT of a picture times a window."""

    window: jax.Array

    def apply(self, x, *, out):
        data.transform(self.window, x, out)

    def adjoint(self, y, *, out):
        data.transform_adjoint(self.window, y, out)

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


class Sampled(lo.LinearOperator):
    """NUFFT of a picture times a window."""

    window: jax.Array

    def apply(self, x, *, out):
        data.sample(self.window, x, out)

    adjoint = None

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((data.POINTS,), x.dtype)


class Blur(lo.LinearOperator):
    """The mean of three rows each."""

    def apply(self, x, *, out):
        data.blur(x, out)

    adjoint = None

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((x.shape[0] - 2, *x.shape[1:]), x.dtype)


def stack(size: Size, mesh: Any) -> Callable[[], Any]:
    return _run(lambda A, x: A(x), _stacked(Windowed, size, mesh), _placed(data.picture(size), mesh, WHOLE))


def nufft(size: Size, mesh: Any) -> Callable[[], Any]:
    return _run(lambda A, x: A(x), _stacked(Sampled, size, mesh), _placed(data.picture(size), mesh, WHOLE))


def halo(size: Size, mesh: Any) -> Callable[[], Any]:
    A = lo.sharded(Blur() @ lo.Halo(1, "i"), mesh, SPREAD, SPREAD)
    return _run(lambda A, x: A(x), A, _placed(data.rows(size), mesh, SPREAD))


def solve(size: Size, mesh: Any) -> Callable[[], Any]:
    def cgls(A: Any, y: Any) -> Any:
        return lo.solve(A, y, solver="cgls", max_steps=size.steps, rtol=0, atol=0, progress=False).value

    return _run(cgls, _stacked(Windowed, size, mesh), _placed(data.measured(size), mesh, SPREAD))


def _stacked(cls: Any, size: Size, mesh: Any) -> Any:
    one = jax.vmap(cls)(_placed(data.windows(size), mesh, SPREAD))
    return lo.vstack(one, mesh=mesh).with_domain(jnp.asarray(data.picture(size)))


def _placed(array: Any, mesh: Any, spec: Any) -> jax.Array:
    return jax.device_put(array, jax.NamedSharding(mesh, spec))


def _run(function: Any, *arguments: Any) -> Callable[[], Any]:
    import ducc0  # noqa: F401  # before it is needed in a hook

    compiled = jax.jit(function)
    return lambda: compiled(*arguments).block_until_ready()
