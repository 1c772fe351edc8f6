"""The one file that imports the extension and jax.ffi: what a compiled program calls, and what that calls in turn."""

from __future__ import annotations

import atexit
import gc
import itertools
import threading
import types
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.ffi
import ml_dtypes
import numpy as np

from linops_jax import _compat
from linops_jax import _trampoline_ext as _ext
from linops_jax._engine import calls, errors, keys, promises, returned, sharding
from linops_jax._model import shapes
from linops_jax._model.hooks import ADJOINT_PARAMETER_JVP, HOST, NATIVE, Hook
from linops_jax._model.interned import Interned, intern
from linops_jax._native import Handler

TARGET = "linops_jax_host"
# The same handler under a name that export_checks() does not admit: programs that only this process can run.
LIVE_TARGET = "linops_jax_host_of_a_live_object"
NATIVE_TARGET = "linops_jax_native"
SHARDED = "_of_a_batch"  # the same handlers under names of which XLA knows that each device may call them with its part
LIVE_NATIVE_TARGET = "linops_jax_native_of_a_live_object"

_SECONDS_AT_EXIT = 30.0
_DERIVATIVES = frozenset({"jacobian_apply", "jacobian_adjoint", "hessian_apply", "hessian_adjoint", "parameter_jvp",
                          "parameter_vjp", ADJOINT_PARAMETER_JVP})  # fmt: skip

# XLA's element types (xla_data.proto) as NumPy dtypes. Those of 4 bits and fewer come packed, which NumPy cannot see.
_DTYPES: dict[int, Any] = {
    1: np.bool_, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.uint8, 7: np.uint16, 8: np.uint32,
    9: np.uint64, 10: np.float16, 11: np.float32, 12: np.float64, 15: np.complex64, 16: ml_dtypes.bfloat16,
    18: np.complex128, 19: ml_dtypes.float8_e5m2, 20: ml_dtypes.float8_e4m3fn, 23: ml_dtypes.float8_e4m3b11fnuz,
    24: ml_dtypes.float8_e5m2fnuz, 25: ml_dtypes.float8_e4m3fnuz, 28: ml_dtypes.float8_e4m3,
    29: ml_dtypes.float8_e3m4,
}  # fmt: skip
_SUPPORTED = frozenset(map(np.dtype, _DTYPES.values()))
_BITS = {np.dtype(dtype).name: 1 << code for code, dtype in _DTYPES.items()}


class Binding(Interned):
    """One hook with everything static about its calls: static fields, tree structures. Shared by value, held weakly.

    It is the parameter of the primitives, so programs hold it, and with it live objects in static fields. It is callable,
    because JAX's cache of abstract evaluations holds callables weakly, and everything else until it is emptied.
    """

    __slots__ = ("_nonce", "_target", "hook", "ignored", "layout", "out_tree", "programs", "promises", "trees")

    hook: Hook
    trees: tuple[Any, ...]  # structure of each argument, self first
    out_tree: Any
    ignored: tuple[bool, ...]  # per result: nothing to compute, as with the derivative of an integer
    layout: (
        Any  # plain values by which a functional hook finds its batch axes; None: it has none, or they are looped over
    )
    programs: dict[Any, Any]  # of a traced hook: JAX functions, by what is promised of their results
    promised: promises.Promises  # of the programs that are made here

    def __repr__(self) -> str:
        return self.label

    def __call__(self, *leaves: Any, **keywords: Any) -> Any:
        """The hook on the leaves of its arguments, in a row."""
        return self.hook.function(*arguments(self.trees, leaves), **keywords)

    def __reduce__(self) -> Any:
        return str, (self.label,)  # a serialized executable finds its target by key, and needs none of this

    @property
    def functions(self) -> Any:
        """The operator, where it is one of the functional interface: it has static fields only."""
        return jax.tree.unflatten(self.trees[0], ()) if self.hook.rule.functional else None

    @property
    def label(self) -> str:
        return self.functions.label(self.hook.name) if self.hook.rule.functional else self.hook.label

    @property
    def target(self) -> Any:
        if self._target is None:
            self._target = make_target(self)
        return self._target


