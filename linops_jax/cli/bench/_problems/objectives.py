"""Objectives to minimise, |A x - y|² / 2 + weight R(x), and how far above the minimum a point is. Double precision."""

import functools
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .blur import blur
from .problem import noise

LONG: Any = {"rtol": 1e-7, "max_steps": 20_000, "progress": False}  # of the run that finds the minimum


@dataclass(frozen=True)
class Objective:
    """What all libraries minimise.

    Parameters
    ----------
    f : NonlinearOperator
        The objective.
    y : array
        The data.
    start : array
        The first x.
    weight : float
        Of the penalty.
    matrix : array, optional
        A as a matrix.
    pylops, scico : callable, optional
        Make A in these libraries.
    step : pair of float, optional
        The best sizes of steps known.
    """

    f: Any
    y: np.ndarray
    start: np.ndarray
    weight: float
    matrix: Any = None
    pylops: Any = None
    scico: Any = None
    step: Any = None

    @functools.cached_property
    def least(self) -> float:
        """The minimum, by many steps of ours."""
        with warnings.catch_warnings(action="ignore", category=lo.ConvergenceWarning):
            return float(lo.minimize(self.f, jnp.asarray(self.start), step=self.step, **LONG).stats.objective)

    @functools.cached_property
    def _value(self) -> Callable[[Any], jax.Array]:
        return jax.jit(self.f)

    def gap(self, x: Any) -> float:
        """How far the objective at x, an array or a vector, is above the minimum, relative to it."""
        value = float(self._value(jnp.reshape(jnp.asarray(x), self.start.shape)))
        return (value - self.least) / self.least


def lasso(pixels: int) -> Objective:
    """A matrix of noise with twice as many columns as rows, and data of a sparse vector."""
    rows, columns = 4 * pixels, 8 * pixels
    matrix = noise((rows, columns), 2) / rows**0.5
    x = np.where(np.arange(columns) % 20 == 0, noise((columns,), 3), 0)
    y = matrix @ x + 0.05 * noise((rows,), 4)
    weight = 0.1 * float(np.max(abs(matrix.T @ y)))
    f = lo.SquaredL2(jnp.asarray(y)) @ lo.Matrix(jnp.asarray(matrix)) + weight * lo.L1()
    return Objective(f, y, np.zeros(columns), weight, matrix=matrix)


def denoising(pixels: int) -> Objective:
    """The total variation of a picture of discs with noise."""
    y = _discs(pixels) + 0.1 * noise((pixels, pixels), 5)
    f = lo.SquaredL2(jnp.asarray(y)) + 0.1 * lo.L21() @ lo.ops.Gradient()
    return Objective(f, y, y, 0.1, step=(0.05, 1 / (8 * 0.05)))


def deblurring(pixels: int) -> Objective:
    """The same for a picture of discs that is blurred."""
    problem = blur(pixels)
    A = problem.ours["FFTs in JAX"]()
    y = np.asarray(A(jnp.asarray(_discs(pixels)))) + 0.01 * noise((pixels, pixels), 6)
    f = lo.SquaredL2(jnp.asarray(y)) @ A + 2e-3 * lo.L21() @ lo.ops.Gradient()
    return Objective(f, y, np.zeros_like(y), 2e-3, pylops=problem.pylops, scico=problem.scico)


def _discs(pixels: int) -> np.ndarray:
    """Two discs, one on the other."""
    i, j = np.meshgrid(*2 * [np.linspace(-1, 1, pixels)], indexing="ij")
    return 1.0 * (np.hypot(i, j) < 0.8) - 0.5 * (np.hypot(i - 0.2, j + 0.3) < 0.3)
