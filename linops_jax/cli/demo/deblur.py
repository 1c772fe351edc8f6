"""A photograph that is out of focus: the tutorial of `linops-jax demo deblur`.

A lens out of focus spreads each point of the scene x over a small disc h. The camera sees y = A x + noise, where A is the
convolution with h. A sees all of the disc only inside of the picture, so y is smaller than x. The disc removes fine details,
and some frequencies altogether. Without a penalty, the solution of A x = y is therefore mostly noise. The reconstruction is
the minimiser of

    |A x - y|² / 2 + λ R(x)

with the penalties of `demo tomography`: quadratic, total variation, and wavelets. There a loop of our own finds the minimum.
Here the solver comes from another library, pyproximal. It takes PyLops operators, and `lo.interop.to_pylops` makes one from
any operator. So this file needs three things: the operator, the penalty, and the name of the solver.
"""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pyproximal
from pyproximal.optimization.primal import ProximalGradient

import linops_jax as lo

from .._errors import require
from ._comparison import Comparison
from .mri import measure
from .tomography import quadratic

WEIGHTS = {"quadratic": 1e-3, "total variation": 1e-4, "wavelets": 1e-4}  # λ
STEPS = 100

# --- The problem -------------------------------------------------------------------------------------------


def disc(radius):
    """The picture of one point: a disc of this radius in pixels with a soft edge, whose sum is 1."""
    i = jnp.arange(-int(radius + 0.5), int(radius + 0.5) + 1)
    h = jnp.clip(radius + 0.5 - jnp.hypot(i[:, None], i), 0, 1)
    return h / h.sum()


def camera(radius, shape):
    """The convolution (height, width) -> (height - 2 r, width - 2 r) with the disc, where r is half of its size."""
    A = lo.ops.Convolution(disc(radius), boundary="valid")
    return A.with_domain(jax.ShapeDtypeStruct(shape, jnp.float32))


# --- The reconstructions -----------------------------------------------------------------------------------


def unregularized(A, y, monitor):
    """The minimiser of |A x - y|², nearly: the noise grows with each step of conjugate gradients."""
    return lo.solve(A, y, rtol=0, max_steps=STEPS, callback=monitor).value


def proximal_gradient(A, y, penalty, monitor):
    """The minimiser of |A x - y|² / 2 and the penalty, by FISTA of pyproximal, which works on vectors."""
    misfit = pyproximal.L2(Op=lo.interop.to_pylops(A), b=np.ravel(y))
    x0 = np.zeros(A.domain.size, A.domain.dtype)
    tau = 1  # the length of a step: the disc only averages, so the norm of A is at most 1
    x = ProximalGradient(misfit, penalty, x0, tau=tau, niter=STEPS, acceleration="fista", callback=monitor)
    return jnp.asarray(x.reshape(A.domain.shape))


def total_variation(A, y, weight, monitor):
    """The minimiser of |A x - y|² / 2 + λ Σ |(G x)_i|, where pyproximal has the gradient G."""
    return proximal_gradient(A, y, pyproximal.TV(A.domain.shape, weight), monitor)


def wavelets(A, y, weight, monitor):
    """The minimiser W.H c, where c minimises |A W.H c - y|² / 2 + λ Σ |c_i|.

    For an orthogonal W, this is the minimiser of |A x - y|² / 2 + λ Σ |(W x)_i|.
    """
    W = lo.ops.Wavelet(A.domain.shape, "db4").with_domain(A.domain)
    return W.H(proximal_gradient(A @ W.H, y, pyproximal.L1(weight), monitor))


# --- The complete run ---------------------------------------------------------------------------------------


def run(truth, radius, noise, factor, seed, display):
    """Blurs the picture `truth` (height, width), reconstructs it, and shows the progress on `display`."""
    x = jnp.asarray(truth, jnp.float32)
    size, (height, width) = len(disc(radius)), x.shape
    require(
        size <= min(x.shape), f"--radius {radius:g}: the disc has {size} pixels across, the picture {height} x {width}"
    )
    A = camera(radius, x.shape)
    dot_tests = {"camera": lo.dot_test(A)}
    display.dot_tests(dot_tests)

    y = measure(A, x, noise, seed)
    methods = {
        "no penalty": lambda _, monitor: unregularized(A, y, monitor),
        "quadratic": partial(quadratic, A, y),
        "total variation": partial(total_variation, A, y),
        "wavelets": partial(wavelets, A, y),
    }
    weights = {name: factor * WEIGHTS.get(name, 0) for name in methods}
    return Comparison(
        title=f"Deblurring: a disc of radius {radius:g} pixels, {100 * noise:g} % noise",
        settings={"radius": radius, "noise": noise, "factor": factor, "seed": seed},
        truth=truth,
        data=np.asarray(y),
        data_title="data",
        reconstructions=[display.reconstruct(name, weights[name], methods[name], STEPS) for name in methods],
        dot_tests=dot_tests,
        zoom=(0.15, 0.5, 0.25),
    )
