"""The operators of the solver loops, each by every library that can have it. Double precision."""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.fft

import linops_jax as lo

WIDTH = 9


@dataclass(frozen=True)
class Problem:
    """A x = y. Everything is made when it is called: it may need a package that is not here.

    ours: operators by what they are; pylops, scico: the operator of that library
    function: the same in JAX, as parameters and a function of them and x
    y: the data; shape: of x
    """

    ours: dict[str, Callable[[], Any]]
    y: Callable[[], np.ndarray]
    shape: tuple[int, ...]
    pylops: Callable[[], Any]
    function: Callable[[], Any] | None = None
    scico: Callable[[], Any] | None = None
    why_not: dict[str, str] = field(default_factory=dict)  # a library -> why it does not take part


def _noise(shape: tuple[int, ...], seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape)


# ---- Blur -----------------------------------------------------------------------------------------------------------


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
        return np.asarray(Convolution(jnp.asarray(spectrum), padded)(jnp.asarray(truth))) + 0.01 * _noise(truth.shape)

    threads = {"ducc0": 1, "ducc0, 2 threads": 2}
    return Problem(
        ours={
            "FFTs in JAX": lambda: Convolution(jnp.asarray(spectrum), padded),
            **{name: _needs("ducc0", HostConvolution, jnp.asarray(spectrum), padded, n) for name, n in threads.items()},
            "sums in JAX": lambda: SmallConvolution(jnp.asarray(kernel)),
        },
        y=y,
        shape=(pixels, pixels),
        pylops=theirs,
        function=lambda: (jnp.asarray(spectrum), lambda spectrum, x: _convolve(spectrum, padded)(x)),
        scico=of_scico,
    )


def _needs(module: str, make: Callable[..., Any], *arguments: Any) -> Callable[[], Any]:
    def build() -> Any:
        importlib.import_module(module)
        return make(*arguments)

    return build


def _kernel() -> np.ndarray:
    axis = np.arange(WIDTH) - WIDTH // 2
    kernel = np.exp(-(axis[:, None] ** 2) / 8 - axis**2 / 3) * (1 + 0.3 * _noise((WIDTH, WIDTH)))
    return kernel / kernel.sum()


def _spectrum(kernel: np.ndarray, padded: int) -> np.ndarray:
    around = np.zeros((padded, padded))
    around[:WIDTH, :WIDTH] = kernel
    return np.fft.rfft2(np.roll(around, (-(WIDTH // 2), -(WIDTH // 2)), (0, 1)))


# ---- Derivative -----------------------------------------------------------------------------------------------------


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
        y=lambda: _noise(shape),
        shape=shape,
        pylops=theirs,
        function=lambda: ((), lambda _, x: _difference(x)),
        scico=of_scico,
    )


# ---- Sparse matrix --------------------------------------------------------------------------------------------------


def sparse(pixels: int) -> Problem:
    rows, columns, per_row = 200 * pixels, 100 * pixels, 10

    def matrix() -> Any:
        from scipy.sparse import csr_array

        rng = np.random.default_rng(0)
        indices = rng.integers(columns, size=(rows, per_row)).ravel()
        starts = np.arange(0, rows * per_row + 1, per_row)
        made = csr_array((rng.standard_normal(rows * per_row), indices, starts), shape=(rows, columns))
        made.sum_duplicates()
        return made

    def theirs() -> Any:
        import pylops

        return pylops.MatrixMult(matrix())

    def function() -> Any:
        from jax.experimental.sparse import BCSR

        return BCSR.from_scipy_sparse(matrix()), lambda made, x: made @ x

    return Problem(
        ours={"SciPy's product": lambda: lo.interop.from_scipy(matrix())},
        y=lambda: _noise((rows,)),
        shape=(columns,),
        pylops=theirs,
        function=function,
        why_not={"SCICO": "has no sparse matrices"},
    )


# ---- NUFFT ----------------------------------------------------------------------------------------------------------


class NUFFT(lo.LinearOperator):
    """y_j = Σ_k x_k exp(-i <coord_j, k>) by ducc0; `coord` has shape (samples, 2), in radians per pixel."""

    coord: jax.Array
    shape: tuple[int, int] = lo.static()

    def apply(self, x, *, out):
        from ducc0 import nufft

        nufft.u2nu(grid=x, coord=self.coord, out=out, forward=True, epsilon=1e-10, nthreads=1)

    def adjoint(self, y, *, out):
        from ducc0 import nufft

        nufft.nu2u(points=y, coord=self.coord, out=out, forward=False, epsilon=1e-10, nthreads=1)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(self.coord.shape[:1], x.dtype)

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct(self.shape, y.dtype)


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
        ours={"ducc0": _needs("ducc0", lambda: NUFFT(jnp.asarray(coord), shape))},
        y=lambda: _noise((samples,)) + 1j * _noise((samples,), 2),
        shape=shape,
        pylops=theirs,
        why_not=dict.fromkeys(("lineax", "SCICO"), "has no NUFFT and no foreign code"),
    )


PROBLEMS = {"blur": blur, "derivative": derivative, "sparse matrix": sparse, "NUFFT": nufft}
