"""Libraries in which an operator exists, each as a pair of functions of arrays, in single precision."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo


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


def of_pylops(make: Callable[[Any], Any]) -> Callable[[], Pair]:
    def build() -> Pair:
        import pylops

        op = make(pylops)
        return Pair(op.matvec, op.rmatvec, np.ravel)

    return build


def of_scico(make: Callable[[Any], Any]) -> Callable[[], Pair]:
    def build() -> Pair:
        with warnings.catch_warnings(action="ignore"):  # on import, about names that newer JAX does not have
            from scico import linop  # pyright: ignore[reportMissingImports]

            op = make(linop)
        return Pair(op, lambda y: op.adj(y).block_until_ready(), jnp.asarray)

    return build


def of_jax(forward: Callable[[Any], Any], adjoint: Callable[[Any], Any]) -> Callable[[], Pair]:
    """The same in JAX without an operator: what is slower than another library there is slow in XLA."""

    def build() -> Pair:
        backward = jax.jit(adjoint)
        return Pair(jax.jit(forward), lambda y: backward(y).block_until_ready(), jnp.asarray)

    return build


def picture(n: int, dtype: Any = np.float32) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((2, n, n), np.float32)
    return x[0] if dtype == np.float32 else (x[0] + 1j * x[1]).astype(dtype)
