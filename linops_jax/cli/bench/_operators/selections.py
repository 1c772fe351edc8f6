"""Some of the pixels, or all in another order, on pictures of n x n pixels."""

from functools import partial
from typing import Any

import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from .contestants import Entry, Pair, of_jax, of_pylops, of_scico, picture


def restriction(n: int) -> Entry:
    kept = np.sort(np.random.default_rng(1).permutation(n)[: n // 2])

    def adjoint(y: Any) -> Any:
        x = np.zeros((n, n), np.float32)
        x[:, kept] = y
        return x

    return Entry(
        picture(n),
        lambda: lo.ops.Restriction(kept, n),
        {
            "PyLops": of_pylops(lambda pylops: pylops.Restriction((n, n), kept, axis=-1, dtype="float32")),
            "NumPy": lambda: Pair(lambda x: np.take(x, kept, axis=-1), adjoint),
            "plain JAX": of_jax(lambda x: x[:, kept], lambda y: jnp.zeros((n, n), y.dtype).at[:, kept].set(y)),
        },
    )


def mask(n: int) -> Entry:
    kept = picture(n) > 0
    factors = kept.astype(np.float32)
    multiply = partial(np.multiply, factors)
    return Entry(
        picture(n),
        lambda: lo.ops.Mask(kept),
        {
            "PyLops": of_pylops(lambda pylops: pylops.Diagonal(factors.ravel(), dtype="float32")),
            "SCICO": of_scico(lambda linop: linop.Diagonal(jnp.asarray(factors))),
            "NumPy": lambda: Pair(multiply, multiply),
            "plain JAX": of_jax(partial(jnp.multiply, factors), partial(jnp.multiply, factors)),
        },
    )


def flip(n: int) -> Entry:
    def flipped(x: Any) -> Any:
        return np.ascontiguousarray(np.flip(x, -1))

    return Entry(
        picture(n),
        lambda: lo.ops.Flip(-1),
        {
            "PyLops": of_pylops(lambda pylops: pylops.Flip((n, n), axis=-1, dtype="float32")),
            "NumPy": lambda: Pair(flipped, flipped),
            "plain JAX": of_jax(partial(jnp.flip, axis=-1), partial(jnp.flip, axis=-1)),
        },
    )


def roll(n: int) -> Entry:
    return Entry(
        picture(n),
        lambda: lo.ops.Roll(3, -1),
        {
            "PyLops": of_pylops(lambda pylops: pylops.Roll((n, n), axis=-1, shift=3, dtype="float32")),
            "NumPy": lambda: Pair(partial(np.roll, shift=3, axis=-1), partial(np.roll, shift=-3, axis=-1)),
            "plain JAX": of_jax(partial(jnp.roll, shift=3, axis=-1), partial(jnp.roll, shift=-3, axis=-1)),
        },
    )
