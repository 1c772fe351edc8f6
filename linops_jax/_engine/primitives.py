"""One of two files that import JAX's interpreters: one primitive per hook, and the same five rules for all of them.

Operands of a primitive are the leaves of the hook's arguments, ``self`` first; in front of them what traced hooks close
over. Under ``vmap`` an operand gains leading axes for just those batch axes that it has; ``batch`` says which (per operand,
outermost axis first), results have all of them. ``out`` holds shape and dtype of the results of one evaluation. With traced
code come ``jaxprs``, ``uses`` and ``related`` (see _closures), and ``names`` of batch axes that it needs. Differentiation
follows the table in _hooks.
"""

from __future__ import annotations

import functools
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.extend.core
import jax.numpy as jnp
import numpy as np
from jax.interpreters import ad, batching, mlir, xla

from linops_jax import _compat
from linops_jax._engine import absent, closures, errors, traced_hooks, trampoline
from linops_jax._engine.closures import Program
from linops_jax._engine.trampoline import Binding
from linops_jax._model import hooks, shapes
from linops_jax._model.hooks import ADJOINT_PARAMETER_JVP, CT, HOST, MISSING, NATIVE, REFUSED, TRACED, Hook, T
from linops_jax._native import Handler

Mask = tuple[bool, ...]


def make_primitive(hook: Hook) -> jax.extend.core.Primitive:
    """The primitive of one hook, with its rules. Registers nothing by name."""
    primitive = jax.extend.core.Primitive(hook.label)
    primitive.multiple_results = True
    primitive.def_effectful_abstract_eval(_abstract_eval)
    waits = functools.partial(calls_foreign_code, hook)
    primitive.def_impl(functools.partial(_evaluate_eagerly, primitive, waits))
    if hook.is_foreign:
        _foreign.add(primitive)
    batching.fancy_primitive_batchers[primitive] = functools.partial(_batch, primitive)
    ad.primitive_jvps[primitive] = functools.partial(_jvp, hook)
    ad.primitive_transposes[primitive] = functools.partial(_transpose, hook)
    mlir.register_lowering(primitive, functools.partial(_refuse_platform, hook))
    for platform, variant in (hook.variants or {_platform(hook): hook}).items():
        rule = functools.partial(_LOWERINGS[variant.kind], variant)
        mlir.register_lowering(primitive, rule, platform=None if platform == "default" else platform)
    return primitive


def _platform(hook: Hook) -> str:
    """Where a hook without variants can run."""
    if hook.kind == NATIVE:
        return "default" if hook.function.anywhere else "cpu"  # type: ignore[attr-defined]
    return "cpu" if hook.kind in (HOST, REFUSED) else "default"


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
    results = _bind(hook, tuple(trees), leaves, [()] * len(leaves), out_tree, specs)
    return jax.tree.unflatten(out_tree, results)


def evaluate(binding: Binding, operands: Sequence[Any], out: tuple[Any, ...]) -> list[Any]:
    """A hook on the arrays in its arguments, in a row; ``out`` holds shape and dtype of the results."""
    batch = ((),) * len(operands)
    return binding.hook.cls._primitives[binding.hook.name].bind(*operands, binding=binding, batch=batch, out=out)


def _bind(
    hook: Hook,
    trees: tuple[Any, ...],
    operands: Sequence[Any],
    masks: Sequence[Mask],
    out_tree: Any,
    specs: Sequence[jax.ShapeDtypeStruct],
    *,
    for_derivative: bool = False,
) -> list[Any]:
    """Binds the primitive; with ``for_derivative`` nobody looks at integer results, which have no derivative."""
    binding = trampoline.bind_hook(hook, trees, out_tree, specs, for_derivative=for_derivative)
    operands = [x if isinstance(x, jax.Array) else jnp.asarray(x) for x in operands]
    if hook.is_jax:
        return _bind_traced(binding, operands, tuple(masks), specs)
    return _primitive(hook).bind(*operands, binding=binding, batch=tuple(masks), out=_out(specs))


def _primitive(hook: Hook) -> Any:
    return hook.cls._primitives[hook.name]


def _out(specs: Sequence[jax.ShapeDtypeStruct]) -> tuple[Any, ...]:
    return tuple((spec.shape, spec.dtype) for spec in specs)


