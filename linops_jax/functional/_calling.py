"""The call itself: what the trampoline calls with views of all inputs and outputs."""

from __future__ import annotations

import operator
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from linops_jax.functional._given import Given
from linops_jax.functional._layouts import KEEP, SQUEEZE


def caller(given: Given, binding: Any) -> Callable[..., None]:
    """What the trampoline calls with views of all inputs and outputs."""
    function, name = given.function(binding.hook.name), given.label(binding.hook.name)
    inputs = sum(tree.num_leaves for tree in binding.trees)
    order = given.in_order(binding, range(inputs))
    ordered = order == list(range(inputs))
    layout = binding.layout
    axes, actions, batch_axes, orders = layout or (0, (), None, ())
    keywords = dict(given.keywords)
    if given.can_batch:
        keywords["batch_axes"] = batch_axes
    dump = types.MappingProxyType(keywords)

    def call(*views: Any) -> None:
        args = list(views[:inputs] if ordered else map(views.__getitem__, order))
        out = list(views[inputs:])
        answer = function(out, args, dump)
        if answer is not None or len(out) + inputs != len(views) or any(map(operator.is_not, out, views[inputs:])):
            _check_written(name, out, views[inputs:], answer)

    def call_batched(*views: Any) -> None:
        shown = [_unordered(view, order) for view, order in zip(views[inputs:], orders, strict=True)]
        sizes = views[inputs].shape[:axes]
        args = [_prepared(views[i], action, sizes) for i, action in zip(order, actions, strict=True)]
        out = list(shown)
        answer = function(out, args, dump)
        if answer is not None or len(out) != len(shown) or any(map(operator.is_not, out, shown)):
            _check_written(name, out, shown, answer)
        for view, array, axes_in_front in zip(views[inputs:], shown, orders, strict=True):
            if axes_in_front is not None:  # what is first and last stays so, for the trampoline's canary
                view[...] = array.transpose(axes_in_front).copy()

    return call if layout is None else call_batched


def _prepared(view: np.ndarray, action: int, sizes: tuple[int, ...]) -> np.ndarray:
    """An input with all batch axes or with none; the trampoline gives axes of size 1 for those it lacks."""
    if action == KEEP:
        return view
    own = view.shape[len(sizes) :]
    return view.reshape(own) if action == SQUEEZE else np.ascontiguousarray(np.broadcast_to(view, sizes + own))


def _unordered(view: np.ndarray, order: tuple[int, ...] | None) -> np.ndarray:
    """The memory of an output as an array with its axes where the function puts them."""
    return view if order is None else view.reshape([view.shape[order.index(axis)] for axis in range(len(order))])


def _check_written(name: str, out: list[Any], views: Sequence[Any], answer: Any) -> None:
    """Raises where a function returned or rebound its result: then it has written nothing.

    Returning what it has filled does no harm.
    """
    for i, view in enumerate(views):
        if len(out) != len(views) or out[i] is not view:
            message = f"{name} replaced out[{i}] instead of filling it. Write in place: out[{i}][...] = ..."
            raise TypeError(message)
    for value in answer if isinstance(answer, tuple | list) else (answer,):
        if value is None or (isinstance(value, np.ndarray) and any(np.may_share_memory(value, view) for view in views)):
            continue
        message = (
            f"{name} returned {type(value).__name__} {value!r:.80}; its result belongs into out, in place: "
            "out[0][...] = ..., and it returns nothing."
        )
        raise TypeError(message)
