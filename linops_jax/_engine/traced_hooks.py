"""Traced hooks as JAX programs.

A hook is traced when its primitive is bound. At that point JAX knows the types and the mesh, and the tracers that the hook
closes over exist.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core

from linops_jax import _compat
from linops_jax._engine import returned
from linops_jax._engine.binding import Binding, arguments, of_variant
from linops_jax._model import shapes


def function(binding: Binding, specs: Sequence[jax.ShapeDtypeStruct]) -> Callable[..., list[Any]]:
    """The hook as a JAX function of the leaves of its arguments; ``specs`` are the promised specs of its results."""
    # The function must not refer to the binding, which may own it.
    hook, trees, out_tree, ignored = binding.hook, binding.trees, binding.out_tree, binding.ignored

    def evaluate(*leaves: Any) -> list[Any]:
        keywords = {"out": jax.tree.unflatten(out_tree, specs)} if hook.derived else {}
        result = hook.evaluate(arguments(trees, leaves), **keywords)
        values = returned.result_leaves(hook, out_tree, result)
        return [
            shapes.zeros(spec) if unused else returned.cast(hook, value, spec)
            for value, spec, unused in zip(values, specs, ignored, strict=True)
        ]

    evaluate.__name__ = evaluate.__qualname__ = binding.label
    return evaluate


def variants(binding: Binding) -> list[Binding]:
    """The bindings of the traced variants of a hook: one for each platform with traced code of its own, or none."""
    hook = binding.hook
    if not hook.variants:
        return [binding] if hook.is_jax else []
    return [of_variant(binding, variant) for variant in hook.traced_variants]


def trace(
    binding: Binding, specs: Sequence[jax.ShapeDtypeStruct], operands: Sequence[Any]
) -> tuple[Callable[..., list[Any]], Any, list[Any]]:
    """A compiled function of the operands (arrays or specs), its closed jaxpr, and the arrays that it closes over.

    The arrays that it closes over, which may be tracers, are the first operands of the jaxpr. The function is cached in the
    binding, so that JAX's own cache decides whether it has to be traced again.
    """
    key = tuple(specs)
    program = binding.programs.get(key)
    if program is None:
        program = binding.programs.setdefault(key, jax.jit(function(binding, key)))
    jaxpr, closed_over = _compat.trace(program, operands)
    return program, jaxpr, closed_over


def as_function(jaxpr: Any) -> Callable[..., list[Any]]:
    """A closed jaxpr as a function of its operands."""
    return jax.extend.core.jaxpr_as_fun(jaxpr)
