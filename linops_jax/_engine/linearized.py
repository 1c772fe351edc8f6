"""Operators that are JAX code, to first order: what ``jax.linearize`` keeps of one evaluation, for all products at a point.

A program finds the kept arrays again by tracing the operator. So an operator to first order has no static parts of its own:
two of them have the same structure, and can be carried by loops, compiled once, and pickled.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from linops_jax import _compat
from linops_jax._engine import traced_hooks
from linops_jax._engine.derived import as_tangents
from linops_jax._engine.eager import as_raised
from linops_jax._model import shapes


class _Linearization(NamedTuple):
    """One evaluation of an operator as a program, which also computes the arrays that its products need.

    Parameters
    ----------
    program : callable
        The program, a function of the leaves of the operator and of the point.
    value : PyTreeDef
        The structure of the value, whose leaves are the first results.
    linear : PyTreeDef
        The structure of the linear function that ``jax.linearize`` makes. The other results are its leaves.
    sources : tuple of (int or None)
        For each leaf of the linear function: its position among the operands if it is one of these, so that it need not be
        kept.
    specs : tuple of avals
        The types of the leaves.
    """

    program: Callable[..., list[Any]]
    value: Any
    linear: Any
    sources: tuple[int | None, ...]
    specs: tuple[Any, ...]


def _linearization(op: Any, x: Any) -> _Linearization:
    operands, structure = jax.tree.flatten((op, x))  # as an argument, JAX would keep the operator's static values alive

    @jax.jit
    def linearize(*leaves: Any) -> Any:
        op, x = jax.tree.unflatten(structure, leaves)
        return jax.linearize(op._checked, x)

    jaxpr, closed_over = _compat.trace(linearize, operands)
    value, linear = jax.tree.structure(linearize.trace(*operands).out_info).children()
    inputs = jaxpr.jaxpr.invars[len(closed_over) :]
    at = {id(variable): i for i, variable in enumerate(inputs)}
    program = traced_hooks.as_function(jaxpr)
    return _Linearization(
        lambda *leaves: program(*closed_over, *leaves),
        value,
        linear,
        tuple(at.get(id(variable)) for variable in jaxpr.jaxpr.outvars[value.num_leaves :]),
        tuple(jaxpr.out_avals[value.num_leaves :]),
    )


def evaluate(op: Any, x: Any) -> tuple[Any, list[Any]]:
    """F(x), and the arrays that products at x need besides those of F and x. It is one evaluation of each hook."""
    return _eagerly(op, x) if shapes.are_concrete((op, x)) else _evaluate(op, x)


def _evaluate(op: Any, x: Any) -> tuple[Any, list[Any]]:
    found = _linearization(op, x)
    results = found.program(*jax.tree.leaves((op, x)))
    value, leaves = results[: found.value.num_leaves], results[found.value.num_leaves :]
    kept = [leaf for leaf, source in zip(leaves, found.sources, strict=True) if source is None]
    return jax.tree.unflatten(found.value, value), kept


_eagerly = as_raised(jax.jit(_evaluate))


def product(op: Any, x: Any, kept: list[Any] | None, dx: Any) -> Any:
    """J(x) dx from what ``evaluate`` has kept. If that is None, or made for other types, the operator is evaluated again.

    In ``shard_map``, the types say over which mesh axes arrays vary, and a direction may vary where the point does not. The
    results for integers have JAX's own type for tangents of integers.
    """
    op, x, dx = _compat.all_vary((op, x, dx))
    tangents = as_tangents(dx, x)
    linear = None if kept is None else _linear(op, x, kept)
    return jax.jvp(op._checked, (x,), (tangents,))[1] if linear is None else linear(tangents)


def _linear(op: Any, x: Any, kept: list[Any]) -> Callable[[Any], Any] | None:
    """The function that ``jax.linearize`` gives, from what was kept; None if it was kept for other types of arrays."""
    found = _linearization(op, x)
    specs = [spec for spec, source in zip(found.specs, found.sources, strict=True) if source is None]
    if [(leaf.shape, leaf.dtype) for leaf in kept] != [(spec.shape, spec.dtype) for spec in specs]:
        return None
    rest = iter(_compat.vary(leaf, _compat.varying_axes(spec)) for leaf, spec in zip(kept, specs, strict=True))
    operands = jax.tree.leaves((op, x))
    leaves = [next(rest) if source is None else operands[source] for source in found.sources]
    return jax.tree.unflatten(found.linear, leaves)
