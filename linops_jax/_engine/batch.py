"""The batch axes of a call: under ``vmap`` an operand gains leading axes for just those batch axes that it has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from linops_jax._model import shapes

Mask = tuple[bool, ...]  # of one operand: whether it has each batch axis, outermost first

_HAS, _LACKS, _COPIED = "1", "0", "c"  # in text: the axis, nothing, copies of the operand


class Batch(tuple[Mask, ...]):
    """One mask for each operand; results have all axes.

    It is a tuple, because JAX's caches compare what stands in programs: that is to run in C (see interned).
    """

    __slots__ = ()

    @classmethod
    def none(cls, operands: int) -> Batch:
        """No batch axes."""
        return cls(((),) * operands)

    @classmethod
    def parse(cls, text: str, operands: int) -> Batch:
        """From the attribute of a program; of a copied operand the copies are its batch axes."""
        masks = text.split(",") if text else [""] * operands
        return cls(tuple(letter != _LACKS for letter in mask) for mask in masks)

    def text(self, copied: Sequence[bool] | None = None) -> str:
        """For the program: nothing where there are no batch axes. Operands that are copied have a copy for each element."""
        masks = ["".join(_HAS if has else _LACKS for has in mask) for mask in self]
        if copied is not None:
            masks = [_COPIED * self.axes if copies else mask for mask, copies in zip(masks, copied, strict=True)]
        return ",".join(masks) if self.axes else ""

    @property
    def axes(self) -> int:
        return len(self[0]) if self else 0

    @property
    def own(self) -> tuple[int, ...]:
        """How many axes each operand has."""
        return tuple(map(sum, self))

    def has(self, axis: int) -> list[bool]:
        """Which operands have a batch axis."""
        return [mask[axis] for mask in self]

    def of(self, positions: Iterable[int]) -> Batch:
        """Of some of the operands."""
        return Batch(self[i] for i in positions)

    def behind(self, first: int) -> Batch:
        """Of the operands from there on."""
        return Batch(self[first:])

    def with_axis(self, has: Sequence[bool]) -> Batch:
        """One more axis, outside of the others."""
        return Batch((own, *mask) for own, mask in zip(has, self, strict=True))

    def looped_axes(self, are_looped: Sequence[bool]) -> int:
        """How many axes are looped over where some operands have to lose all of theirs: the first ones, so that what is left
        is contiguous."""
        looped = Batch(mask for mask, is_looped in zip(self, are_looped, strict=True) if is_looped)
        return max((axis + 1 for axis in range(self.axes) if any(looped.has(axis))), default=0)

    def sizes(self, avals: Sequence[Any]) -> tuple[Any, ...]:
        """Of each axis; ``avals`` are the types of the operands."""
        return tuple(owners[0][0].shape[owners[0][1]] for owners in self._owners(avals))

    def _owners(self, avals: Sequence[Any]) -> list[list[tuple[Any, int]]]:
        """For every axis: the operands that have it, and where."""
        return [
            [(aval, sum(mask[:axis])) for aval, mask in zip(avals, self, strict=True) if mask[axis]]
            for axis in range(self.axes)
        ]

    def _partition(self, avals: Sequence[Any]) -> list[Any]:
        """How each axis lies on an explicit mesh: operands that are not on it do not say."""
        return [
            next(
                (name for aval, at in owners if len(aval.sharding.spec) > at and (name := aval.sharding.spec[at])), None
            )
            for owners in self._owners(avals)
        ]

    def results(self, avals: Sequence[Any], elements: Iterable[Any]) -> list[Any]:
        """The types of batches of results: batch axes keep their place on the mesh."""
        sizes, partition = self.sizes(avals), self._partition(avals)
        return [_batched(aval, sizes, partition) for aval in elements]

    def mapped(self, function: Callable[..., Any], names: Sequence[Any] = ()) -> Callable[..., Any]:
        """A function of one element as a function of the operands."""
        for axis in reversed(range(self.axes)):
            name = names[axis] if names else None
            in_axes = [0 if has else None for has in self.has(axis)]
            function = jax.vmap(function, in_axes=in_axes, axis_name=name)
        return function


def element(aval: Any, axes: int) -> jax.ShapeDtypeStruct:
    """The type of one element of a batch, of an array with so many batch axes."""
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*sharding.spec[axes:]))
    return shapes.spec(aval.update(shape=aval.shape[axes:], sharding=sharding))


def _batched(aval: Any, sizes: Sequence[Any], partition: Sequence[Any]) -> Any:
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*partition, *sharding.spec))
    return aval.update(shape=(*sizes, *aval.shape), weak_type=False, sharding=sharding)
