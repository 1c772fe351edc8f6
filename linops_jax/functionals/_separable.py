"""Separable: a functional that is a sum over the arrays of a pytree."""

from __future__ import annotations

import abc
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo


class Separable(lo.Functional):
    """The sum of one function of each array of a pytree, as JAX functions in a class of its own."""

    def _alongside(self) -> tuple[Any, ...]:
        """Pytrees like x, whose arrays the functions below get together with those of x."""
        return ()

    @abc.abstractmethod
    def _value_of(self, x: Any, *alongside: Any) -> Any:
        """The function of one array."""

    @abc.abstractmethod
    def _prox_of(self, x: Any, step: Any, *alongside: Any) -> Any:
        """Its prox; the step has the precision of the array."""

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self._sum(self._value_of, x)

    @lo.traced
    def prox(self, x: Any, step: Any) -> Any:
        return self._map(lambda x, *alongside: self._prox_of(x, step.astype(real(x)), *alongside), x)

    def _sum(self, function: Any, x: Any) -> Any:
        """The sum of a function of each array."""
        return functools.reduce(operator.add, jax.tree.leaves(self._map(function, x)))

    def _map(self, function: Any, x: Any) -> Any:
        """The results of a function of each array, and of the arrays alongside in its kind of numbers."""

        def on_one(x: Any, *alongside: Any) -> Any:
            x = as_inexact(x)
            return function(x, *(self._fitting(other, x) for other in alongside))

        return jax.tree.map(on_one, x, *self._alongside())

    def _fitting(self, other: Any, x: Any) -> Any:
        """An array alongside in the dtype of x: its real part if x is real."""
        if jnp.shape(other) != x.shape:
            message = (
                f"{type(self).__name__}: expected arrays of the shapes of x, found {jnp.shape(other)} where x has {x.shape}. "
                "Give it the shapes of x."
            )
            raise ValueError(message)
        return like(other, x)


def as_inexact(x: Any) -> Any:
    """The array, in single precision if it holds integers."""
    return x if jnp.issubdtype(x.dtype, np.inexact) else x.astype(np.float32)


def real(x: Any) -> Any:
    """The real dtype with the precision of an array."""
    return jnp.finfo(x.dtype).dtype


def like(value: Any, x: Any) -> Any:
    """An array in the dtype of x: its real part if x is real."""
    return (value if jnp.iscomplexobj(x) else jnp.real(value)).astype(x.dtype)


def absolute(x: Any) -> Any:
    """The modulus of each element, with derivative 0 at 0."""
    return jnp.abs(x) if jnp.iscomplexobj(x) else x * jnp.sign(x)


def squared(x: Any) -> Any:
    """The squared modulus of each element."""
    return jnp.real(x) ** 2 + jnp.imag(x) ** 2 if jnp.iscomplexobj(x) else x**2


def root(x: Any) -> Any:
    """The square root of nonnegative numbers, with derivative 0 at 0."""
    return jnp.where(x > 0, jnp.sqrt(jnp.where(x > 0, x, 1)), 0)


def shrink(x: Any, size: Any, by: Any) -> Any:
    """The elements of x with the sizes ``size - by``, or 0 where that is negative; the derivative is 0 there."""
    kept = size > by
    return jnp.where(kept, x * (1 - by / jnp.where(kept, size, 1)), 0)


def indicator(inside: Any, x: Any) -> Any:
    """The real number 0, or infinity if not all of ``inside`` is true."""
    return jnp.where(jnp.all(inside), 0, jnp.inf).astype(real(x))


def barely(x: Any) -> float:
    """How far from a set, relative to its size, rounding may bring what a prox has put on its boundary."""
    return 16 * float(jnp.finfo(x.dtype).eps)


def real_only(x: Any, who: str) -> Any:
    """The array, unless it is complex."""
    if jnp.iscomplexobj(x):
        message = f"{who}: expected real numbers, found {x.dtype}. Compose it with lo.ops.Real(), as {who} @ lo.ops.Real()."
        raise TypeError(message)
    return x