def _bind_traced(
    binding: Binding, operands: Sequence[Any], batch: tuple[Mask, ...], specs: Sequence[jax.ShapeDtypeStruct]
) -> list[Any]:
    """A traced hook whose derivatives are JAX's own is called as any JAX function; others are a primitive with a jaxpr,
    whose first operands are what the hook closes over."""
    if binding.hook.is_plain and _compat.manual_axes():  # tangents may vary over more axes than a jaxpr's types
        return _mapped(traced_hooks.function(binding, specs), batch)(*operands)
    elements = [_element(jax.typeof(x), mask) if any(mask) else x for x, mask in zip(operands, batch, strict=True)]
    if not binding.hook.is_plain:
        closed = closures.of(binding, specs, elements)
        for jaxpr in closed.program.jaxprs:
            _note_foreign_code(binding.hook, jaxpr)
        return _bind_program(closed.program, closed.closed_over, operands, batch, _out(specs), closed.related)
    program, jaxpr, closed_over = traced_hooks.trace(binding, specs, elements)
    _note_foreign_code(binding.hook, jaxpr)
    # JAX's caches keep what stands in the key: the binding, so that the next call finds its jaxpr, but not tracers.
    function = program if closed_over else functools.partial(_inlined(binding.hook), jaxpr, binding)
    return _mapped(function, batch)(*operands)


def _bind_program(
    program: Program,
    closed_over: Sequence[Any],
    operands: Sequence[Any],
    batch: Sequence[Mask],
    out: tuple[Any, ...],
    related: tuple[Program, ...] = (),
    names: tuple[Any, ...] = (),
    masks: Sequence[Mask] | None = None,
) -> list[Any]:
    """Binds the primitive with what its traced code closes over; ``masks`` are for that."""
    if masks is None:
        masks = [(False,) * len(batch[0])] * len(closed_over)
    return _primitive(program.binding.hook).bind(
        *closed_over,
        *operands,
        binding=program.binding,
        batch=(*masks, *batch),
        out=out,
        jaxprs=program.jaxprs,
        uses=program.uses,
        related=related,
        names=names,
    )


def as_function(jaxpr: Any) -> Callable[..., list[Any]]:
    """A closed jaxpr as a function of its operands."""
    return jax.extend.core.jaxpr_as_fun(jaxpr)


@functools.cache
def _inlined(hook: Hook) -> Callable[..., Any]:
    def evaluate(jaxpr: Any, binding: Binding, *operands: Any) -> list[Any]:
        return as_function(jaxpr)(*operands)

    evaluate.__name__ = evaluate.__qualname__ = hook.label
    return jax.jit(evaluate, static_argnums=(0, 1))


def _element(aval: Any, mask: Mask) -> jax.ShapeDtypeStruct:
    """The type of one element of a batch."""
    axes = sum(mask)
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*sharding.spec[axes:]))
    return shapes.spec(aval.update(shape=aval.shape[axes:], sharding=sharding))


def _mapped(function: Callable[..., Any], batch: Sequence[Mask], names: Sequence[Any] = ()) -> Callable[..., Any]:
    """A function of one element as a function of the primitive's operands."""
    for axis in reversed(range(len(batch[0]))):
        name = names[axis] if names else None
        function = jax.vmap(function, in_axes=[0 if mask[axis] else None for mask in batch], axis_name=name)
    return function


# ---- foreign code -------------------------------------------------------------------------------------------------

_foreign: set[Any] = set()  # primitives of foreign code; traced hooks that were seen to call it, which live as long
_looked_into: weakref.WeakSet[Any] = weakref.WeakSet()  # jaxprs


def calls_foreign_code(hook: Hook) -> bool:
    """Whether it may raise while it runs: it is foreign code, or traced code that calls some, as far as it has been traced."""
    return hook.is_foreign or hook in _foreign


def _note_foreign_code(hook: Hook, jaxpr: Any) -> None:
    if hook not in _foreign and jaxpr not in _looked_into:
        _looked_into.add(jaxpr)
        if _has_foreign_code(jaxpr):
            _foreign.add(hook)


def _has_foreign_code(program: Any) -> bool:
    """Whether a jaxpr, or anything in the parameters of its equations, calls foreign code."""
    if isinstance(program, tuple | list):
        return any(map(_has_foreign_code, program))
    jaxpr = getattr(program, "jaxpr", program)
    equations = getattr(jaxpr, "eqns", ())
    return any(eqn.primitive in _foreign or _has_foreign_code(tuple(eqn.params.values())) for eqn in equations)


# ---- evaluation ---------------------------------------------------------------------------------------------------


def _batch_axes(avals: Sequence[Any], batch: Sequence[Mask]) -> list[list[tuple[Any, int]]]:
    """For every batch axis, outermost first: the operands that have it, and where."""
    return [
        [(aval, sum(mask[:axis])) for aval, mask in zip(avals, batch, strict=True) if mask[axis]]
        for axis in range(len(batch[0]))
    ]


def _batch_sizes(avals: Sequence[Any], batch: Sequence[Mask]) -> tuple[Any, ...]:
    return tuple(owners[0][0].shape[owners[0][1]] for owners in _batch_axes(avals, batch))


