"""The slice of `demo mri`, seen by eight coils that are spread over devices: the tutorial of `linops-jax demo mri --devices`.

A scanner has several coils around the patient. Coil c is sensitive to what is near: it measures y_c = A (s_c x) + noise,
with the Fourier transform A along the spokes and the sensitivity s_c. The slice x is the minimiser of

    Σ_c |A (s_c x) - y_c|² + λ |G x|²

The coils are one operator whose fields have a leading axis. On a mesh, each device has the fields of some coils and
computes these. The adjoint sums over the coils, so each step of the solver has one sum over the devices. No line of this
file depends on how many devices there are, or to how many processes they belong.
"""

import math
import re
import time
from collections import Counter
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .mri import NUFFT, Gradient, measure, trajectory

COILS = 8
STEPS = 50  # so that all runs do the same work

# --- The operator of all coils -----------------------------------------------------------------------------


CALLS: list[str] = []  # of the hooks in this process


class CountedNUFFT(NUFFT, batched=True):
    """The NUFFT, which counts the calls of its hooks."""

    def apply(self, x, *, out):
        CALLS.append("apply")
        super().apply(x, out=out)

    def adjoint(self, y, *, out):
        CALLS.append("adjoint")
        super().adjoint(y, out=out)


def sensitivities(shape):
    """Complex (COILS, height, width): coils on a circle around the picture, each with its own phase."""
    angle = 2 * math.pi / COILS * jnp.arange(COILS)[:, None, None]
    down, across = jnp.linspace(-1, 1, shape[0])[None, :, None], jnp.linspace(-1, 1, shape[1])[None, None]
    distance = jnp.hypot(down - 1.2 * jnp.sin(angle), across - 1.2 * jnp.cos(angle))
    return jnp.exp(-(distance**2) + 1j * angle)


def all_coils(coord, shape, mesh):
    """One operator (height, width) -> (COILS, samples), of which each device of the mesh has some coils."""

    def one_coil(sensitivity):
        transform = CountedNUFFT(coord, shape, threads=1)  # the devices share the cores
        return transform @ lo.Diagonal(sensitivity) / math.sqrt(len(coord))

    spread = jax.NamedSharding(mesh, jax.P("coils"))  # of the fields, by their leading axis
    coils = jax.jit(lambda: jax.vmap(one_coil)(sensitivities(shape)), out_shardings=spread)()
    return lo.vstack(coils, mesh=mesh)


# --- The reconstruction ------------------------------------------------------------------------------------


@jax.jit
def reconstruct(lam, A, G, y):
    """The minimiser, nearly: STEPS steps of conjugate gradients on the normal equations."""
    normal = A.H @ A + lam * (G.H @ G)
    return lo.solve(normal, A.H(y), solver="cg", rtol=0, max_steps=STEPS).value


def collectives(program):
    """What the devices send each other, as counted in the text of a compiled program."""
    alone = r"(?!.*replica_groups=\{\{0\}\})"  # a sum over one device sends nothing
    names = re.findall(rf" (all-\w+|collective-\w+|reduce-scatter)(?:-start)?\({alone}", program.as_text())
    return dict(Counter(names))


# --- The complete run --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Run:
    """A reconstruction on some devices."""

    devices: int
    processes: int
    seconds: float  # of the reconstruction, compiled before
    collectives: dict[str, int]
    calls: float  # of hooks, per device
    picture: np.ndarray  # real (height, width)


def run(truth, spokes, noise, lam, seed, devices) -> Run:
    """Measures the picture `truth` (height, width) by all coils and reconstructs it, on the given devices."""
    axis = jax.sharding.AxisType.Auto
    mesh = jax.make_mesh((len(devices),), ("coils",), axis_types=(axis,), devices=devices)
    with jax.enable_x64(True):
        coord, _ = trajectory(spokes, truth.shape)
        coord, x = np.asarray(coord), np.asarray(truth, complex)  # NumPy's: a JAX array is on devices of one process
        A, G = all_coils(coord, truth.shape, mesh), Gradient()
        y = jax.jit(partial(measure, noise=noise, seed=seed))(A, x)
        program = reconstruct.lower(lam, A, G, y).compile()
        jax.block_until_ready(program(lam, A, G, jax.jit(jnp.zeros_like)(y)))  # no step, but processes connect
        picture, seconds, calls = _timed(lambda: program(lam, A, G, y))
        return Run(
            devices=len(devices),
            processes=jax.process_count(),
            seconds=seconds,
            collectives=collectives(program),
            calls=calls / len(mesh.local_devices),
            picture=np.real(np.asarray(picture)),
        )


def _timed(solve) -> tuple[Any, float, int]:
    """What it returns, seconds, and calls of hooks."""
    before, start = len(CALLS), time.perf_counter()
    picture = solve().block_until_ready()
    return picture, time.perf_counter() - start, len(CALLS) - before
