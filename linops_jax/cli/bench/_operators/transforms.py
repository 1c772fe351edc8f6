"""Fourier transforms and their like, on pictures of n x n pixels."""

import os
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .contestants import Entry, Pair, of_jax, of_pylops, of_scico, picture

CORES = os.cpu_count()  # XLA uses all of them; so do peers that can


def fft(n: int) -> Entry:
    import scipy.fft

    shape, options = (n, n), {"norm": "ortho", "workers": CORES}
    return Entry(
        picture(n, np.complex64),
        lo.FFT,
        {
            "PyLops": of_pylops(
                lambda pylops: pylops.signalprocessing.FFT2D(shape, engine="scipy", dtype="complex64", workers=CORES)
            ),
            "SCICO": of_scico(lambda linop: linop.DFT(shape, norm="ortho")),
            "SciPy": lambda: Pair(partial(scipy.fft.fft2, **options), partial(scipy.fft.ifft2, **options)),
            "plain JAX": of_jax(partial(jnp.fft.fft2, norm="ortho"), partial(jnp.fft.ifft2, norm="ortho")),
        },
    )


def rfft(n: int) -> Entry:
    import scipy.fft

    options: Any = {"norm": "ortho", "workers": CORES}
    weights = np.full(n // 2 + 1, 0.5, np.float32)
    weights[0] = weights[-(n % 2 == 0)] = 1
    if n % 2:
        weights[-1] = 0.5

    def adjoint(y: Any) -> Any:
        return scipy.fft.irfft(weights * y, n, **options)

    def plain_adjoint(y: Any) -> Any:
        return jnp.fft.irfft(weights[None] * y, n, norm="ortho")

    return Entry(
        picture(n),
        lo.ops.RFFT,
        {  # in PyLops it has another scale
            "SciPy": lambda: Pair(partial(scipy.fft.rfft, **options), adjoint),
            "plain JAX": of_jax(partial(jnp.fft.rfft, norm="ortho"), plain_adjoint),
        },
    )


def dct(n: int) -> Entry:
    import scipy.fft

    options: Any = {"norm": "ortho", "workers": CORES}
    return Entry(
        picture(n),
        lo.ops.DCT,
        {
            "PyLops": of_pylops(lambda pylops: pylops.signalprocessing.DCT((n, n), dtype="float32", workers=CORES)),
            "SciPy": lambda: Pair(partial(scipy.fft.dctn, **options), partial(scipy.fft.idctn, **options)),
            "plain JAX": of_jax(partial(jax.scipy.fft.dctn, norm="ortho"), partial(jax.scipy.fft.idctn, norm="ortho")),
        },
    )


def wavelet(n: int) -> Entry:
    import pywt

    level = min(3, pywt.dwt_max_level(n, 8))
    options: Any = {"wavelet": "db4", "mode": "periodization"}
    slices: Any = pywt.coeffs_to_array(pywt.wavedec2(np.zeros((n, n), np.float32), level=level, **options))[1]

    def forward(x: Any) -> Any:
        return pywt.coeffs_to_array(pywt.wavedec2(x, level=level, **options))[0]

    def adjoint(y: Any) -> Any:
        coefficients: Any = pywt.array_to_coeffs(y, slices, output_format="wavedec2")
        return pywt.waverec2(coefficients, **options)

    return Entry(
        picture(n),
        lambda: lo.ops.Wavelet((n, n), "db4", level=level),
        {
            "PyLops": of_pylops(
                lambda pylops: pylops.signalprocessing.DWT2D((n, n), wavelet="db4", level=level, dtype="float32")
            ),
            "PyWavelets": lambda: Pair(forward, adjoint),
        },
    )
