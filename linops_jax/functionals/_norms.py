"""Norms: L1, L2, L21."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.functionals._numbers import (
    absolute,
    as_inexact,
    indicator,
    real,
    require_axis,
    root,
    rounding,
    shrink,
    squared,
    unit,
)
from linops_jax.functionals._separable import Separable


class L1(Separable):
    r"""The sum of the moduli, Σ \|xᵢ\|.

    Notes
    -----
    The prox is soft thresholding, xᵢ max(1 - step / \|xᵢ\|, 0). The conjugate is 0 if all \|uᵢ\| are at most 1, and ∞ elsewhere.
    At 0, where there is no derivative, the Jacobian is 0.

    Examples
    --------
    >>> f, x = lo.L1(), jnp.array([3.0, -0.5])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (3.5, [2.0, 0.0])
    """

    separable = True

    def _value_of(self, x: Any) -> Any:
        return jnp.sum(absolute(x))

    def _prox_of(self, x: Any, step: Any) -> Any:
        return shrink(x, absolute(x), step)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: indicator(absolute(u) <= 1 + rounding(u), u), u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        return self._map(lambda u: u / jnp.maximum(absolute(u), 1), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((5,), jnp.float32)
        yield cls(), [jax.ShapeDtypeStruct((3,), jnp.complex64), jax.ShapeDtypeStruct((2,), jnp.float32)]


class L21(Separable):
    r"""The sum of the Euclidean norms along one axis: the isotropic total variation, after ``lo.ops.Gradient()``.

    Parameters
    ----------
    axis : int, optional
        The axis of each array along which the norms are taken. Default: 0.

    Notes
    -----
    The prox multiplies the elements along the axis, of norm n, by max(1 - step / n, 0). The conjugate is 0 if all norms are at
    most 1, and ∞ elsewhere. Where a norm is 0, its Jacobian is 0.

    Examples
    --------
    >>> f, x = lo.L21(), jnp.array([[3.0, 0.0], [4.0, 0.0]])
    >>> float(f(x)), f.prox(x, 2.5).tolist()
    (5.0, [[1.5, 0.0], [2.0, 0.0]])
    """

    axis: int = lo.static(default=0)

    separable = True  # unless this axis is the one that is cut

    def _norms(self, x: Any) -> Any:
        require_axis(x, self.axis, "L21")
        one = unit(jnp.max(jnp.abs(x), axis=self.axis, keepdims=True, initial=0))
        return one * root(jnp.sum(squared(x * (1 / one)), axis=self.axis, keepdims=True))

    def _value_of(self, x: Any) -> Any:
        return jnp.sum(self._norms(x))

    def _prox_of(self, x: Any, step: Any) -> Any:
        return shrink(x, self._norms(x), step)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: indicator(self._norms(u) <= 1 + rounding(u, u.shape[self.axis]), u), u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        return self._map(lambda u: u / jnp.maximum(self._norms(u), 1), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls(axis=-1), jax.ShapeDtypeStruct((3, 2), jnp.complex64)


class L2(lo.Functional):
    r"""The Euclidean norm of all arrays together, \|x\|; it is not squared.

    Notes
    -----
    The prox is x max(1 - step / \|x\|, 0). The conjugate is 0 if \|u\| ≤ 1, and ∞ elsewhere. At 0 the Jacobian is 0.

    Examples
    --------
    >>> f, x = lo.L2(), jnp.array([3.0, 4.0])
    >>> float(f(x)), f.prox(x, 2.5).tolist(), f.prox(x, 6.0).tolist()
    (5.0, [1.5, 2.0], [0.0, 0.0])
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        return _norm(x)

    @lo.traced
    def prox(self, x: Any, step: Any) -> Any:
        size = _norm(x)
        return jax.tree.map(lambda x: shrink(x, size.astype(real(x)), step.astype(real(x))), x)

    def conjugate(self, u: Any) -> Any:
        size = _norm(u)
        return indicator(size <= 1 + rounding(size, sum(leaf.size for leaf in jax.tree.leaves(u))), size)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        factor = 1 / jnp.maximum(_norm(u), 1)
        return jax.tree.map(lambda u: u * factor.astype(real(u)), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls(), {"a": jax.ShapeDtypeStruct((3,), jnp.complex64), "b": jax.ShapeDtypeStruct((2,), jnp.float32)}


def _norm(x: Any) -> Any:
    """The norm of all arrays."""
    leaves = [as_inexact(leaf) for leaf in jax.tree.leaves(x)]
    if not leaves:
        return jnp.zeros(())
    one = unit(functools.reduce(jnp.maximum, [jnp.max(jnp.abs(leaf), initial=0) for leaf in leaves]))
    squares = [jnp.sum(squared(leaf * (1 / one).astype(real(leaf)))) for leaf in leaves]
    return one * root(functools.reduce(operator.add, squares))
