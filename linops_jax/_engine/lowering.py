"""Lowering rules: what each kind of hook becomes in a compiled program."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.interpreters import mlir

from linops_jax import _compat
from linops_jax._engine import absent, callback, device, dtypes, refused, trampoline
from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding, as_lowered, looped_axes, of_variant
from linops_jax._engine.evaluation import evaluate_traced, refuse_to_gather
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import DEVICE, HOST, MISSING, NATIVE, REFUSED, TRACED, runs_anywhere
from linops_jax._native import Handler


def register(primitive: Any, hook: Hook) -> None:
    """Registers the lowering rules of a primitive for all platforms."""
    mlir.register_lowering(primitive, functools.partial(_refuse_platform, hook))
    for platform, variant in (hook.variants or {_platform(hook): hook}).items():
        rule = functools.partial(_RULES[variant.kind], variant)
        mlir.register_lowering(primitive, rule, platform=None if platform == "default" else platform)


def _platform(hook: Hook) -> str:
    """The platform on which a hook without variants can run; ``"default"`` for all platforms."""
    return "default" if runs_anywhere(hook.function) else "cpu"


def _traced(hook: Hook, context: Any, *operands: Any, binding: Binding, **params: Any) -> Any:
    rule = mlir.lower_fun(evaluate_traced, multiple_results=True)
    variants = binding.hook.traced_variants
    return rule(context, *operands, binding=binding, variant=variants.index(hook) if variants else 0, **params)


# ---- foreign code -------------------------------------------------------------------------------------------------


def _host(hook: Hook, context: Any, *operands: Any, binding: Binding, batch: Batch, **params: Any) -> Any:
    context, operands, batch = _without_closures(context, operands, binding, batch)
    binding = of_variant(binding, hook)
    dtypes.refuse_unknown(binding.label, (*context.avals_in, *context.avals_out))
    binding = as_lowered(binding, layout=binding.convention.layout(context.avals_in, context.avals_out, batch))
    return _call(context, operands, binding, batch, trampoline.OF_HOST)


def _call(context: Any, operands: Sequence[Any], binding: Binding, batch: Batch, names: trampoline.Names) -> Any:
    if callback.is_needed(context):
        return _callback(context, operands, binding, batch)
    return trampoline.call(context, operands, binding, batch, names, _aliases(context, binding, batch))


def _callback(context: Any, operands: Sequence[Any], binding: Binding, batch: Batch) -> Any:
    """A callback without the layers of ``jax.pure_callback``, which puts the arrays on a device first and may wait for itself."""
    hook = callback.prepared(context, binding, batch)
    specs = context.avals_in, context.avals_out
    try:
        results, *_ = mlir.emit_python_callback(
            context, hook, None, list(operands), *specs, has_side_effect=False, returns_token=False
        )
    except (ValueError, NotImplementedError) as error:
        raise callback.not_here(context, binding, error) from error
    return results


def _without_closures(context: Any, operands: Sequence[Any], binding: Binding, batch: Batch) -> Any:
    """Context, operands and batch axes for foreign code, which does not get the arrays that traced code closes over."""
    first = binding.first(operands)
    avals = context.avals_in[first:]
    if binding.hook.is_jax:  # abstract evaluation has checked the traced variant only
        refuse_to_gather(avals, binding, batch.behind(first))
    return context.replace(avals_in=avals), operands[first:], batch.behind(first)


def _aliases(context: Any, binding: Binding, batch: Batch) -> dict[int, int]:
    """The operands and results of an in-place hook that share memory: all arrays of the input, or none.

    An input that lacks a batch axis is read once for each element of the batch, so results must not overwrite it.
    """
    inputs, outputs = binding.trees[-1].num_leaves, len(context.avals_out)
    first = len(context.avals_in) - inputs
    pairs = list(zip(context.avals_in[first:], context.avals_out, strict=False))
    same = all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs) and all(map(all, batch[first:]))
    if not (binding.hook.in_place and inputs == outputs and same) or any(binding.ignored):
        return {}
    return {first + i: i for i in range(outputs)}


def _native(
    hook: Hook, context: Any, *operands: Any, binding: Binding, batch: Batch, out: tuple[Any, ...], **traced: Any
) -> Any:
    context, operands, batch = _without_closures(context, operands, binding, batch)
    binding = of_variant(binding, hook)
    if isinstance(hook.function, Handler):
        return _handler(context, *operands, binding=binding, batch=batch, out=out)
    dtypes.refuse_unknown(binding.label, (*context.avals_in, *context.avals_out))
    native: Any = hook.function
    binding = as_lowered(binding, signature=native.signature(binding.label, *_shown(context, binding, batch)))
    return _call(context, operands, binding, batch, trampoline.OF_NATIVE)


def _shown(context: Any, binding: Binding, batch: Batch) -> tuple[list[tuple[str, int]], list[tuple[str, int]]]:
    """The dtype and rank of each input, and of each output, as native code sees them."""
    looped, axes = looped_axes(binding, batch), batch.axes
    inputs = [
        (np.dtype(aval.dtype).name, aval.ndim - own + (0 if field else axes - looped))
        for aval, own, field in zip(context.avals_in, batch.own, binding.are_fields(), strict=True)
    ]
    return inputs, [(np.dtype(aval.dtype).name, aval.ndim - looped) for aval in context.avals_out]


# ---- hand-written FFI handlers ------------------------------------------------------------------------------------


def _handler(context: Any, *operands: Any, binding: Binding, batch: Batch, out: tuple[Any, ...]) -> Any:
    attributes = _attributes(context, binding)
    same = _aliases(context, binding, batch)
    if _can_loop(context, binding, batch, attributes):
        return trampoline.call(context, operands, binding, batch, trampoline.OF_NATIVE, same, attributes)
    call = trampoline.handler_call(context, binding, attributes)
    if not any(batch.own):
        call = functools.partial(call, same=same)
    evaluate = functools.partial(_evaluate_looped, call, binding=binding, batch=batch, out=out)
    return mlir.lower_fun(evaluate, multiple_results=True)(context, *operands)


def _attributes(context: Any, binding: Binding) -> dict[str, Any]:
    """The attributes of an FFI handler. Raises TypeError if the program is exported but the handler has no name."""
    handler: Any = binding.hook.function
    op = jax.tree.unflatten(binding.trees[0], [None] * binding.trees[0].num_leaves)
    attributes = handler.attributes(binding.label, op)
    if handler.target is None and _compat.is_lowering_for_export(context):
        message = (
            f"{binding.label} cannot be exported: another process could not find its FFI handler. Register it under a "
            "name of your own with jax.ffi.register_ffi_target, and write lo.native(ffi=name)."
        )
        raise TypeError(message)
    return attributes


def _can_loop(context: Any, binding: Binding, batch: Batch, attributes: Mapping[str, Any]) -> bool:
    """Whether the extension can call the handler, once for each element of a batch."""
    handler: Any = binding.hook.function
    on_cpu = tuple(context.module_context.platforms) == ("cpu",)
    return on_cpu and handler.is_function and looped_axes(binding, batch) > 0 and not {"key", "batch"} & set(attributes)


def _evaluate_looped(
    call: Callable[..., Any], *operands: Any, binding: Binding, batch: Batch, out: tuple[Any, ...]
) -> list[Any]:
    """Foreign code as a JAX function of the operands, with a loop of XLA over the batch.

    It is for what only XLA can call: device hooks, and handlers with stages or a state, or given by name.
    """
    looped, fields = looped_axes(binding, batch), binding.are_fields()
    sizes = batch.sizes([jax.typeof(x) for x in operands])[looped:]

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
        function = _loop(function, batch.has(axis))
    return function(*operands)


def _loop(function: Callable[..., list[Any]], mapped: Sequence[bool]) -> Callable[..., list[Any]]:
    def loop(*operands: Any) -> list[Any]:
        def once(elements: list[Any]) -> list[Any]:
            moving = iter(elements)
            return function(*(next(moving) if has else x for x, has in zip(operands, mapped, strict=True)))

        return jax.lax.map(once, [x for x, has in zip(operands, mapped, strict=True) if has])

    return loop


# ---- device hooks -------------------------------------------------------------------------------------------------


def _device(
    hook: Hook, context: Any, *operands: Any, binding: Binding, batch: Batch, out: tuple[Any, ...], **traced: Any
) -> Any:
    context, operands, batch = _without_closures(context, operands, binding, batch)
    binding = of_variant(binding, hook)
    dtypes.refuse_unknown(binding.label, (*context.avals_in, *context.avals_out))
    one = [
        jax.ShapeDtypeStruct(aval.shape[own:], aval.dtype)
        for aval, own in zip(context.avals_in, batch.own, strict=True)
    ]
    prepared = device.prepared(context, binding, one, [jax.ShapeDtypeStruct(*spec) for spec in out])
    same = {} if any(batch.own) else _aliases(context, binding, batch)
    call = functools.partial(device.called, prepared, same=same)
    evaluate = functools.partial(_evaluate_looped, call, binding=binding, batch=batch, out=out)
    try:
        return mlir.lower_fun(evaluate, multiple_results=True)(context, *operands)
    except (ValueError, NotImplementedError) as error:
        raise device.not_here(context, binding, error) from error


# ---- what cannot run ----------------------------------------------------------------------------------------------


def _refuse_platform(hook: Hook, context: Any, *operands: Any, **params: Any) -> Any:
    platforms = ", ".join(context.module_context.platforms)
    label = params["binding"].label
    if hook.kind == REFUSED:
        raise absent.not_transposed(params["binding"], [True] * len(operands))
    if hook.variants:
        message = (
            f"{label} has no implementation for {platforms}, only for {', '.join(hook.variants)}. Add one to "
            "lo.per_platform, or a default= (traced code, or a plain function, which runs on the host), or run it under "
            "jax.default_device."
        )
    else:
        message = (
            f"{label} is an FFI handler for the CPU, not for {platforms}. Give one for each platform with lo.per_platform, or "
            "its name, if it is registered for all; or run it under jax.default_device(jax.devices('cpu')[0])."
        )
    raise NotImplementedError(message)


def _missing(hook: Hook, context: Any, *operands: Any, **params: Any) -> Any:
    if hook.rule.is_of_fields:
        rule = mlir.lower_fun(functools.partial(refused.zeros_or_error, hook), multiple_results=True)
        return rule(context, *operands, **params)
    raise params["binding"].convention.missing(hook.name, hook.rule.why)


_RULES = {HOST: _host, REFUSED: _host, TRACED: _traced, NATIVE: _native, DEVICE: _device, MISSING: _missing}
