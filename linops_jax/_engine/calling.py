"""Calls of hooks: the primitive is bound to the arrays, or traced code becomes part of the surrounding program.

The operands of a primitive are the leaves of the hook's arguments, ``self`` first. In front of them are the arrays that
traced code closes over. The parameters are ``binding``; ``batch``, the batch axes of each operand (results have all of
them); and ``out``, the shapes and dtypes of the results of one evaluation. Primitives with traced code also have
``jaxprs``, ``uses`` and ``related`` (see ``closures``), and ``names``, the names of batch axes that the code uses.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine import closures, foreign, traced_hooks
from linops_jax._engine.batch import Batch, element
from linops_jax._engine.binding import Binding, bind_hook
from linops_jax._engine.closures import Program
from linops_jax._model import fields
from linops_jax._model.hooks import Hook


def call(hook: Hook, arguments: Sequence[Any], out: Any) -> Any:
    """Evaluates a hook with pytrees of arrays as arguments; ``out`` is the pytree of specs of the result."""
    leaves: list[Any] = []
    trees = []
    for name, argument in zip(hook.rule.arguments, arguments, strict=True):
        values, tree = jax.tree.flatten(argument)
        leaves += _not_differentiated(values, tree) if name == "self" else values
        trees.append(tree)
    if not leaves:
        message = f"{hook.label} needs at least one array as input or in its fields, found none. Pass arrays."
        raise TypeError(message)
    specs, out_tree = jax.tree.flatten(out)
    results = bind(bind_hook(hook, tuple(trees), out_tree, specs), leaves, Batch.none(len(leaves)), specs)
    return jax.tree.unflatten(out_tree, results)


def _not_differentiated(values: list[Any], tree: Any) -> list[Any]:
    """The leaves of an operator, with derivatives stopped at its constant fields. Every evaluation begins here."""
    if not any(isinstance(x, jax.core.Tracer) for x in values):
        return values
    return [
        jax.lax.stop_gradient(x) if constant else x
        for x, constant in zip(values, fields.constant_leaves(tree), strict=True)
    ]


def evaluate(binding: Binding, operands: Sequence[Any], out: tuple[Any, ...]) -> list[Any]:
    """Evaluates a hook with the leaves of all its arguments; ``out`` holds the shapes and dtypes of the results."""
    return primitive(binding.hook).bind(*operands, binding=binding, batch=Batch.none(len(operands)), out=out)


def bind(binding: Binding, operands: Sequence[Any], batch: Batch, specs: Sequence[jax.ShapeDtypeStruct]) -> list[Any]:
    """Binds the primitive, or calls the traced code; ``specs`` are the specs of the results of one evaluation."""
    operands = [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in operands]
    if binding.hook.is_jax:
        return _bind_traced(binding, operands, batch, specs)
    return primitive(binding.hook).bind(*operands, binding=binding, batch=batch, out=as_out(specs))


def primitive(hook: Hook) -> Any:
    cls: Any = hook.cls
    return cls._primitives[hook.name]


def as_out(specs: Sequence[jax.ShapeDtypeStruct]) -> tuple[Any, ...]:
    """The specs of results as the parameter ``out`` of a primitive."""
    return tuple((spec.shape, spec.dtype) for spec in specs)


# ---- traced hooks -------------------------------------------------------------------------------------------------


def _bind_traced(
    binding: Binding, operands: Sequence[Any], batch: Batch, specs: Sequence[jax.ShapeDtypeStruct]
) -> list[Any]:
    """Calls a traced hook.

    If JAX alone defines all its derivatives, it is called like any JAX function. Otherwise its primitive is bound with a
    jaxpr, and the arrays that the hook closes over are the first operands.
    """
    if binding.hook.is_plain and _compat.manual_axes():
        # Not as a jaxpr, whose types would not allow tangents to vary over more mesh axes than the values.
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
    """A traced hook as a JAX function of one element of a batch.

    JAX's caches keep the static arguments: the binding, so that the next call finds its jaxpr. They must not keep tracers,
    so code that closes over some is called in another way.
    """
    program, jaxpr, closed_over = traced_hooks.trace(binding, specs, elements)
    foreign.note_traced(binding.hook, jaxpr)
    return program if closed_over else functools.partial(_evaluation(binding.hook), jaxpr, binding)


@functools.cache
def _evaluation(hook: Hook) -> Callable[..., Any]:
    """A compiled function that evaluates jaxprs, with the name of the hook."""

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
    """Binds the primitive to the arrays that its traced code closes over, followed by its operands."""
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
