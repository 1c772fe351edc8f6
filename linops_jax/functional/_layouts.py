"""Where batch axes go: what is done to the inputs and outputs of a call under ``vmap``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from linops_jax.functional._given import Given
from linops_jax.functional._missing import missing
from linops_jax.functional._promises import MisfitError, compare, promise

KEEP, SQUEEZE, REPEAT = range(3)  # what to do with an input


def layout(given: Given, binding: Any, avals_in: Sequence[Any], avals_out: Sequence[Any], masks: Any) -> Any:
    """Checks what is promised, and says where batch axes go if the function takes them. Called at every lowering.

    The answer holds for each input, in the function's order, what to do with it and its batch axes, and for each
    output the order of axes that brings the batch axes to the front.
    """
    name = binding.hook.name
    if given.function(name) is None:
        raise missing(given, name)
    inputs = given.in_order(binding, list(zip(avals_in, masks, strict=True)))
    axes = len(masks[0])
    if axes and given.can_batch:
        moving = given.in_order(binding, [False] * len(given.fixed) + [True] * (len(inputs) - len(given.fixed)))
        return _layout(given, name, inputs, moving, avals_out, axes)
    if binding.hook.rule.reverses and given.abstract(name) is not None:
        specs = [_unbatched(aval, sum(mask)) for aval, mask in inputs]
        compare(
            given, name, [spec for spec, _ in promise(given, name, specs)], [_unbatched(a, axes) for a in avals_out]
        )
    return None


def _layout(
    given: Given, name: str, inputs: Sequence[Any], moving: Sequence[bool], avals_out: Sequence[Any], axes: int
) -> Any:
    sizes = avals_out[0].shape[:axes]
    outputs = [_unbatched(aval, axes) for aval in avals_out]
    own = [_unbatched(aval, sum(mask)) for aval, mask in inputs]
    mapped = [any(mask) for _, mask in inputs]
    # A function that cannot have batch axes in some of its arguments only gets them in all that are not fixed.
    everywhere = [has or moves for has, moves in zip(mapped, moving, strict=True)]
    try:
        orders = _orders(given, name, own, mapped, outputs, sizes)
    except MisfitError:
        if mapped == everywhere:
            raise
        mapped = everywhere
        orders = _orders(given, name, own, mapped, outputs, sizes)
    actions = [
        SQUEEZE if not has else KEEP if all(mask) else REPEAT for has, (_, mask) in zip(mapped, inputs, strict=True)
    ]
    return axes, tuple(actions), _batch_axes(mapped, axes), tuple(orders)


def _orders(
    given: Given, name: str, own: Sequence[Any], mapped: Sequence[bool], outputs: Sequence[Any], sizes: tuple[Any, ...]
) -> list[tuple[int, ...] | None]:
    """The order of axes of each output that brings batch axes to the front.

    ``abstract`` says where one ``vmap`` after the other puts its axis, innermost first.
    """
    labels = [list(range(len(spec.shape))) for spec in outputs]
    expected = [list(spec.shape) for spec in outputs]
    for axes in range(1, len(sizes) + 1):
        lead = sizes[-axes:]
        specs = [_with_shape(s, (*lead, *s.shape)) if has else s for s, has in zip(own, mapped, strict=True)]
        batch_axes = _batch_axes(mapped, axes)
        answer = promise(given, name, specs, batch_axes)
        for (_, axis), label, shape in zip(answer, labels, expected, strict=False):
            place = _axis(given, name, axis, len(shape), batch_axes)
            label.insert(place, -axes)
            shape.insert(place, lead[0])
        wanted = [_with_shape(spec, tuple(shape)) for spec, shape in zip(outputs, expected, strict=True)]
        compare(given, name, [spec for spec, _ in answer], wanted, f" for batch_axes={batch_axes}")
    orders = [tuple(label.index(i) for i in sorted(label, key=lambda i: (i >= 0, i))) for label in labels]
    return [None if order == tuple(range(len(order))) else order for order in orders]


def _axis(given: Given, name: str, axis: list[Any], rank: int, batch_axes: Any) -> int:
    """The third entry of an answer: a position in an array of ``rank`` axes and the new one."""
    if len(axis) == 1 and isinstance(axis[0], int | np.integer) and -rank - 1 <= axis[0] <= rank:
        return int(axis[0]) % (rank + 1)
    found = f"{axis[0]!r}" if axis else "no third entry"
    message = (
        f"{' and '.join(given.promised_by(name))} returned {found} for batch_axes={batch_axes}; expected (shape, "
        f"dtype, axis) with the position of the last batch axis in the output, from 0 to {rank}. Return it, or leave "
        "out func_can_batch=True."
    )
    raise MisfitError(message)


def _with_shape(spec: Any, shape: tuple[Any, ...]) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, spec.dtype)


def _unbatched(aval: Any, axes: int) -> jax.ShapeDtypeStruct:
    return _with_shape(aval, aval.shape[axes:])


def _batch_axes(mapped: Sequence[bool], axes: int) -> tuple[tuple[int, ...], ...]:
    """Batch axes in front of each array that has them, innermost ``vmap`` first."""
    return tuple(tuple(reversed(range(axes))) if has else () for has in mapped)


def is_layout(binding: Any) -> bool:
    """Whether a layout is one that ``layout`` could have answered with, as far as a call depends on it."""
    if binding.layout is None:
        return True
    if type(binding.layout) is not tuple or len(binding.layout) != 4:
        return False
    axes, actions, batch_axes, orders = binding.layout
    inputs, outputs = sum(tree.num_leaves for tree in binding.trees), binding.out_tree.num_leaves
    if not (type(axes) is int and all(type(part) is tuple for part in (actions, batch_axes, orders))):
        return False
    return (
        axes > 0
        and len(actions) == len(batch_axes) == inputs
        and all(type(action) is int and action in (KEEP, SQUEEZE, REPEAT) for action in actions)
        and all(axes_of in ((), tuple(reversed(range(axes)))) for axes_of in batch_axes)
        and len(orders) == outputs
        and all(order is None or _is_permutation(order) for order in orders)
    )


def _is_permutation(order: Any) -> bool:
    return type(order) is tuple and all(type(i) is int for i in order) and sorted(order) == list(range(len(order)))
