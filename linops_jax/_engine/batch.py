"""The batch axes of a call. Each operand has its batch axes in front, and may lack some of those that others have."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import jax

from linops_jax._model import shapes

Mask = tuple[bool, ...]  # of one operand: whether it has each batch axis, outermost first

_HAS, _LACKS, _COPIED = "1", "0", "c"  # in text: the operand has the axis, lacks it, or has copies of itself along it


class Batch(tuple[Mask, ...]):
    """The masks of all operands of a call. Results have all batch axes.

    It is a tuple so that JAX's caches compare it in C (see ``_model/interned``).
    """

    __slots__ = ()

    @classmethod
    def none(cls, operands: int) -> Batch:
        """No batch axes."""
        return cls(((),) * operands)

    @classmethod
    def parse(cls, text: str, operands: int) -> Batch:
        """The batch axes from the attribute of a program. The copies of a copied operand count as batch axes."""
        masks = text.split(",") if text else [""] * operands
        return cls(tuple(letter != _LACKS for letter in mask) for mask in masks)

    def text(self, copied: Sequence[bool] | None = None) -> str:
        """The attribute for a program; empty if there are no batch axes.

        Parameters
        ----------
        copied : sequence of bool, optional
            For each operand: whether the program passes copies of it along all batch axes.
        """
        masks = ["".join(_HAS if has else _LACKS for has in mask) for mask in self]
        if copied is not None:
            masks = [_COPIED * self.axes if copies else mask for mask, copies in zip(masks, copied, strict=True)]
        return ",".join(masks) if self.axes else ""

    @property
    def axes(self) -> int:
        return len(self[0]) if self else 0

    @property
    def own(self) -> tuple[int, ...]:
        """The number of batch axes of each operand."""
        return tuple(map(sum, self))

    def has(self, axis: int) -> list[bool]:
        """For each operand: whether it has the batch axis."""
        return [mask[axis] for mask in self]

    def of(self, positions: Iterable[int]) -> Batch:
        """The masks of the operands at some positions."""
        return Batch(self[i] for i in positions)

    def behind(self, first: int) -> Batch:
        """The masks of the operands from position ``first`` on."""
        return Batch(self[first:])

    def with_axis(self, has: Sequence[bool]) -> Batch:
        """The masks with one more batch axis, outside of the others."""
        return Batch((own, *mask) for own, mask in zip(has, self, strict=True))

    def looped_axes(self, are_looped: Sequence[bool]) -> int:
        """The number of batch axes, from the outermost on, to loop over so that some operands have no batch axes left.

        Loops run over the outermost axes only, so that the remaining arrays are contiguous.
        """
        looped = Batch(mask for mask, is_looped in zip(self, are_looped, strict=True) if is_looped)
        return max((axis + 1 for axis in range(self.axes) if any(looped.has(axis))), default=0)

    def sizes(self, avals: Sequence[Any]) -> tuple[Any, ...]:
        """The size of each batch axis; ``avals`` are the types of the operands."""
        return tuple(owners[0][0].shape[owners[0][1]] for owners in self._owners(avals))

    def _owners(self, avals: Sequence[Any]) -> list[list[tuple[Any, int]]]:
        """For each batch axis: the operands that have it, and its position in them."""
        return [
            [(aval, sum(mask[:axis])) for aval, mask in zip(avals, self, strict=True) if mask[axis]]
            for axis in range(self.axes)
        ]

    def _partition(self, avals: Sequence[Any]) -> list[Any]:
        """The mesh axis over which each batch axis is sharded on an explicit mesh, or None."""
        return [
            next(
                (name for aval, at in owners if len(aval.sharding.spec) > at and (name := aval.sharding.spec[at])), None
            )
            for owners in self._owners(avals)
        ]

    def results(self, avals: Sequence[Any], elements: Iterable[Any]) -> list[Any]:
        """The types of batches of results, from those of one element. Batch axes remain sharded as those of the operands."""
        sizes, partition = self.sizes(avals), self._partition(avals)
        return [_batched(aval, sizes, partition) for aval in elements]

    def mapped(self, function: Callable[..., Any], names: Sequence[Any] = ()) -> Callable[..., Any]:
        """The function, which takes one element of a batch, mapped over all batch axes of the operands."""
        for axis in reversed(range(self.axes)):
            name = names[axis] if names else None
            in_axes = [0 if has else None for has in self.has(axis)]
            function = jax.vmap(function, in_axes=in_axes, axis_name=name)
        return function


def element(aval: Any, axes: int) -> jax.ShapeDtypeStruct:
    """The type of one element of a batch; ``axes`` is the number of batch axes of the array."""
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*sharding.spec[axes:]))
    return shapes.spec(aval.update(shape=aval.shape[axes:], sharding=sharding))


def _batched(aval: Any, sizes: Sequence[Any], partition: Sequence[Any]) -> Any:
    sharding = aval.sharding
    if not sharding.mesh.empty:
        sharding = sharding.update(spec=jax.sharding.PartitionSpec(*partition, *sharding.spec))
    return aval.update(shape=(*sizes, *aval.shape), weak_type=False, sharding=sharding)
