"""The operands of a primitive by argument of its hook, from which the rules of differentiation bind other hooks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from linops_jax import _compat
from linops_jax._engine import absent, calling, closures
from linops_jax._engine.batch import Batch, Mask
from linops_jax._engine.binding import Binding, bind_hook
from linops_jax._engine.closures import Program
from linops_jax._model.hooks import Hook


class Groups:
    """One equation's operands, and what it has of traced code: ``related`` and ``names``, if any."""

    def __init__(self, binding: Binding, operands: Sequence[Any], batch: Batch, **traced: Any):
        self.binding = binding
        self.trees = dict(zip(binding.hook.rule.arguments, binding.trees, strict=True))
        self.values: dict[str, list[Any]] = {}
        self.masks: dict[str, list[Mask]] = {}
        start = binding.first(operands)
        self.closed_over, self.closed_over_masks = list(operands[:start]), batch[:start]
        self.related: tuple[Program, ...] = traced.get("related", ())
        self.names: tuple[Any, ...] = traced.get("names", ())
        for name, tree in self.trees.items():
            stop = start + tree.num_leaves
            self.values[name] = list(operands[start:stop])
            self.masks[name] = list(batch[start:stop])
            start = stop

    def add(self, name: str, tree: Any, values: list[Any], masks: list[Mask]) -> None:
        """A tangent or cotangent, as another argument."""
        self.trees[name], self.values[name], self.masks[name] = tree, values, masks

    def bind(self, hook: Hook, names: Sequence[str], out_tree: Any, specs: Sequence[Any]) -> list[Any]:
        """Another hook of these arguments. What it closes over may be gone: then it has been traced before."""
        trees = tuple(self.trees[name] for name in names)
        values = [value for name in names for value in self.values[name]]
        masks = [mask for name in names for mask in self.masks[name]]
        binding = bind_hook(hook, trees, out_tree, specs, for_derivative=True)
        program = closures.find(self.related, binding, values)
        if program is None:
            try:
                return calling.bind(binding, values, Batch(masks), specs)
            except jax.errors.UnexpectedTracerError as error:
                raise absent.out_of_reach(binding) from error
        return calling.bind_program(
            program,
            self.closed_over,
            as_typed(values, Batch(masks), program),
            Batch((*self.closed_over_masks, *masks)),
            calling.as_out(specs),
            self.related,
            self.names,
        )


def as_typed(values: Sequence[Any], batch: Batch, program: Program) -> list[Any]:
    """Operands with the types for which a hook has been traced."""
    if not program.jaxprs:
        return list(values)
    return [placed(value, spec, axes) for value, axes, spec in zip(values, batch.own, program.types, strict=True)]


def placed(value: Any, spec: jax.ShapeDtypeStruct, axes: int) -> Any:
    """A batch of arrays, each of which lies on the mesh as a spec says."""
    wanted, found = _compat.place(spec).get("sharding"), jax.typeof(value).sharding
    if wanted is not None and found.spec[axes:] != wanted.spec:
        value = jax.sharding.reshard(value, wanted.update(spec=jax.P(*found.spec[:axes], *wanted.spec)))
    return _compat.vary(value, _compat.varying_axes(spec))
