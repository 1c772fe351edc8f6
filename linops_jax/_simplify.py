"""lo.simplify: rules that make an expression of operators smaller and leave its values as they are.

A rule is a function of one operator whose parts are simple already; it returns a simpler one, or None where it does not
apply. Rules look at structure, at declared properties and at which parts are the same Python object, never at arrays.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _specs
from linops_jax._linear import Adjoint, LinearOperator
from linops_jax._operator import Operator
from linops_jax.algebra._composition import Composition, NonlinearComposition, compose
from linops_jax.algebra._conjugate import Conjugate
from linops_jax.algebra._domain import NonlinearWithDomain, WithDomain
from linops_jax.algebra._identity import Identity, Zero
from linops_jax.algebra._inverse import Inverse
from linops_jax.algebra._parts import is_operator
from linops_jax.algebra._scale import NonlinearScaled, Scaled, scale
from linops_jax.algebra._stack import BlockDiagonal, HStack, VStack
from linops_jax.algebra._sum import NonlinearSum, Sum
from linops_jax.ops import Diagonal

Rule = Callable[[Any], Any]
SCALED, SUMS, PRODUCTS = (Scaled, NonlinearScaled), (Sum, NonlinearSum), (Composition, NonlinearComposition)


def simplify(op: Any) -> Any:
    """An operator with the same values, made of fewer parts: opt-in, nothing in the library calls it.

    Drops identities and zeros, gathers scalars and equal terms, takes adjoints inside, cancels A.inv @ A and U.H @ U of a
    unitary U, fuses diagonals, and multiplies stacks part by part. Rounding may differ. Equal parts are those that are
    the same object; under ``jit``, where an operator comes in as an argument, fewer rules apply.

    Raises TypeError for what is not an operator.
    """
    if not isinstance(op, Operator):
        message = f"simplify expected an operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    simple = _simplify(op, {})
    return simple.with_domain(op.domain) if op.domain is not None and simple.domain is None else simple


def _simplify(op: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """``seen`` keeps what was the same object the same object."""
    if id(op) not in seen:
        simple = _with_simple_parts(op, seen)
        for rule in RULES:
            if (simpler := rule(simple)) is not None:
                simple = _simplify(simpler, seen)
                break
        seen[id(op)] = (op, simple)
    return seen[id(op)][1]


def _with_simple_parts(op: Any, seen: dict[int, tuple[Any, Any]]) -> Any:
    """Composites anew from simple parts, by the constructors of the algebra; all others as they are."""
    if not type(op)._composite or isinstance(op, Inverse):
        return op
    parts, structure = jax.tree.flatten(op, is_leaf=lambda value: value is not op and is_operator(value))
    simple = [_simplify(part, seen) if is_operator(part) else part for part in parts]
    if all(a is b for a, b in zip(parts, simple, strict=True)):
        return op
    if isinstance(op, PRODUCTS):
        return functools.reduce(compose, simple)
    return functools.reduce(operator.add, simple) if isinstance(op, SUMS) else jax.tree.unflatten(structure, simple)


# ---- wrappers ---------------------------------------------------------------------------------------------------------


def adjoint(op: Any) -> Any:
    """(A.H).H = A; A.H = A of a symmetric A; (a A).H, (A + B).H and (A @ B).H by their parts; d.H = conj(d)."""
    if not isinstance(op, Adjoint):
        return None
    inner = op.op
    if inner.properties.symmetric or isinstance(inner, Adjoint | Composition):
        return inner if inner.properties.symmetric else inner.H
    if isinstance(inner, Scaled):
        return scale(inner.scalar.conjugate(), inner.op.H)
    if isinstance(inner, Sum):
        return functools.reduce(operator.add, [term.H for term in inner.terms])
    if isinstance(inner, Diagonal):
        return Diagonal(jnp.conj(inner.d))
    if isinstance(inner, BlockDiagonal):
        return BlockDiagonal(_map_parts(lambda part: part.H, inner.ops))
    if isinstance(inner, VStack):
        return HStack(_map_parts(lambda part: part.H, inner.ops))
    return None


def conjugate(op: Any) -> Any:
    """conj I conj = I."""
    return op.op if isinstance(op, Conjugate) and isinstance(op.op, Identity | Zero) else None


def nested_domain(op: Any) -> Any:
    """The outer of two equal domains goes; so does one that the operator knows by itself."""
    known = isinstance(op, WithDomain | NonlinearWithDomain) and op.op.domain is not None
    return op.op if known else None


# ---- scalars ----------------------------------------------------------------------------------------------------------


def gathered_scalars(op: Any) -> Any:
    """1 A = A, a (b A) = (a b) A, a diag(d) = diag(a d)."""
    if not isinstance(op, SCALED):
        return None
    if _is_number(op.scalar) and type(op.scalar) in (bool, int) and op.scalar == 1:
        return op.op
    if isinstance(op.op, SCALED):
        return scale(op.scalar * op.op.scalar, op.op.op)
    return Diagonal(op.scalar * jnp.asarray(op.op.d)) if isinstance(op.op, Diagonal) else None


def scalars_to_the_front(op: Any) -> Any:
    """A @ (b B) = b (A @ B), past linear A; past one that is linear over the reals only, real b."""
    if not isinstance(op, PRODUCTS):
        return None
    for i, factor in enumerate(op.factors):
        passed = op.factors[:i]
        if not isinstance(factor, SCALED) or not all(isinstance(f, LinearOperator) for f in passed):
            continue
        if not _is_complex(factor.scalar) or not any(f.properties.real_linear for f in passed):
            rest = (*passed, factor.op, *op.factors[i + 1 :])
            return scale(factor.scalar, functools.reduce(compose, rest))
    return None


# ---- products ---------------------------------------------------------------------------------------------------------


def neighbours(op: Any) -> Any:
    """Two factors that make one, or none: I @ A = A, U.H @ U = I, A.inv @ A = I, diagonals, stacks part by part."""
    if not isinstance(op, PRODUCTS):
        return None
    for i in range(len(op.factors) - 1):
        left, right = op.factors[i : i + 2]
        for rule in PAIRS:
            if (one := rule(left, right, (i, i + 1) in op.mirrors)) is not None:
                return functools.reduce(compose, (*op.factors[:i], one, *op.factors[i + 2 :]))
    return None


def _identity(left: Any, right: Any, mirrored: bool) -> Any:
    if isinstance(_bare(left), Identity):
        return right
    return left if isinstance(_bare(right), Identity) else None


def _unitary(left: Any, right: Any, mirrored: bool) -> Any:
    cancels = mirrored and left.properties.unitary and right.properties.unitary and not _changes_dtype(right)
    return Identity() if cancels else None


def _inverse(left: Any, right: Any, mirrored: bool) -> Any:
    pair = (isinstance(left, Inverse) and left.op is right) or (isinstance(right, Inverse) and right.op is left)
    return Identity() if pair and not _changes_dtype(right) else None


def _diagonals(left: Any, right: Any, mirrored: bool) -> Any:
    both = isinstance(left, Diagonal) and isinstance(right, Diagonal)
    return Diagonal(jnp.asarray(left.d) * right.d) if both and left.d.ndim == right.d.ndim else None


def _stacks(left: Any, right: Any, mirrored: bool) -> Any:
    rows = isinstance(left, BlockDiagonal) and isinstance(right, BlockDiagonal | VStack)
    columns = isinstance(left, HStack) and isinstance(right, BlockDiagonal | VStack)
    if not (rows or columns) or _structure(left.ops) != _structure(right.ops):
        return None
    products = _map_parts(compose, left.ops, right.ops)
    if isinstance(left, HStack) and isinstance(right, VStack):
        return functools.reduce(operator.add, jax.tree.leaves(products, is_leaf=is_operator))
    return (HStack if columns else type(right))(products)


PAIRS = (_identity, _unitary, _inverse, _diagonals, _stacks)


# ---- sums -------------------------------------------------------------------------------------------------------------


def equal_terms(op: Any) -> Any:
    """a A + b A = (a + b) A, for terms that are the same operator, and for identities."""
    if not isinstance(op, SUMS):
        return None
    for i, first in enumerate(op.terms):
        for j in range(i + 1, len(op.terms)):
            (a, f), (b, g) = _factor_of(first), _factor_of(op.terms[j])
            if f is g or (isinstance(f, Identity) and isinstance(g, Identity)):
                return _sum([*op.terms[:i], scale(a + b, f), *op.terms[i + 1 : j], *op.terms[j + 1 :]])
    return None


def zero_terms(op: Any) -> Any:
    """A + 0 = A."""
    if not isinstance(op, SUMS):
        return None
    kept = [term for term in op.terms if not (isinstance(_bare(term), Zero) and not _changes_dtype(op))]
    return _sum(kept) if 0 < len(kept) < len(op.terms) else None


def diagonal_terms(op: Any) -> Any:
    """diag(d) + diag(e) = diag(d + e), diag(d) + a I = diag(d + a)."""
    if not isinstance(op, SUMS):
        return None
    for i, first in enumerate(op.terms):
        for j, second in enumerate(op.terms):
            if i != j and isinstance(first, Diagonal) and (added := _as_diagonal(second, first.d.ndim)) is not None:
                rest = [term for k, term in enumerate(op.terms) if k not in (i, j)]
                return _sum([Diagonal(jnp.asarray(first.d) + added), *rest])
    return None


def _as_diagonal(op: Any, ndim: int) -> Any:
    scalar, inner = _factor_of(op)
    if isinstance(inner, Identity):
        return scalar
    return op.d if isinstance(op, Diagonal) and op.d.ndim == ndim else None


def zero_factors(op: Any) -> Any:
    """A @ 0 = 0 @ A = 0, where the result is one array of known shape and of the input's dtype."""
    factors = getattr(_bare(op), "factors", ()) if isinstance(_bare(op), Composition) else ()
    if not any(isinstance(_bare(factor), Zero) for factor in factors):
        return None
    domain, codomain = op.domain, op.codomain
    if domain is None or not _specs.is_spec(domain) or not _specs.is_spec(codomain) or domain.dtype != codomain.dtype:
        return None
    return Zero(codomain.shape).with_domain(domain)


