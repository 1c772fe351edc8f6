"""Separable: a functional that is a sum over the arrays of a pytree."""

from __future__ import annotations

import abc
import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.functionals._numbers import as_inexact, like, real


class Separable(lo.Functional):
    """The sum of one function of each array of a pytree, as JAX functions in a class of its own."""

    def _alongside(self) -> tuple[Any, ...]:
        """Pytrees like x, or prefixes of its structure, whose arrays the functions below get together with those of x."""
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
        terms = jax.tree.leaves(self._map(function, x))
        return functools.reduce(operator.add, terms) if terms else jnp.zeros(())

    def _map(self, function: Any, x: Any) -> Any:
        """The results of a function of each array, and of the arrays alongside in its kind of numbers."""

        def on_one(x: Any, *alongside: Any) -> Any:
            x = as_inexact(x)
            return function(x, *(self._fitting(other, x) for other in alongside))

        return jax.tree.map(on_one, x, *(jax.tree.broadcast(other, x) for other in self._alongside()))

    def _fitting(self, other: Any, x: Any) -> Any:
        """An array alongside in the dtype of x, if it has no axes or the shape of x."""
        if jnp.shape(other) not in ((), x.shape):
            message = (
                f"{type(self).__name__}: expected arrays in the shapes of x, found {jnp.shape(other)} for an x of shape "
                f"{x.shape}. Give it the shapes of x, or numbers."
            )
            raise ValueError(message)
        return like(other, x)
