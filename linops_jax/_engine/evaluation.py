"""Rules of the primitives for evaluation: the types of results, traced code as a JAX function, and ``vmap``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine import traced_hooks
from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding
from linops_jax._engine.closures import Program


def types(
    *avals: Any,
    binding: Binding,
    batch: Batch,
    out: tuple[Any, ...],
    jaxprs: tuple[Any, ...] = (),
    names: tuple[Any, ...] = (),
    **_others: Any,
) -> tuple[list[Any], Any]:
    """The types of the results, and the effects: the rule of abstract evaluation."""
    if jaxprs:
        effects = set().union(*(_compat.without_axes(jaxpr.effects, names) for jaxpr in jaxprs))
        return batch.results(avals, jaxprs[0].out_avals), effects
    first = binding.first(avals)
    refuse_to_gather(avals[first:], binding, batch.behind(first))
    return batch.results(avals, _promised(avals[first:], out)), set()


def _promised(avals: Sequence[Any], out: tuple[Any, ...]) -> list[Any]:
    """The types of the results of foreign code.

    They lie unsharded on the mesh of the operands, and vary over all mesh axes over which an operand varies.
    """
    model = next((aval for aval in avals if not aval.sharding.mesh.empty), avals[0])
    model = _compat.varying_over(frozenset().union(*map(_compat.varying_axes, avals)), model)

    def result(shape: tuple[int, ...], dtype: Any) -> Any:
        whole = model.sharding.update(spec=jax.sharding.PartitionSpec(*[None] * len(shape)))
        return model.update(shape=shape, dtype=jax.dtypes.canonicalize_dtype(dtype), sharding=whole)

    return [result(shape, dtype) for shape, dtype in out]


def refuse_to_gather(avals: Sequence[Any], binding: Binding, batch: Batch) -> None:
    """Raises TypeError if an operand of foreign code is sharded on an explicit mesh, other than along its batch axes.

    On an explicit mesh JAX gathers an array only if the user says so.
    """
    for name, aval, axes in zip(binding.names(), avals, batch.own, strict=True):
        if any(aval.sharding.spec[axes:]):
            message = (
                f"{binding.label} is foreign code and needs the whole of {'each field' if name == 'self' else name}, but on "
                f"this explicit mesh it is sharded: found {aval.str_short(short_dtypes=True)}. Gather it with "
                "jax.sharding.reshard(array, jax.P()), or call the operator inside jax.shard_map, where it gets the part of "
                "each device."
            )
            raise TypeError(message)


def evaluate_traced(
    *operands: Any,
    binding: Binding,
    batch: Batch,
    out: tuple[Any, ...],
    jaxprs: tuple[Any, ...] = (),
    uses: tuple[tuple[int, ...], ...] = (),
    names: tuple[Any, ...] = (),
    variant: int = 0,
    **_others: Any,
) -> list[Any]:
    """Evaluates a traced hook by JAX operations; the arguments are those of its primitive."""
    first = binding.first(operands)
    if jaxprs:
        chosen = [*uses[variant], *range(first, len(operands))]
        function = batch.of(chosen).mapped(traced_hooks.as_function(jaxprs[variant]), names)
        return function(*(operands[i] for i in chosen))
    function = traced_hooks.function(binding, [jax.ShapeDtypeStruct(*spec) for spec in out])
    same = _compat.with_same_varying_axes(list(operands[first:]))  # as for a host hook
    return batch.behind(first).mapped(function)(*same)


def add_axis(
    primitive: Any,
    axis: Any,
    operands: Sequence[Any],
    dims: Sequence[Any],
    *,
    batch: Batch,
    binding: Binding,
    jaxprs: tuple[Any, ...] = (),
    related: tuple[Program, ...] = (),
    names: tuple[Any, ...] = (),
    **params: Any,
) -> tuple[Sequence[Any], list[Any]]:
    """Adds a batch axis in front: the rule of ``vmap``.

    The axis keeps its name if traced code uses it, in this call or in a derivative of it.
    """
    named = {name for jaxpr in (*jaxprs, *(j for p in related for j in p.jaxprs)) for name in _compat.named_axes(jaxpr)}
    name = axis.name if axis.name in named else None
    moved = [x if dim is None else jnp.moveaxis(x, dim, 0) for x, dim in zip(operands, dims, strict=True)]
    has = [dim is not None for dim in dims]
    first = binding.first(operands)
    traced = {"jaxprs": jaxprs, "related": related, "names": names} if jaxprs or related else {}
    if name is None and not any(has):
        return primitive.bind(*operands, batch=batch, binding=binding, **params, **traced), [None] * len(params["out"])
    if name is not None or names:
        traced["names"] = (name, *(names or (None,) * batch.axes))
    if not any(has if jaxprs else has[first:]):  # no operand of the hook itself has the axis
        has[first], moved[first] = True, jnp.broadcast_to(moved[first], (axis.size, *jnp.shape(moved[first])))
    results = primitive.bind(*moved, batch=batch.with_axis(has), binding=binding, **params, **traced)
    return results, [0] * len(results)
