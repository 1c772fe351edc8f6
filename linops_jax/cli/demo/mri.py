"""An MRI slice from a few radial lines of its Fourier transform: the tutorial of linops_jax.

A scanner measures y = A x + noise: samples of the Fourier transform of the slice x, along spokes through the centre
of k-space. There are far fewer spokes than the Nyquist criterion requires. Therefore x is the minimiser of

    |A x - y|² + λ |G x|²

where G is the gradient of the picture. This file defines the operators, the problem and the reconstruction, and then
runs everything. `linops-jax demo mri` shows the result.
"""

import math
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ducc0 import nufft
from jax.scipy.sparse.linalg import cg

import linops_jax as lo

# --- The operators -----------------------------------------------------------------------------------------


class NUFFT(lo.LinearOperator, batched=True):
    """Fourier transform of a picture at arbitrary frequencies: y_j = Σ_k x_k exp(-i <coord_j, k>).

    It maps a complex array of the given shape to complex (samples,), in single or double precision. Pixels k are
    counted from the centre of the picture.

    Parameters
    ----------
    coord : array of shape (samples, 2)
        Frequencies, in radians per pixel.
    shape : pair of int
        Height and width of the picture.
    threads : int
        That ducc0 uses for a call; 0: all hardware threads.
    """

    coord: jax.Array
    shape: tuple[int, int] = lo.static()
    threads: int = lo.static(default=0)

    def apply(self, x, *, out):
        grids, samples = x.reshape(-1, *self.shape), out.reshape(-1, len(self.coord))
        nufft.u2nu(grid=grids, out=samples, forward=True, **self._options(x))

    def adjoint(self, y, *, out):
        samples, grids = y.reshape(-1, len(self.coord)), out.reshape(-1, *self.shape)
        nufft.nu2u(points=samples, out=grids, forward=False, **self._options(y))

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(self.coord.shape[:1], x.dtype)

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct(self.shape, y.dtype)

    def _options(self, values):
        accuracy = 1e-5 if values.dtype == np.complex64 else 1e-10
        return {"coord": self.coord, "epsilon": accuracy, "nthreads": self.threads}

    @classmethod
    def examples(cls):
        coord = jnp.asarray(np.random.default_rng(0).uniform(-np.pi, np.pi, (7, 2)))
        yield cls(coord, (6, 5)), jax.ShapeDtypeStruct((6, 5), np.complex64)
        yield cls(coord, (4, 4)), jax.ShapeDtypeStruct((4, 4), np.complex128)


class Gradient(lo.LinearOperator):
    """Differences of neighbouring pixels, down and across: (h, w) -> (2, h, w), zero at the far border.

    The forward map is JAX code, so JAX derives the adjoint.
    """

    @lo.traced
    def apply(self, x):
        return jnp.stack([jnp.diff(x, axis=0, append=x[-1:]), jnp.diff(x, axis=1, append=x[:, -1:])])

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct(y.shape[1:], y.dtype)

    @classmethod
    def examples(cls):
        yield cls(), jax.ShapeDtypeStruct((4, 5), np.complex64)


# --- The problem -------------------------------------------------------------------------------------------


def trajectory(spokes, shape):
    """Frequencies (samples, 2) in radians per pixel, and the area of k-space that each represents."""
    size = max(shape)
    step = math.pi / size  # half of the Nyquist step: scanners oversample along the spoke
    radius = step * jnp.arange(-size, size)
    angle = math.pi / spokes * jnp.arange(spokes)
    coord = jnp.stack([jnp.outer(jnp.cos(angle), radius), jnp.outer(jnp.sin(angle), radius)], axis=-1)
    area = jnp.maximum(abs(radius), step / 4) * step * math.pi / spokes
    return coord.reshape(-1, 2), jnp.tile(area, spokes)


