"""A^-1 by conjugate gradients, for operators that do not say how to invert them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jax.flatten_util import ravel_pytree

from linops_jax import _specs
from linops_jax._compat import with_same_varying_axes
from linops_jax._linear import LinearOperator
from linops_jax._operator import ATOM, constructor
from linops_jax._primitives import as_raised
from linops_jax._printing import exact
from linops_jax._properties import Properties, common
from linops_jax.algebra._composite import Backwards, LinearComposite
from linops_jax.solvers import _iterate
from linops_jax.solvers._front import as_inexact, default_steps, relative_residual
from linops_jax.solvers._real import from_reals, to_reals
from linops_jax.solvers._solution import Solution, Stats, report

INEXACT = 1e-3  # ten roundings in the residual, for condition numbers up to 1e3 in single precision


class SolverInverse(Backwards, LinearComposite):
    """The inverse of an invertible operator. Every application is a solve, to a relative tolerance of ten roundings.

    Its adjoint is declared inexact: the error of a solution grows with the condition number.

    Warns ``ConvergenceWarning``; raises ValueError for a rectangular operator.
    """

    op: LinearOperator

    def apply(self, y: Any) -> Any:
        y = as_inexact(_specs.as_arrays(y, exact(self)))
        domain = self.op._infer_adjoint_shape(y) if self.op.domain is None else self.op.domain
        return _invert(self.op.with_domain(domain), y)

    def _pull_back(self, x: Any, like: Any) -> Any:
        return _invert(self.op.with_domain(_specs.specs(x)).H, x)

    def _inverse(self) -> LinearOperator:
        return self.op

    _is_traceable = False  # type: ignore[assignment]  # a solve, which says afterwards how it went

    @property
    def properties(self) -> Properties:
        known = common([self.op], "symmetric", "positive", "diagonal")
        return dataclasses.replace(known, adjoint_rtol=(known.adjoint_rtol or 0) + INEXACT)

    def _expression(self, show: Any) -> str:
        return f"{show(self.op, ATOM)}.inv"


def _invert(op: LinearOperator, y: Any) -> Any:
    x, found = _solved(op, y)
    if not isinstance(found["converged"], Tracer):
        stats = Stats(found["num_steps"], relative_residual(op, x, y), found["converged"])
        report(Solution(x, stats), f"{exact(op)}.inv", _tolerance(y), 0, False)
    return x


@as_raised
@jax.jit
def _solved(op: LinearOperator, y: Any) -> Any:
    """Over real vectors, where every operator is a matrix as jax.lax.custom_linear_solve means it."""
    leaves, tree = jax.tree.flatten((_specs.as_arrays(op, exact(op)), y))
    op, y = jax.tree.unflatten(tree, with_same_varying_axes(leaves))  # as custom_linear_solve needs them
    apply, adjoint, target = _on_vectors(op, y)
    limits = _tolerance(target), 0, default_steps(op)

    def solve(_: Any, b: Any, matrix: Any = apply, transpose: Any = adjoint) -> Any:
        if op.properties.positive:
            return _iterate.cg(matrix, b, lambda r: r, *limits)
        return _iterate.cgls(matrix, transpose, b, *limits)

    def solve_transposed(_: Any, b: Any) -> Any:
        return solve(_, b, adjoint, apply)

    x, stats = jax.lax.custom_linear_solve(apply, target, solve, solve_transposed, has_aux=True)
    return from_reals(ravel_pytree(_zeros(op.domain))[1](x), op.domain), stats


def _tolerance(y: Any) -> float:
    return max(10 * float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y))


def _on_vectors(op: LinearOperator, y: Any) -> Any:
    """The operator and its transpose as functions of real vectors, and y as one."""
    domain, codomain = op.domain, op.codomain
    (x, to_domain), (zero, to_codomain) = (ravel_pytree(_zeros(side)) for side in (domain, codomain))
    if x.shape != zero.shape:
        message = (
            f"{exact(op)} has no inverse: it maps {_specs.describe_tree(domain)} to {_specs.describe_tree(codomain)}. "
            "lo.solve(A, y) gives the least-squares solution."
        )
        raise ValueError(message)

    def apply(v: Any) -> Any:
        return ravel_pytree(to_reals(op(from_reals(to_domain(v.astype(x.dtype)), domain))))[0].astype(zero.dtype)

    def adjoint(v: Any) -> Any:
        return ravel_pytree(to_reals(op.H(from_reals(to_codomain(v.astype(zero.dtype)), codomain))))[0].astype(x.dtype)

    return apply, adjoint, ravel_pytree(to_reals(_specs.cast_like(y, codomain, f"{exact(op)}.inv")))[0]


def _zeros(spec: Any) -> Any:
    return to_reals(jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), spec))


@constructor("solver_inverse")
def solver_inverse(op: LinearOperator) -> LinearOperator:
    return SolverInverse(op)