def _batch_partition(avals: Sequence[Any], batch: Sequence[Mask]) -> list[Any]:
    """How each batch axis lies on an explicit mesh: operands that are not on it do not say."""
    return [
        next((name for aval, at in owners if len(aval.sharding.spec) > at and (name := aval.sharding.spec[at])), None)
        for owners in _batch_axes(avals, batch)
    ]


def _abstract_eval(
    *avals: Any,
    binding: Binding,
    batch: tuple[Mask, ...],
    out: tuple[Any, ...],
    jaxprs: tuple[Any, ...] = (),
    uses: tuple[tuple[int, ...], ...] = (),
    related: tuple[Program, ...] = (),
    names: tuple[Any, ...] = (),
) -> tuple[list[Any], Any]:
    sizes, partition = _batch_sizes(avals, batch), _batch_partition(avals, batch)
    if jaxprs:
        effects = set().union(*(_compat.without_axes(jaxpr.effects, names) for jaxpr in jaxprs))
        return [_batched(aval, sizes, partition) for aval in jaxprs[0].out_avals], effects
    avals, batch = avals[_first(binding, avals) :], batch[_first(binding, avals) :]
    _refuse_to_gather(avals, binding, batch)
    model = next((aval for aval in avals if not aval.sharding.mesh.empty), avals[0])
    model = _compat.varying_over(frozenset().union(*map(_compat.varying_axes, avals)), model)

    def result(shape: tuple[int, ...], dtype: Any) -> Any:
        whole = model.sharding.update(spec=jax.sharding.PartitionSpec(*[None] * len(shape)))
        aval = model.update(shape=shape, dtype=jax.dtypes.canonicalize_dtype(dtype), sharding=whole)
        return _batched(aval, sizes, partition)

    return [result(shape, dtype) for shape, dtype in out], set()


def _first(binding: Binding, operands: Sequence[Any]) -> int:
    """Where the operands of the hook begin, behind what traced code closes over."""
    return len(operands) - sum(tree.num_leaves for tree in binding.trees)


def _refuse_to_gather(avals: Sequence[Any], binding: Binding, batch: tuple[Mask, ...]) -> None:
    """On an explicit mesh nothing is gathered unless somebody says so; batch axes are shared out among devices."""
    names = [
        name
        for name, tree in zip(binding.hook.rule.arguments, binding.trees, strict=True)
        for _ in range(tree.num_leaves)
    ]
    for name, aval, mask in zip(names, avals, batch, strict=True):
        if any(aval.sharding.spec[sum(mask) :]):
            message = (
                f"{binding.label} is foreign code and needs the whole of {'each field' if name == 'self' else name}, but on "
                f"this explicit mesh it is sharded: found {aval.str_short(short_dtypes=True)}. Gather it with "
                "jax.sharding.reshard(array, jax.P()), or call the operator inside jax.shard_map, where it gets the part of "
                "each device."
            )
            raise TypeError(message)


def _batched(aval: Any, sizes: Sequence[Any], partition: Sequence[Any]) -> Any:
    """The type of a batch of results: batch axes keep their place on the mesh."""
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*partition, *sharding.spec))
    return aval.update(shape=(*sizes, *aval.shape), weak_type=False, sharding=sharding)


def _evaluate_eagerly(primitive: Any, waits: Callable[[], bool], *operands: Any, **params: Any) -> list[Any]:
    """Eager calls of foreign code wait, so that the user's own exception is raised where the call stands."""
    return run_compiled(functools.partial(xla.apply_primitive, primitive, **params), waits, *operands)


def run_compiled(function: Callable[..., Any], waits: Callable[[], bool], *arguments: Any) -> Any:
    """Runs a compiled function; where it waits, the exception of a host hook comes out as it was raised.

    ``waits`` is asked afterwards, when the function has been traced.
    """
    errors.begin_eager_call()
    try:
        result = function(*arguments)
        if not waits():
            return result
        for leaf in (result,) if hasattr(result, "block_until_ready") else jax.tree.leaves(result):
            if hasattr(leaf, "block_until_ready"):  # not a tracer: a call on constants while something else is traced
                leaf.block_until_ready()
    except errors.OF_XLA as error:
        original = errors.original(error)
        if original is None:
            raise
    else:
        return result
    finally:
        errors.end_eager_call()
    raise original


def always() -> bool:
    return True


def as_raised(function: Callable[..., Any]) -> Callable[..., Any]:
    """The same function of the library's own, often compiled: it waits, and the exception of a host hook comes out as it
    was raised."""

    @functools.wraps(function)
    def run(*arguments: Any, **keywords: Any) -> Any:
        return run_compiled(functools.partial(function, **keywords), always, *arguments)

    return run


