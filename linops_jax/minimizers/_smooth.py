"""The sum of the smooth terms: its value and its gradient from the images A x + b of a point, and how steep it is."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._model import shapes
from linops_jax._vectors import Axes
from linops_jax.measures import norm
from linops_jax.minimizers._problem import number, stacked
from linops_jax.minimizers._terms import Term

NORM_RTOL = 1e-2  # of the norms from which steps are made


def images(terms: tuple[Term, ...], x: Any) -> list[Any]:
    return [term.inside(x) for term in terms]


def between(terms: tuple[Term, ...], old: list[Any], new: list[Any], momentum: Any, y: Any) -> list[Any]:
    """The images of y = x + momentum (x - x_old), from those of both where A is linear."""
    return [
        _vectors.add(b, momentum, _vectors.add(b, -1, a)) if term.is_linear else term.inside(y)
        for term, a, b in zip(terms, old, new, strict=True)
    ]


def value(terms: tuple[Term, ...], at: list[Any], x: Any, axes: Axes) -> jax.Array:
    return total([term.value(y) for term, y in zip(terms, at, strict=True)], x, axes)


def gradient(terms: tuple[Term, ...], at: list[Any], x: Any) -> Any:
    found = jax.tree.map(jnp.zeros_like, x)
    for term, y in zip(terms, at, strict=True):
        found = _vectors.add(found, 1, term.gradient(y, x))
    return found


def total(values: list[Any], x: Any, axes: Axes) -> jax.Array:
    """The sum of numbers: over all devices, where each has its part of x."""
    dtype = number(x)
    if not values:
        return jnp.zeros((), dtype)
    values = [value.astype(dtype) for value in values]
    return _vectors.dot(values, [jnp.ones_like(value) for value in values], axes)


def steepness(terms: tuple[Term, ...], x: Any) -> jax.Array:
    """A Lipschitz constant of the gradient: of nonlinear operators, as their derivatives at x have it; 0 without terms."""
    if not terms:
        return jnp.zeros((), number(x))
    ops = [_at(term, x) for term in terms]
    bends = [jnp.asarray(abs(term.weight) * term.functional.smooth, number(x)) for term in terms]
    if len(ops) == 1:
        return bends[0] * size(ops[0], x) ** 2
    return size(stacked([jnp.sqrt(bend) * op for bend, op in zip(bends, ops, strict=True)]), x) ** 2


def size(op: Any, x: Any) -> jax.Array:
    """The norm of an operator, from above: what ``lo.norm`` finds is a lower bound."""
    return norm(op, rtol=NORM_RTOL).astype(number(x)) * (1 + NORM_RTOL)


def _at(term: Term, x: Any) -> Any:
    op: Any = term.operator(shapes.specs(x))
    return op if term.is_linear else op.jacobian(x)
