"""The steps of the algorithms, from the norms of operators: as large as convergence allows, in the units of the objective."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax.minimizers._problem import Problem, number, stacked
from linops_jax.minimizers._smooth import size, steepness


def of_fista(problem: Problem, x: Any, given: Any) -> jax.Array:
    """1 / L for the Lipschitz constant L of the gradient."""
    return _inverse(steepness(problem.smooth, x)) if given is None else given


def of_pd3o(problem: Problem, x: Any, given: Any) -> tuple[jax.Array, jax.Array]:
    """tau, less than 2 / L, and sigma, at most 1 / (tau |K|²)."""
    if isinstance(given, tuple):
        return given
    domain = shapes.specs(x)
    ops = [term.operator(domain) for term in problem.duals]
    of_K = size(stacked(ops), x) if ops else jnp.zeros((), number(x))
    tau = _tau(problem, x, of_K) if given is None else given
    return tau, _inverse(tau * of_K**2)


def of_admm(problem: Problem, x: Any) -> tuple[tuple[jax.Array, jax.Array], list[jax.Array]]:
    """tau and sigma, and the unit of each penalty, L / |K|², where the last one is that of the simple term."""
    domain = shapes.specs(x)
    one = jnp.ones((), number(x))
    of_each = [one if term.op is None else size(term.operator(domain), x) for term in problem.split]
    of_K = jnp.sqrt(sum((of_one**2 for of_one in of_each[: len(problem.duals)]), 0 * one))  # an upper bound
    tau = _tau(problem, x, of_K)
    units = [_inverse(tau * of_one**2) for of_one in of_each] + ([] if problem.simple is None else [1 / tau])
    return (tau, _inverse(tau * of_K**2)), units


def _tau(problem: Problem, x: Any, of_K: jax.Array) -> jax.Array:
    """1.9 / L for the Lipschitz constant L of the gradient.

    Without a smooth term there is none. Then tau |K| is one over the largest weight, so that multiples of the objective take
    the same steps.
    """
    if problem.smooth:
        return 1.9 * _inverse(steepness(problem.smooth, x))
    weights = [jnp.abs(term.weight) for term in problem.duals]
    return _inverse(of_K * jnp.max(jnp.stack(weights))) if weights else jnp.ones_like(of_K)


def _inverse(number: jax.Array) -> jax.Array:
    """1 / number, and 1 for 0."""
    return 1 / jnp.where(number > 0, number, 1)