def _evaluate_traced(
    *operands: Any,
    binding: Binding,
    batch: tuple[Mask, ...],
    out: tuple[Any, ...],
    jaxprs: tuple[Any, ...] = (),
    uses: tuple[tuple[int, ...], ...] = (),
    related: tuple[Program, ...] = (),
    names: tuple[Any, ...] = (),
    variant: int = 0,
) -> list[Any]:
    """A traced hook as a JAX function of the primitive's operands."""
    first = _first(binding, operands)
    if jaxprs:
        chosen = [*uses[variant], *range(first, len(operands))]
        function = _mapped(as_function(jaxprs[variant]), [batch[i] for i in chosen], names)
        return function(*(operands[i] for i in chosen))
    function = traced_hooks.function(binding, [jax.ShapeDtypeStruct(*spec) for spec in out])
    same = _compat.with_same_varying_axes(list(operands[first:]))  # as the hook of the host has them
    return _mapped(function, batch[first:])(*same)


def _lower_host(
    hook: Hook, context: Any, *operands: Any, binding: Binding, batch: tuple[Mask, ...], **params: Any
) -> Any:
    context, operands, batch = _without_closures(context, operands, binding, batch)
    return trampoline.lower_host(context, *operands, binding=trampoline.of_variant(binding, hook), batch=batch)


def _without_closures(context: Any, operands: Sequence[Any], binding: Binding, batch: tuple[Mask, ...]) -> Any:
    """What foreign code is given: it knows nothing of what traced code closes over, and has to have all of its operands."""
    first = _first(binding, operands)
    avals = context.avals_in[first:]
    if binding.hook.is_jax:  # the types are those of the traced code
        _refuse_to_gather(avals, binding, batch[first:])
    return context.replace(avals_in=avals), operands[first:], batch[first:]


def _lower_traced(hook: Hook, context: Any, *operands: Any, binding: Binding, **params: Any) -> Any:
    rule = mlir.lower_fun(_evaluate_traced, multiple_results=True)
    variants = binding.hook.traced_variants
    return rule(context, *operands, binding=binding, variant=variants.index(hook) if variants else 0, **params)


def _lower_native(
    hook: Hook,
    context: Any,
    *operands: Any,
    binding: Binding,
    batch: tuple[Mask, ...],
    out: tuple[Any, ...],
    **traced: Any,
) -> Any:
    context, operands, batch = _without_closures(context, operands, binding, batch)
    binding = trampoline.of_variant(binding, hook)
    if not isinstance(hook.function, Handler):
        return trampoline.lower_native(context, *operands, binding=binding, batch=batch)
    attributes = trampoline.handler_attributes(context, binding)
    if trampoline.can_loop(context, binding, batch, attributes):
        return trampoline.lower_handler_loop(context, *operands, binding=binding, batch=batch, attributes=attributes)
    call = trampoline.handler_call(context, binding, attributes)
    if not any(map(any, batch)):
        call = functools.partial(call, same=trampoline.aliases(context, binding, batch))
    evaluate = functools.partial(_evaluate_handler, call, binding=binding, batch=batch, out=out)
    return mlir.lower_fun(evaluate, multiple_results=True)(context, *operands)


def _evaluate_handler(
    call: Callable[..., Any], *operands: Any, binding: Binding, batch: tuple[Mask, ...], out: tuple[Any, ...]
) -> list[Any]:
    """A hand-written FFI handler as a JAX function of the primitive's operands, with XLA's own loop over a batch: one
    with stages, a state or a name only is for XLA alone to call."""
    looped, fields = trampoline.looped_axes(binding, batch), trampoline.are_fields(binding)
    sizes = _batch_sizes([jax.typeof(x) for x in operands], batch)[looped:]

    def once(*leaves: Any) -> list[Any]:
        shown = [
            x if field else jnp.expand_dims(x, [axis for axis, has in enumerate(mask[looped:]) if not has])
            for x, mask, field in zip(leaves, batch, fields, strict=True)
        ]
        results = call([jax.ShapeDtypeStruct((*sizes, *shape), dtype) for shape, dtype in out], *shown)
        return [
            jnp.zeros_like(result) if ignored else result
            for result, ignored in zip(results, binding.ignored, strict=True)
        ]

    function = once
    for axis in reversed(range(looped)):
        function = _loop(function, [mask[axis] for mask in batch])
    return function(*operands)


def _loop(function: Callable[..., list[Any]], mapped: Sequence[bool]) -> Callable[..., list[Any]]:
    def loop(*operands: Any) -> list[Any]:
        def once(elements: list[Any]) -> list[Any]:
            moving = iter(elements)
            return function(*(next(moving) if has else x for x, has in zip(operands, mapped, strict=True)))

        return jax.lax.map(once, [x for x, has in zip(operands, mapped, strict=True) if has])

    return loop


