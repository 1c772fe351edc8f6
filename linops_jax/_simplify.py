"""lo.simplify: an expression of operators, from the inside out, by the rules that its combinators say (``_simpler``)."""

from __future__ import annotations

from typing import Any, overload

import jax

from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator, UnknownShapeError
from linops_jax.algebra._parts import typed


@overload
def simplify(op: LinearOperator) -> LinearOperator: ...
@overload
def simplify(op: NonlinearOperator) -> NonlinearOperator: ...
def simplify(op: Any) -> Any:
    """The same operator made of fewer parts: opt-in, nothing in the library calls it.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.

    Returns
    -------
    LinearOperator or NonlinearOperator
        With the same values, but for rounding, and the same domain and codomain.

    Raises
    ------
    TypeError
        If ``op`` is not an operator.

    Notes
    -----
    It drops identities and zeros, gathers scalars and equal terms, takes adjoints inside, cancels ``A.inv @ A``, and
    ``U.H @ U`` of a unitary U, fuses diagonals, and multiplies stacks part by part. Equal parts are those that are the
    same object. More rules apply where the domain is known, since dtypes are then: ``U.H @ U`` of an unknown U may make
    complex numbers of real ones. Fewer apply under ``jit`` to an operator that comes in as an argument.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> lo.simplify(2 * (3 * A))
    6 * Matrix(matrix=f32[2,2], axes=(-1,))
    """
    if not isinstance(op, Operator):
        message = f"simplify expected an operator, found {type(op).__name__} {op!r:.80}."
        raise TypeError(message)
    return typed(_simplify(op, None, {}), op.domain)


def _simplify(op: Any, x: Any, seen: dict[Any, tuple[Any, Any]]) -> Any:
    """An operator that is simple, also in its parts. ``seen`` keeps what was the same object the same object.

    What surrounds the result keeps its domain.
    """
    x = op.domain if op.domain is not None else x
    key = (id(op), None if x is None else (jax.tree.structure(x), *jax.tree.leaves(x)))
    if key not in seen:
        simple = _with_simple_parts(op, x, seen)
        if not _keeps_spaces(simple, op, x):
            simple = op  # the domain of a part has been the smaller one
        for simpler in simple._simpler(x):
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


def _with_simple_parts(op: Any, x: Any, seen: dict[Any, tuple[Any, Any]]) -> Any:
    """Composites anew from simple parts, by the constructors of the algebra; all others as they are."""
    parts = op._parts()
    inputs = [None] * len(parts) if x is None else op._inputs_of_parts(x)
    simple = [_simple_part(*both, seen) for both in zip(parts, inputs, strict=True)]
    return op if all(a is b for a, b in zip(parts, simple, strict=True)) else op._with_parts(simple)


def _simple_part(op: Any, x: Any, seen: dict[Any, tuple[Any, Any]]) -> Any:
    """A part that is applied to x has that for its domain anyway; others keep their own."""
    simple = _simplify(op, x, seen)
    is_free = op.domain is None or (x is not None and shapes.same(x, op.domain))
    return simple if is_free else typed(simple, op.domain)
