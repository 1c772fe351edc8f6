"""A^-1 by conjugate gradients, for operators that do not say how to invert them."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import ATOM
from linops_jax._operators.printing import exact
from linops_jax._vectors import Packing, coupled_axes, fitted, refuse_shared
from linops_jax.algebra._composite import LinearComposite, SwappedWrapper
from linops_jax.solvers._linear import assess, minimise
from linops_jax.solvers._methods import Iteration
from linops_jax.solvers._named import over
from linops_jax.solvers._problem import as_inexact, as_operand, default_steps
from linops_jax.solvers._pseudoinverse import PseudoInverse
from linops_jax.solvers._real import in_own_numbers
from linops_jax.solvers._solution import Solution, report

INEXACT = 1e-3  # ten roundings in the residual, for condition numbers up to 1e3 in single precision


class SolverInverse(SwappedWrapper, LinearComposite):
    """The inverse of an invertible operator. Every application is a solve, to a relative tolerance of ten roundings.

    Its adjoint is declared inexact: the error of a solution grows with the condition number. It warns with
    ``ConvergenceWarning``, and raises ValueError for a rectangular operator.
    """

    op: LinearOperator

    def apply(self, y: Any) -> Any:
        y = as_inexact(shapes.as_arrays(y, exact(self)))
        domain = self.op._infer_adjoint_shape(y) if self.op.domain is None else self.op.domain
        return _invert(self.op.with_domain(domain), y)

    def _pull_back(self, x: Any, like: Any) -> Any:
        return _invert(self.op.with_domain(shapes.specs(x)).H, x)

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
    _check_square(op)
    y = shapes.cast_like(y, op.codomain, f"{exact(op)}.inv")
    rtol, atol = (as_operand(limit, y) for limit in (_tolerance(y), 0))
    name = "cg" if op.properties.positive else "cgls"
    axes = coupled_axes([op], f"{exact(op)}.inv")
    method = Iteration(name, rtol, atol, default_steps(op), full_rank=True)
    if axes:
        refuse_shared(op, y, axes, f"{exact(op)}.inv")
        y = fitted(op, y, axes, f"{exact(op)}.inv")
        method = over(axes, op, method, name)
    if shapes.is_being_traced((op, y)):  # without statistics it is a linear function, which JAX can transpose
        run = lambda A, b, _: (PseudoInverse(A, method)(b), {"converged": True})  # noqa: E731
        return in_own_numbers(run, op, y, axes=axes)[0]
    x, found = minimise(op, y, method, (rtol, atol))
    report(Solution(x, assess(op, x, y, found, axes)), f"{exact(op)}.inv", rtol, atol, False)
    return x


def _check_square(op: LinearOperator) -> None:
    domain, codomain = op.domain, op.codomain
    if Packing(domain, pairs=True).size != Packing(codomain, pairs=True).size:
        message = (
            f"{exact(op)} has no inverse: it maps {shapes.describe_tree(domain)} to {shapes.describe_tree(codomain)}. "
            "lo.solve(A, y) gives the least-squares solution."
        )
        raise ValueError(message)


def _tolerance(y: Any) -> float:
    return max(10 * float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(y))
