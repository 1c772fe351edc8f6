"""Custom calls of compiled programs, and the targets that they call. Only this file imports the extension and jax.ffi."""

from __future__ import annotations

import atexit
import gc
import itertools
import threading
import uuid
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import jax
import jax.ffi

from linops_jax import _compat
from linops_jax import _trampoline_ext as _ext
from linops_jax._engine import binding as bindings
from linops_jax._engine import dtypes, errors, kept, keys, plans, resolving, returned, sharding
from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding
from linops_jax._engine.promises import of_one
from linops_jax._model.hooks import Hook
from linops_jax._native import Handler, Native

# Suffix of the names under which XLA may split a call between devices.
_SHARDED = "_of_a_batch"
_SECONDS_AT_EXIT = 30.0


class Names(NamedTuple):
    """The two names of a handler of the extension.

    Programs that only this process can run use the second, which ``export_checks()`` does not permit.
    """

    stable: str
    live: str


OF_HOST = Names("linops_jax_host", "linops_jax_host_of_a_live_object")
OF_NATIVE = Names("linops_jax_native", "linops_jax_native_of_a_live_object")


# ---- targets, which the extension calls ---------------------------------------------------------------------------


def _target_of(binding: Binding) -> Any:
    if binding.target is None:
        is_native = isinstance(binding.hook.function, Native)
        binding.target = (_make_native_target if is_native else _make_host_target)(binding)
    return binding.target


def _make_host_target(binding: Binding) -> Any:
    hook = binding.hook
    call, direct = binding.convention.host_call()
    return _ext.Target(
        name=binding.label,
        call=call,
        store=returned.make_store(hook, binding.ignored),
        direct=direct,
        takes_out=hook.takes_out,
        batched=binding.layout is not None or bindings.is_batched(hook),
        looped=_flags(binding.are_fields()),
        ignored=_flags(binding.ignored),
        start=_starter(binding),
        counter=_counter(hook),
    )


def _make_native_target(binding: Binding) -> Any:
    hook = binding.hook
    native: Any = hook.function
    op = jax.tree.unflatten(binding.trees[0], [None] * binding.trees[0].num_leaves)
    user_data, owned = native.user_data_of(op)
    arrays = sum(tree.num_leaves for tree in (*binding.trees, binding.out_tree))
    return _ext.native_target(
        name=binding.label,
        function=native.compiled(binding.label, binding.signature),
        user_data=user_data,
        is_handler=isinstance(native, Handler),
        owner=(native, owned, op),  # user data may point into objects in static fields
        batched=bindings.is_batched(hook),
        parallel=native.parallel,
        looped=_flags(binding.are_fields()),
        ignored=_flags(binding.ignored),
        start=_starter(binding),
        takes=[(dtypes.bits(names), rank) for names, rank in native.takes(binding.signature, arrays)],
        counter=_counter(hook),
    )