def bind(hook: Hook, trees: tuple[Any, ...], out_tree: Any, ignored: tuple[bool, ...], layout: Any = None) -> Binding:
    """The binding with these values: one object per value, so that it compares by identity."""
    new = Binding()
    new.hook, new.trees, new.out_tree, new.ignored, new.layout = new._value = hook, trees, out_tree, ignored, layout
    new._target = new._nonce = None
    new.programs = {}
    new.promises = promises.Promises(hook, trees, out_tree)
    return intern(new)


def bind_hook(
    hook: Hook, trees: tuple[Any, ...], out_tree: Any, specs: Sequence[Any], *, for_derivative: bool
) -> Binding:
    """The binding of a call with these results; with ``for_derivative`` nobody looks at integer ones, which have none."""
    skips = for_derivative or hook.name in _DERIVATIVES
    return bind(hook, trees, out_tree, tuple(skips and not shapes.is_inexact(spec.dtype) for spec in specs))


def of_variant(binding: Binding, variant: Hook) -> Binding:
    """How the hook is called on one platform."""
    if binding.hook is variant:
        return binding
    return bind(variant, binding.trees, binding.out_tree, binding.ignored)


def arguments(trees: tuple[Any, ...], leaves: Any) -> list[Any]:
    """A hook's arguments from their leaves."""
    result, start = [], 0
    for tree in trees:
        stop = start + tree.num_leaves
        result.append(jax.tree.unflatten(tree, leaves[start:stop]))
        start = stop
    return result


# ---- what the extension calls -------------------------------------------------------------------------------------


def make_target(binding: Binding) -> Any:
    hook = binding.hook
    if hook.kind == NATIVE:
        return _make_native_target(binding)
    direct = binding.trees[0].num_leaves == 0 and not any(binding.ignored) and not hook.rule.functional
    direct = direct and all(map(_is_bare_array, (*binding.trees[1:], binding.out_tree)))
    if hook.rule.functional:
        call = binding.functions.caller(binding)
    elif direct:
        call = types.MethodType(hook.function, jax.tree.unflatten(binding.trees[0], ()))
    else:
        call = calls.write_call(hook, binding.trees, binding.out_tree)  # not the binding: it owns the target
    return _ext.Target(
        name=binding.label,
        call=call,
        store=returned.make_store(hook, binding.ignored),
        direct=direct,
        takes_out=hook.takes_out,
        batched=binding.layout is not None or _is_batched(hook),
        looped=_flags(are_fields(binding)),
        ignored=_flags(binding.ignored),
        check=_checker(binding.promises),
        counter=_counter(hook),
    )


def _make_native_target(binding: Binding) -> Any:
    hook = binding.hook
    native: Any = hook.function
    op = jax.tree.unflatten(binding.trees[0], [None] * binding.trees[0].num_leaves)
    user_data, kept = native.user_data_of(op)
    arrays = sum(tree.num_leaves for tree in (*binding.trees, binding.out_tree))
    return _ext.native_target(
        name=binding.label,
        function=native.compiled(binding.label, binding.layout),
        user_data=user_data,
        is_handler=isinstance(native, Handler),
        owner=(native, kept, op),  # user data may point into live objects among the static fields
        batched=_is_batched(hook),
        parallel=native.parallel,
        looped=_flags(are_fields(binding)),
        ignored=_flags(binding.ignored),
        check=_checker(binding.promises),
        takes=[(sum(_BITS[name] for name in names), rank) for names, rank in native.takes(binding.layout, arrays)],
        counter=_counter(hook),
    )


def _checker(promised: promises.Promises) -> Callable[..., None]:
    """What the extension asks once for each executable, with the program's batch axes and XLA's shapes."""

    def check(batch: str, operands: list[tuple[int, ...]], results: list[tuple[int, ...]]) -> None:
        found = [tuple((np.dtype(_DTYPES[code]), tuple(dims)) for code, *dims in side) for side in (operands, results)]
        promised.check(batch.split(",") if batch else [], *found)

    return check


