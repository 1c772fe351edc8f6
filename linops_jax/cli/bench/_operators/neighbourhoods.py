"""Convolutions, differences and sums, on pictures of n x n pixels."""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .contestants import Entry, Pair, of_jax, of_pylops, of_scico, picture

WIDTH = 9  # of kernels


def convolution(n: int) -> Entry:
    from scipy.signal import oaconvolve

    kernel = picture(WIDTH) / WIDTH**2
    centre = WIDTH // 2, WIDTH // 2

    def convolve(h: np.ndarray) -> Callable[[Any], Any]:
        return lambda x: oaconvolve(x, h, mode="same")

    return Entry(
        picture(n),
        lambda: lo.ops.Convolution(kernel),
        {
            "PyLops": of_pylops(
                lambda pylops: pylops.signalprocessing.Convolve2D((n, n), kernel, offset=centre, dtype="float32")
            ),
            "SCICO": of_scico(lambda linop: linop.Convolve(jnp.asarray(kernel), (n, n), mode="same")),
            "SciPy": lambda: Pair(convolve(kernel), convolve(kernel[::-1, ::-1])),
        },
    )


def gaussian_blur(n: int) -> Entry:
    from scipy.ndimage import gaussian_filter

    blur = partial(gaussian_filter, sigma=2.0, mode="constant")  # symmetric
    return Entry(picture(n), lambda: lo.ops.GaussianBlur(np.float32(2.0)), {"SciPy": lambda: Pair(blur, blur)})


def first_derivative(n: int) -> Entry:
    return Entry(
        picture(n),
        lambda: lo.ops.FirstDerivative(axis=0, kind="forward"),
        {
            "PyLops": of_pylops(lambda pylops: pylops.FirstDerivative((n, n), axis=0, kind="forward", dtype="float32")),
            "SCICO": of_scico(lambda linop: linop.SingleAxisFiniteDifference((n, n), axis=0, append=0)),
        },
    )


def gradient(n: int) -> Entry:
    return Entry(
        picture(n),
        lo.ops.Gradient,
        {
            "PyLops": of_pylops(lambda pylops: pylops.Gradient((n, n), kind="forward", dtype="float32")),
            "SCICO": of_scico(lambda linop: linop.FiniteDifference((n, n), append=0)),
        },
    )


def laplacian(n: int) -> Entry:
    return Entry(
        picture(n),
        lo.ops.Laplacian,
        {"PyLops": of_pylops(lambda pylops: pylops.Laplacian((n, n), dtype="float32"))},
    )


def causal_integration(n: int) -> Entry:
    def adjoint(y: Any) -> Any:
        return np.cumsum(y[:, ::-1], axis=-1)[:, ::-1]

    return Entry(
        picture(n),
        lo.ops.CausalIntegration,
        {
            "PyLops": of_pylops(lambda pylops: pylops.CausalIntegration((n, n), kind="full", dtype="float32")),
            "NumPy": lambda: Pair(partial(np.cumsum, axis=-1), adjoint),
            "plain JAX": of_jax(partial(jnp.cumsum, axis=-1), lambda y: jnp.cumsum(y[:, ::-1], axis=-1)[:, ::-1]),
        },
    )
