"""Norms: SquaredL2, L1, L2, L21."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.functionals._separable import Separable, absolute, barely, indicator, like, root, shrink, squared


class SquaredL2(Separable):
    r"""Half the squared Euclidean distance from y, \|x - y\|² / 2.

    Parameters
    ----------
    y : pytree of arrays, optional
        The data, in the shapes of x. Default: zero.

    Notes
    -----
    The prox is (x + step y) / (1 + step), the gradient x - y, the conjugate \|u\|² / 2 + Re⟨u, y⟩.

    Examples
    --------
    >>> f, x = lo.SquaredL2(jnp.array([1.0, 2.0])), jnp.array([3.0, 2.0])
    >>> float(f(x)), f.gradient(x).tolist(), f.prox(x, 1.0).tolist()
    (2.0, [2.0, 0.0], [2.0, 2.0])
    """

    y: Any = None

    smooth = 1.0

    def _alongside(self) -> tuple[Any, ...]:
        return () if self.y is None else (self.y,)

    def _value_of(self, x: Any, y: Any = 0) -> Any:
        return jnp.sum(squared(x - y)) / 2

    def _prox_of(self, x: Any, step: Any, y: Any = 0) -> Any:
        return (x + step * y) / (1 + step)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u, y=0: jnp.sum(squared(u)) / 2 + jnp.sum(jnp.real(jnp.conj(u) * y)), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(jnp.array([1.0, 2.0j, -1.0])), jax.ShapeDtypeStruct((3,), jnp.complex64)
        yield (
            cls({"a": jnp.ones(2), "b": jnp.zeros((2, 2))}),
            {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "b": jax.ShapeDtypeStruct((2, 2), jnp.complex64)},
        )


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

    def _value_of(self, x: Any) -> Any:
        return jnp.sum(absolute(x))

    def _prox_of(self, x: Any, step: Any) -> Any:
        return shrink(x, absolute(x), step)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: indicator(jnp.abs(u) <= 1 + barely(u), u), u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        u, _ = self._as_prox_arguments(u, step, "conjugate_prox(u, step)")
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
    most 1, and ∞ elsewhere. At 0 the Jacobian is 0.

    Examples
    --------
    >>> f, x = lo.L21(), jnp.array([[3.0, 0.0], [4.0, 0.0]])
    >>> float(f(x)), f.prox(x, 2.5).tolist()
    (5.0, [[1.5, 0.0], [2.0, 0.0]])
    """

    axis: int = lo.static(default=0)

    def _norms(self, x: Any) -> Any:
        return root(jnp.sum(squared(x), axis=self.axis, keepdims=True))

    def _value_of(self, x: Any) -> Any:
        return jnp.sum(self._norms(x))

    def _prox_of(self, x: Any, step: Any) -> Any:
        return shrink(x, self._norms(x), step)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: indicator(self._norms(u) <= 1 + barely(u), u), u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        u, _ = self._as_prox_arguments(u, step, "conjugate_prox(u, step)")
        return self._map(lambda u: u / jnp.maximum(self._norms(u), 1), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls(axis=-1), jax.ShapeDtypeStruct((3, 2), jnp.complex64)
