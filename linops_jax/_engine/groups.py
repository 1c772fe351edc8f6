"""The operands of a primitive grouped by argument of its hook, for the rules of differentiation."""

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
    """The operands of one equation by argument, with the tangents or cotangents that are added as arguments.

    ``related`` and ``names`` are the equation's parameters for traced code, if it has any.
    """

    def __init__(self, binding: Binding, operands: Sequence[Any], batch: Batch, **traced: Any):
        self.binding = binding
        self.trees = dict(zip(binding.hook.rule.arguments, binding.trees, strict=True))
        self.values: dict[str, list[Any]] = {}
        self.masks: dict[str, list[Mask]] = {}
        start = binding.first(operands)
        self.closed_over, self.closed_over_masks = list(operands[:start]), batch[:start]
        self.related: tuple[Program, ...] = traced.get("related", ())
        self.names: tuple[Any, ...] = traced.get("names", ())
        # The structure of the value, without the state.
        self.out_tree = binding.out_tree.children()[0] if binding.hook.rule.with_state else binding.out_tree
        for name, tree in self.trees.items():
            stop = start + tree.num_leaves
            self.values[name] = list(operands[start:stop])
            self.masks[name] = list(batch[start:stop])
            start = stop

    def add(self, name: str, tree: Any, values: list[Any], masks: list[Mask]) -> None:
        """Adds a tangent, a cotangent or a state as another argument."""
        self.trees[name], self.values[name], self.masks[name] = tree, values, masks

    def bind(
        self, hook: Hook, names: Sequence[str], out_tree: Any, specs: Sequence[Any], *, for_derivative: bool = True
    ) -> list[Any]:
        """Binds another hook to some of the arguments.

        If the tracers that it closes over no longer exist, the program that was traced earlier is used (see ``closures``).
        """
        trees = tuple(self.trees[name] for name in names)
        values = [value for name in names for value in self.values[name]]
        masks = [mask for name in names for mask in self.masks[name]]
        binding = bind_hook(hook, trees, out_tree, specs, for_derivative=for_derivative)
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
    """The operands, moved and changed to have the types for which a program was traced."""
    if not program.jaxprs:
        return list(values)
    return [placed(value, spec, axes) for value, axes, spec in zip(values, batch.own, program.types, strict=True)]


def placed(value: Any, spec: jax.ShapeDtypeStruct, axes: int) -> Any:
    """A batch of arrays, moved so that its elements have the place of a spec; ``axes`` is the number of batch axes."""
    wanted, found = _compat.place(spec).get("sharding"), jax.typeof(value).sharding
    if wanted is not None and found.spec[axes:] != wanted.spec:
        value = jax.sharding.reshard(value, wanted.update(spec=jax.P(*found.spec[:axes], *wanted.spec)))
    return _compat.vary(value, _compat.varying_axes(spec))
