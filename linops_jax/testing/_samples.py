"""Vectors at which mistakes show: several draws, and what is made from these: close to them, with zeros, with equal numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes, _spread

_FEW = 20  # elements, up to which a zero among them would hide much
_TIED = 4  # elements, from which on some may be equal


def draws(rng: np.random.Generator, spec: Any, probes: int) -> Iterator[Any]:
    """``probes`` full draws, the last of several with a few exact zeros; then each leaf alone.

    Otherwise a small block could hide behind a large one.
    """
    for number in range(1, probes + 1):
        full = _probes.draw(rng, spec)
        yield with_zeros(rng, full) if 1 < number == probes and _probes.size(spec) > _FEW else full
    leaves, tree = jax.tree.flatten(spec)
    if len(leaves) > 1:
        for alone in range(len(leaves)):
            full = jax.tree.leaves(_probes.draw(rng, spec))
            yield jax.tree.unflatten(tree, [x if i == alone else jnp.zeros_like(x) for i, x in enumerate(full)])


def near(rng: np.random.Generator, arrays: Any) -> Any:
    """Other values close to ``arrays``, each with its sign: what a function's domain most likely contains as well."""

    def noise(a: Any) -> Any:
        return _spread.draw(rng, a, "uniform") if _spread.is_spread(a) else rng.uniform(-1, 1, a.shape)

    return jax.tree.map(lambda a: (a * (1 + 0.01 * noise(a))).astype(a.dtype) if _probes.is_inexact(a) else a, arrays)


def with_zeros(rng: np.random.Generator, arrays: Any, zeros: float = 0.1) -> Any:
    """A few elements of each floating array set to exactly zero.

    Arrays of one element, those of one sign, and those of which this process has a part only, stay.
    """

    def leaf(a: Any) -> Any:
        if _spread.is_spread(a):
            return a
        values = np.array(a)
        one_sign = not _probes.is_complex(a) and (np.all(values > 0) or np.all(values < 0))
        if not _probes.is_inexact(a) or values.size < 2 or one_sign:
            return a
        at = rng.choice(values.size, max(1, int(zeros * values.size)), replace=False)
        values.reshape(-1)[at] = 0
        return jnp.asarray(values)

    return jax.tree.map(leaf, arrays)


def with_ties(rng: np.random.Generator, arrays: Any) -> Any:
    """The largest and the smallest element of each real floating array next to another one like it along each axis.

    Arrays of few elements, and those of which this process has a part only, stay.
    """

    def leaf(a: Any) -> Any:
        if not _probes.is_inexact(a) or _probes.is_complex(a) or a.size < _TIED or _spread.is_spread(a):
            return a
        values = np.array(a)
        for at in (np.argmax(values), np.argmin(values)):
            place = np.unravel_index(at, values.shape)
            for axis, length in enumerate(values.shape):
                for step in rng.permutation([-1, 1]):
                    neighbour = (*place[:axis], (place[axis] + step) % length, *place[axis + 1 :])
                    if values[neighbour]:  # zeros are there on purpose
                        values[neighbour] = values[place]
                        break
        return jnp.asarray(values)

    return jax.tree.map(leaf, arrays)


def nudged(rng: np.random.Generator, arrays: Any) -> Iterator[Any]:
    """``arrays``, twice, changed in their last digits: up and down at random, or what all have in common would cancel.

    The second time half of the elements go the other way than the first time, so that not even two or three of them go
    the same way both times.
    """
    leaves, tree = jax.tree.flatten(arrays)
    chosen = [signs(rng, leaf) for leaf in leaves]
    others = [s * _alternating(s, i) for i, s in enumerate(chosen)]
    for directions in (chosen, others):
        moved = [
            (a * (1 + _probes.eps(a) * s)).astype(a.dtype) if _probes.is_inexact(a) else a
            for a, s in zip(leaves, directions, strict=True)
        ]
        yield jax.tree.unflatten(tree, moved)


def signs(rng: np.random.Generator, like: Any) -> Any:
    """Random signs, as many as there are numbers."""
    if _spread.is_spread(like):
        return _spread.draw(rng, like, "signs")
    return rng.choice([-1.0, 1.0], like.shape)


def _alternating(like: Any, start: int) -> Any:
    """Every other sign; random ones where other processes hold some."""
    if _spread.is_spread(like):
        return _spread.draw(np.random.default_rng(start), like, "signs")
    return (-1.0) ** (start + np.arange(like.size).reshape(like.shape))