RULES: tuple[Rule, ...] = (
    nested_domain,
    adjoint,
    conjugate,
    gathered_scalars,
    scalars_to_the_front,
    zero_factors,
    neighbours,
    zero_terms,
    equal_terms,
    diagonal_terms,
)


# ---- helpers ----------------------------------------------------------------------------------------------------------


def _bare(op: Any) -> Any:
    return op.op if isinstance(op, WithDomain) else op


def _is_number(value: Any) -> bool:
    return not isinstance(value, jax.Array)


def _is_complex(scalar: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(scalar), jnp.complexfloating)


def _changes_dtype(op: Any) -> bool:
    """Whether the operator is known to return another dtype: then it does more than its numbers say."""
    if op.domain is None:
        return False
    dtypes = [{leaf.dtype for leaf in jax.tree.leaves(specs)} for specs in (op.domain, op.codomain)]
    return dtypes[0] != dtypes[1]


def _factor_of(op: Any) -> tuple[Any, Any]:
    scalar, inner = (op.scalar, op.op) if isinstance(op, SCALED) else (1, op)
    return scalar, _bare(inner) if isinstance(_bare(inner), Identity) else inner


def _sum(terms: list[Any]) -> Any:
    return functools.reduce(operator.add, terms)


def _map_parts(function: Callable[..., Any], *containers: Any) -> Any:
    return jax.tree.map(function, *containers, is_leaf=is_operator)


def _structure(ops: Any) -> Any:
    return jax.tree.structure(ops, is_leaf=is_operator)
