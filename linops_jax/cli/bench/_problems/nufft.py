"""A nonuniform Fourier transform, by ducc0."""

from typing import Any

import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .problem import Problem, needs, noise


def nufft(pixels: int) -> Problem:
    shape = pixels // 4, pixels // 4
    samples = shape[0] * shape[1] * 3 // 2
    coord = np.random.default_rng(0).uniform(-np.pi, np.pi, (samples, 2))

    def theirs() -> Any:
        import pylops
        from ducc0 import nufft

        options = {"coord": coord, "epsilon": 1e-10, "nthreads": 1}
        forward = lambda x: nufft.u2nu(grid=x.reshape(shape), forward=True, **options)  # noqa: E731
        out = lambda: np.empty(shape, complex)  # noqa: E731
        adjoint = lambda y: nufft.nu2u(points=y, out=out(), forward=False, **options).ravel()  # noqa: E731
        return pylops.FunctionOperator(forward, adjoint, samples, shape[0] * shape[1], dtype=complex)

    return Problem(
        ours={"ducc0": needs("ducc0", lambda: lo.ops.NUFFT(jnp.asarray(coord), shape, 1e-10, threads=1))},
        y=lambda: noise((samples,)) + 1j * noise((samples,), 2),
        shape=shape,
        pylops=theirs,
        why_not=dict.fromkeys(("lineax", "SCICO"), "has no NUFFT and no foreign code"),
    )
