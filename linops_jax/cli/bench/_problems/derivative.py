"""Derivative: differences down the columns."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .problem import Problem, noise


def _difference(x: Any) -> Any:
    return jnp.diff(x, axis=0, append=x[-1:])


class Derivative(lo.LinearOperator):
    """Differences down the columns in JAX, zero in the last row. JAX derives the adjoint."""

    @lo.traced
    def apply(self, x):
        return _difference(x)

    def infer_adjoint_shape(self, y):
        return y


class HostDerivative(lo.LinearOperator):
    """The same in NumPy."""

    def apply(self, x, *, out):
        np.subtract(x[1:], x[:-1], out=out[:-1])
        out[-1] = 0

    def adjoint(self, y, *, out):
        out[0] = 0
        out[1:] = y[:-1]
        out[:-1] -= y[:-1]

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


def derivative(pixels: int) -> Problem:
    shape = pixels, pixels

    def theirs() -> Any:
        import pylops

        return pylops.FirstDerivative(shape, axis=0, kind="forward")

    def of_scico() -> Any:
        from scico.linop import SingleAxisFiniteDifference  # pyright: ignore[reportMissingImports]

        return SingleAxisFiniteDifference(shape, np.float64, axis=0, append=0)

    return Problem(
        ours={"in JAX": Derivative, "in NumPy": HostDerivative},
        y=lambda: noise(shape),
        shape=shape,
        pylops=theirs,
        function=lambda: ((), lambda _, x: _difference(x)),
        scico=of_scico,
    )