_counters: dict[tuple[type, str], Any] = {}  # classes live as long as the process


def _counter(hook: Hook) -> Any:
    return _counters.setdefault((hook.cls, hook.name), _ext.Counter())


def calls_of(cls: Any) -> dict[str, int]:
    """How often each host and native hook of a class has run in this process, in the elements of batches too.

    Not those that XLA calls without us: FFI handlers outside of a batch.
    """
    counted = (hook for hook in cls._hooks.values() if _is_counted(hook))
    return {hook.name: _counter(hook).count for hook in counted}


def _is_counted(hook: Hook) -> bool:
    here = hook.on("cpu")
    return here is not None and here.kind in (HOST, NATIVE) and not isinstance(here.function, Handler)


def _is_batched(hook: Hook) -> bool:
    return hook.cls._traits.batched and hook.name != "parameter_vjp"


def aliases(context: Any, binding: Binding, batch: tuple[tuple[bool, ...], ...]) -> dict[int, int]:
    """Which operands and results of a hook in place are to be the same memory: all of its input or nothing.

    An input without a batch axis is read for each element of the batch: it must outlive the first result.
    """
    inputs, outputs = binding.trees[-1].num_leaves, len(context.avals_out)
    first = len(context.avals_in) - inputs
    pairs = list(zip(context.avals_in[first:], context.avals_out, strict=False))
    same = all((a.shape, a.dtype) == (b.shape, b.dtype) for a, b in pairs) and all(map(all, batch[first:]))
    if not (binding.hook.in_place and inputs == outputs and same) or any(binding.ignored):
        return {}
    return {first + i: i for i in range(outputs)}


def _flags(flags: Iterable[bool]) -> str:
    return "".join("1" if flag else "0" for flag in flags)


def are_fields(binding: Binding) -> list[bool]:
    """Per operand: whether it is a field of an operator, whose batch axes are always looped over."""
    return [
        name in ("self", "dself")
        for name, tree in zip(binding.hook.rule.arguments, binding.trees, strict=True)
        for _ in range(tree.num_leaves)
    ]


def looped_axes(binding: Binding, batch: tuple[tuple[bool, ...], ...]) -> int:
    """How many batch axes of native code are looped over: the first ones, so that what it gets is contiguous."""
    axes = len(batch[0]) if batch else 0
    if not _is_batched(binding.hook):
        return axes
    fields = [mask for mask, field in zip(batch, are_fields(binding), strict=True) if field]
    return max((axis + 1 for axis in range(axes) if any(mask[axis] for mask in fields)), default=0)


def _is_bare_array(tree: Any) -> bool:
    return jax.tree_util.treedef_is_leaf(tree)


def _derived_arrays(view: np.ndarray) -> list[np.ndarray]:
    """All arrays anywhere that see the memory of ``view``. Slow: for a hook that has kept some of them."""
    todo: list[Any] = gc.get_objects()
    seen = set(map(id, todo))
    found = []
    while todo:
        referents = gc.get_referents(*todo)
        todo = []
        for item in referents:
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, np.ndarray):
                if item is not view and _has_base(item, view):
                    found.append(item)
            elif not gc.is_tracked(item):
                todo.append(item)
    return found


def _has_base(array: Any, view: np.ndarray) -> bool:
    while isinstance(array, np.ndarray | memoryview):
        if array is view:
            return True
        array = array.obj if isinstance(array, memoryview) else array.base
    return False


def _resolve(key: str) -> Any:
    """The target of a key that came to this process inside a program. Imports nothing."""
    try:
        return _find_binding(keys.load(key)).target
    except RecursionError:
        message = f"this program has a malformed key: its structures are nested too deeply. It begins with {key!r:.80}"
        raise keys.MalformedKeyError(message) from None


_ENTRIES: dict[str, Any] = {"class": str, "hook": str, "arguments": list, "result": object, "ignored": list}
_OPTIONAL_ENTRIES: dict[str, Any] = {"layout": list, "kind": str, "again": int}


