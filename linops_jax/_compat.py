"""Differences between versions of JAX: the only module that depends on them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.extend.core
import jaxlib

# The extension is built with the FFI headers of this version. An older jaxlib would refuse it and disable the CPU backend.
OLDEST = (0, 10)


def require_supported_jaxlib(version: str) -> None:
    """Raises ImportError if jaxlib is too old for the extension. Runs before anything is registered with XLA."""
    found = tuple(int(part) for part in version.split(".")[:2])
    if found < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        message = f'linops_jax needs jaxlib >= {oldest}, found jaxlib {version}: run pip install -U "jax>={oldest}".'
        raise ImportError(message)


require_supported_jaxlib(jaxlib.__version__)


def _swap_with_context_manager() -> Callable[[Any], Any]:
    """A replacement for ``swap_local``, made from the documented context manager, for a JAX without that method."""
    import threading

    state = threading.local()

    def swap(value: Any) -> Any:
        if value is True:
            context = jax.no_execution(True)
            context.__enter__()
            state.__dict__.setdefault("stack", []).append(context)
            return None
        state.stack.pop().__exit__(None, None, None)
        return None

    return swap


# Sets no_execution for this thread and returns the previous value. Not documented by JAX, but about 0.6 us faster than the
# context manager.
swap_no_execution: Callable[[Any], Any] = getattr(jax.no_execution, "swap_local", None) or _swap_with_context_manager()


def inside_hook() -> bool:
    """Whether this thread is running a host hook."""
    before = swap_no_execution(True)
    swap_no_execution(before)
    return before is True


def is_lowering_for_export(context: Any) -> bool:
    """Whether a program is being lowered for ``jax.export``; ``context`` is that of a lowering rule."""
    parameters = getattr(context.module_context, "lowering_parameters", None)
    return bool(getattr(parameters, "for_export", False))


def number_of_devices(context: Any) -> int:
    """The number of devices of the program that is being lowered; 1 inside of ``shard_map``."""
    return getattr(context.module_context.axis_context, "num_devices", 1)


def keep_alive(context: Any, value: Any) -> None:
    """Keeps ``value`` alive until the lowered module is compiled. After that, the executable owns what it needs.

    Otherwise ``jax.clear_caches()`` between ``lower()`` and ``compile()`` would delete it. Modules for export own nothing.
    """
    if not is_lowering_for_export(context) and hasattr(context.module_context, "add_keepalive"):
        context.module_context.add_keepalive(value)


def varying_axes(value: Any) -> frozenset[Any]:
    """The mesh axes of an enclosing ``shard_map`` over which an array, tracer or aval varies."""
    aval = jax.typeof(value) if isinstance(value, jax.Array) else value
    kind = getattr(aval, "manual_axis_type", None)
    return frozenset(kind.varying) if kind is not None else frozenset()


def manual_axes() -> frozenset[Any]:
    """The mesh axes of all enclosing ``shard_map`` calls."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def bound_axes() -> frozenset[Any]:
    """The named axes over which collectives work here: those of enclosing ``shard_map`` and ``vmap`` calls."""
    return frozenset(jax.extend.core.unsafe_get_axis_names_DO_NOT_USE())


def named_axes(jaxpr: Any) -> frozenset[Any]:
    """The named axes, of meshes and of ``vmap``, that a jaxpr uses in collectives and in ``axis_index``."""
    return communicating_axes(jaxpr) | frozenset(effect.name for effect in jaxpr.effects if hasattr(effect, "name"))


_IN_PLACE = {
    "axis_index",
    "pvary",
    "preduced",
    "vary_unreduced_cast",
    "vary_unreduced_cast_p",
}  # name axes, send nothing


def communicating_axes(jaxpr: Any) -> frozenset[Any]:
    """The named axes from outside of a jaxpr over which it communicates. Its effects are not enough: ``ppermute`` has none."""
    found: set[Any] = set()
    for equation in jaxpr.eqns:
        params = equation.params
        inner = [getattr(leaf, "jaxpr", leaf) for leaf in jax.tree.leaves(params) if hasattr(leaf, "eqns")]
        of_a_mesh = params.get("newly_manual_axes", params.get("manual_axes", ()))  # those of a shard_map in it
        found.update(*(communicating_axes(program) - frozenset(of_a_mesh) for program in inner))
        if equation.primitive.name not in _IN_PLACE:
            named = [params.get(name) for name in ("axis_name", "axes")]
            found.update(name for name in jax.tree.leaves(named) if not isinstance(name, int))  # numbers are positions
    return frozenset(found)


def without_axes(effects: Any, names: Sequence[Any]) -> set[Any]:
    """The effects of a jaxpr, without those of using the named axes ``names``."""
    return {effect for effect in effects if getattr(effect, "name", None) not in names}


def varying_over(axes: frozenset[Any], aval: Any) -> Any:
    """The aval, changed to vary over the mesh axes ``axes`` of an enclosing ``shard_map``."""
    if varying_axes(aval) == axes:
        return aval
    return aval.update(manual_axis_type=varying_type(axes))


def varying_type(axes: frozenset[Any]) -> Any:
    """The part of an aval's type that says over which mesh axes it varies."""
    return jax.sharding.ManualAxisType(varying=axes)


def with_same_varying_axes(values: list[Any]) -> list[Any]:
    """The values, changed so that each varies over all mesh axes over which any of them varies."""
    union = all_axes(values)
    return [vary(value, union) for value in values]