def _flags(flags: Iterable[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def _starter(binding: Binding) -> Callable[..., Any]:
    """The function by which the extension checks the batch axes and shapes of each executable once.

    It returns what the extension needs for plans, or None for a hook that takes none.
    """
    # It must not refer to the binding, which owns the target and with it this function.
    promises, hook, trees, out_tree = binding.promises, binding.hook, binding.trees, binding.out_tree

    def start(batch: str, operands: list[tuple[int, ...]], results: list[tuple[int, ...]]) -> Any:
        found = [tuple((dtypes.BY_CODE[code], tuple(dims)) for code, *dims in side) for side in (operands, results)]
        axes = Batch.parse(batch, len(operands))
        promises.check(axes, *found)
        if not hook.takes_plan:
            return None
        one = [[jax.ShapeDtypeStruct(shape, dtype) for dtype, shape in side] for side in of_one(axes, *found)]
        return plans.for_extension(hook, trees, one[0], jax.tree.unflatten(out_tree, one[1]))

    return start


_counters: dict[tuple[type, str], Any] = {}  # classes live as long as the process


def _counter(hook: Hook) -> Any:
    return _counters.setdefault((hook.cls, hook.name), _ext.Counter())


def calls_of(cls: Any) -> dict[str, int]:
    """The number of evaluations of each host and native hook of a class in this process, counted by element of a batch.

    FFI handlers are not counted, because XLA may call them directly.
    """
    counted = (hook for hook in cls._hooks.values() if _is_counted(hook))
    return {hook.name: _counter(hook).count for hook in counted}


def _is_counted(hook: Hook) -> bool:
    here = hook.on("cpu")
    return here is not None and here.kind.is_counted and not isinstance(here.function, Handler)


def _resolve(key: str) -> Any:
    """The target for a key from a program of another process."""
    try:
        return _target_of(resolving.find(key))
    except RecursionError:
        raise resolving.too_deep(key) from None


def on_arrays(binding: Binding, batch: Batch) -> Callable[[list[Any], list[Any]], str]:
    """A hook as a function of NumPy arrays, which are contiguous: of its operands, and of its results, which it fills.

    It returns the text of an exception, which ``errors`` knows, or an empty one.
    """
    return _ext.OnArrays(_target_of(binding), batch.text())


# ---- custom calls in programs -------------------------------------------------------------------------------------


def call(
    context: Any,
    operands: Any,
    binding: Binding,
    batch: Batch,
    names: Names,
    same: dict[int, int],
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    """Lowers a call of a hook to one custom call.

    The attributes of the custom call contain no shapes, because XLA may split the call into shards.

    Parameters
    ----------
    context : lowering context
        The context of the lowering rule.
    operands : sequence
        The operands of the hook.
    binding, batch
        The parameters of the primitive.
    names : Names
        The names of the handler.
    same : dict
        For each operand that shares memory with a result: the position of this result.
    attributes : mapping, optional
        The attributes of an FFI handler that a user wrote.
    """
    key, obstacle = _register(binding)
    binding.promises.keep(context.avals_in, context.avals_out, batch)
    if obstacle is not None and _compat.is_lowering_for_export(context):
        raise _not_exported(binding, obstacle)
    _compat.keep_alive(context, binding)
    name = names.stable if obstacle is None else names.live
    text, for_xla = batch.text(), None
    if binding.convention.can_be_shared_out and attributes is None:  # handlers of users get exactly their attributes
        shared = sharding.share_out(context, operands, batch)
        if shared is not None:
            context, operands, text, for_xla = shared
            name += _SHARDED
    lowering = jax.ffi.ffi_lowering(name, operand_output_aliases=same, extra_attributes=for_xla)
    return lowering(context, *operands, key=key, batch=text, **(attributes or {}))


def _register(binding: Binding) -> tuple[str, str | None]:
    """The key under which a program finds the binding, and the reason why the key is not stable (None if it is)."""
    try:
        data = resolving.description(binding)
        key = keys.dump(data)
    except keys.NotPlain as error:
        if binding.nonce is None:
            binding.nonce = keys.nonce()
        _ext.register_target(binding.nonce, _target_of(binding))
        return binding.nonce, str(error)
    # If a notebook cell runs again, it defines another class of the same name while programs of the old one still exist.
    # The count distinguishes them in this process. Other processes ignore it.
    for again in itertools.count(1):
        if _ext.register_target(key, _target_of(binding)):
            return key, None
        key = keys.dump(data | {"again": again})
    raise AssertionError


def _not_exported(binding: Binding, obstacle: str) -> TypeError:
    values, named = binding.convention.static_parts
    message = (
        f"{binding.label} cannot be exported: another process could not find {obstacle}. Make {values} plain "
        f"values (numbers, strings, bytes, dtypes, tuples of these), and define the {named} at the top of a module."
    )
    return TypeError(message)


def handler_call(context: Any, binding: Binding, attributes: Mapping[str, Any]) -> Callable[..., Any]:
    """An FFI handler as a JAX function ``evaluate(specs of results, *operands)``, which XLA calls directly."""
    handler: Any = binding.hook.function
    name = handler.target or _register_handler(binding.label, handler, context.module_context.platforms)
    _handler_names.setdefault(name)

    def evaluate(results: Any, *operands: Any, same: Any = None) -> Any:
        return jax.ffi.ffi_call(name, results, input_output_aliases=same)(*operands, **attributes)

    return evaluate


_handler_names: dict[str, None] = {}  # the names of handlers in use, in the order of their first use
_registered: dict[Any, tuple[str, Any]] = {}  # XLA never forgets a handler, so they must stay alive
_registering = threading.RLock()


def _register_handler(label: str, handler: Any, platforms: Iterable[str]) -> str:
    """Registers an FFI handler, once for each platform, under a name that is unique to this process; returns the name."""
    name = ""
    for platform in platforms:
        where = (platform, *sorted(handler.stages.items()))
        with _registering:
            if where not in _registered:
                _registered[where] = _registered_now(label, handler, platform), handler
            name = _registered[where][0]
    return name


def _registered_now(label: str, handler: Any, platform: str) -> str:
    jax.devices(platform)  # starts the backend, so that XLA refuses a bad handler here instead of later
    capsules = {stage: jax.ffi.pycapsule(address) for stage, address in handler.stages.items()}
    name = f"linops_jax_ffi_{uuid.uuid4().hex}"
    try:
        jax.ffi.register_ffi_target(name, capsules, platform=platform)
    except Exception as error:
        message = f"{label}: XLA refuses the FFI handler: {error}. Build it with jax.ffi.include_dir()."
        raise RuntimeError(message) from error
    return name


def export_checks() -> list[Any]:
    """The argument ``disabled_checks`` of ``jax.export.export``, for programs that call host and native hooks.

    These are safety checks of JAX, not checks of operators: for those see ``check_operator``.

    Returns
    -------
    list of jax.export.DisabledSafetyCheck
        One for each custom call that an exported program may contain.

    Notes
    -----
    JAX refuses to export custom calls unless the user permits them. Those of this library have stable names, and work in
    every process that has imported the class of the operator. The FFI handlers that were given to ``lo.native`` by name are
    in the list after their first call. The other process must register them as well.

    Examples
    --------
    >>> from jax import export
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> exported = export.export(jax.jit(A), disabled_checks=lo.export_checks())(jnp.ones(2))
    >>> exported.call(jnp.ones(2))
    Array([3., 7.], dtype=float32)
    """
    from jax import export

    return [
        export.DisabledSafetyCheck.custom_call(name) for name in (OF_HOST.stable, OF_NATIVE.stable, *_handler_names)
    ]


# The handlers are registered at import, not at first use, because a process that only runs exported programs never lowers
# anything. JAX defers the registration until the CPU backend starts, so jax.distributed.initialize may still follow.
for _names, _handlers in ((OF_HOST, _ext.handlers()), (OF_NATIVE, _ext.native_handlers())):
    for _name in _names:
        jax.ffi.register_ffi_target(_name, _handlers, platform="cpu")
        jax.ffi.register_ffi_target(_name + _SHARDED, _handlers, platform="cpu")
        jax.ffi.register_ffi_target_as_batch_partitionable(_name + _SHARDED)
_ext.configure(
    dtypes=dtypes.BY_CODE,
    resolve=_resolve,
    report=errors.report,
    collect=gc.collect,
    derived_arrays=kept.derived_arrays,
    swap_no_execution=_compat.swap_no_execution,
    main_thread=threading.main_thread().ident,
)
atexit.register(_ext.close, _SECONDS_AT_EXIT)  # registered after JAX's exit functions, so it runs before them
