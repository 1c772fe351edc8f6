"""Bindings: a hook with everything static about its calls, which is the parameter of its primitive."""

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
    """A hook with everything static about its calls: static fields, tree structures and types.

    Equal bindings are one object. The library refers to bindings weakly, and programs keep them alive, together with the
    objects in static fields. A binding is callable because JAX's cache of abstract evaluations refers to callables weakly,
    but keeps other parameters until the cache is cleared.

    Attributes
    ----------
    hook : Hook
        The hook.
    trees : tuple of PyTreeDef
        The structure of each argument, ``self`` first.
    out_tree : PyTreeDef
        The structure of the result.
    ignored : tuple of bool
        For each result: whether nothing is computed, because it is the derivative of an integer.
    layout : plain value
        How foreign code finds its batch axes; None if it has none, or if they are looped over.
    signature : plain value
        The types for which foreign code is compiled; None if it is not compiled for types.
    programs : dict
        For a traced hook: JAX functions, by the specs of their results.
    promises : Promises
        The types with which programs of this process call the hook.
    target : object
        The object that the extension calls; None before it is made.
    nonce : str
        The key in this process, if the binding has no stable key; None before it is made.
    """

    __slots__ = ("hook", "ignored", "layout", "nonce", "out_tree", "programs", "promises", "signature", "target",
                 "trees")  # fmt: skip

    hook: Hook
    trees: tuple[Any, ...]
    out_tree: Any
    ignored: tuple[bool, ...]
    layout: Any
    signature: Any
    programs: dict[Any, Any]
    promises: Promises
    target: Any
    nonce: str | None

    def __repr__(self) -> str:
        return self.label

    def __call__(self, *leaves: Any, **keywords: Any) -> Any:
        """Evaluates the hook; ``leaves`` are the leaves of all its arguments."""
        return self.hook.evaluate(arguments(self.trees, leaves), **keywords)

    def __reduce__(self) -> Any:
        return str, (self.label,)  # a serialized executable finds its target by its key and does not need the binding

    @property
    def convention(self) -> Any:
        """The calling convention of the hook, which its class chooses."""
        cls: Any = self.hook.cls
        return cls._convention(self)

    @property
    def label(self) -> str:
        return self.convention.label

    def first(self, operands: Sequence[Any]) -> int:
        """The position of the first operand of the hook. Before it are the arrays that traced code closes over."""
        return len(operands) - sum(tree.num_leaves for tree in self.trees)

    def names(self) -> list[str]:
        """For each operand of the hook: the argument of which it is a leaf."""
        return [
            name
            for name, tree in zip(self.hook.rule.arguments, self.trees, strict=True)
            for _ in range(tree.num_leaves)
        ]

    def are_fields(self) -> list[bool]:
        """For each operand: whether it is a field of an operator. Batch axes of fields are always looped over."""
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
    """The binding with these values. Equal values give the same object, so that bindings compare by identity."""
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
    """The binding of a call whose results have these specs.

    Integer results of a derivative are not computed. That is also so if ``for_derivative`` is True, for a hook that is
    called in place of a derivative.
    """
    skips = for_derivative or _is_derivative(hook)
    return bind(hook, trees, out_tree, tuple(skips and not shapes.is_inexact(spec.dtype) for spec in specs))


@functools.cache
def _is_derivative(hook: Hook) -> bool:
    cls: Any = hook.cls
    return hook.name in rules.all_derivatives(cls._rules)


def of_variant(binding: Binding, variant: Hook) -> Binding:
    """The binding for the variant of the hook on one platform."""
    if binding.hook is variant:
        return binding
    return bind(variant, binding.trees, binding.out_tree, binding.ignored)


def as_lowered(binding: Binding, *, layout: Any = None, signature: Any = None) -> Binding:
    """The binding of the same call at lowering, with the layout of batch axes and the types of arrays.

    Both are None for foreign code that does not depend on them.
    """
    if layout is None and signature is None:
        return binding
    fixed = binding.hook, binding.trees, binding.out_tree, binding.ignored
    return bind(*fixed, layout=layout, signature=signature)


def arguments(trees: tuple[Any, ...], leaves: Any) -> list[Any]:
    """The arguments of a hook from the leaves of all of them."""
    result, start = [], 0
    for tree in trees:
        stop = start + tree.num_leaves
        result.append(jax.tree.unflatten(tree, leaves[start:stop]))
        start = stop
    return result


def with_state(
    binding: Binding, operands: Sequence[Any], value: Sequence[jax.ShapeDtypeStruct]
) -> tuple[Any, list[jax.ShapeDtypeStruct]]:
    """The structure and the specs of the result of ``linearize``, from the binding of ``apply``.

    Parameters
    ----------
    binding : Binding
        The binding of ``apply``.
    operands : sequence of arrays or specs
        Its operands, of one element of a batch.
    value : sequence of jax.ShapeDtypeStruct
        The specs of its result.
    """
    op, *point = arguments(binding.trees, operands)
    specs, state = jax.tree.flatten(op._infer_state_shape(*point))
    return jax.tree_util.treedef_tuple((binding.out_tree, state)), [*value, *specs]


def is_batched(hook: Hook) -> bool:
    """Whether the hook takes whole batches of its arguments (but not of its fields)."""
    return hook.cls._traits.batched and not hook.rule.in_fields


def looped_axes(binding: Binding, batch: Batch) -> int:
    """The number of batch axes over which native code is looped: all, or only as many as its fields have."""
    return batch.looped_axes(binding.are_fields()) if is_batched(binding.hook) else batch.axes
