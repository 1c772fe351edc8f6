"""One evaluation for a value and all its derivatives at a point: ``linearize`` in the place of ``apply``, and back where
nobody has asked for the state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from linops_jax._engine.batch import element
from linops_jax._engine.binding import bind, with_state
from linops_jax._engine.groups import Groups
from linops_jax._model.hooks import Hook
from linops_jax._model.rules import STATE


def linearized(groups: Groups, out: tuple[Any, ...]) -> list[Any]:
    """The value of the hook whose operands these are, by ``linearize``. The state becomes another argument."""
    hook = _linearize(groups.binding.hook)
    elements = [
        element(jax.typeof(x), sum(mask))
        for name in hook.rule.arguments
        for x, mask in zip(groups.values[name], groups.masks[name], strict=True)
    ]
    value = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in out]
    out_tree, specs = with_state(groups.binding, elements, value)
    results = groups.bind(hook, hook.rule.arguments, out_tree, specs, for_derivative=False)
    return split(groups, out_tree, results)[0]


def split(groups: Groups, out_tree: Any, results: Sequence[Any]) -> tuple[list[Any], list[Any]]:
    """Value and state, which becomes another argument."""
    value, state = out_tree.children()
    axes = len(next(mask for masks in groups.masks.values() for mask in masks))
    found = list(results[value.num_leaves :])
    groups.add(STATE, state, found, [(True,) * axes] * len(found))
    return list(results[: value.num_leaves]), found


def _linearize(hook: Hook) -> Hook:
    cls: Any = hook.cls
    return cls._hooks[hook.rule.remembers]


def drop_state(hook: Hook, used: Sequence[bool], equation: Any) -> tuple[list[bool], Any]:
    """What JAX does with an equation of ``linearize`` of which only some results are used: where nobody reads the state it is
    one of ``apply``. Traced code is XLA's to shorten."""
    if not any(used):
        return [False] * len(equation.invars), None
    cls: Any = hook.cls
    apply, params = cls._hooks["apply"], equation.params
    binding = params["binding"]
    value, state = binding.out_tree.children()
    first = value.num_leaves
    if any(used[first:]) or state.num_leaves == 0 or hook.is_jax or apply.is_jax:
        return [True] * len(equation.invars), equation
    binding = bind(apply, binding.trees, value, (False,) * first)
    kept = {**params, "binding": binding, "out": params["out"][:first]}
    new = equation.replace(primitive=cls._primitives["apply"], outvars=equation.outvars[:first], params=kept)
    return [True] * len(equation.invars), new
