"""A slice from its projections: the tutorial of `linops-jax demo tomography`.

A scanner turns around the slice x and measures y = A x + noise: the integrals of x along parallel lines, for several angles.
There are far fewer angles than the sampling theorem asks for, π/2 for each pixel across. So many slices explain the data, and
a penalty R says which of them is meant. The reconstruction is the minimiser of

    |A x - y|² / 2 + λ R(x)

- quadratic: R(x) = |G x|² / 2 with the gradient G. It smooths noise, and edges with it.
- total variation: R(x) = Σ |(G x)_i|, the sum of the length of the gradient at each pixel. A sharp edge costs no more than a
  slope of the same height, so edges stay.
- wavelets: R(x) = Σ |(W x)_i| with a wavelet transform W. Most coefficients become zero, and the others make the picture.

The first problem is linear, and `lo.solve` solves it. The other two are not smooth. One loop of ten lines solves both.
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
STEPS, INNER_STEPS = 30, 10  # of the loop, and of the loop inside of it; more would still gain some tenths of a dB

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


@partial(jax.jit, static_argnames=("monitor", "prox"))
def proximal_gradient(A, y, weight, monitor, x0, prox):
    """The minimiser of |A x - y|² / 2 + λ R(x): each step follows the slope of the first term, then prox lowers the second.

    `prox(z, λ)` is the proximal map of R: the minimiser of |x - z|² / 2 + λ R(x). It is all that the loop knows of R. A start x0
    close to the minimum saves steps.
    """

    def step(z):
        jax.debug.callback(monitor)
        return prox(z - A.H(A(z) - y), weight)

    return accelerated(step, x0, STEPS)


def accelerated(step, x, steps):
    """Repeats x = step(z), where z is ahead of x in the direction of the last change (FISTA: Beck and Teboulle, 2009)."""

    def repeat(_, state):
        x, z, t = state
        x_new, t_new = step(z), (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        return x_new, x_new + (t - 1) / t_new * (x_new - x), t_new

    return jax.lax.fori_loop(0, steps, repeat, (x, x, jnp.ones((), x.dtype)))[0]


def prox_total_variation(z, weight):
    """z - λ G.H(p), for the field p of vectors not longer than 1 that makes this smallest (Chambolle, 2004).

    Again a step follows a slope, here that of the square of this in p. Then all vectors that are too long get length 1.
    """
    G = lo.ops.Gradient()

    def step(p):
        p = p + G(z - weight * G.H(p)) / (8 * weight)  # 8: the norm of G is at most √8
        return p / jnp.maximum(1, jnp.linalg.norm(p, axis=0, keepdims=True))

    return z - weight * G.H(accelerated(step, jnp.zeros((2, *z.shape), z.dtype), INNER_STEPS))


def prox_wavelets(z, weight):
    """All wavelet coefficients move towards zero by λ, and stop there.

    This is the minimiser where W is unitary. It is close to it where W must pad: where sides are no multiples of 2^level.
    """
    W = lo.ops.Wavelet(z.shape, "db4")
    c = W(z)
    return W.H(jnp.sign(c) * jnp.maximum(abs(c) - weight, 0))


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
    from_smooth = partial(proximal_gradient, A, y, x0=jnp.asarray(smooth.picture))
    sharp = reconstruct("total variation", partial(from_smooth, prox=prox_total_variation))
    sparse = reconstruct("wavelets", partial(from_smooth, prox=prox_wavelets))
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
