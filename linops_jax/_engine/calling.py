"""How a hook is called: its primitive is bound to the leaves of its arguments, or its traced code becomes part of the
program around it.

Operands of a primitive are those leaves, ``self`` first; in front of them what traced hooks close over. ``batch`` says
which batch axes each of them has; results have all of them. ``out`` holds shape and dtype of the results of one
evaluation. With traced code come ``jaxprs``, ``uses`` and ``related`` (see closures), and ``names`` of batch axes that it
needs.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine import closures, foreign, traced_hooks
from linops_jax._engine.batch import Batch, element
from linops_jax._engine.binding import Binding, bind_hook
from linops_jax._engine.closures import Program
from linops_jax._model.hooks import Hook


def call(hook: Hook, arguments: Sequence[Any], out: Any) -> Any:
    """Evaluates a hook on pytrees of arrays; ``out`` is a pytree of specs of the result."""
    leaves: list[Any] = []
    trees = []
    for argument in arguments:
        values, tree = jax.tree.flatten(argument)
        leaves += values
        trees.append(tree)
    if not leaves:
        message = f"{hook.label} needs at least one array as input."
        raise TypeError(message)
    specs, out_tree = jax.tree.flatten(out)
    results = bind(bind_hook(hook, tuple(trees), out_tree, specs), leaves, Batch.none(len(leaves)), specs)
    return jax.tree.unflatten(out_tree, results)


def evaluate(binding: Binding, operands: Sequence[Any], out: tuple[Any, ...]) -> list[Any]:
    """A hook on the arrays in its arguments, in a row; ``out`` holds shape and dtype of the results."""
    return primitive(binding.hook).bind(*operands, binding=binding, batch=Batch.none(len(operands)), out=out)


def bind(binding: Binding, operands: Sequence[Any], batch: Batch, specs: Sequence[jax.ShapeDtypeStruct]) -> list[Any]:
    """Binds the primitive, or calls the traced code; ``specs`` are those of the results of one evaluation."""
    operands = [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in operands]
    if binding.hook.is_jax:
        return _bind_traced(binding, operands, batch, specs)
    return primitive(binding.hook).bind(*operands, binding=binding, batch=batch, out=as_out(specs))


def primitive(hook: Hook) -> Any:
    cls: Any = hook.cls
    return cls._primitives[hook.name]


def as_out(specs: Sequence[jax.ShapeDtypeStruct]) -> tuple[Any, ...]:
    """Specs of results as the parameter of a primitive."""
    return tuple((spec.shape, spec.dtype) for spec in specs)


# ---- traced hooks -------------------------------------------------------------------------------------------------


def _bind_traced(
    binding: Binding, operands: Sequence[Any], batch: Batch, specs: Sequence[jax.ShapeDtypeStruct]
) -> list[Any]:
    """A traced hook whose derivatives are JAX's own is called as any JAX function; others are a primitive with a jaxpr,
    whose first operands are what the hook closes over."""
    if binding.hook.is_plain and _compat.manual_axes():  # tangents may vary over more axes than a jaxpr's types
        return batch.mapped(traced_hooks.function(binding, specs))(*operands)
    elements = [element(jax.typeof(x), axes) if axes else x for x, axes in zip(operands, batch.own, strict=True)]
    if binding.hook.is_plain:
        return batch.mapped(_inlined(binding, specs, elements))(*operands)
    closed = closures.of(binding, specs, elements)
    for jaxpr in closed.program.jaxprs:
        foreign.note_traced(binding.hook, jaxpr)
    batch = Batch((*[(False,) * batch.axes] * len(closed.closed_over), *batch))
    return bind_program(closed.program, closed.closed_over, operands, batch, as_out(specs), closed.related)


def _inlined(
    binding: Binding, specs: Sequence[jax.ShapeDtypeStruct], elements: Sequence[Any]
) -> Callable[..., list[Any]]:
    """A traced hook as a function of one element. JAX's caches keep what stands in the key: the binding, so that the next
    call finds its jaxpr, but not tracers."""
    program, jaxpr, closed_over = traced_hooks.trace(binding, specs, elements)
    foreign.note_traced(binding.hook, jaxpr)
    return program if closed_over else functools.partial(_evaluation(binding.hook), jaxpr, binding)


@functools.cache
def _evaluation(hook: Hook) -> Callable[..., Any]:
    """Of jaxprs, compiled under the name of the hook."""

    def evaluate(jaxpr: Any, binding: Binding, *operands: Any) -> list[Any]:
        return traced_hooks.as_function(jaxpr)(*operands)

    evaluate.__name__ = evaluate.__qualname__ = hook.label
    return jax.jit(evaluate, static_argnums=(0, 1))


def bind_program(
    program: Program,
    closed_over: Sequence[Any],
    operands: Sequence[Any],
    batch: Batch,
    out: tuple[Any, ...],
    related: tuple[Program, ...] = (),
    names: tuple[Any, ...] = (),
) -> list[Any]:
    """Binds the primitive with what its traced code closes over."""
    return primitive(program.binding.hook).bind(
        *closed_over,
        *operands,
        binding=program.binding,
        batch=batch,
        out=out,
        jaxprs=program.jaxprs,
        uses=program.uses,
        related=related,
        names=names,
    )
