"""Containers of operators: pytrees whose leaves are operators."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import Either as Either
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator, UnknownShapeError
from linops_jax._operators.printing import exact

# Containers as type checkers see them.
LinearTree: TypeAlias = "LinearOperator | Sequence[LinearTree] | Mapping[Any, LinearTree]"
NonlinearTree: TypeAlias = "NonlinearOperator | Sequence[NonlinearTree] | Mapping[Any, NonlinearTree]"
LinearRows: TypeAlias = "LinearOperator | Sequence[LinearRows] | Mapping[Any, LinearRows] | None"


def is_operator(value: Any) -> bool:
    return isinstance(value, Operator)


def flatten(ops: Any) -> tuple[list[Any], Any]:
    """The operators in a container, and its structure."""
    return jax.tree.flatten(ops, is_leaf=is_operator)


def all_linear(ops: Any) -> bool:
    return all(isinstance(op, LinearOperator) for op in flatten(ops)[0])


def require_operators(ops: Any, where: str, *, allow_none: bool = False) -> None:
    """Raises TypeError if a container holds anything else, ValueError if it is empty."""
    entries = jax.tree_util.tree_leaves_with_path(ops, is_leaf=lambda value: is_operator(value) or value is None)
    for path, op in entries:
        if not is_operator(op) and not (allow_none and op is None):
            at = f" at {jax.tree_util.keystr(path)}" if path else ""
            found = f"the array {shapes.describe(op)}" if shapes.is_spec(op) else f"{type(op).__name__} {op!r:.80}"
            message = (
                f"{where}: expected operators, found {found}{at}. Wrap a matrix in lo.Matrix; "
                "for a number a, write a * lo.Identity()."
            )
            raise TypeError(message)
    if not entries:
        message = f"{where}: there are no operators in {ops!r}. Give at least one."
        raise ValueError(message)


def split(x: Any, structure: Any, where: str) -> list[Any]:
    """The parts of x for the operators in a container of this structure."""
    try:
        return structure.flatten_up_to(x)
    except (ValueError, TypeError) as error:
        wanted = jax.tree.unflatten(structure, ["*"] * structure.num_leaves)
        message = f"{where}: expected one entry for each operator, {wanted}, found {shapes.describe_tree(x)}."
        raise ValueError(message) from error


def typed(op: Any, domain: Any) -> Any:
    """``op`` with this domain, if one is given."""
    return op if domain is None else op.with_domain(domain)


def result(op: Any, domain: Any) -> Any:
    """Specs of ``op(x)``, or None if they cannot be found: a broken operator must still print."""
    try:
        return None if domain is None else shapes.specs(op._infer_shape(domain))
    except Exception:
        return None


def have_codomain(ops: Sequence[Any], codomain: Any) -> bool:
    """Whether all operators, which have domains, have this codomain."""
    return all(shapes.same(op.codomain, codomain) for op in ops)


def are_alike(ops: Sequence[Any]) -> bool:
    """Whether operators have the same classes and dtypes, so that they promote their inputs in the same way."""
    return len({(_kinds(op), *(getattr(leaf, "dtype", type(leaf)) for leaf in jax.tree.leaves(op))) for op in ops}) == 1


def _kinds(op: Any) -> tuple[Any, ...]:
    """The class of an operator and the classes of its parts."""
    return (type(op), *map(_kinds, op._parts()))


def together(specs: list[Any], structure: Any) -> Any:
    """The domains in a container of this structure; None if one is not known."""
    return None if any(spec is None for spec in specs) else jax.tree.unflatten(structure, specs)


def common_domain(ops: Sequence[Any], where: str) -> Any:
    """The domain of operators with the same input; None if no operator has one. Raises ValueError if two domains differ."""
    known = [op for op in ops if op.domain is not None]
    if not known:
        return None
    first = known[0]
    for op in known[1:]:
        if difference := shapes.cast_obstacle(op.domain, first.domain) or shapes.cast_obstacle(first.domain, op.domain):
            message = f"{where} {exact(first)} and {exact(op)}: their domains differ: {difference}."
            raise ValueError(message)
    return first.domain


def adjoint_shape(op: Any, y: Any) -> Any:
    """Specs of Aᴴ y from specs of y."""
    return op._infer_adjoint_shape(y) if op.domain is None else op.domain


def common_adjoint_shape(ops: Sequence[Any], ys: Sequence[Any]) -> Any:
    """Specs of Σₖ Aₖᴴ yₖ from specs of all yₖ: an input that all operators take.

    If the dtypes of the terms differ, all yₖ are promoted to a common dtype, and the operators are asked again: one real
    yₖ does not make the domain real if another yₖ is complex. If no operator knows the shape, the error is that of the
    first one.
    """
    found = _adjoint_shapes(ops, ys)
    if not all(shapes.same(x, found[0]) for x in found):
        dtypes = [leaf.dtype for leaf in jax.tree.leaves((found, ys))]
        wide = [jax.tree.map(lambda leaf: shapes.with_dtype(leaf, jnp.result_type(*dtypes)), y) for y in ys]
        found = _adjoint_shapes(ops, wide)
    return next((x for x in found if not any(shapes.cast_obstacle(x, other) for other in found)), found[0])


def _adjoint_shapes(ops: Sequence[Any], ys: Sequence[Any]) -> list[Any]:
    """The specs of those terms whose shapes are known."""
    found, errors = [], []
    for op, y in zip(ops, ys, strict=True):
        try:
            found.append(adjoint_shape(op, y))
        except UnknownShapeError as error:
            errors.append(error)
    if not found:
        raise errors[0]
    return found


def add_up(ops: Sequence[Any], values: list[Any], where: str) -> Any:
    """The sum of the results of operators, arrays or specs. Raises ValueError if shapes differ: nothing is broadcast."""
    for op, value in zip(ops[1:], values[1:], strict=True):
        if difference := shapes.shape_difference(value, values[0]):
            message = f"{where} {exact(ops[0])} and {exact(op)}: their results differ: {difference}."
            raise ValueError(message)
    if all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(values)):
        return functools.reduce(shapes.promoted, values)
    return functools.reduce(lambda a, b: jax.tree.map(jnp.add, a, b), values)
