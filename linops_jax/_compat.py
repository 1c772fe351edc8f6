"""The one place that knows about differences between versions of JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jaxlib

OLDEST = (
    0,
    10,
)  # its FFI headers are those we are built with; older runtimes refuse them, and the CPU backend with them


def require_supported_jaxlib(version: str) -> None:
    """Raises ImportError for a jaxlib that would refuse the extension, before anything is registered with it."""
    found = tuple(int(part) for part in version.split(".")[:2])
    if found < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        message = f'linops_jax needs jaxlib >= {oldest}, found jaxlib {version}: run pip install -U "jax>={oldest}".'
        raise ImportError(message)


require_supported_jaxlib(jaxlib.__version__)


def _swap_with_context_manager() -> Callable[[Any], Any]:
    """``swap_local`` from the documented ``with`` form, for a JAX that has no such method."""
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


# Sets no_execution for this thread and returns what it was; undocumented, about 0.6 us cheaper than the with form.
swap_no_execution: Callable[[Any], Any] = getattr(jax.no_execution, "swap_local", None) or _swap_with_context_manager()


def inside_hook() -> bool:
    """Whether this thread is running a host hook."""
    before = swap_no_execution(True)
    swap_no_execution(before)
    return before is True


def is_lowering_for_export(context: Any) -> bool:
    """Whether a lowering rule's context belongs to jax.export."""
    parameters = getattr(context.module_context, "lowering_parameters", None)
    return bool(getattr(parameters, "for_export", False))


def number_of_devices(context: Any) -> int:
    """How many devices the program of a lowering rule's context is for; 1 inside of shard_map, where one sees its own."""
    return getattr(context.module_context.axis_context, "num_devices", 1)


def keep_alive(context: Any, value: Any) -> None:
    """Ties ``value`` to a lowered module until it is compiled; from then on the executable owns what it needs.

    Without it, ``lower()``, ``jax.clear_caches()``, ``compile()`` would lose it. Modules for export own nothing.
    """
    if not is_lowering_for_export(context) and hasattr(context.module_context, "add_keepalive"):
        context.module_context.add_keepalive(value)


def varying_axes(value: Any) -> frozenset[Any]:
    """The mesh axes of an enclosing shard_map over which ``value`` differs (an array, tracer or aval)."""
    aval = jax.typeof(value) if isinstance(value, jax.Array) else value
    kind = getattr(aval, "manual_axis_type", None)
    return frozenset(kind.varying) if kind is not None else frozenset()


def manual_axes() -> frozenset[Any]:
    """The mesh axes of the shard_maps around."""
    return frozenset(jax.sharding.get_abstract_mesh().manual_axes)


def named_axes(jaxpr: Any) -> frozenset[Any]:
    """The axes that a jaxpr names, of meshes and of ``vmap``: collectives along them and axis_index are effects."""
    return frozenset(effect.name for effect in jaxpr.effects if hasattr(effect, "name"))


def without_axes(effects: Any, names: Sequence[Any]) -> set[Any]:
    """The effects, but for those of naming these axes."""
    return {effect for effect in effects if getattr(effect, "name", None) not in names}


def varying_over(axes: frozenset[Any], aval: Any) -> Any:
    """The aval of what differs over these mesh axes of an enclosing shard_map."""
    if varying_axes(aval) == axes:
        return aval
    return aval.update(manual_axis_type=varying_type(axes))


def varying_type(axes: frozenset[Any]) -> Any:
    return jax.sharding.ManualAxisType(varying=axes)


def with_same_varying_axes(values: list[Any]) -> list[Any]:
    """The values, each of which varies over all axes over which one of them does."""
    union = all_axes(values)
    return [vary(value, union) for value in values]


def all_axes(tree: Any) -> frozenset[Any]:
    """The mesh axes over which some array of a pytree varies."""
    return frozenset[Any]().union(*map(varying_axes, jax.tree.leaves(tree)))


def all_vary(tree: Any) -> Any:
    """The pytree, of which each array varies over all axes over which one of them does."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, with_same_varying_axes(leaves))


def vary(value: Any, axes: frozenset[Any]) -> Any:
    """The value, which counts as another one on each device along these mesh axes."""
    missing = axes - varying_axes(value) if axes else axes
    return jax.lax.pcast(value, tuple(sorted(missing)), to="varying") if missing else value


def trace(program: Any, operands: Sequence[Any]) -> tuple[Any, list[Any]]:
    """The closed jaxpr of a function under ``jax.jit``, and the tracers that it closes over: the jaxpr's first operands.

    JAX caches both.
    """
    jaxpr = program.trace(*operands).jaxpr
    number = len(jaxpr.in_avals) - len(operands)
    return jaxpr, list(jax.make_jaxpr(program.__wrapped__)(*operands).consts) if number else []


def place(leaf: Any) -> dict[str, Any]:
    """What belongs to the type of an array, tracer, aval or spec beside shape and dtype, as arguments of a spec."""
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
    """Of a mesh with axes of several kinds: where arrays lie along automatic ones belongs to no type."""
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
    """``jax.eval_shape`` that does not forget where results lie on a mesh with both automatic and explicit axes.

    Weak types are dtypes like others: this is what an operator promises.
    """
    traced = jax.jit(function).trace(*arguments)
    specs = [jax.ShapeDtypeStruct(aval.shape, aval.dtype, **place(aval)) for aval in traced.jaxpr.out_avals]
    return jax.tree.unflatten(jax.tree.structure(traced.out_info), specs)


def placed(array: jax.Array, like: Any) -> jax.Array:
    """An array with the place of a spec or aval, which varies over no fewer mesh axes."""
    wanted = place(like).get("sharding")
    if wanted is not None and jax.typeof(array).sharding != wanted:
        array = jax.sharding.reshard(array, wanted)
    return vary(array, varying_axes(like))


def gathered(tree: Any) -> Any:
    """The arrays, of which each device has the whole, on explicit meshes."""

    def one(leaf: Any) -> Any:
        sharding = place(leaf).get("sharding")
        if sharding is None:
            return leaf
        return jax.sharding.reshard(leaf, jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec()))

    return jax.tree.map(one, tree)


def no_tangent(primal: Any) -> Any:
    """The tangent of what is constant, for a rule of ``jax.custom_jvp`` with symbolic zeros."""
    return jax.custom_derivatives.SymbolicZero(jax.typeof(primal).to_tangent_aval())