def _refuse_platform(hook: Hook, context: Any, *operands: Any, **params: Any) -> Any:
    platforms = ", ".join(context.module_context.platforms)
    label = params["binding"].label
    if hook.kind == REFUSED:
        raise absent.not_transposed(params["binding"], [True] * len(operands))
    if hook.variants:
        message = (
            f"{label} has no implementation for {platforms}, only for {', '.join(hook.variants)}. Add one to "
            "lo.per_platform, or a traced default=, or run it under jax.default_device."
        )
    else:
        message = (
            f"{label} is a {hook.kind} hook and runs on the CPU only, not on {platforms}. Run it under "
            "jax.default_device(jax.devices('cpu')[0]), write it with lo.traced, or give both with lo.per_platform."
        )
    raise NotImplementedError(message)


def _refuse_missing(hook: Hook, context: Any, *operands: Any, **params: Any) -> Any:
    if "dself" in hook.rule.arguments:
        rule = mlir.lower_fun(functools.partial(_refuse_nonzero, hook), multiple_results=True)
        return rule(context, *operands, **params)
    why = "forward mode over forward mode needs it" if hook.name == "hessian_apply" else absent.FORWARD
    raise absent.missing(params["binding"], hook.name, why)


def _refuse_nonzero(
    hook: Hook, *operands: Any, binding: Binding, batch: tuple[Mask, ...], out: tuple[Any, ...], **traced: Any
) -> list[Any]:
    """Of a derivative in the fields that can be transposed only: zeros, unless a tangent is not zero."""
    groups = _Groups(binding, operands, batch)
    sizes = _batch_sizes([jax.typeof(x) for x in operands], batch)
    origin = "adjoint" if hook.name == ADJOINT_PARAMETER_JVP else "apply"
    zero = _zero_or_error(hook.cls, origin, groups.trees["dself"], groups.values["dself"], groups.masks["dself"])
    return [jnp.full((*sizes, *shape), zero.astype(dtype)) for shape, dtype in out]


def _zero_or_error(cls: Any, name: str, tree: Any, tangents: Sequence[Any], masks: Sequence[Mask]) -> Any:
    """Zero, in a program that raises an error where a tangent of a field is not zero."""
    moves = [not _vanishes(t) for t in tangents]
    dself = jax.tree.unflatten(tree, [t if m else None for t, m in zip(tangents, moves, strict=True)])
    values, tree = jax.tree.flatten(dself)
    kept = [mask for mask, m in zip(masks, moves, strict=True) if m]
    axes = [axis for axis in range(len(kept[0])) if any(mask[axis] for mask in kept)]
    kept = [tuple(mask[axis] for axis in axes) for mask in kept]
    hook = cls._hooks[hooks.refusal_of(name)]
    spec = jax.ShapeDtypeStruct((), np.float32)
    (zero,) = _bind(hook, (tree,), values, kept, jax.tree.structure(0), [spec])
    return jnp.sum(zero)


_LOWERINGS = {
    HOST: _lower_host,
    REFUSED: _lower_host,
    TRACED: _lower_traced,
    NATIVE: _lower_native,
    MISSING: _refuse_missing,
}


def _batch(
    primitive: Any,
    axis: Any,
    operands: Sequence[Any],
    dims: Sequence[Any],
    *,
    batch: tuple[Mask, ...],
    binding: Binding,
    jaxprs: tuple[Any, ...] = (),
    related: tuple[Program, ...] = (),
    names: tuple[Any, ...] = (),
    **params: Any,
) -> tuple[Sequence[Any], list[Any]]:
    """One more batch axis, in front. It keeps its name where traced code has a use for it, now or in a derivative."""
    named = {name for jaxpr in (*jaxprs, *(j for p in related for j in p.jaxprs)) for name in _compat.named_axes(jaxpr)}
    name = axis.name if axis.name in named else None
    moved = [x if dim is None else jnp.moveaxis(x, dim, 0) for x, dim in zip(operands, dims, strict=True)]
    has = [dim is not None for dim in dims]
    first = _first(binding, operands)
    traced = {"jaxprs": jaxprs, "related": related, "names": names} if jaxprs or related else {}
    if name is None and not any(has):
        return primitive.bind(*operands, batch=batch, binding=binding, **params, **traced), [None] * len(params["out"])
    if name is not None or names:
        traced["names"] = (name, *(names or (None,) * len(batch[0])))
    if not any(has if jaxprs else has[first:]):  # nothing that the hook itself is given
        has[first], moved[first] = True, jnp.broadcast_to(moved[first], (axis.size, *jnp.shape(moved[first])))
    masks = tuple((own, *mask) for own, mask in zip(has, batch, strict=True))
    results = primitive.bind(*moved, batch=masks, binding=binding, **params, **traced)
    return results, [0] * len(results)


# ---- differentiation ----------------------------------------------------------------------------------------------


