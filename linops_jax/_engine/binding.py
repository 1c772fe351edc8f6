"""One hook with everything static about its calls: the parameter of the primitives, which programs hold."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax

from linops_jax._engine.batch import Batch
from linops_jax._engine.promises import Promises
from linops_jax._model import rules, shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.interned import Interned, intern


class Binding(Interned):
    """Shared by value, held weakly. Programs hold it, and with it live objects in static fields.

    It is callable, because JAX's cache of abstract evaluations holds callables weakly, and everything else until it is
    emptied.
    """

    __slots__ = ("hook", "ignored", "layout", "nonce", "out_tree", "programs", "promises", "signature", "target",
                 "trees")  # fmt: skip

    hook: Hook
    trees: tuple[Any, ...]  # structure of each argument, self first
    out_tree: Any
    ignored: tuple[bool, ...]  # per result: nothing to compute, as with the derivative of an integer
    layout: Any  # plain values by which foreign code finds its batch axes; None: it has none, or they are looped over
    signature: Any  # plain values for the types for which foreign code is compiled; None: it is what it is
    programs: dict[Any, Any]  # of a traced hook: JAX functions, by what is promised of their results
    promises: Promises  # of the programs that are made here
    target: Any  # what the extension calls, and the key of one that has no stable key: of the trampoline, None before
    nonce: str | None

    def __repr__(self) -> str:
        return self.label

    def __call__(self, *leaves: Any, **keywords: Any) -> Any:
        """The hook on the leaves of its arguments, in a row."""
        return self.hook.function(*arguments(self.trees, leaves), **keywords)

    def __reduce__(self) -> Any:
        return str, (self.label,)  # a serialized executable finds its target by key, and needs none of this

    @property
    def convention(self) -> Any:
        """How it is called and what is said of it, which is for its class to say."""
        cls: Any = self.hook.cls
        return cls._convention(self)

    @property
    def label(self) -> str:
        return self.convention.label

    def first(self, operands: Sequence[Any]) -> int:
        """Where the operands of the hook begin, behind what traced code closes over."""
        return len(operands) - sum(tree.num_leaves for tree in self.trees)

    def names(self) -> list[str]:
        """Per operand of the hook: the argument of which it is a leaf."""
        return [
            name
            for name, tree in zip(self.hook.rule.arguments, self.trees, strict=True)
            for _ in range(tree.num_leaves)
        ]

    def are_fields(self) -> list[bool]:
        """Per operand: whether it is a field of an operator, whose batch axes are always looped over."""
        return [name in self.hook.rule.operators for name in self.names()]


def bind(
    hook: Hook,
    trees: tuple[Any, ...],
    out_tree: Any,
    ignored: tuple[bool, ...],
    *,
    layout: Any = None,
    signature: Any = None,
) -> Binding:
    """The binding with these values: one object per value, so that it compares by identity."""
    new = Binding()
    new.hook, new.trees, new.out_tree, new.ignored = hook, trees, out_tree, ignored
    new.layout, new.signature = layout, signature
    new._value = hook, trees, out_tree, ignored, layout, signature
    new.target = new.nonce = None
    new.programs = {}
    new.promises = Promises(hook, trees, out_tree)
    return intern(new)


def bind_hook(
    hook: Hook, trees: tuple[Any, ...], out_tree: Any, specs: Sequence[Any], *, for_derivative: bool = False
) -> Binding:
    """The binding of a call with these results; with ``for_derivative`` nobody looks at integer ones, which have none."""
    skips = for_derivative or _is_derivative(hook)
    return bind(hook, trees, out_tree, tuple(skips and not shapes.is_inexact(spec.dtype) for spec in specs))


@functools.cache
def _is_derivative(hook: Hook) -> bool:
    cls: Any = hook.cls
    return hook.name in rules.all_derivatives(cls._rules)


def of_variant(binding: Binding, variant: Hook) -> Binding:
    """How the hook is called on one platform."""
    if binding.hook is variant:
        return binding
    return bind(variant, binding.trees, binding.out_tree, binding.ignored)


def as_lowered(binding: Binding, *, layout: Any = None, signature: Any = None) -> Binding:
    """The same call where it is known how batch axes lie, or of which types arrays are; None: it does not matter to it."""
    if layout is None and signature is None:
        return binding
    fixed = binding.hook, binding.trees, binding.out_tree, binding.ignored
    return bind(*fixed, layout=layout, signature=signature)


def arguments(trees: tuple[Any, ...], leaves: Any) -> list[Any]:
    """A hook's arguments from their leaves."""
    result, start = [], 0
    for tree in trees:
        stop = start + tree.num_leaves
        result.append(jax.tree.unflatten(tree, leaves[start:stop]))
        start = stop
    return result


def is_batched(hook: Hook) -> bool:
    """Whether the hook is given whole batches, of all but its fields."""
    return hook.cls._traits.batched and not hook.rule.in_fields


def looped_axes(binding: Binding, batch: Batch) -> int:
    """How many batch axes of native code are looped over: all of them, or those of its fields."""
    return batch.looped_axes(binding.are_fields()) if is_batched(binding.hook) else batch.axes