def _find_binding(data: dict[str, Any]) -> Binding:
    if "nonce" in data:
        message = (
            "this program calls an operator with a live object in a static field, which only the process that made it "
            "can run (or an operator whose class has no importable name)."
        )
        raise LookupError(message)
    known = {**_ENTRIES, **_OPTIONAL_ENTRIES}
    for name in (*_ENTRIES, *data):
        if name not in data or name not in known or not isinstance(data[name], known[name]):
            message = (
                f"this program has a malformed key: its entry {name!r:.80} is {data.get(name, 'missing')!r:.80}; expected "
                f"the entries {', '.join(_ENTRIES)}, and perhaps {', '.join(_OPTIONAL_ENTRIES)}. Update linops_jax, or "
                "export the program again."
            )
            raise keys.MalformedKeyError(message)
    arguments = [keys.decode_tree(tree) for tree in data["arguments"]]
    result = keys.decode_tree(data["result"])
    layout = keys.decode_value(data["layout"]) if "layout" in data else None
    cls = keys.require_class(data["class"])
    hook = cls._hooks.get(data["hook"])
    hook = None if hook is None else hook.on("cpu")
    kind = data.get("kind", HOST)
    if hook is None or hook.kind != kind:
        message = f"this program calls {data['class']}.{data['hook']}, which is not a {kind} hook any more."
        raise LookupError(message)
    operators = {"self", "dself"} if hook.name != "parameter_vjp" else {"self", "dself", "result"}
    given = {**dict(zip(hook.rule.arguments, arguments, strict=False)), "result": result}
    if len(arguments) != len(hook.rule.arguments) or any(
        type(given[name]) is not cls for name in operators & set(given)
    ):
        message = (
            f"this program calls {hook.label} with {len(arguments)} arguments; expected {', '.join(hook.rule.arguments)}, "
            f"where {', '.join(sorted(operators & set(given)))} must be of class {cls._label}. Export the program again."
        )
        raise ValueError(message)
    trees, out_tree = tuple(map(jax.tree.structure, arguments)), jax.tree.structure(result)
    ignored = tuple(data["ignored"])
    if len(ignored) != out_tree.num_leaves or not all(type(flag) is bool for flag in ignored):
        message = (
            f"this program has a malformed key for {hook.label}: found ignored={ignored!r:.80}, expected true or false for "
            f"each of {out_tree.num_leaves} results."
        )
        raise keys.MalformedKeyError(message)
    binding = bind(hook, trees, out_tree, ignored, layout)
    _refuse_misfit(binding)
    return binding


def _refuse_misfit(binding: Binding) -> None:
    """For the layout in a key from elsewhere."""
    hook = binding.hook
    if hook.rule.functional:
        binding.functions.refuse_misfit(binding)
    elif hook.kind == NATIVE:
        native: Any = hook.function
        inputs = sum(tree.num_leaves for tree in binding.trees)
        native.refuse_misfit(binding.label, binding.layout, inputs, binding.out_tree.num_leaves)
    elif binding.layout is not None:
        message = f"this program has batch axes for {hook.label}, which does not take them. Export the program again."
        raise ValueError(message)


# ---- what a program carries ---------------------------------------------------------------------------------------


def _register(binding: Binding) -> tuple[str, str | None]:
    """The key under which a program finds the binding, and what keeps it from being stable (None if it is)."""
    try:
        data = _description(binding)
        key = keys.dump(data)
    except keys.NotPlain as error:
        if binding._nonce is None:
            binding._nonce = keys.nonce()
        _ext.register_target(binding._nonce, binding.target)
        return binding._nonce, str(error)
    # A notebook cell that is run again defines another class of the same name while programs of the old one live.
    # The count tells them apart in this process; others ignore it.
    for again in itertools.count(1):
        if _ext.register_target(key, binding.target):
            return key, None
        key = keys.dump(data | {"again": again})
    raise AssertionError


