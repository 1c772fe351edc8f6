"""The tracers that a traced hook closes over, and the named axes of ``vmap`` that it uses.

The rules of differentiation may run later, when these tracers and axes no longer exist: the transformation to which they
belong has ended. So if a hook uses any, all hooks that these rules may need are traced together with it. The arrays that
all of them close over become operands of the primitive, in front of the others.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.core

from linops_jax import _compat
from linops_jax._engine import traced_hooks
from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding, bind_hook, with_state
from linops_jax._model import shapes
from linops_jax._model.rules import CT, STATE, T


class Program(NamedTuple):
    """A hook, traced for operands of given types.

    Parameters
    ----------
    binding : Binding
        The hook.
    types : tuple of jax.ShapeDtypeStruct
        The types of its operands.
    jaxprs : tuple of jaxprs
        One for each traced variant of the hook; empty for foreign code.
    uses : tuple of tuples of int
        For each jaxpr: the positions of its closed-over arrays among those of all programs. They are its first operands.
    """

    binding: Binding
    types: tuple[jax.ShapeDtypeStruct, ...]
    jaxprs: tuple[Any, ...]
    uses: tuple[tuple[int, ...], ...]

    def __repr__(self) -> str:
        return f"{self.binding.label}({', '.join(map(shapes.describe, self.types))})"


class Closures(NamedTuple):
    """The program of a call, the arrays that it closes over, and the programs that its derivatives may need.

    There are no such programs (``related`` is empty) if the derivatives can be traced later.
    """

    closed_over: tuple[Any, ...]
    program: Program
    related: tuple[Program, ...]


def of(binding: Binding, specs: Sequence[jax.ShapeDtypeStruct], elements: Sequence[Any]) -> Closures:
    """The closures of a call of traced code; ``elements`` are its operands, or the types of one element of a batch."""
    collector = _Collector()
    program = collector.trace(binding, specs, elements)
    related: tuple[Program, ...] = ()
    if any(isinstance(x, jax.core.Tracer) for x in collector.closed_over) or _names_mapped_axes(program):
        related = tuple(collector.trace_related(binding, specs, elements))
    return Closures(tuple(collector.closed_over), program, related)


def _names_mapped_axes(program: Program) -> bool:
    """Whether the program uses named axes of ``vmap``. Mesh axes do not count: they still exist in its derivatives."""
    return any(_compat.named_axes(jaxpr) - _compat.manual_axes() for jaxpr in program.jaxprs)


def find(related: Sequence[Program], binding: Binding, elements: Sequence[Any]) -> Program | None:
    """The program of a binding that accepts operands of these types, or None.

    The types of the program may vary over more mesh axes than the operands.
    """
    for program in related:
        if program.binding is binding and (
            not program.jaxprs
            or all(
                _compat.varying_axes(x) <= _compat.varying_axes(spec)
                for x, spec in zip(elements, program.types, strict=True)
            )
        ):
            return program
    return None


class _Collector:
    """Traces hooks, and collects the arrays that they close over."""

    def __init__(self) -> None:
        self.closed_over: list[Any] = []

    def trace(self, binding: Binding, specs: Sequence[jax.ShapeDtypeStruct], elements: Sequence[Any]) -> Program:
        jaxprs, uses = [], []
        for variant in traced_hooks.variants(binding):
            _, jaxpr, closed_over = traced_hooks.trace(variant, specs, elements)
            jaxprs.append(jaxpr)
            uses.append(tuple(map(self._position, closed_over)))
        _refuse_other_types(binding, jaxprs)
        return Program(binding, tuple(map(shapes.spec, elements)), tuple(jaxprs), tuple(uses))

    def _position(self, value: Any) -> int:
        for position, known in enumerate(self.closed_over):
            if known is value:
                return position
        self.closed_over.append(value)
        return len(self.closed_over) - 1

    def trace_related(
        self, binding: Binding, specs: Sequence[jax.ShapeDtypeStruct], elements: Sequence[Any]
    ) -> Iterator[Program]:
        """All programs that the rules of differentiation may need.

        Inside of ``shard_map``, tangents may vary between devices where the values do not, so each hook is also traced for
        such types.
        """
        types = tuple(map(shapes.spec, elements))
        todo = [(binding, tuple(specs), types)]
        if axes := _compat.manual_axes():
            todo.append((binding, tuple(specs), tuple(_compat.varying_over(axes, spec) for spec in types)))
        seen = set()
        while todo:
            call = todo.pop(0)
            if call in seen:
                continue
            seen.add(call)
            try:
                program = self.trace(*call)
                results = _types_of_results(program, call[1])
            except Exception:  # the hook may never be needed; if it is, its error is raised then
                continue
            yield program
            todo += _asked_next(*call, results)


def _types_of_results(program: Program, specs: Sequence[jax.ShapeDtypeStruct]) -> tuple[jax.ShapeDtypeStruct, ...]:
    if program.jaxprs:
        return tuple(map(shapes.spec, program.jaxprs[0].out_avals))
    hook = program.binding.hook
    evaluate = functools.partial(
        hook.cls._primitives[hook.name].bind,
        binding=program.binding,
        batch=Batch.none(len(program.types)),
        out=tuple((spec.shape, spec.dtype) for spec in specs),
    )
    return tuple(_compat.eval_shape(evaluate, *program.types))


# A binding, the specs of its results, the types of its operands.
_Call = tuple[Binding, tuple[jax.ShapeDtypeStruct, ...], tuple[jax.ShapeDtypeStruct, ...]]


def _asked_next(
    binding: Binding,
    specs: tuple[jax.ShapeDtypeStruct, ...],
    types: tuple[jax.ShapeDtypeStruct, ...],
    results: tuple[jax.ShapeDtypeStruct, ...],
) -> Iterator[_Call]:
    """The calls that the rules of forward mode and of transposition may make for a call."""
    hook, cls = binding.hook, binding.hook.cls
    trees = dict(zip(hook.rule.arguments, binding.trees, strict=True))
    groups, start = {}, 0
    for name, tree in trees.items():
        groups[name] = types[start : start + tree.num_leaves]
        start += tree.num_leaves
    trees[CT], groups[CT] = binding.out_tree, results
    out_tree = binding.out_tree
    if hook.rule.remembers:
        out_tree, out = with_state(binding, types, specs)
        target = cls._hooks[hook.rule.remembers]
        yield bind_hook(target, binding.trees, out_tree, out, for_derivative=False), tuple(out), types
        return
    if hook.rule.with_state:
        out_tree, trees[STATE] = binding.out_tree.children()
        specs, groups[STATE] = specs[: out_tree.num_leaves], results[out_tree.num_leaves :]

    def call(target: str, arguments: Sequence[str], out_tree: Any, out: tuple[jax.ShapeDtypeStruct, ...]) -> _Call:
        chosen = tuple(trees[argument] for argument in arguments)
        found = bind_hook(cls._hooks[target], chosen, out_tree, out, for_derivative=True)
        return found, out, tuple(spec for argument in arguments for spec in groups[argument])

    for name in hook.rule.arguments:
        trees[T], groups[T] = trees[name], groups[name]
        if name in hook.rule.transposed:
            yield call(hook.name, [T if a == name else a for a in hook.rule.arguments], binding.out_tree, specs)
            target, arguments = hook.rule.transposed[name]
            if target in cls._hooks:
                yield call(target, arguments, trees[name], groups[name])
        elif name in hook.rule.derivative:
            target, arguments = hook.rule.derivative[name]
            if target in cls._hooks:
                yield call(target, arguments, out_tree, specs)


def _refuse_other_types(binding: Binding, jaxprs: Sequence[Any]) -> None:
    """Raises TypeError if the variants for several platforms have results of different types: a program has only one."""
    for jaxpr in jaxprs[1:]:
        found, expected = (", ".join(aval.str_short() for aval in j.out_avals) for j in (jaxpr, jaxprs[0]))
        if found != expected:
            message = (
                f"{binding.label}: the traced hooks of two platforms differ in where their results lie on the mesh: found "
                f"{expected} and {found}. Use jax.sharding.reshard or jax.lax.pcast in one of them."
            )
            raise TypeError(message)
