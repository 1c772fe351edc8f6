"""Blur: a convolution with a small kernel, in JAX and by ducc0."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

import linops_jax as lo

from .problem import Problem, needs, noise

WIDTH = 9


def _convolve(spectrum: Any, padded: int) -> Callable[[Any], Any]:
    """By FFTs in JAX, with zeros outside; `spectrum` is that of the padded kernel, centred on pixel 0."""
    size = padded, padded
    return lambda x: jnp.fft.irfft2(jnp.fft.rfft2(x, size) * spectrum, size)[: x.shape[0], : x.shape[1]]


class Convolution(lo.LinearOperator):
    """That function, with its adjoint by hand."""

    spectrum: jax.Array
    padded: int = lo.static()

    @lo.traced
    def apply(self, x):
        return _convolve(self.spectrum, self.padded)(x)

    @lo.traced
    def adjoint(self, y):
        return _convolve(jnp.conj(self.spectrum), self.padded)(y)

    def infer_adjoint_shape(self, y):
        return y


def _sums(kernel: Any, x: Any) -> Any:
    """The same for a kernel of a few pixels, of odd lengths: sums of shifted pictures, one pass for each row of it."""
    padded = jnp.pad(x, [(length // 2, length // 2) for length in kernel.shape])
    result = jnp.zeros_like(x)
    for i, row in enumerate(kernel[::-1]):
        shifted = padded[i : i + x.shape[0]]
        passed = sum(weight * shifted[:, j : j + x.shape[1]] for j, weight in enumerate(row[::-1]))
        result = jax.lax.optimization_barrier(result + passed)  # one large sum is slower
    return result


class SmallConvolution(lo.LinearOperator):
    """That function, with its adjoint by hand."""

    kernel: jax.Array

    @lo.traced
    def apply(self, x):
        return _sums(self.kernel, x)

    @lo.traced
    def adjoint(self, y):
        return _sums(jnp.conj(self.kernel[::-1, ::-1]), y)

    def infer_adjoint_shape(self, y):
        return y


_work: dict[int, list[tuple[np.ndarray, np.ndarray]]] = {}  # by size


class HostConvolution(lo.LinearOperator):
    """The same by ducc0, on NumPy arrays. Work arrays are kept: the pages of new ones cost more than the transforms."""

    spectrum: jax.Array
    padded: int = lo.static()
    threads: int = lo.static(default=1)

    def apply(self, x, *, out):
        self._filter(x, out, forward=True)

    def adjoint(self, y, *, out):
        self._filter(y, out, forward=False)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y

    def _filter(self, x, out, forward):
        """With the transforms exchanged, their spectrum is the conjugate one."""
        from ducc0 import fft

        kept = _work.setdefault(self.padded, [])
        try:
            real, spectral = kept.pop()  # hooks may run on several threads; each takes arrays of its own
        except IndexError:
            real, spectral = np.empty((self.padded, self.padded)), np.empty_like(self.spectrum)
        both = {"axes": (0, 1), "nthreads": self.threads}
        rows, columns = x.shape
        real[:rows, :columns], real[rows:], real[:, columns:] = x, 0, 0
        fft.r2c(real, out=spectral, forward=forward, **both)
        spectral *= self.spectrum
        fft.c2r(spectral, out=real, lastsize=self.padded, forward=not forward, inorm=2, **both)
        out[...] = real[:rows, :columns]
        kept.append((real, spectral))


def blur(pixels: int) -> Problem:
    padded: Any = scipy.fft.next_fast_len(pixels + WIDTH - 1)
    kernel = _kernel()
    spectrum = _spectrum(kernel, padded)

    def theirs() -> Any:
        import pylops

        return pylops.signalprocessing.Convolve2D((pixels, pixels), kernel, offset=(WIDTH // 2, WIDTH // 2))

    def of_scico() -> Any:
        from scico.linop import CircularConvolve, Crop, Pad  # pyright: ignore[reportMissingImports]

        inside = ((0, padded - pixels),) * 2
        padding: Any = {"pad_width": inside, "input_dtype": np.float64}
        centre: Any = (WIDTH // 2, WIDTH // 2)
        large = padded, padded
        convolve = CircularConvolve(jnp.asarray(kernel), large, input_dtype=np.float64, h_center=centre)
        return Crop(inside, large, input_dtype=np.float64) @ convolve @ Pad((pixels, pixels), **padding)

    def y() -> np.ndarray:
        truth = np.random.default_rng(0).random((pixels, pixels))
        return np.asarray(Convolution(jnp.asarray(spectrum), padded)(jnp.asarray(truth))) + 0.01 * noise(truth.shape)

    threads = {"ducc0": 1, "ducc0, 2 threads": 2}
    return Problem(
        ours={
            "FFTs in JAX": lambda: Convolution(jnp.asarray(spectrum), padded),
            **{name: needs("ducc0", HostConvolution, jnp.asarray(spectrum), padded, n) for name, n in threads.items()},
            "sums in JAX": lambda: SmallConvolution(jnp.asarray(kernel)),
        },
        y=y,
        shape=(pixels, pixels),
        pylops=theirs,
        function=lambda: (jnp.asarray(spectrum), lambda spectrum, x: _convolve(spectrum, padded)(x)),
        scico=of_scico,
    )


def _kernel() -> np.ndarray:
    axis = np.arange(WIDTH) - WIDTH // 2
    kernel = np.exp(-(axis[:, None] ** 2) / 8 - axis**2 / 3) * (1 + 0.3 * noise((WIDTH, WIDTH)))
    return kernel / kernel.sum()


def _spectrum(kernel: np.ndarray, padded: int) -> np.ndarray:
    around = np.zeros((padded, padded))
    around[:WIDTH, :WIDTH] = kernel
    return np.fft.rfft2(np.roll(around, (-(WIDTH // 2), -(WIDTH // 2)), (0, 1)))
