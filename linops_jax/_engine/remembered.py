"""``linearize``, which replaces ``apply`` if derivatives are needed: one evaluation for a value and its derivatives.

If no derivative uses the state after all, ``apply`` replaces ``linearize`` again.
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
    """The value of ``apply``, evaluated by ``linearize``. The state is added to the groups as another argument."""
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
    """The value and the state in the results of ``linearize``. The state is added to the groups as another argument."""
    value, state = out_tree.children()
    axes = len(next(mask for masks in groups.masks.values() for mask in masks))
    found = list(results[value.num_leaves :])
    groups.add(STATE, state, found, [(True,) * axes] * len(found))
    return list(results[: value.num_leaves]), found


def _linearize(hook: Hook) -> Hook:
    cls: Any = hook.cls
    return cls._hooks[hook.rule.remembers]


def drop_state(hook: Hook, used: Sequence[bool], equation: Any) -> tuple[list[bool], Any]:
    """The rule of dead code elimination: an equation of ``linearize`` whose state is not used becomes one of ``apply``.

    Equations with traced code do not change, because XLA removes the unused operations.
    """
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
