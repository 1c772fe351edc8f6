"""lo.simplify: rules that make an expression of operators smaller and leave its values as they are.

A rule is a function of one operator, whose parts are simple already, and of the specs of its input, None where nobody knows
them. It returns a simpler operator that gives the same for each such input, or None where it does not apply. Rules look at
structure, at declared properties and at which parts are the same Python object, never at arrays.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax._operators.linear import Adjoint, LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator, UnknownShapeError
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

Rule = Callable[[Any, Any], Any]
SCALED, SUMS, PRODUCTS = (Scaled, NonlinearScaled), (Sum, NonlinearSum), (Composition, NonlinearComposition)


@overload
def simplify(op: LinearOperator) -> LinearOperator: ...
@overload
def simplify(op: NonlinearOperator) -> NonlinearOperator: ...
def simplify(op: Any) -> Any:
    """An operator with the same values, domain and codomain, made of fewer parts: opt-in, nothing in the library calls it.

    Drops identities and zeros, gathers scalars and equal terms, takes adjoints inside, cancels A.inv @ A and U.H @ U of a
    unitary U, fuses diagonals, and multiplies stacks part by part. Rounding may differ. More rules apply where the domain is
    known, since dtypes are then: U.H @ U of an unknown U may make complex numbers of real ones. Equal parts are those that
    are the same object; under ``jit``, where an operator comes in as an argument, fewer rules apply.

    Raises TypeError for what is not an operator.
    """
    if not isinstance(op, Operator):
        message = f"simplify expected an operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    return _on_domain(_simplify(op, None, {}), op.domain)


def _simplify(op: Any, x: Any, seen: dict[Any, tuple[Any, Any]]) -> Any:
    """``seen`` keeps what was the same object the same object. What surrounds the result keeps its domain."""
    x = op.domain if op.domain is not None else x
    key = (id(op), None if x is None else (jax.tree.structure(x), *jax.tree.leaves(x)))
    if key not in seen:
        simple = _with_simple_parts(op, x, seen)
        if not _keeps_spaces(simple, op, x):
            simple = op  # the domain of a part has been the smaller one
        for rule in RULES:
            simpler = rule(simple, x)
            if simpler is not None and _keeps_spaces(simpler, simple, x):
                simple = _simplify(simpler, x, seen)
                break
        seen[key] = (op, simple)
    return seen[key][1]


def _keeps_spaces(simple: Any, op: Any, x: Any) -> bool:
    """Whether it takes x as it is and answers in the same space, as far as that can be told."""
    if x is None:
        return True
    if not (simple.domain is None or shapes.same(simple.domain, x)):
        return False
    try:
        return shapes.same(simple._infer_shape(x), op._infer_shape(x))
    except UnknownShapeError:  # of an adjoint that only the product around it tells
        return True


def _on_domain(op: Any, x: Any) -> Any:
    return op if x is None else op.with_domain(x)


def _with_simple_parts(op: Any, x: Any, seen: dict[Any, tuple[Any, Any]]) -> Any:
    """Composites anew from simple parts, by the constructors of the algebra; all others as they are."""
    if not type(op)._composite or isinstance(op, Inverse):
        return op
    leaves, structure = jax.tree.flatten(op, is_leaf=lambda value: value is not op and is_operator(value))
    leaves = list(op.factors) if isinstance(op, PRODUCTS) else leaves  # of which the structure has each once
    inputs = iter([None] * len(leaves) if x is None else op._inputs_of_parts(x))
    simple = [_simple_part(leaf, next(inputs), seen) if is_operator(leaf) else leaf for leaf in leaves]
    if all(a is b for a, b in zip(leaves, simple, strict=True)):
        return op
    if isinstance(op, PRODUCTS):
        return functools.reduce(compose, simple)
    return functools.reduce(operator.add, simple) if isinstance(op, SUMS) else jax.tree.unflatten(structure, simple)


def _simple_part(op: Any, x: Any, seen: dict[Any, tuple[Any, Any]]) -> Any:
    """A part that is applied to x has that for its domain anyway; others keep their own."""
    simple = _simplify(op, x, seen)
    is_free = op.domain is None or (x is not None and shapes.same(x, op.domain))
    return simple if is_free else _on_domain(simple, op.domain)


# ---- wrappers ---------------------------------------------------------------------------------------------------------


def adjoint(op: Any, x: Any) -> Any:
    """(A.H).H = A; A.H = A of a symmetric A; those of combinators by their parts; d.H = conj(d)."""
    if not isinstance(op, Adjoint):
        return None
    inner = op.op
    if isinstance(inner, Adjoint):
        return inner.op
    if inner.properties.symmetric and (inner.domain is None or shapes.same(inner.domain, inner.codomain)):
        return inner
    if isinstance(inner, Diagonal):
        return Diagonal(jnp.conj(inner.d))
    if inner.domain is not None:
        return _adjoint_between(inner, inner.codomain, inner.domain)
    is_free = inner._says_adjoint_shape and _adjoint_takes_integers(inner) and not inner.properties.real_linear
    return inner._adjoint_inside(None) if is_free else None


def _adjoint_takes_integers(op: Any) -> bool:
    """Whether no part, on its own, refuses what others beside it make floats of: a derived adjoint does."""
    if op.domain is not None:
        return True
    if type(op)._composite:
        return all(map(_adjoint_takes_integers, op._parts()))
    return not type(op)._hooks["adjoint"].derived


def _adjoint_between(op: Any, codomain: Any, domain: Any) -> Any:
    """A^H by its parts, where these lead from the one space to the other."""
    try:
        inside = op._adjoint_inside(domain)
        fits = inside is not None and shapes.same(inside._infer_shape(codomain), domain)
    except (UnknownShapeError, ValueError):  # a part alone does not know its shape, or cannot take what others return
        return None
    return _on_domain(inside, codomain) if fits else None


def conjugate(op: Any, x: Any) -> Any:
    """conj I conj = I."""
    return op.op if isinstance(op, Conjugate) and isinstance(op.op, Identity | Zero) else None


def nested_domain(op: Any, x: Any) -> Any:
    """A domain that everybody knows without it goes."""
    if not isinstance(op, WithDomain | NonlinearWithDomain):
        return None
    return op.op if x is not None and shapes.same(op.domain, x) and _takes(op.op, x) else None


def _takes(op: Any, x: Any) -> bool:
    return op.domain is None or shapes.same(op.domain, x)


# ---- scalars ----------------------------------------------------------------------------------------------------------


def gathered_scalars(op: Any, x: Any) -> Any:
    """1 A = A, a (b A) = (a b) A, a diag(d) = diag(a d)."""
    if not isinstance(op, SCALED):
        return None
    if _is_number(op.scalar) and type(op.scalar) in (bool, int) and op.scalar == 1:
        return op.op
    if isinstance(op.op, SCALED) and _can_merge(op.scalar, op.op.scalar):
        return scale(op.scalar * op.op.scalar, op.op.op)
    if isinstance(op.op, Diagonal) and _can_merge(op.scalar, op.op.d):
        return Diagonal(op.scalar * jnp.asarray(op.op.d))
    return None


def scalars_to_the_front(op: Any, x: Any) -> Any:
    """A @ (b B) = b (A @ B), past linear A; a complex b past those that are linear over complex numbers only."""
    if not isinstance(op, PRODUCTS):
        return None
    for i, factor in enumerate(op.factors):
        passed = [before for before in op.factors[:i] if isinstance(before, LinearOperator)]
        if not isinstance(factor, SCALED) or len(passed) < i:
            continue
        knows = x is not None or type(factor.scalar) in (bool, int)  # that it makes no floats of integers on the way
        if knows and (not _is_complex(factor.scalar) or all(before._is_complex_linear() for before in passed)):
            rest = (*passed, factor.op, *op.factors[i + 1 :])
            return scale(factor.scalar, functools.reduce(compose, rest))
    return None


# ---- products ---------------------------------------------------------------------------------------------------------


def neighbours(op: Any, x: Any) -> Any:
    """Two factors that make one, or none: I @ A = A, U.H @ U = I, A.inv @ A = I, diagonals, stacks part by part."""
    if not isinstance(op, PRODUCTS):
        return None
    inputs = [None] * len(op.factors) if x is None else op._inputs_of_parts(x)
    for i in range(len(op.factors) - 1):
        left, right = op.factors[i : i + 2]
        for rule in PAIRS:
            if (one := rule(left, right, inputs[i + 1], op.is_mirrored(i, i + 1))) is not None:
                return functools.reduce(compose, (*op.factors[:i], one, *op.factors[i + 2 :]))
    return None


def _identity(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    """An identity with a domain hands it on, and converts what comes in."""
    if isinstance(left, Identity) or (_fits_identity(left) and shapes.same(_result(right, x), left.domain)):
        return right
    if isinstance(right, Identity):
        return left
    return _on_domain(left, right.domain) if _fits_identity(right) and isinstance(left, LinearOperator) else None


def _fits_identity(op: Any) -> bool:
    return isinstance(_bare(op), Identity) and op.domain is not None


def _unitary(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    cancels = mirrored and left.properties.unitary and right.properties.unitary and _returns(left, right, x)
    return Identity() if cancels else None


def _inverse(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    pair = (isinstance(left, Inverse) and left.op is right) or (isinstance(right, Inverse) and right.op is left)
    return Identity() if pair and _returns(left, right, x) else None


def _returns(left: Any, right: Any, x: Any) -> bool:
    """Whether two inverse factors lead to where they came from, and not by way of real parts."""
    if x is None:
        return False
    between = _result(right, x)
    return shapes.same(between, x) and shapes.same(_result(left, between), x)


def _result(op: Any, x: Any) -> Any:
    return None if x is None else op._infer_shape(x)


def _diagonals(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
    both = isinstance(left, Diagonal) and isinstance(right, Diagonal) and _can_merge(left.d, right.d)
    return Diagonal(jnp.asarray(left.d) * right.d) if both and left.d.ndim == right.d.ndim else None


def _stacks(left: Any, right: Any, x: Any, mirrored: bool) -> Any:
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


def equal_terms(op: Any, x: Any) -> Any:
    """a A + b A = (a + b) A, for terms that are the same operator, and for identities."""
    if not isinstance(op, SUMS):
        return None
    for i, first in enumerate(op.terms):
        for j in range(i + 1, len(op.terms)):
            (a, f), (b, g) = _factor_of(first), _factor_of(op.terms[j])
            if (f is g or (isinstance(f, Identity) and isinstance(g, Identity))) and _can_merge(a, b):
                return _sum([*op.terms[:i], scale(a + b, f), *op.terms[i + 1 : j], *op.terms[j + 1 :]])
    return None


def zero_terms(op: Any, x: Any) -> Any:
    """A + 0 = A."""
    if not isinstance(op, SUMS):
        return None
    kept = [term for term in op.terms if not isinstance(_bare(term), Zero)]
    if not 0 < len(kept) < len(op.terms) or op.properties.real_linear:
        return None
    return _sum(kept)


def diagonal_terms(op: Any, x: Any) -> Any:
    """diag(d) + diag(e) = diag(d + e), diag(d) + a I = diag(d + a)."""
    if not isinstance(op, SUMS):
        return None
    for i, first in enumerate(op.terms):
        for j, second in enumerate(op.terms):
            if i == j or not isinstance(first, Diagonal):
                continue
            added = _as_diagonal(second, first.d.ndim)
            if added is not None and _can_merge(first.d, added):
                rest = [term for k, term in enumerate(op.terms) if k not in (i, j)]
                return _sum([Diagonal(jnp.asarray(first.d) + added), *rest])
    return None


def _as_diagonal(op: Any, ndim: int) -> Any:
    scalar, inner = _factor_of(op)
    if isinstance(inner, Identity):
        return scalar
    return op.d if isinstance(op, Diagonal) and op.d.ndim == ndim else None


def zero_factors(op: Any, x: Any) -> Any:
    """A @ 0 = 0 @ A = 0, where the result is one array of known shape and of the input's dtype."""
    factors = getattr(_bare(op), "factors", ()) if isinstance(_bare(op), Composition) else ()
    if not any(isinstance(_bare(factor), Zero) for factor in factors):
        return None
    domain, codomain = x, _result(op, x)
    if domain is None or not shapes.is_spec(domain) or not shapes.is_spec(codomain) or domain.dtype != codomain.dtype:
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