class _Groups:
    """The operands of a primitive by argument of its hook."""

    def __init__(
        self,
        binding: Binding,
        operands: Sequence[Any],
        batch: tuple[Mask, ...],
        related: tuple[Program, ...] = (),
        names: tuple[Any, ...] = (),
    ):
        self.trees = dict(zip(binding.hook.rule.arguments, binding.trees, strict=True))
        self.values: dict[str, list[Any]] = {}
        self.masks: dict[str, list[Mask]] = {}
        start = _first(binding, operands)
        self.closed_over, self.closed_over_masks = list(operands[:start]), list(batch[:start])
        self.related, self.names = related, names
        for name, tree in self.trees.items():
            stop = start + tree.num_leaves
            self.values[name] = list(operands[start:stop])
            self.masks[name] = list(batch[start:stop])
            start = stop

    def add(self, name: str, tree: Any, values: list[Any], masks: list[Mask]) -> None:
        self.trees[name], self.values[name], self.masks[name] = tree, values, masks

    def bind(self, hook: Hook, names: Sequence[str], out_tree: Any, specs: Sequence[Any]) -> list[Any]:
        """Another hook of these arguments. What it closes over may be gone: then it has been traced before."""
        trees = tuple(self.trees[name] for name in names)
        values = [value for name in names for value in self.values[name]]
        masks = [mask for name in names for mask in self.masks[name]]
        binding = trampoline.bind_hook(hook, trees, out_tree, specs, for_derivative=True)
        program = closures.find(self.related, binding, values)
        if program is None:
            try:
                return _bind(hook, trees, values, masks, out_tree, specs, for_derivative=True)
            except jax.errors.UnexpectedTracerError as error:
                raise absent.out_of_reach(binding) from error
        return _bind_program(
            program,
            self.closed_over,
            _as_typed(values, masks, program),
            masks,
            _out(specs),
            self.related,
            self.names,
            self.closed_over_masks,
        )


def _as_typed(values: Sequence[Any], masks: Sequence[Mask], program: Program) -> list[Any]:
    """Operands with the types for which a hook has been traced."""
    if not program.jaxprs:
        return list(values)
    return [_placed(value, spec, sum(mask)) for value, mask, spec in zip(values, masks, program.types, strict=True)]


def _placed(value: Any, spec: jax.ShapeDtypeStruct, axes: int) -> Any:
    """A batch of arrays, each of which lies on the mesh as a spec says."""
    wanted, found = _compat.place(spec).get("sharding"), jax.typeof(value).sharding
    if wanted is not None and found.spec[axes:] != wanted.spec:
        value = jax.sharding.reshard(value, wanted.update(spec=jax.P(*found.spec[:axes], *wanted.spec)))
    return _compat.vary(value, _compat.varying_axes(spec))


def _is_zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero


def _vanishes(tangent: Any) -> bool:
    """Whether it is zero already: rules that fill in missing tangents hand over arrays of zeros."""
    if _is_zero(tangent) or isinstance(tangent, jax.core.Tracer):
        return _is_zero(tangent)
    return getattr(tangent, "is_fully_addressable", True) and not np.any(np.asarray(tangent))


def _jvp(
    hook: Hook,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    binding: Binding,
    batch: tuple[Mask, ...],
    out: tuple[Any, ...],
    **traced: Any,
) -> tuple[list[Any], list[Any]]:
    results = _primitive(hook).bind(*primals, binding=binding, batch=batch, out=out, **traced)
    groups = _Groups(binding, primals, batch, traced.get("related", ()), traced.get("names", ()))
    directions = _Groups(binding, tangents, batch)
    specs = [_element(jax.typeof(result), (True,) * len(batch[0])) for result in results]
    moving = directions.values
    terms = []
    inlined: list[str] = []
    for name in hook.rule.arguments:
        if all(map(_is_zero, moving[name])):
            continue
        if name in hook.rule.transposed:
            target, arguments = hook, tuple(T if argument == name else argument for argument in hook.rule.arguments)
        elif name in hook.rule.derivative and absent.has(binding, hook.rule.derivative[name][0]):
            derivative, arguments = hook.rule.derivative[name]
            target = hook.cls._hooks[derivative]
            if target.kind == MISSING and all(map(_vanishes, moving[name])):
                continue
        elif absent.is_up_to_jax(binding, name):
            inlined.append(name)
            continue
        elif all(map(_vanishes, moving[name])):
            continue
        elif name == "self" and all(_vanishes(t) or isinstance(t, jax.core.Tracer) for t in moving[name]):
            zero = _zero_or_error(hook.cls, hook.name, groups.trees[name], moving[name], groups.masks[name])
            terms.append([jnp.zeros_like(result) + zero.astype(jax.typeof(result).dtype) for result in results])
            continue
        else:
            raise absent.no_derivative(binding, name, [not _vanishes(t) for t in moving[name]])
        tangent = [
            shapes.zeros(shapes.spec(primal)) if _is_zero(t) else t
            for primal, t in zip(groups.values[name], moving[name], strict=True)
        ]
        groups.add(T, groups.trees[name], tangent, groups.masks[name])
        terms.append(groups.bind(target, arguments, binding.out_tree, specs))
    if inlined or not all(map(_is_zero, directions.closed_over)):
        kept = directions.closed_over + [
            t for name in hook.rule.arguments for t in (moving[name] if name in inlined else [None] * len(moving[name]))
        ]
        terms.append(_jvp_of_traced(primals, kept, binding=binding, batch=batch, out=out, **traced))
    if not terms:
        return results, list(map(_zero, results))
    return results, [_sum(result, parts) for result, parts in zip(results, zip(*terms, strict=True), strict=True)]


