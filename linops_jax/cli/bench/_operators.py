"""Operators of `lo.ops` in every library that has them, in single precision, on pictures of n x n pixels."""

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

CORES = os.cpu_count()  # XLA uses all of them; so do peers that can
WIDTH = 9  # of kernels
ANGLES = 16


class Pair(NamedTuple):
    """An operator as two functions of arrays, which `place` makes."""

    forward: Callable[[Any], Any]
    adjoint: Callable[[Any], Any]
    place: Callable[[np.ndarray], Any] = np.asarray


@dataclass(frozen=True)
class Entry:
    """One operator, and what builds it in other libraries; an ImportError there means that it is not installed.

    Parameters
    ----------
    x : ndarray
        The input.
    ours : callable
        What builds our operator.
    peers : mapping of callables
        What builds the pairs of functions of other libraries.
    rtol : float
        How far results may differ, relative to their norm.
    """

    x: np.ndarray
    ours: Callable[[], lo.LinearOperator]
    peers: Mapping[str, Callable[[], Pair]]
    rtol: float = 1e-5

    @property
    def contestants(self) -> dict[str, Callable[[], Pair]]:
        return {"linops_jax": partial(_ours, self.ours, self.x), **self.peers}


def _ours(make: Callable[[], lo.LinearOperator], x: np.ndarray) -> Pair:
    op = make().with_domain(jax.ShapeDtypeStruct(x.shape, x.dtype))
    forward, adjoint = jax.jit(lambda op, x: op(x)), jax.jit(lambda op, y: op.H(y))
    return Pair(partial(forward, op), lambda y: adjoint(op, y).block_until_ready(), jnp.asarray)


def _pylops(make: Callable[[Any], Any]) -> Callable[[], Pair]:
    def build() -> Pair:
        import pylops

        op = make(pylops)
        return Pair(op.matvec, op.rmatvec, np.ravel)

    return build


def _scico(make: Callable[[Any], Any]) -> Callable[[], Pair]:
    def build() -> Pair:
        with warnings.catch_warnings(action="ignore"):  # on import, about names that newer JAX does not have
            from scico import linop  # pyright: ignore[reportMissingImports]

            op = make(linop)
        return Pair(op, lambda y: op.adj(y).block_until_ready(), jnp.asarray)

    return build


def _plain(forward: Callable[[Any], Any], adjoint: Callable[[Any], Any]) -> Callable[[], Pair]:
    """The same in JAX without an operator: what is slower than another library there is slow in XLA."""

    def build() -> Pair:
        backward = jax.jit(adjoint)
        return Pair(jax.jit(forward), lambda y: backward(y).block_until_ready(), jnp.asarray)

    return build


def _picture(n: int, dtype: Any = np.float32) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
    return x[0] if dtype == np.float32 else (x[0] + 1j * x[1]).astype(dtype)


# ---- Fourier and its like -------------------------------------------------------------------------------------------


