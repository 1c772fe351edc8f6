"""How far x is from data: SquaredL2, KullbackLeibler, Huber."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import xlogy

from linops_jax.functionals._numbers import (
    absolute,
    as_field,
    as_real_field,
    indicator,
    is_known,
    only_real,
    positive,
    real,
    root,
    rounding,
    squared,
)
from linops_jax.functionals._separable import Separable


class SquaredL2(Separable):
    r"""Half the squared Euclidean distance from y, \|x - y\|² / 2.

    Parameters
    ----------
    y : number or pytree of arrays, optional
        The data: a number for all elements, or arrays in the shapes of x. Default: zero.

    Notes
    -----
    The prox is (x + step y) / (1 + step), the gradient x - y, the conjugate \|u\|² / 2 + Re⟨u, y⟩. If x is real, the real part
    of y counts, and half the square of its imaginary part is left out.

    Examples
    --------
    >>> f, x = lo.SquaredL2(jnp.array([1.0, 2.0])), jnp.array([3.0, 2.0])
    >>> float(f(x)), f.gradient(x).tolist(), f.prox(x, 1.0).tolist()
    (2.0, [2.0, 0.0], [2.0, 2.0])
    """

    y: Any

    smooth = 1.0
    separable = True

    def __init__(self, y: Any = None):
        self.y = as_field(y)

    def _alongside(self) -> tuple[Any, ...]:
        return () if self.y is None else (self.y,)

    def _value_of(self, x: Any, y: Any = 0) -> Any:
        return jnp.sum(squared(x - y)) / 2

    def _prox_of(self, x: Any, step: Any, y: Any = 0) -> Any:
        return (x + step * y) / (1 + step)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u, y=0: jnp.sum(squared(u) / 2 + jnp.real(jnp.conj(u) * y)), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(jnp.array([1.0, 2.0j, -1.0])), jax.ShapeDtypeStruct((3,), jnp.complex64)
        yield (
            cls({"a": jnp.ones(2), "b": jnp.zeros((2, 2))}),
            {"a": jax.ShapeDtypeStruct((2,), jnp.float32), "b": jax.ShapeDtypeStruct((2, 2), jnp.complex64)},
        )


class KullbackLeibler(Separable):
    """The Kullback-Leibler divergence of x from counts y, Σ xᵢ - yᵢ + yᵢ log(yᵢ / xᵢ), and ∞ where x is negative.

    It is the negative logarithm of the likelihood of the counts under Poisson distributions with means x, less its least value.

    Parameters
    ----------
    y : float or pytree of arrays
        The counts, real and not negative: a number for all elements, or arrays in the shapes of x.

    Raises
    ------
    TypeError
        If counts are complex.
    ValueError
        If counts are negative.

    Notes
    -----
    Terms with yᵢ = 0 are xᵢ. The prox is (b + √(b² + 4 step yᵢ)) / 2 with b = xᵢ - step. The conjugate is Σ -yᵢ log(1 - uᵢ), and
    ∞ if some uᵢ ≥ 1 (for yᵢ = 0: uᵢ > 1). The gradient has no Lipschitz constant.

    Examples
    --------
    >>> f, x = lo.KullbackLeibler(jnp.array([1.0, 0.0])), jnp.array([1.0, 3.0])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (3.0, [1.0, 2.0])
    """

    y: Any

    separable = True

    def __init__(self, y: Any):
        self.y = as_real_field(y, "KullbackLeibler.y")
        for leaf in filter(is_known, jax.tree.leaves(self.y)):
            if np.any(np.asarray(leaf) < 0):
                message = (
                    f"KullbackLeibler.y: expected counts, none of them negative, found {np.min(np.asarray(leaf))}."
                )
                raise ValueError(message)

    def _alongside(self) -> tuple[Any, ...]:
        return (self.y,)

    def _value_of(self, x: Any, y: Any) -> Any:
        x = only_real(x, "KullbackLeibler")
        outside = x <= 0  # not true of nan, which stays
        terms = x - y - xlogy(y, jnp.where(outside, 1, x)) + xlogy(y, y)
        return jnp.sum(jnp.where(outside, jnp.where((x == 0) & (y == 0), 0, jnp.inf), terms))

    def _prox_of(self, x: Any, step: Any, y: Any) -> Any:
        return _positive_root(only_real(x, "KullbackLeibler") - step, step * y)

    def conjugate(self, u: Any) -> Any:
        def one(u: Any, y: Any) -> Any:
            outside = only_real(u, "KullbackLeibler") >= 1
            terms = -xlogy(y, jnp.where(outside, 1, 1 - u))
            on_boundary = (y == 0) & (u <= 1 + rounding(u))
            return jnp.sum(jnp.where(outside, jnp.where(on_boundary, 0, jnp.inf), terms))

        return self._sum(one, u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        return self._map(lambda u, y: 1 - _positive_root(1 - u, jnp.asarray(step, real(u)) * y), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(jnp.array([2.0, 0.0, 1.5])), jnp.array([0.5, 1.5, 3.0])


def _positive_root(b: Any, c: Any) -> Any:
    """The larger root of t² = b t + c with c ≥ 0, without cancellation; its derivative is 1/2 where b and c are 0."""
    r = root(b**2 + 4 * c)
    below = b < 0
    return jnp.where(below, 2 * c / jnp.where(below, r - b, 1), (r + b) / 2)


class Huber(Separable):
    r"""Huber's function, Σ h(\|xᵢ\|) with h(a) = a² / 2 for a ≤ δ and δ (a - δ / 2) above.

    Parameters
    ----------
    delta : float or jax.Array
        The width δ of the quadratic part, positive.

    Raises
    ------
    TypeError
        If ``delta`` is not a real number.
    ValueError
        If ``delta`` is not positive.

    Notes
    -----
    The gradient is xᵢ min(1, δ / \|xᵢ\|). The prox is xᵢ / (1 + step) for \|xᵢ\| ≤ (1 + step) δ, and xᵢ (1 - step δ / \|xᵢ\|)
    above. The conjugate is \|u\|² / 2 if all \|uᵢ\| ≤ δ, and ∞ elsewhere.

    Examples
    --------
    >>> f, x = lo.Huber(1.0), jnp.array([0.5, -3.0])
    >>> float(f(x)), f.gradient(x).tolist(), f.prox(x, 1.0).tolist()
    (2.625, [0.5, -1.0], [0.25, -2.0])
    """

    delta: jax.Array

    smooth = 1.0
    separable = True

    def __init__(self, delta: Any):
        self.delta = positive(delta, "Huber.delta")

    def _value_of(self, x: Any) -> Any:
        size, delta = absolute(x), self.delta.astype(real(x))
        return jnp.sum(jnp.where(size <= delta, squared(x) / 2, delta * (size - delta / 2)))

    def _prox_of(self, x: Any, step: Any) -> Any:
        size, delta = absolute(x), self.delta.astype(real(x))
        inner = size <= (1 + step) * delta
        return jnp.where(inner, x / (1 + step), x - step * delta * (x / jnp.where(inner, 1, size)))

    def conjugate(self, u: Any) -> Any:
        def one(u: Any) -> Any:
            inside = absolute(u) <= self.delta.astype(real(u)) * (1 + rounding(u))
            return jnp.sum(squared(u)) / 2 + indicator(inside, u)

        return self._sum(one, u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(0.7), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(0.7), jax.ShapeDtypeStruct((3,), jnp.complex64)