def _zero(result: Any) -> Any:
    return ad.Zero(jax.typeof(result).to_tangent_aval())


def _sum(result: Any, parts: Sequence[Any]) -> Any:
    if not shapes.is_inexact(jax.typeof(result).dtype):
        return _zero(result)
    return functools.reduce(jnp.add, parts)


def _jvp_of_traced(primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> list[Any]:
    """JAX's own derivative of a traced hook, in the arguments for which the class has no hook; None is no tangent."""
    binding = params["binding"]
    if not binding.hook.is_jax and binding.hook.by_others is not None:
        params["binding"] = trampoline.of_variant(binding, binding.hook.by_others)
    positions = [i for i, t in enumerate(tangents) if t is not None and not _is_zero(t)]
    moving = [tangents[i] for i in positions]
    varies = any(
        _compat.varying_axes(t) - _compat.varying_axes(primals[i]) for i, t in zip(positions, moving, strict=True)
    )
    if varies and params.get("related"):
        return _jvp_of_program(primals, positions, moving, **params)
    if varies or not params.get("jaxprs"):  # whose types are those of the values
        first = _first(binding, primals)  # what is closed over is constant
        positions, moving = [i - first for i in positions if i >= first], moving[sum(i < first for i in positions) :]
        varying = _compat.with_same_varying_axes([*primals[first:], *moving])  # as _evaluate_traced will have them
        primals, moving = varying[: len(primals) - first], varying[len(primals) - first :]
        params = {"binding": params["binding"], "batch": params["batch"][first:], "out": params["out"]}
    return _jvp_at(functools.partial(_evaluate_traced, **params), primals, positions, moving)


def _jvp_at(function: Any, primals: Sequence[Any], positions: Sequence[int], moving: Sequence[Any]) -> list[Any]:
    def of_moving(*values: Any) -> list[Any]:
        operands = list(primals)
        for position, value in zip(positions, values, strict=True):
            operands[position] = value
        return function(*operands)

    return jax.jvp(of_moving, tuple(primals[i] for i in positions), tuple(moving))[1]


def _jvp_of_program(
    primals: Sequence[Any],
    positions: Sequence[int],
    moving: Sequence[Any],
    *,
    binding: Binding,
    batch: tuple[Mask, ...],
    related: tuple[Program, ...],
    **params: Any,
) -> list[Any]:
    """Tangents differ between devices where values do not: the hook has been traced for such types as well."""
    first = _first(binding, primals)
    wide = _compat.with_same_varying_axes([*primals[first:], *moving])
    program = closures.find(related, binding, wide[: len(primals) - first])
    closed = [_compat.varying_axes(t) - _compat.varying_axes(primals[i]) for i, t in zip(positions, moving, strict=True)
              if i < first]  # fmt: skip
    if program is None or any(closed):
        message = (
            f"{binding.label} closes over an array that is the same on all devices, but the tangent of it is not. Declare the "
            "array as a field of the class, or let it vary too with jax.lax.pcast(array, axes, to='varying')."
        )
        raise NotImplementedError(message)
    operands = [*primals[:first], *_as_typed(primals[first:], batch[first:], program)]
    moving = [
        t if i < first else _placed(t, program.types[i - first], sum(batch[i]))
        for i, t in zip(positions, moving, strict=True)
    ]
    params |= {"jaxprs": program.jaxprs, "uses": program.uses}
    evaluate = functools.partial(_evaluate_traced, binding=binding, batch=batch, **params)
    return _jvp_at(evaluate, operands, positions, moving)


def _transpose(
    hook: Hook,
    cotangents: Sequence[Any],
    *operands: Any,
    binding: Binding,
    batch: tuple[Mask, ...],
    out: tuple[Any, ...],
    **traced: Any,
) -> list[Any]:
    """The library's one conjugation: transpose = conj after adjoint after conj. Plain transposes are what they are."""
    if all(map(_is_zero, cotangents)):
        return [None] * len(operands)
    groups = _Groups(binding, operands, batch, traced.get("related", ()), traced.get("names", ()))
    linear = [name for name, values in groups.values.items() if any(map(ad.is_undefined_primal, values))]
    others = [name for name in linear if name not in hook.rule.transposed]
    by_jax = hook.is_jax and all(absent.is_up_to_jax(binding, name) for name in others)
    if by_jax and (others or any(map(ad.is_undefined_primal, groups.closed_over))):
        return _transpose_of_traced(cotangents, operands, binding=binding, batch=batch, out=out, **traced)
    if len(linear) != 1 or linear[0] not in hook.rule.transposed:
        if hook.rule.functional:
            raise binding.functions.not_linear(linear)
        message = f"{hook.label} is not linear in ({', '.join(linear)}) together."
        raise NotImplementedError(message)
    (name,) = linear
    if hook.kind == REFUSED:
        raise absent.not_transposed(binding, [ad.is_undefined_primal(x) for x in operands])
    target, arguments = hook.rule.transposed[name]
    if not absent.has(binding, target):
        raise absent.missing(binding, target, "reverse-mode differentiation needs it")
    adjoint = hook.cls._hooks[target]
    conj = (lambda x: x) if hook.rule.functional else jnp.conj
    avals = [x.aval if ad.is_undefined_primal(x) else jax.typeof(x) for x in operands]
    sizes = _batch_sizes(avals, batch)
    cotangent = [
        jnp.zeros((*sizes, *shape), dtype) if _is_zero(ct) else conj(ct)
        for ct, (shape, dtype) in zip(cotangents, out, strict=True)
    ]
    groups.add(CT, binding.out_tree, cotangent, [(True,) * len(sizes)] * len(out))
    masks = groups.masks[name]
    moved = [x.aval if ad.is_undefined_primal(x) else jax.typeof(x) for x in groups.values[name]]
    wanted = [_element(aval, mask) for aval, mask in zip(moved, masks, strict=True)]
    results = groups.bind(adjoint, arguments, groups.trees[name], wanted)
    found = iter(
        _placed_like(aval, conj(_sum_missing_axes(result, mask))) if shapes.is_inexact(result.dtype) else None
        for result, mask, aval in zip(results, masks, moved, strict=True)
    )
    answer: list[Any] = [None] * len(groups.closed_over)
    for argument, values in groups.values.items():
        if argument in (CT, T):
            continue
        if argument != name:
            answer += [None] * len(values)
            continue
        answer += [ct if ad.is_undefined_primal(x) else None for x, ct in zip(values, found, strict=True)]
    return answer


def _transpose_of_traced(cotangents: Sequence[Any], operands: Sequence[Any], **params: Any) -> list[Any]:
    """JAX's own transpose of a traced hook, in fields and in what it closes over: somebody wrote a rule of his own, which
    gives the hook a tangent there."""
    positions = [i for i, x in enumerate(operands) if ad.is_undefined_primal(x)]
    avals = [operands[i].aval for i in positions]

    def linear(*values: Any) -> list[Any]:
        complete = list(operands)
        for position, value in zip(positions, values, strict=True):
            complete[position] = value
        return _evaluate_traced(*complete, **params)

    at = [shapes.zeros(shapes.spec(aval)) for aval in avals]
    results = jax.make_jaxpr(linear)(*at).out_avals
    cts = [
        shapes.zeros(shapes.spec(aval)) if _is_zero(ct) else _compat.placed(ct, aval)
        for ct, aval in zip(cotangents, results, strict=True)
    ]
    answer: list[Any] = [None] * len(operands)
    for position, ct in zip(positions, jax.linear_transpose(linear, *at)(cts), strict=True):
        answer[position] = ct
    return answer


def _sum_missing_axes(result: Any, mask: Mask) -> Any:
    """An operand that does not have a batch axis was used once for each element of it."""
    axes = tuple(axis for axis, has in enumerate(mask) if not has)
    return jnp.sum(result, axis=axes) if axes else result


def _placed_like(aval: Any, cotangent: Any) -> Any:
    """On an explicit mesh a cotangent lies as its operand does; in shard_map, an operand that is the same on some devices
    was used by each of them."""
    axes = _compat.varying_axes(cotangent) - _compat.varying_axes(aval)
    if axes:
        cotangent = jax.lax.psum(cotangent, tuple(sorted(axes)))
    cotangent = _compat.vary(cotangent, _compat.varying_axes(aval))
    sharding = aval.sharding
    if sharding.mesh.empty or jax.typeof(cotangent).sharding == sharding:
        return cotangent
    return jax.sharding.reshard(cotangent, sharding)