def fft(n: int) -> Entry:
    import scipy.fft

    shape, options = (n, n), {"norm": "ortho", "workers": CORES}
    return Entry(
        _picture(n, np.complex64),
        lo.FFT,
        {
            "PyLops": _pylops(
                lambda pylops: pylops.signalprocessing.FFT2D(shape, engine="scipy", dtype="complex64", workers=CORES)
            ),
            "SCICO": _scico(lambda linop: linop.DFT(shape, norm="ortho")),
            "SciPy": lambda: Pair(partial(scipy.fft.fft2, **options), partial(scipy.fft.ifft2, **options)),
            "plain JAX": _plain(partial(jnp.fft.fft2, norm="ortho"), partial(jnp.fft.ifft2, norm="ortho")),
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
        _picture(n),
        lo.ops.RFFT,
        {  # in PyLops it has another scale
            "SciPy": lambda: Pair(partial(scipy.fft.rfft, **options), adjoint),
            "plain JAX": _plain(partial(jnp.fft.rfft, norm="ortho"), plain_adjoint),
        },
    )


def dct(n: int) -> Entry:
    import scipy.fft

    options: Any = {"norm": "ortho", "workers": CORES}
    return Entry(
        _picture(n),
        lo.ops.DCT,
        {
            "PyLops": _pylops(lambda pylops: pylops.signalprocessing.DCT((n, n), dtype="float32", workers=CORES)),
            "SciPy": lambda: Pair(partial(scipy.fft.dctn, **options), partial(scipy.fft.idctn, **options)),
            "plain JAX": _plain(partial(jax.scipy.fft.dctn, norm="ortho"), partial(jax.scipy.fft.idctn, norm="ortho")),
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
        _picture(n),
        lambda: lo.ops.Wavelet((n, n), "db4", level=level),
        {
            "PyLops": _pylops(
                lambda pylops: pylops.signalprocessing.DWT2D((n, n), wavelet="db4", level=level, dtype="float32")
            ),
            "PyWavelets": lambda: Pair(forward, adjoint),
        },
    )


# ---- neighbourhoods -------------------------------------------------------------------------------------------------


def convolution(n: int) -> Entry:
    from scipy.signal import oaconvolve

    kernel = _picture(WIDTH) / WIDTH**2
    centre = WIDTH // 2, WIDTH // 2

    def convolve(h: np.ndarray) -> Callable[[Any], Any]:
        return lambda x: oaconvolve(x, h, mode="same")

    return Entry(
        _picture(n),
        lambda: lo.ops.Convolution(kernel),
        {
            "PyLops": _pylops(
                lambda pylops: pylops.signalprocessing.Convolve2D((n, n), kernel, offset=centre, dtype="float32")
            ),
            "SCICO": _scico(lambda linop: linop.Convolve(jnp.asarray(kernel), (n, n), mode="same")),
            "SciPy": lambda: Pair(convolve(kernel), convolve(kernel[::-1, ::-1])),
        },
    )


def gaussian_blur(n: int) -> Entry:
    from scipy.ndimage import gaussian_filter

    blur = partial(gaussian_filter, sigma=2.0, mode="constant")  # symmetric
    return Entry(_picture(n), lambda: lo.ops.GaussianBlur(np.float32(2.0)), {"SciPy": lambda: Pair(blur, blur)})


def first_derivative(n: int) -> Entry:
    return Entry(
        _picture(n),
        lambda: lo.ops.FirstDerivative(axis=0, kind="forward"),
        {
            "PyLops": _pylops(lambda pylops: pylops.FirstDerivative((n, n), axis=0, kind="forward", dtype="float32")),
            "SCICO": _scico(lambda linop: linop.SingleAxisFiniteDifference((n, n), axis=0, append=0)),
        },
    )


def gradient(n: int) -> Entry:
    return Entry(
        _picture(n),
        lo.ops.Gradient,
        {
            "PyLops": _pylops(lambda pylops: pylops.Gradient((n, n), kind="forward", dtype="float32")),
            "SCICO": _scico(lambda linop: linop.FiniteDifference((n, n), append=0)),
        },
    )


def laplacian(n: int) -> Entry:
    return Entry(
        _picture(n),
        lo.ops.Laplacian,
        {"PyLops": _pylops(lambda pylops: pylops.Laplacian((n, n), dtype="float32"))},
    )


def causal_integration(n: int) -> Entry:
    def adjoint(y: Any) -> Any:
        return np.cumsum(y[:, ::-1], axis=-1)[:, ::-1]

    return Entry(
        _picture(n),
        lo.ops.CausalIntegration,
        {
            "PyLops": _pylops(lambda pylops: pylops.CausalIntegration((n, n), kind="full", dtype="float32")),
            "NumPy": lambda: Pair(partial(np.cumsum, axis=-1), adjoint),
            "plain JAX": _plain(partial(jnp.cumsum, axis=-1), lambda y: jnp.cumsum(y[:, ::-1], axis=-1)[:, ::-1]),
        },
    )


# ---- selections -----------------------------------------------------------------------------------------------------


def restriction(n: int) -> Entry:
    kept = np.sort(np.random.default_rng(1).permutation(n)[: n // 2])

    def adjoint(y: Any) -> Any:
        x = np.zeros((n, n), np.float32)
        x[:, kept] = y
        return x

    return Entry(
        _picture(n),
        lambda: lo.ops.Restriction(kept, n),
        {
            "PyLops": _pylops(lambda pylops: pylops.Restriction((n, n), kept, axis=-1, dtype="float32")),
            "NumPy": lambda: Pair(lambda x: np.take(x, kept, axis=-1), adjoint),
            "plain JAX": _plain(lambda x: x[:, kept], lambda y: jnp.zeros((n, n), y.dtype).at[:, kept].set(y)),
        },
    )


def mask(n: int) -> Entry:
    kept = _picture(n) > 0
    factors = kept.astype(np.float32)
    multiply = partial(np.multiply, factors)
    return Entry(
        _picture(n),
        lambda: lo.ops.Mask(kept),
        {
            "PyLops": _pylops(lambda pylops: pylops.Diagonal(factors.ravel(), dtype="float32")),
            "SCICO": _scico(lambda linop: linop.Diagonal(jnp.asarray(factors))),
            "NumPy": lambda: Pair(multiply, multiply),
            "plain JAX": _plain(partial(jnp.multiply, factors), partial(jnp.multiply, factors)),
        },
    )


def flip(n: int) -> Entry:
    def flipped(x: Any) -> Any:
        return np.ascontiguousarray(np.flip(x, -1))

    return Entry(
        _picture(n),
        lambda: lo.ops.Flip(-1),
        {
            "PyLops": _pylops(lambda pylops: pylops.Flip((n, n), axis=-1, dtype="float32")),
            "NumPy": lambda: Pair(flipped, flipped),
            "plain JAX": _plain(partial(jnp.flip, axis=-1), partial(jnp.flip, axis=-1)),
        },
    )


def roll(n: int) -> Entry:
    return Entry(
        _picture(n),
        lambda: lo.ops.Roll(3, -1),
        {
            "PyLops": _pylops(lambda pylops: pylops.Roll((n, n), axis=-1, shift=3, dtype="float32")),
            "NumPy": lambda: Pair(partial(np.roll, shift=3, axis=-1), partial(np.roll, shift=-3, axis=-1)),
            "plain JAX": _plain(partial(jnp.roll, shift=3, axis=-1), partial(jnp.roll, shift=-3, axis=-1)),
        },
    )


# ---- general matrices -----------------------------------------------------------------------------------------------


def interpolation(n: int) -> Entry:
    """At random points, one for each 16 pixels."""
    positions = np.random.default_rng(2).uniform(0, n - 1.01, (n * n // 16, 2)).astype(np.float32)
    return Entry(
        _picture(n),
        lambda: lo.ops.Interpolation(positions, (n, n)),
        {"PyLops": _pylops(lambda pylops: pylops.signalprocessing.Bilinear(positions.T, (n, n), dtype="float32"))},
        rtol=1e-3,  # of positions in single precision
    )


def sparse_matrix(n: int) -> Entry:
    """One row for each 4 pixels, with the 4 pixels of a square at a random place."""
    import scipy.sparse

    rng = np.random.default_rng(3)
    rows = n * n // 4
    corners = rng.integers(0, n * n - n - 1, rows)
    indices = (corners[:, None] + np.array([0, 1, n, n + 1])).astype(np.int32)
    entries = rng.random(indices.shape, np.float32)
    starts = np.arange(0, indices.size + 1, 4, dtype=np.int32)
    matrix = scipy.sparse.csr_array((entries.ravel(), indices.ravel(), starts), shape=(rows, n * n))
    return Entry(
        _picture(n).ravel(),
        lambda: lo.ops.SparseMatrix(matrix),
        {
            "PyLops": _pylops(lambda pylops: pylops.MatrixMult(matrix, dtype="float32")),
            "SciPy": lambda: Pair(lambda x: matrix @ x, lambda y: matrix.T @ y),
        },
    )


def x_ray(n: int) -> Entry:
    """A smooth picture: ASTRA's models of a pixel are others."""
    axis = np.linspace(-1, 1, n)
    picture = np.exp(-8 * (axis[:, None] ** 2 + axis**2)) * (1 + 0.5 * np.sin(9 * axis + 5 * axis[:, None]))
    angles = np.linspace(0, np.pi, ANGLES, endpoint=False)
    detectors = n + n // 2

    def astra(model: str) -> Callable[[], Pair]:
        def build() -> Pair:
            import astra  # pyright: ignore[reportMissingImports]

            beams = astra.create_proj_geom("parallel", 1.0, detectors, angles)
            projector = astra.create_projector(model, beams, astra.create_vol_geom(n, n))

            def by(create: Callable[..., Any]) -> Callable[[Any], Any]:
                def run(array: Any) -> Any:
                    key, result = create(array, projector)
                    astra.data2d.delete(key)
                    return result

                return run

            return Pair(by(astra.create_sino), by(astra.create_backprojection))

        return build

    return Entry(
        picture.astype(np.float32),
        lambda: lo.ops.XRay(angles.astype(np.float32), (n, n), detectors),
        {f"ASTRA, {model}": astra(model) for model in ("linear", "strip")},
        rtol=0.05,
    )


ENTRIES: dict[str, Callable[[int], Entry]] = {
    "FFT": fft,
    "RFFT": rfft,
    "DCT": dct,
    "Wavelet": wavelet,
    "Convolution": convolution,
    "GaussianBlur": gaussian_blur,
    "FirstDerivative": first_derivative,
    "Gradient": gradient,
    "Laplacian": laplacian,
    "CausalIntegration": causal_integration,
    "Restriction": restriction,
    "Mask": mask,
    "Flip": flip,
    "Roll": roll,
    "Interpolation": interpolation,
    "SparseMatrix": sparse_matrix,
    "XRay": x_ray,
}
