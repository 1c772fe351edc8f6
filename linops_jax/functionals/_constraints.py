"""Constraints, whose functionals are 0 in a set and infinite elsewhere: NonNegative, Box, Simplex, L1Ball."""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.functionals._numbers import (
    above,
    absolute,
    as_inexact,
    as_real_field,
    indicator,
    is_known,
    only_real,
    positive,
    real,
    require_axis,
    rounding,
    threshold,
)
from linops_jax.functionals._separable import Separable


class NonNegative(Separable):
    """The constraint that no number is negative: 0 if all xᵢ ≥ 0, and ∞ elsewhere.

    Notes
    -----
    The prox is the projection max(x, 0), for every step. The conjugate is 0 if all uᵢ ≤ 0, and ∞ elsewhere.

    Examples
    --------
    >>> f, x = lo.NonNegative(), jnp.array([3.0, -0.5])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (inf, [3.0, 0.0])
    """

    indicator = True
    separable = True

    def _value_of(self, x: Any) -> Any:
        return indicator(only_real(x, "NonNegative") >= 0, x)

    def _prox_of(self, x: Any, step: Any) -> Any:
        return jnp.maximum(only_real(x, "NonNegative"), 0)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: indicator(only_real(u, "NonNegative") <= 0, u), u)

    def conjugate_prox(self, u: Any, step: Any) -> Any:
        return self._map(lambda u: jnp.minimum(only_real(u, "NonNegative"), 0), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(), {"a": jax.ShapeDtypeStruct((2, 2), jnp.float32)}


class Box(Separable):
    """The constraint that all numbers are between two bounds: 0 if lower ≤ xᵢ ≤ upper, and ∞ elsewhere.

    Parameters
    ----------
    lower, upper : float, jax.Array or pytree of arrays, optional
        The bounds: a number for all elements, or arrays in the shapes of x. Default: none.

    Raises
    ------
    TypeError
        If a bound is complex.
    ValueError
        If a lower bound is above the upper one.

    Notes
    -----
    The prox is the projection, for every step. The conjugate is Σ max(lower uᵢ, upper uᵢ).

    Examples
    --------
    >>> f, x = lo.Box(0.0, 1.0), jnp.array([0.5, -0.5, 3.0])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (inf, [0.5, 0.0, 1.0])
    """

    lower: Any
    upper: Any

    indicator = True
    separable = True

    def __init__(self, lower: Any = None, upper: Any = None):
        self.lower = as_real_field(-np.inf if lower is None else lower, "Box.lower")
        self.upper = as_real_field(np.inf if upper is None else upper, "Box.upper")
        if is_known(self.lower) and is_known(self.upper) and np.any(np.asarray(self.lower) > np.asarray(self.upper)):
            message = (
                f"Box: expected lower bounds that are not above the upper ones, found {self.lower} and {self.upper}."
            )
            raise ValueError(message)

    def _alongside(self) -> tuple[Any, ...]:
        return self.lower, self.upper

    def _value_of(self, x: Any, lower: Any, upper: Any) -> Any:
        x = only_real(x, "Box")
        return indicator((lower <= x) & (x <= upper), x)

    def _prox_of(self, x: Any, step: Any, lower: Any, upper: Any) -> Any:
        return jnp.clip(only_real(x, "Box"), lower, upper)

    def conjugate(self, u: Any) -> Any:
        def one(u: Any, lower: Any, upper: Any) -> Any:
            return jnp.sum(u * jnp.where(only_real(u, "Box") > 0, upper, jnp.where(u < 0, lower, 0)))

        return self._sum(one, u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(0.0, 1.0), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(upper=jnp.array([1.0, 2.0])), jax.ShapeDtypeStruct((2,), jnp.float32)


class Simplex(Separable):
    """The constraint of probabilities: 0 if all xᵢ ≥ 0 and their sum is 1, and ∞ elsewhere.

    Parameters
    ----------
    axis : int, optional
        The axis along which the numbers of each array are probabilities. Default: None, all numbers of an array together.

    Notes
    -----
    The prox is the projection max(x - t, 0), for every step, with the t that makes the sum 1. The conjugate is max(u), or the
    sum of the maxima along the axis. A point counts as inside if its sum is 1 up to rounding.

    Examples
    --------
    >>> f, x = lo.Simplex(), jnp.array([1.0, 0.5, -3.0])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (inf, [0.75, 0.25, 0.0])
    """

    axis: int | None = lo.static(default=None)

    indicator = True

    def _rows(self, x: Any) -> Any:
        """An array with rows along its last axis, each of which is in a simplex."""
        x = only_real(x, "Simplex")
        if self.axis is not None:
            require_axis(x, self.axis, "Simplex")
        rows = x.reshape(-1) if self.axis is None else jnp.moveaxis(x, self.axis, -1)
        if rows.shape[-1] == 0:
            message = (
                f"Simplex: expected at least one number with the sum 1, found an array of shape {x.shape}: there the set is "
                "empty."
            )
            raise ValueError(message)
        return rows

    def _value_of(self, x: Any) -> Any:
        rows = self._rows(x)
        close = jnp.abs(jnp.sum(rows, axis=-1) - 1) <= rounding(x, rows.shape[-1])
        return indicator(close, x) + indicator(rows >= 0, x)

    def _prox_of(self, x: Any, step: Any) -> Any:
        rows = self._rows(x)
        found = above(rows, *threshold(rows, jnp.ones((), x.dtype), -1))
        return found.reshape(x.shape) if self.axis is None else jnp.moveaxis(found, -1, self.axis)

    def conjugate(self, u: Any) -> Any:
        return self._sum(lambda u: jnp.sum(jnp.max(self._rows(u), axis=-1)), u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(axis=0), jax.ShapeDtypeStruct((3, 2), jnp.float32)


class L1Ball(lo.Functional):
    r"""The constraint that the moduli of all numbers have at most a given sum: 0 if Σ \|xᵢ\| ≤ radius, and ∞ elsewhere.

    Parameters
    ----------
    radius : float or jax.Array
        The largest sum, positive.

    Raises
    ------
    TypeError
        If ``radius`` is not a real number.
    ValueError
        If ``radius`` is not positive.

    Notes
    -----
    The prox is the projection, for every step: soft thresholding with the threshold that makes the sum equal to the radius,
    where it is larger. The conjugate is radius max \|uᵢ\|. A point counts as inside if it is so up to rounding.

    Examples
    --------
    >>> f, x = lo.L1Ball(2.0), jnp.array([3.0, -1.0, 0.0])
    >>> float(f(x)), f.prox(x, 1.0).tolist()
    (inf, [2.0, 0.0, 0.0])
    """

    radius: jax.Array

    indicator = True

    def __init__(self, radius: Any):
        self.radius = positive(radius, "L1Ball.radius")

    @lo.traced
    def apply(self, x: Any) -> Any:
        sizes = _sizes(x)
        return indicator(jnp.sum(sizes) <= self._radius(sizes) * (1 + rounding(sizes, sizes.size)), sizes)

    @lo.traced
    def prox(self, x: Any, step: Any) -> Any:
        sizes = _sizes(x)
        if sizes.size == 0:
            return x
        radius = self._radius(sizes)
        inside = jnp.sum(sizes) <= radius  # not true of nan, which stays
        largest, further = (t[0] for t in threshold(sizes, radius, -1))

        def one(x: Any) -> Any:
            size = absolute(x)
            left = above(size.astype(sizes.dtype), largest, further).astype(real(x))
            shrunk = jnp.where(left == 0, 0, left * (x / jnp.where(size == 0, 1, size)))  # 0, not -0
            return jnp.where(inside, x, shrunk)

        return jax.tree.map(one, x)

    def conjugate(self, u: Any) -> Any:
        sizes = _sizes(u)
        return self._radius(sizes) * jnp.max(sizes, initial=0)

    def _radius(self, sizes: Any) -> Any:
        return self.radius.astype(sizes.dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls(1.5), jax.ShapeDtypeStruct((4,), jnp.float32)
        yield cls(0.5), {"a": jax.ShapeDtypeStruct((3,), jnp.complex64), "b": jax.ShapeDtypeStruct((2,), jnp.float32)}


def _sizes(x: Any) -> Any:
    """The moduli of all numbers, in one row."""
    leaves = jax.tree.leaves(x) or [jnp.zeros(0)]
    rows = [absolute(as_inexact(leaf)).reshape(-1) for leaf in leaves]
    dtype = functools.reduce(jnp.promote_types, [row.dtype for row in rows])
    return jnp.concatenate([row.astype(dtype) for row in rows])