def _description(binding: Binding) -> dict[str, Any]:
    layout = {} if binding.layout is None else {"layout": keys.encode_value(binding.layout, "its batch axes")}
    return {
        "class": keys.class_name(binding.hook.cls),
        "hook": binding.hook.name,
        "arguments": [keys.encode_tree(tree) for tree in binding.trees],
        "result": keys.encode_tree(binding.out_tree),
        "ignored": list(binding.ignored),
        **layout,
        **({} if binding.hook.kind == HOST else {"kind": binding.hook.kind}),
    }


def lower_host(context: Any, *operands: Any, binding: Binding, batch: tuple[tuple[bool, ...], ...]) -> Any:
    """Lowering of a host hook: one custom call. Shapes stay out of its attributes, shards have their own."""
    _check_dtypes(context, binding)
    if binding.hook.rule.functional:
        layout = binding.functions.layout(binding, context.avals_in, context.avals_out, batch)
        binding = bind(binding.hook, binding.trees, binding.out_tree, binding.ignored, layout)
    return _lower_call(context, operands, binding, batch, TARGET, LIVE_TARGET)


def lower_native(context: Any, *operands: Any, binding: Binding, batch: tuple[tuple[bool, ...], ...]) -> Any:
    """Lowering of a native hook, but for hand-written FFI handlers: one custom call, as of a host hook."""
    _check_dtypes(context, binding)
    looped, axes = looped_axes(binding, batch), len(batch[0])
    inputs = [
        (np.dtype(aval.dtype).name, aval.ndim - sum(mask) + (0 if field else axes - looped))
        for aval, mask, field in zip(context.avals_in, batch, are_fields(binding), strict=True)
    ]
    outputs = [(np.dtype(aval.dtype).name, aval.ndim - looped) for aval in context.avals_out]
    native: Any = binding.hook.function
    layout = native.layout(binding.label, inputs, outputs)
    binding = bind(binding.hook, binding.trees, binding.out_tree, binding.ignored, layout)
    return _lower_call(context, operands, binding, batch, NATIVE_TARGET, LIVE_NATIVE_TARGET)


def _check_dtypes(context: Any, binding: Binding) -> None:
    for aval in (*context.avals_in, *context.avals_out):
        if not isinstance(aval.dtype, np.dtype):  # random keys, which only JAX knows
            message = f"{binding.label}: found {aval.str_short()}, unknown to NumPy. Keep jax.random.key_data(key)."
            raise TypeError(message)
        if np.dtype(aval.dtype) not in _SUPPORTED:
            message = f"{binding.label}: NumPy has no arrays of {aval.dtype}. Convert with astype before the call."
            raise TypeError(message)


def _lower_call(
    context: Any,
    operands: Any,
    binding: Binding,
    batch: tuple[tuple[bool, ...], ...],
    stable: str,
    live: str,
    attributes: Mapping[str, Any] | None = None,
) -> Any:
    key, obstacle = _register(binding)
    binding.promises.keep(context.avals_in, context.avals_out, batch)
    if obstacle is not None and _compat.is_lowering_for_export(context):
        made_of = ("keywords", "functions") if binding.hook.rule.functional else ("static fields", "class")
        message = (
            f"{binding.label} cannot be exported: another process could not find {obstacle}. Make {made_of[0]} plain "
            f"values (numbers, strings, bytes, dtypes, tuples of these), and define the {made_of[1]} at the top of a module."
        )
        raise TypeError(message)
    _compat.keep_alive(context, binding)
    target = stable if obstacle is None else live
    masks, for_xla, same = sharding.masks_of(batch), None, aliases(context, binding, batch)
    if not binding.hook.rule.functional and attributes is None:  # other handlers keep the attributes they are given
        shared = sharding.share_out(context, operands, batch)
        if shared is not None:
            context, operands, masks, for_xla = shared
            target += SHARDED
    lowering = jax.ffi.ffi_lowering(target, operand_output_aliases=same, extra_attributes=for_xla)
    return lowering(context, *operands, key=key, batch=",".join(masks) if any(masks) else "", **(attributes or {}))


def handler_attributes(context: Any, binding: Binding) -> dict[str, Any]:
    """The attributes of a hand-written FFI handler. Raises TypeError where its program could not leave the process."""
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


