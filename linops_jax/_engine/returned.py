"""Checks and casts of what a hook returned: it must have the structure, shapes and dtypes that were promised."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import advice, shapes
from linops_jax._model.fields import array_fields
from linops_jax._model.hooks import Hook


def result_leaves(hook: Hook, out_tree: Any, result: Any) -> list[Any]:
    """The leaves of what a hook returned, in the order of the promised structure ``out_tree``."""
    if hook.rule.in_fields:
        result = _complete_fields(out_tree, result)
    if jax.tree_util.treedef_is_leaf(out_tree):
        return [result]
    try:
        leaves = out_tree.flatten_up_to(result)  # None is allowed for a cotangent that is zero
    except ValueError:
        leaves = _with_zeros(out_tree, result) if hook.rule.none_is_zero else None
    if leaves is None or not jax.tree_util.all_leaves(leaves, is_leaf=lambda leaf: leaf is None):
        message = f"{hook.label} returned {describe(result)}; {_promise(hook)} the structure {out_tree}. Fix whichever is wrong."
        raise TypeError(message)
    return leaves


def _with_zeros(out_tree: Any, result: Any) -> list[Any] | None:
    """The leaves of a result in which None may replace a whole subtree of zeros; None if it has another structure."""
    leaves: list[Any] = []

    def visit(found: Any, wanted: Any) -> None:
        if found is not None and not jax.tree_util.all_leaves([wanted]):
            raise ValueError
        leaves.extend([found] * len(jax.tree.leaves(wanted)))

    try:
        wanted = jax.tree.unflatten(out_tree, range(out_tree.num_leaves))
        jax.tree.map(visit, result, wanted, is_leaf=lambda leaf: leaf is None)
    except ValueError:
        return None
    return leaves


def _complete_fields(out_tree: Any, result: Any) -> Any:
    """The result of ``parameter_vjp`` as an operator. It may be a dict of fields, where a missing field means zero."""
    if not isinstance(result, dict):
        return result
    completed = jax.tree.unflatten(out_tree, [None] * out_tree.num_leaves)
    cls = type(completed)
    unknown = sorted(set(result) - set(array_fields(cls)))
    if unknown:
        message = (
            f"{cls._label}.parameter_vjp returned a derivative for {', '.join(unknown)}, which is not a field. "
            f"{cls._label} has {', '.join(array_fields(cls))}."
        )
        raise TypeError(message)
    completed.__dict__.update(result)
    return completed


def describe(result: Any) -> str:
    """What a hook returned, in words for messages: the specs, if it consists of arrays."""
    try:
        return shapes.describe_tree(jax.tree.map(np.asarray, result))
    except Exception:
        return f"{type(result).__name__} {result!r:.80}"


def _promise(hook: Hook) -> str:
    if hook.rule.with_state:
        return "infer_shape and infer_state_shape promised, of (y, state),"
    return "expected" if hook.rule.ends_in_domain else "infer_shape promised"


def make_store(hook: Hook, ignored: tuple[bool, ...]) -> Callable[[int, Any, np.ndarray], None]:
    """The function by which the trampoline stores results that are not arrays of the promised dtype and shape.

    It checks each of them, and copies it to the memory of the result with a cast.
    """

    def store(index: int, result: Any, view: np.ndarray) -> None:
        if ignored[index] or (result is None and hook.rule.none_is_zero):
            view[...] = 0
            return
        try:
            array = np.asarray(result)
        except ValueError:
            array = None
        if array is None or array.dtype == object:
            message = (
                f"{hook.label} returned {describe(result)}; {_promise(hook)} {view.shape}. Fix whichever is wrong."
            )
            raise TypeError(message)
        if advice.is_masked(result):
            message = (
                f"{hook.label} returned a masked array, whose mask would be lost. Return y.filled(0), or fill it with other "
                "values."
            )
            raise TypeError(message)
        np.copyto(view, fitting(hook, array, view.shape, view.dtype), casting="unsafe")

    return store


def fitting(hook: Hook, array: Any, shape: tuple[int, ...], dtype: Any) -> Any:
    """An array of NumPy or JAX, after a check that it has the promised shape and can be cast to the promised dtype.

    If the hook returns cotangents and the promised dtype is real, this is the real part.
    """
    if array.shape != shape:
        message = f"{hook.label} returned shape {array.shape}; {_promise(hook)} {shape}. Fix whichever is wrong."
        raise ValueError(message)
    if hook.rule.reverses and shapes.is_complex(array.dtype) and not shapes.is_complex(dtype):
        array = array.real
    if not shapes.castable(array.dtype, np.dtype(dtype)):
        message = (
            f"{hook.label} returned dtype {array.dtype}; {_promise(hook)} {dtype}, and a cast would lose more than "
            "precision. Fix whichever is wrong."
        )
        raise TypeError(message)
    return array


def as_promised(hook: Hook, result: Any, specs: Any) -> Any:
    """The result of traced code with the structure, shapes and dtypes of ``specs``."""
    wanted, tree = jax.tree.flatten(specs)
    values = result_leaves(hook, tree, result)
    return jax.tree.unflatten(tree, [cast(hook, value, spec) for value, spec in zip(values, wanted, strict=True)])


def cast(hook: Hook, value: Any, spec: jax.ShapeDtypeStruct) -> jax.Array:
    """One array that traced code returned, with the promised shape and dtype."""
    if value is None and hook.derived:
        message = (
            f"{hook.label}: JAX derives adjoints for floating arrays only, not for {spec.dtype}. Define {hook.label}."
        )
        raise NotImplementedError(message)
    if value is None and hook.rule.none_is_zero:
        return shapes.zeros(spec)
    return fitting(hook, jnp.asarray(value), spec.shape, spec.dtype).astype(spec.dtype)