def _is_python(value: Any) -> bool:
    return type(value) in (bool, int, float, complex)


def _can_merge(*values: Any) -> bool:
    """Whether numbers and arrays can be added and multiplied before they meet the data: in the types of narrow integers and
    half precision they would overflow."""
    dtypes = {np.dtype(value.dtype) for value in values if not _is_python(value)}
    return len(dtypes) < 2 and all(dtype in _WIDE for dtype in dtypes)


_WIDE = frozenset(map(np.dtype, (np.float32, np.float64, np.complex64, np.complex128)))


def _is_complex(scalar: Any) -> bool:
    return jnp.issubdtype(jnp.result_type(scalar), jnp.complexfloating)


def _factor_of(op: Any) -> tuple[Any, Any]:
    scalar, inner = (op.scalar, op.op) if isinstance(op, SCALED) else (1, op)
    return scalar, _bare(inner) if isinstance(_bare(inner), Identity) else inner


def _sum(terms: list[Any]) -> Any:
    return functools.reduce(operator.add, terms)


def _map_parts(function: Callable[..., Any], *containers: Any) -> Any:
    return jax.tree.map(function, *containers, is_leaf=is_operator)


def _structure(ops: Any) -> Any:
    return jax.tree.structure(ops, is_leaf=is_operator)