def all_axes(tree: Any) -> frozenset[Any]:
    """The mesh axes over which at least one array of a pytree varies."""
    return frozenset[Any]().union(*map(varying_axes, jax.tree.leaves(tree)))


def all_vary(tree: Any) -> Any:
    """The pytree, changed so that each array varies over all mesh axes over which any of them varies."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, with_same_varying_axes(leaves))


def vary(value: Any, axes: frozenset[Any]) -> Any:
    """The value, changed to vary over the mesh axes ``axes``: JAX then treats it as a different value on each device."""
    missing = axes - varying_axes(value) if axes else axes
    return jax.lax.pcast(value, tuple(sorted(missing)), to="varying") if missing else value


def trace(program: Any, operands: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The closed jaxpr of a function under ``jax.jit``, and the tracers that the function closes over.

    The tracers are the first operands of the jaxpr. JAX caches both results.
    """
    jaxpr = program.trace(*operands).jaxpr
    number = len(jaxpr.in_avals) - len(operands)
    return jaxpr, list(jax.make_jaxpr(program.__wrapped__)(*operands).consts) if number else []


def place(leaf: Any) -> dict[str, Any]:
    """The place of an array, tracer, aval or spec on a mesh, as keyword arguments of ``jax.ShapeDtypeStruct``.

    This is the part of its type besides shape and dtype: the sharding over explicit mesh axes, and the axes of an enclosing
    ``shard_map`` over which it varies.
    """
    aval = jax.typeof(leaf) if isinstance(leaf, jax.Array) else leaf
    found = {}
    sharding = getattr(aval, "sharding", None)
    auto = jax.sharding.AxisType.Auto
    if isinstance(sharding, jax.sharding.NamedSharding) and set(sharding.mesh.axis_types) - {auto}:
        mesh = getattr(sharding.mesh, "abstract_mesh", sharding.mesh)
        found["sharding"] = jax.sharding.NamedSharding(mesh, _without_auto_axes(mesh, sharding.spec))
    if varying_axes(aval):
        found["manual_axis_type"] = aval.manual_axis_type
    return found


def _without_auto_axes(mesh: Any, spec: Any) -> Any:
    """The partition spec without the automatic mesh axes, since sharding over these is not part of a type."""
    auto = {
        name for name, kind in zip(mesh.axis_names, mesh.axis_types, strict=True) if kind == jax.sharding.AxisType.Auto
    }
    if not auto:
        return spec

    def kept(entry: Any) -> Any:
        names = tuple(name for name in (entry if isinstance(entry, tuple) else (entry,)) if name not in auto)
        return names if len(names) > 1 else names[0] if names else None

    return jax.sharding.PartitionSpec(*map(kept, spec))


def eval_shape(function: Callable[..., Any], *arguments: Any) -> Any:
    """``jax.eval_shape``, but with the place of the results on a mesh that has both automatic and explicit axes.

    Weakly typed results get their dtype like all others, because it is the dtype that an operator promises.
    """
    traced = jax.jit(function).trace(*arguments)
    specs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, **place(aval)) for aval in traced.jaxpr.out_avals]
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), specs)


def placed(array: jax.Array, like: Any) -> jax.Array:
    """The array, moved to the place of a spec or aval, which must vary over all mesh axes over which the array varies."""
    wanted = place(like).get("sharding")
    if wanted is not None and jax.typeof(array).sharding != wanted:
        array = jax.sharding.reshard(array, wanted)
    return vary(array, varying_axes(like))


def gathered(tree: Any) -> Any:
    """The arrays, gathered so that each device of an explicit mesh has all of each array."""

    def one(leaf: Any) -> Any:
        sharding = place(leaf).get("sharding")
        if sharding is None:
            return leaf
        return jax.sharding.reshard(leaf, jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec()))

    return jax.tree.map(one, tree)


def no_tangent(primal: Any) -> Any:
    """The zero tangent of a constant, for a rule of ``jax.custom_jvp`` with symbolic zeros."""
    return jax.custom_derivatives.SymbolicZero(jax.typeof(primal).to_tangent_aval())


def dce_rule(rule: Callable[[Sequence[bool], Any], Any]) -> Callable[..., Any]:
    """A rule for equations of which only some results are used; newer JAX also says which of the operands are alive."""

    def call(used: Sequence[bool], *others: Any) -> Any:
        return rule(used, others[-1])

    return call


def coordination() -> tuple[Any, int, int]:
    """JAX's client of the coordination service, which keeps notes of processes; the number of this one, and how many there are.

    Raises NotImplementedError if this JAX has no such client, or hides it elsewhere.
    """
    from jax.experimental import multihost_utils

    # JAX has no public function that reads or writes the notes. This is the state that its public functions use.
    state: Any = getattr(getattr(multihost_utils, "distributed", None), "global_state", None)
    client = getattr(state, "client", None)
    if not (hasattr(client, "key_value_set") and hasattr(client, "key_value_dir_get")):
        message = (
            f"lo.distributed.watch does not work with JAX {jax.__version__}: the client of its coordination service, which JAX "
            "does not make public, is not where it was in JAX 0.10. Run the program without it, or with JAX 0.10."
        )
        raise NotImplementedError(message)
    return client, state.process_id, state.num_processes