def measure(A, x, noise, seed):
    """A x and complex white noise, `noise` times as large as the root mean square of A x."""
    y = A(x)
    sigma = noise * jnp.sqrt(jnp.mean(abs(y) ** 2))
    return y + sigma * jax.random.normal(jax.random.key(seed), y.shape, y.dtype)


def adjoint_image(A, area, y, truth):
    """The picture without a solve: A^H y, where each sample is weighted with its area of k-space.

    It is scaled to fit the truth best, so that the comparison with the reconstruction is fair.
    """
    image = (A.H @ lo.Diagonal(area))(y).real
    return image * jnp.vdot(image, truth) / jnp.vdot(image, image)


# --- The reconstruction ------------------------------------------------------------------------------------


TOLERANCE = 1e-6  # conjugate gradients end when their residual has fallen by this factor


@partial(jax.jit, static_argnames="monitor")
def reconstruct(lam, A, G, y, monitor):
    """The minimiser of |A x - y|² + lam |G x|², by conjugate gradients on the normal equations.

    `monitor` is called with the norm of the residual, at the start and after each iteration.
    """

    def watch(residual):  # a preconditioner gets every residual; this one returns it unchanged
        jax.debug.callback(monitor, jnp.linalg.norm(residual))
        return residual

    normal = A.H @ A + lam * (G.H @ G)
    x, _ = cg(normal, A.H(y), tol=TOLERANCE, maxiter=1000, M=watch)
    return x


def misfit(lam, A, G, y, monitor):
    """|A x - y|² of the reconstruction x, a function of lam that JAX differentiates through the solver."""
    return jnp.sum(abs(A(reconstruct(lam, A, G, y, monitor)) - y) ** 2)


# --- The complete run ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The results of a run. Pictures are real, (height, width)."""

    settings: dict[str, Any]  # the options of the command
    truth: np.ndarray
    adjoint: np.ndarray
    reconstruction: np.ndarray
    coord: np.ndarray  # (samples, 2), radians per pixel
    dot_tests: dict
    residuals: list[float]  # of the normal equations: at the start, and after each iteration
    misfit: float
    misfit_gradient: float  # with respect to lam
    seconds: float  # of the reconstruction, with its compilation
    calls: int  # of the NUFFT and its adjoint during the reconstruction


def run(truth, spokes, noise, lam, seed, display):
    """Measures the picture `truth` (height, width), reconstructs it, and shows the progress on `display`."""
    with jax.enable_x64(True):
        coord, area = trajectory(spokes, truth.shape)
        A = NUFFT(coord, truth.shape) / math.sqrt(len(coord))  # columns of norm 1
        G = Gradient()
        x = jnp.asarray(truth, complex)

        operators = {"NUFFT": A, "gradient": G, "normal": A.H @ A + lam * (G.H @ G)}
        dot_tests = {name: lo.dot_test(operator, x) for name, operator in operators.items()}
        display.dot_tests(dot_tests)

        y = measure(A, x, noise, seed)
        start = time.perf_counter()
        with display.monitor("reconstruction") as monitor:
            solution = reconstruct(lam, A, G, y, monitor).block_until_ready()
        seconds = time.perf_counter() - start
        with display.monitor("d misfit / d lambda", solves=2) as gradient_monitor:
            gradient = jax.jit(jax.grad(misfit), static_argnames="monitor")(lam, A, G, y, gradient_monitor)

        return Result(
            settings={"spokes": spokes, "noise": noise, "lambda": lam, "seed": seed},
            truth=truth,
            adjoint=np.asarray(adjoint_image(A, area, y, truth)),
            reconstruction=np.asarray(solution.real),
            coord=np.asarray(coord),
            dot_tests=dot_tests,
            residuals=monitor.residuals,
            misfit=float(jnp.sum(abs(A(solution) - y) ** 2)),
            misfit_gradient=float(gradient),
            seconds=seconds,
            calls=1 + 2 * len(monitor.residuals),  # A.H(y); one of A and one of A.H for each residual
        )