def can_loop(
    context: Any, binding: Binding, batch: tuple[tuple[bool, ...], ...], attributes: Mapping[str, Any]
) -> bool:
    """Whether we call an FFI handler ourselves, for each element of a batch."""
    handler: Any = binding.hook.function
    on_cpu = tuple(context.module_context.platforms) == ("cpu",)
    return on_cpu and handler.is_function and looped_axes(binding, batch) > 0 and not {"key", "batch"} & set(attributes)


def lower_handler_loop(
    context: Any,
    *operands: Any,
    binding: Binding,
    batch: tuple[tuple[bool, ...], ...],
    attributes: Mapping[str, Any],
) -> Any:
    return _lower_call(context, operands, binding, batch, NATIVE_TARGET, LIVE_NATIVE_TARGET, attributes)


def handler_call(context: Any, binding: Binding, attributes: Mapping[str, Any]) -> Callable[..., Any]:
    """A hand-written FFI handler as ``call(specs of results, *operands)``, for XLA to call."""
    handler: Any = binding.hook.function
    name = handler.target or _register_handler(binding.label, handler, context.module_context.platforms)
    _handler_names.setdefault(name)

    def call(results: Any, *operands: Any, same: Any = None) -> Any:
        return jax.ffi.ffi_call(name, results, input_output_aliases=same)(*operands, **attributes)

    return call


_handler_names: dict[str, None] = {}  # in use, in their order
_registered: dict[Any, tuple[str, Any]] = {}  # XLA keeps handlers forever, and so do we
_registering = threading.RLock()


def _register_handler(label: str, handler: Any, platforms: Iterable[str]) -> str:
    """A name that no other process has, under which XLA knows the handler."""
    name = ""
    for platform in platforms:
        where = (platform, *sorted(handler.stages.items()))
        with _registering:
            if where not in _registered:
                jax.devices(platform)  # with a backend running, a handler that XLA refuses is an error here and now
                capsules = {stage: jax.ffi.pycapsule(address) for stage, address in handler.stages.items()}
                name = f"linops_jax_ffi_{uuid.uuid4().hex}"
                try:
                    jax.ffi.register_ffi_target(name, capsules, platform=platform)
                except Exception as error:
                    message = f"{label}: XLA refuses the FFI handler: {error}. Build it with jax.ffi.include_dir()."
                    raise RuntimeError(message) from error
                _registered[where] = name, handler
            name = _registered[where][0]
    return name


def export_checks() -> list[Any]:
    """What ``jax.export.export(..., disabled_checks=...)`` wants for programs that call host and native hooks.

    JAX refuses custom calls that it cannot vouch for. Ours are found again by stable names, in any process that has
    imported the operator's class. FFI handlers that ``lo.native`` knows by name are in it from the first call on; the
    other process must have registered them as well.
    """
    from jax import export

    return [export.DisabledSafetyCheck.custom_call(name) for name in (TARGET, NATIVE_TARGET, *_handler_names)]


# Registration is deferred until the CPU backend starts, so jax.distributed.initialize may still follow. At import, not
# at first use: a process that only runs an exported program never lowers anything.
for _names, _handlers in (
    ((TARGET, LIVE_TARGET), _ext.handlers()),
    ((NATIVE_TARGET, LIVE_NATIVE_TARGET), _ext.native_handlers()),
):
    for _name in _names:
        jax.ffi.register_ffi_target(_name, _handlers, platform="cpu")
        jax.ffi.register_ffi_target(_name + SHARDED, _handlers, platform="cpu")
        jax.ffi.register_ffi_target_as_batch_partitionable(_name + SHARDED)
_ext.configure(
    dtypes={code: np.dtype(dtype) for code, dtype in _DTYPES.items()},
    resolve=_resolve,
    report=errors.report,
    collect=gc.collect,
    derived_arrays=_derived_arrays,
    swap_no_execution=_compat.swap_no_execution,
    main_thread=threading.main_thread().ident,
)
atexit.register(_ext.close, _SECONDS_AT_EXIT)  # after JAX's own, so it runs first
