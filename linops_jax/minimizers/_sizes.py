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
    """tau, less than 2 / L, and sigma, at most 1 / (tau |K|²).

    Without a smooth term there is no L. Then tau |K| is one over the largest weight, so that multiples of the objective take
    the same steps.
    """
    if isinstance(given, tuple):
        return given
    domain = shapes.specs(x)
    ops = [term.operator(domain) for term in problem.duals]
    of_K = size(stacked(ops), x) if ops else jnp.zeros((), number(x))
    if given is not None:
        tau = given
    elif problem.smooth:
        tau = 1.9 * _inverse(steepness(problem.smooth, x))
    else:
        weights = [jnp.abs(term.weight) for term in problem.duals]
        tau = _inverse(of_K * jnp.max(jnp.stack(weights))) if weights else jnp.ones_like(of_K)
    return tau, _inverse(tau * of_K**2)


def _inverse(number: jax.Array) -> jax.Array:
    """1 / number, and 1 for 0."""
    return 1 / jnp.where(number > 0, number, 1)
