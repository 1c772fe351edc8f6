"""The batch axes of a call: under ``vmap`` an operand gains leading axes for just those batch axes that it has."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from linops_jax._model import shapes

Mask = tuple[bool, ...]  # of one operand: whether it has each batch axis, outermost first
Batch = tuple[Mask, ...]  # one for each operand


def sizes(avals: Sequence[Any], batch: Batch) -> tuple[Any, ...]:
    return tuple(owners[0][0].shape[owners[0][1]] for owners in _owners(avals, batch))


def partition(avals: Sequence[Any], batch: Batch) -> list[Any]:
    """How each batch axis lies on an explicit mesh: operands that are not on it do not say."""
    return [
        next((name for aval, at in owners if len(aval.sharding.spec) > at and (name := aval.sharding.spec[at])), None)
        for owners in _owners(avals, batch)
    ]


def _owners(avals: Sequence[Any], batch: Batch) -> list[list[tuple[Any, int]]]:
    """For every batch axis, outermost first: the operands that have it, and where."""
    return [
        [(aval, sum(mask[:axis])) for aval, mask in zip(avals, batch, strict=True) if mask[axis]]
        for axis in range(len(batch[0]))
    ]


def element(aval: Any, mask: Mask) -> jax.ShapeDtypeStruct:
    """The type of one element of a batch."""
    axes = sum(mask)
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*sharding.spec[axes:]))
    return shapes.spec(aval.update(shape=aval.shape[axes:], sharding=sharding))


def batched(aval: Any, sizes: Sequence[Any], partition: Sequence[Any]) -> Any:
    """The type of a batch of results: batch axes keep their place on the mesh."""
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*partition, *sharding.spec))
    return aval.update(shape=(*sizes, *aval.shape), weak_type=False, sharding=sharding)


def mapped(function: Callable[..., Any], batch: Sequence[Mask], names: Sequence[Any] = ()) -> Callable[..., Any]:
    """A function of one element as a function of the primitive's operands."""
    for axis in reversed(range(len(batch[0]))):
        name = names[axis] if names else None
        function = jax.vmap(function, in_axes=[0 if mask[axis] else None for mask in batch], axis_name=name)
    return function
