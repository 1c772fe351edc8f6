"""A slice from its projections: the tutorial of `linops-jax demo tomography`.

A scanner turns around the slice x and measures y = A x + noise: the integrals of x along parallel lines, for several angles.
There are far fewer angles than the sampling theorem asks for, π/2 for each pixel across. So many slices explain the data, and
a penalty R says which of them is meant. The reconstruction is the minimiser of

    |A x - y|² / 2 + λ R(x)

- quadratic: R(x) = |G x|² / 2 with the gradient G. It smooths noise, and edges with it.
- total variation: R(x) = Σ |(G x)_i|, the sum of the length of the gradient at each pixel. A sharp edge costs no more than a
  slope of the same height, so edges stay.
- wavelets: R(x) = Σ |(W x)_i| with a wavelet transform W. Most coefficients become zero, and the others make the picture.

The first problem is linear, and `lo.solve` solves it. The other two are not smooth: `lo.minimize` takes their sums as they are
written here, and chooses an algorithm.
"""

import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from ._comparison import Comparison
from .mri import measure

WEIGHTS = {"quadratic": 5e-3, "total variation": 4e-4, "wavelets": 4e-4}  # λ
STEPS, INNER_STEPS = 30, 10  # of the solver, and of that inside of it; more would still gain some tenths of a dB

# --- The problem -------------------------------------------------------------------------------------------


def scanner(angles, shape):
    """The X-ray transform (height, width) -> (angles, detectors), divided by its norm: steps of length 1 will be safe."""
    A = lo.ops.XRay(math.pi / angles * jnp.arange(angles), shape).with_domain(jax.ShapeDtypeStruct(shape, jnp.float32))
    return A / lo.norm(A, rtol=0.1)


def filtered_back_projection(A, y, truth):
    """The picture without a solve: A.H after a filter against its blur, |frequency| along the detector.

    It is scaled to fit the truth best, so that the comparison is fair.
    """
    size = y.shape[-1]
    spectrum = jnp.fft.rfft(y, 2 * size)  # with zeros behind, since this convolution is not periodic
    x = A.H(jnp.fft.irfft(jnp.fft.rfftfreq(2 * size)[None] * spectrum)[:, :size])
    return x * jnp.vdot(x, truth) / jnp.vdot(x, x)


# --- The three penalties -----------------------------------------------------------------------------------


def quadratic(A, y, weight, monitor):
    """The minimiser of |A x - y|² + λ |G x|², by conjugate gradients."""
    G = lo.ops.Gradient()
    return lo.solve(A, y, damp=weight**0.5, regularizer=G, rtol=1e-4, max_steps=500, callback=monitor).value


def total_variation(A, y, weight, monitor, x0):
    """The minimiser of |A x - y|² / 2 + λ Σ |(G x)_i|. A start x0 close to it saves steps."""
    return minimize(lo.SquaredL2(y) @ A + weight * TotalVariation(), x0, monitor)


def wavelets(A, y, weight, monitor, x0):
    """The minimiser of |A x - y|² / 2 + λ Σ |(W x)_i|. L1 is the sum of absolute values."""
    return minimize(lo.SquaredL2(y) @ A + weight * lo.L1() @ lo.ops.Wavelet(x0.shape, "db4"), x0, monitor)


@partial(jax.jit, static_argnames="monitor")
def minimize(f, x0, monitor):
    """A few steps towards the minimum. Their length is 1, which is safe as the norm of A is 1."""
    return lo.minimize(f, x0, step=1.0, max_steps=STEPS, callback=monitor, differentiate="no").value


class TotalVariation(lo.Functional):
    """The penalty Σ |(G x)_i| with its prox, the minimiser of λ Σ |(G x)_i| + |x - z|² / 2.

    `lo.minimize` also takes `lo.L21() @ lo.ops.Gradient()`, the same penalty, whose prox it does not need. With this A, whose
    products take long, fewer steps with a prox are faster.
    """

    @lo.traced
    def apply(self, x):
        return lo.L21()(lo.ops.Gradient()(x))

    @lo.traced
    def prox(self, z, weight):
        """z - λ G.H(p), for the field p of vectors not longer than 1 that makes this smallest (Chambolle, 2004)."""
        G, p = lo.ops.Gradient(), jnp.zeros((2, *z.shape))
        f = lo.SquaredL2(z / weight) @ G.H + NotLonger()
        p = lo.minimize(
            f, p, step=1 / 8, max_steps=INNER_STEPS, differentiate="no"
        ).value  # the norm of G is at most √8
        return z - weight * G.H(p)


class NotLonger(lo.Functional):
    """The constraint that no vector is longer than 1: the conjugate of L21, the sum of lengths."""

    indicator = True

    @lo.traced
    def apply(self, p):
        return lo.L21().conjugate(p)

    @lo.traced
    def prox(self, p, step):
        return lo.L21().conjugate_prox(p, step)


# --- The complete run ---------------------------------------------------------------------------------------


def run(truth, angles, noise, factor, seed, display):
    """Measures the picture `truth` (height, width), reconstructs it, and shows the progress on `display`."""
    x = jnp.asarray(truth, jnp.float32)
    A = scanner(angles, x.shape)
    dot_tests = {"X-ray transform": lo.dot_test(A)}
    display.dot_tests(dot_tests)

    y = measure(A, x, noise, seed)

    def reconstruct(name, method):
        return display.reconstruct(name, factor * WEIGHTS.get(name, 0), method, STEPS)

    plain = reconstruct("back-projection", lambda *_: filtered_back_projection(A, y, x))
    smooth = reconstruct("quadratic", partial(quadratic, A, y))
    x0 = jnp.asarray(smooth.picture)  # a start close to the minimum saves steps
    sharp = reconstruct("total variation", partial(total_variation, A, y, x0=x0))
    sparse = reconstruct("wavelets", partial(wavelets, A, y, x0=x0))
    return Comparison(
        title=f"Tomography: {angles} angles, {100 * noise:g} % noise",
        settings={"angles": angles, "noise": noise, "factor": factor, "seed": seed},
        truth=truth,
        data=np.asarray(y),
        data_title="data: angles × detectors",
        reconstructions=[plain, smooth, sharp, sparse],
        dot_tests=dot_tests,
        zoom=(0.55, 0.6, 0.25),
    )
