"""Derivatives of a minimum, by those of a map that has it as its fixed point."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._model import shapes
from linops_jax._vectors import Axes, add, times
from linops_jax.minimizers import _smooth
from linops_jax.minimizers._pd3o import pull_back
from linops_jax.minimizers._problem import Problem
from linops_jax.solvers._iterate import bicgstab, cgls, ratio
from linops_jax.solvers._real import from_reals, to_reals
from linops_jax.solvers._solution import ConvergenceWarning

LARGE = 0.1  # relative residual that is told; at 0.05 derivatives of total variation were right to 0.3 %


def attach(problem: Problem, root: Any, steps: Any, axes: Axes, rtol: Any, max_steps: int) -> Any:
    """The pair of x and u, with the derivatives of the pair that is optimal for the problem.

    The equation is that of real numbers, pairs for complex ones: a prox is no complex differentiable function. There are none
    for the parts of one problem on several devices.
    """
    if axes:
        return _without_derivative(problem, root)
    specs = shapes.specs(root)

    def residual(reals: Any) -> Any:
        point = from_reals(reals, specs)
        return add(reals, -1, to_reals(condat_vu(problem, point, steps)))

    solve = functools.partial(_tangent, by_squares=not problem.duals, axes=axes, rtol=rtol, max_steps=max_steps)
    found = jax.lax.custom_root(residual, to_reals(root), lambda _, start: start, solve)
    return from_reals(found, specs)


@jax.custom_jvp
def _without_derivative(problem: Problem, root: Any) -> Any:
    return root


@_without_derivative.defjvp
def _refuse(primals: Any, tangents: Any) -> Any:
    message = (
        "lo.minimize: the minimum has no implicit derivatives in shard_map where operators communicate, so that the parts of all "
        "devices are one problem. Minimize sharded arrays outside of shard_map, with lo.sharded(...) for such operators."
    )
    raise NotImplementedError(message)


def condat_vu(problem: Problem, point: Any, steps: Any) -> Any:
    """The map of Condat (2013) and Vũ (2013). Its fixed points are the optimal pairs (x, u), whatever the steps are."""
    x, u = point
    tau, sigma = steps
    slope = _smooth.gradient(problem.smooth, _smooth.images(problem.smooth, x), x)
    target = add(x, -tau, add(slope, 1, pull_back(problem, u, x)))
    new = target if problem.simple is None else problem.simple.prox(target, tau)[0]
    ahead = add(times(2 * jnp.ones_like(tau), new), -1, x)
    duals = zip(problem.duals, u, strict=True)
    return new, [term.conjugate_prox(v, term.inside(ahead), sigma)[0] for term, v in duals]


def _tangent(apply: Any, b: Any, *, by_squares: bool, axes: Axes, rtol: Any, max_steps: int) -> Any:
    """The solution of the linearized equation, and of its transpose in reverse mode.

    The matrix is not symmetric, and singular where dual variables are not unique. BiCGSTAB gets through there, where normal
    equations stall; without dual variables these are faster.
    """
    # custom_linear_solve fails in reverse mode where an array does not depend on what is differentiated
    nothing: Any = 0 * sum(jnp.sum(leaf) for leaf in jax.tree.leaves(b))
    b = jax.tree.map(lambda leaf: leaf + nothing.astype(leaf.dtype), b)

    def solve(apply: Any, b: Any) -> Any:
        if by_squares:
            transpose = jax.linear_transpose(apply, b)
            found, _ = cgls(apply, lambda r: transpose(r)[0], b, rtol, 0, max_steps, axes=axes)
        else:
            found, _ = bicgstab(apply, b, rtol, 0, max_steps, axes=axes)
        rest = _vectors.norm(add(b, -1, apply(found)), axes)
        jax.debug.callback(_judge, ratio(rest, _vectors.norm(b, axes)), max_steps)
        return found

    return jax.lax.custom_linear_solve(apply, b, solve, solve)


def _judge(residual: Any, max_steps: Any) -> None:
    """Warns of a derivative whose equation is not solved."""
    if not residual <= LARGE:
        message = (
            f"lo.minimize: a derivative of the minimum is inexact: its equation is solved up to a relative residual of "
            f"{float(residual):.1e}, in at most adjoint_steps={int(max_steps)} steps. Allow more steps, minimize to a smaller "
            "rtol, use double precision, or differentiate='unroll'."
        )
        warnings.warn(message, ConvergenceWarning, stacklevel=2)
