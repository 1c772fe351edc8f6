"""Operators whose traced code closes over tracers, as operators that have them as fields.

``jax.custom_jvp`` differentiates arguments only: a derivative with respect to what is closed over would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine.traced_hooks import as_function
from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.marks import traced
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import Axes


class Opened(LinearOperator):
    """An operator as the program of its ``apply``: the arrays it closes over, then its own."""

    arrays: list[Any]
    program: Any = static()
    output: Any = static()

    @traced
    def apply(self, x: Any) -> Any:
        operands = map(_compat.placed, [*self.arrays, *jax.tree.leaves(x)], self.program.in_avals)
        results = as_function(self.program)(*operands)
        return jax.tree.unflatten(self.output, results)

    def infer_shape(self, x: Any) -> Any:
        return jax.tree.unflatten(self.output, map(shapes.spec, self.program.out_avals))


def opened(ops: Sequence[LinearOperator | None], y: Any, coupled: Axes) -> tuple[Any, ...]:
    """Operators that know their domain, with the tracers that they close over as fields; and y.

    In ``shard_map``, y varies over all axes over which anything does, but for those over which the operators communicate.
    """
    traces = [op and _trace(op, frozenset()) for op in ops]
    axes = _compat.all_axes([y, *ops, *(closed_over for _, closed_over in filter(None, traces))])
    new = [op and _open(op, trace, axes) for op, trace in zip(ops, traces, strict=True)]
    return *new, jax.tree.map(lambda leaf: _compat.vary(leaf, axes - set(coupled)), y)


def _open(op: LinearOperator, trace: Any, axes: frozenset[Any]) -> LinearOperator:
    if not any(isinstance(value, jax.core.Tracer) for value in trace[1]):
        return op
    program, closed_over = _trace(op, axes) if axes else trace
    arrays = [*closed_over, *jax.tree.leaves(op)]
    return Opened(arrays, program, jax.tree.structure(op.codomain)).with_domain(op.domain)


def _trace(op: LinearOperator, axes: frozenset[Any]) -> tuple[Any, list[Any]]:
    """The program of ``op`` as a function of its arrays and an input that varies over these axes, and what it closes over."""
    own, structure = jax.tree.flatten(op)
    inputs, domain = jax.tree.flatten(op.domain)

    def apply(*leaves: Any) -> list[Any]:
        of_op, x = leaves[: len(own)], leaves[len(own) :]
        return jax.tree.leaves(jax.tree.unflatten(structure, of_op)(jax.tree.unflatten(domain, x)))

    if axes:
        inputs = [_compat.vary(shapes.zeros(x), axes) for x in inputs]
    return _compat.trace(jax.jit(apply), [*map(jnp.asarray, own), *inputs])
