"""The problem that an algorithm is given: smooth terms, one term with a prox, and terms behind operators."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _vectors
from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import Operator
from linops_jax._vectors import Axes, Packing, coupled_axes
from linops_jax.algebra import vstack
from linops_jax.minimizers._terms import Term, take_apart

SOLVERS = ("fista", "pd3o", "admm")


@functools.partial(
    jax.tree_util.register_dataclass, data_fields=["smooth", "simple", "duals"], meta_fields=["is_convex"]
)
@dataclasses.dataclass(frozen=True)
class Problem:
    """The sum of all terms.

    Parameters
    ----------
    smooth : tuple of Term
        Terms with a gradient.
    simple : Term or None
        One term with a prox.
    duals : tuple of Term
        Terms whose functional has a prox, behind linear operators: each gets a dual variable.
    is_convex : bool
        Whether this is known to be convex.
    """

    smooth: tuple[Term, ...]
    simple: Term | None
    duals: tuple[Term, ...]
    is_convex: bool

    @property
    def terms(self) -> list[Term]:
        return [*self.smooth, *([] if self.simple is None else [self.simple]), *self.duals]

    @property
    def quadratic(self) -> tuple[Term, ...]:
        """The smooth terms whose gradients are affine."""
        return tuple(term for term in self.smooth if term.is_quadratic)

    @property
    def split(self) -> tuple[Term, ...]:
        """The terms that are neither quadratic nor the simple one; those with dual variables come first."""
        return *self.duals, *(term for term in self.smooth if not term.is_quadratic)

    def axes(self, x: Any, where: str) -> Axes:
        """The axes of a mesh over which x is spread."""
        ops = [term.op for term in self.terms if isinstance(term.op, LinearOperator)]
        axes = coupled_axes(ops, where) if ops else ()
        for term in self.terms:
            if term.op is not None and not term.is_linear:
                _vectors.refuse_over_a_batch(term.op, x, where)
        if axes:
            self._require_separable(axes, where)
            _vectors.refuse_shared(ops[0] if len(ops) == 1 else stacked(ops), None, axes, where)
        return axes

    def _require_separable(self, axes: Axes, where: str) -> None:
        for functional in (term.functional for term in self.terms):
            if not functional.separable:
                name = type(functional).__name__
                message = (
                    f"{where}: operators communicate over {', '.join(map(repr, axes))}, so the parts of all devices are one "
                    f"problem, and {name} is not known to be a sum over parts. If it is one, set {name}.separable = True; "
                    "otherwise minimize sharded arrays outside of shard_map."
                )
                raise NotImplementedError(message)


def arrange(f: Any, x: Any, solver: Any) -> tuple[Problem, str]:
    """The problem, and the algorithm by its name. Raises where none fits."""
    if solver not in ("auto", *SOLVERS):
        message = f"lo.minimize: unknown solver {solver!r}. There are {', '.join(map(repr, ('auto', *SOLVERS)))}."
        raise ValueError(message)
    terms = take_apart(f)
    _require_real(f, x, terms)
    domain = shapes.specs(x)
    terms = [dataclasses.replace(t, op=None if t.op is None else t.op.with_domain(domain)) for t in terms]
    list(map(_refuse, terms))
    is_convex = all(map(_is_convex, terms))
    terms = [_of_arrays(term, x) for term in terms]
    smooth = [term for term in terms if term.is_smooth]
    rest = [term for term in terms if not term.is_smooth]
    own = [term for term in rest if term.op is None] or [term for term in rest if _is_orthogonal(term)]
    simple = own[-1] if own else None
    duals = [term for term in rest if term is not simple]
    if solver == "fista" and duals:
        message = (
            f"lo.minimize: 'fista' takes one term without a gradient, and no operator in it; here it cannot take {duals[0]!r}. "
            "Use solver='pd3o', or 'auto'."
        )
        raise ValueError(message)
    if solver == "admm":
        list(map(_refuse_splitting, terms))
    chosen = solver if solver != "auto" else "pd3o" if duals else "fista"
    return Problem(tuple(smooth), simple, tuple(duals), is_convex), chosen


def _require_real(f: Operator, x: Any, terms: list[Term]) -> None:
    """Raises TypeError for weights and objectives that are no real numbers."""
    for term in terms:
        if jnp.ndim(term.weight) or shapes.is_complex(jnp.result_type(term.weight)):
            message = (
                f"lo.minimize: the weight of {term.functional!r} is {shapes.describe(jnp.asarray(term.weight))}, so the sum "
                "is not one real number. Give each term a real weight."
            )
            raise TypeError(message)
    found = f._infer_shape(shapes.specs(x))  # type: ignore[attr-defined]
    if not shapes.is_spec(found) or found.shape or not shapes.is_inexact(found.dtype) or shapes.is_complex(found.dtype):
        message = (
            f"lo.minimize: an objective is one real number, but {f!r} returns {shapes.describe_tree(found)}. Take for example "
            "the squared modulus, and the sum."
        )
        raise TypeError(message)


def _refuse(term: Term) -> None:
    """Raises for a term that no algorithm takes."""
    if not term.is_smooth and _is_negative(term.weight):
        message = (
            f"lo.minimize: the weight of {term.functional!r} is {float(term.weight):g}. A functional without a gradient must not "
            "have a negative weight: the sum is not convex, and has no prox. Make the weight positive."
        )
        raise ValueError(message)
    if term.is_smooth:
        return
    if not term.is_linear:
        message = (
            f"lo.minimize: no algorithm takes {term!r}: a functional without a gradient of a nonlinear operator. Use a smooth "
            "one, as lo.SquaredL2(y), or the operator's derivative, F.jacobian(x)."
        )
        raise NotImplementedError(message)
    if not term.has_prox:
        where = type(term.functional).__name__
        message = (
            f"lo.minimize: no algorithm takes {term!r}: {where} has neither a prox nor a gradient. Define {where}.prox(self, x, "
            f"step), or set {where}.smooth to a Lipschitz constant of its gradient."
        )
        raise NotImplementedError(message)


def _refuse_splitting(term: Term) -> None:
    """Raises ValueError for a smooth term that ADMM does not take."""
    if term.is_linear and (term.is_quadratic or term.has_prox) and not _is_negative(term.weight):
        return
    message = (
        f"lo.minimize: 'admm' takes terms with linear operators, with a prox and with weights that are not negative; here it "
        f"cannot take {term!r}. Use solver='pd3o', or 'auto'."
    )
    raise ValueError(message)


def _is_negative(weight: Any) -> bool:
    """Whether a weight is known to be negative."""
    return (shapes.is_concrete(weight) or isinstance(weight, np.generic)) and float(weight) < 0


def _is_convex(term: Term) -> bool:
    """Whether a term is convex, as far as its classes tell; of weights that are traced, none is taken to be negative."""
    return term.functional.convex and term.is_linear and not _is_negative(term.weight)


def _is_orthogonal(term: Term) -> bool:
    """Whether A Aᴴ = I, so that the functional's prox gives the term's."""
    A: Any = term.op
    sizes = {Packing(spec, pairs=True).size for spec in (A.domain, A.codomain)}
    return A.properties.unitary and len(sizes) == 1 and A._is_linear_in_its_numbers


def _of_arrays(term: Term, x: Any) -> Term:
    """The term with arrays in place of all numbers: others are no new program."""
    weight = jnp.asarray(term.weight, number(x))
    if not term.is_smooth:  # of a traced one, only the program knows
        weight = jnp.where(weight < 0, jnp.nan, weight)
    functional, *others = (shapes.as_arrays(part, "lo.minimize") for part in (term.functional, term.op, term.shift))
    return Term(weight, functional, *others)


def number(x: Any) -> Any:
    """The dtype in which an algorithm computes with numbers: that of x, at least single precision."""
    return jnp.result_type(jnp.float32, shapes.real_scalar(x).dtype)


def stacked(ops: list[Any]) -> Any:
    """Operators on top of each other."""
    return ops[0] if len(ops) == 1 else vstack(ops)
