"""A photograph that is out of focus: the tutorial of `linops-jax demo deblur`.

A lens out of focus spreads each point of the scene x over a small disc. The camera sees y = A x + noise, where A is the
convolution with the disc. It sees all of the disc only for points inside of the picture, so y is smaller than x. The disc
removes some frequencies altogether. Without a penalty, what is found there is noise. The reconstruction is the minimiser of

    |A x - y|² / 2 + λ R(x)

with the penalties R of `demo tomography`: quadratic, total variation, and wavelets. There `lo.minimize` solves the last two.
Here they have solvers of another library, pyproximal. It takes operators of PyLops, and `lo.interop.to_pylops` makes one from
any linear operator, also from a stack and from a product.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyproximal
from pyproximal.optimization.primal import ProximalGradient
from pyproximal.optimization.primaldual import PrimalDual

import linops_jax as lo

from .._errors import require
from ._comparison import Comparison
from .mri import measure
from .tomography import quadratic

WEIGHTS = {"quadratic": 2e-3, "total variation": 2e-4, "wavelets": 2e-4}  # λ
STEPS = 100  # of each solver; twice as many of the one without acceleration

# --- The problem -------------------------------------------------------------------------------------------


def disc(radius):
    """The picture of one point: a disc of this radius in pixels with a soft edge, whose sum is 1."""
    i = jnp.arange(-int(radius + 0.5), int(radius + 0.5) + 1)
    h = jnp.clip(radius + 0.5 - jnp.hypot(i[:, None], i[None]), 0, 1)
    return h / h.sum()


def camera(radius, shape):
    """The convolution (height, width) -> (height - 2 r, width - 2 r) with the disc, where r is half of its size."""
    A = lo.ops.Convolution(disc(radius), boundary="valid")
    return A.with_domain(jax.ShapeDtypeStruct(shape, jnp.float32))


# --- The reconstructions -----------------------------------------------------------------------------------


def unregularized(A, y, monitor):
    """The minimiser of |A x - y|², nearly: the noise grows with each step of conjugate gradients."""
    return lo.solve(A, y, rtol=0, max_steps=STEPS, callback=monitor).value


def total_variation(A, y, weight, monitor):
    """The minimiser of |A x - y|² / 2 + λ Σ |(G x)_i|, by the primal-dual method of Chambolle and Pock (2011).

    It wants a function of K x. Here K x has two parts, A x and G x, and the function is a sum with a term for each. The product
    of the two lengths of steps, tau and mu, must be less than 1 / |K|².
    """
    G = lo.ops.Gradient().with_domain(A.domain)
    K = lo.interop.to_pylops(lo.vstack([A, G]))  # of norm 3 at most: A is an average, and |G|² <= 8
    # Any: these arguments of pyproximal are annotated as something else.
    terms: Any = [pyproximal.L2(b=np.ravel(y)), pyproximal.L21(ndim=2, sigma=weight)]
    sizes: Any = [y.size, 2 * K.shape[1]]
    both = pyproximal.VStack(terms, sizes)
    nothing, mu = pyproximal.L2(sigma=0.0), 0.01
    x = PrimalDual(nothing, both, K, start(K), tau=0.99 / (9 * mu), mu=mu, niter=2 * STEPS, callback=monitor)
    return jnp.reshape(jnp.asarray(x), K.dims)


def wavelets(A, y, weight, monitor):
    """The minimiser W.H c, where c minimises |A W.H c - y|² / 2 + λ Σ |c_i|, by FISTA (Beck and Teboulle, 2009).

    For an orthogonal W, this is the minimiser of |A x - y|² / 2 + λ Σ |(W x)_i|. The length of a step, tau, must be at most
    1 / |A W.H|².
    """
    W = lo.ops.Wavelet(A.domain.shape, "db4").with_domain(A.domain)
    B = lo.interop.to_pylops(A @ W.H)  # of norm 1 at most
    misfit, penalty = pyproximal.L2(Op=B, b=np.ravel(y)), pyproximal.L1(weight)
    c = ProximalGradient(misfit, penalty, start(B), tau=1, niter=STEPS, acceleration="fista", callback=monitor)
    return W.H(jnp.reshape(jnp.asarray(c), B.dims))


def start(op):
    """Zeros in the domain of an operator of PyLops: a vector."""
    return np.zeros(op.shape[1], op.dtype)


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
