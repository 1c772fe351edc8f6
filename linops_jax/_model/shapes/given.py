"""Conversion of what users pass as arrays or specs, such as lists and numbers, and errors for shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import advice
from linops_jax._model.shapes.structs import is_spec, spec

NUMBERS = (bool, int, float, complex)
_INTEGERS = (int, np.integer)
_NUMBER_TYPES = {*NUMBERS, *(kind for kind in np.sctypeDict.values() if issubclass(kind, np.number | np.bool_))}


def as_arrays(tree: Any, where: str) -> Any:
    """The pytree with every leaf as a JAX array in JAX's canonical dtype (64 bits only if they are switched on).

    Lists of numbers become arrays. Raises TypeError for values that are not arrays. Random keys are an error too, except in
    an operator.
    """
    keys_too = advice.is_operator(tree)

    def convert(leaf: Any) -> jax.Array:
        if isinstance(leaf, jax.Array) and (keys_too or isinstance(leaf.dtype, np.dtype)):
            return leaf
        try:
            if advice.is_key(leaf) or advice.is_masked(leaf):
                raise TypeError
            return jnp.asarray(leaf)
        except (TypeError, ValueError) as error:
            remedy = advice.for_value(leaf) or "Pass an array or a pytree of arrays."
            kind = "random key" if advice.is_key(leaf) else type(leaf).__name__
            message = f"{where}: expected arrays, found {kind} {advice.short(leaf)}. {remedy}"
            raise TypeError(message) from (error if error.args else None)

    return jax.tree.map(convert, lists_as_arrays(tree))


def is_list_of_numbers(value: Any) -> bool:
    """Whether ``value`` is a list, or a nested list, of numbers only, as ``jnp.asarray`` accepts it."""
    if type(value) is not list or not value:
        return False
    return all(type(entry) in _NUMBER_TYPES or is_list_of_numbers(entry) for entry in value)


def lists_as_arrays(tree: Any, domain: Callable[[], Any] = lambda: None) -> Any:
    """The pytree with lists of numbers as arrays, as in NumPy. A list remains a list if the domain is a pytree with one.

    Parameters
    ----------
    tree : pytree
        Arrays, numbers, and lists of numbers.
    domain : callable, optional
        Returns the specs of the expected arrays, or None.
    """
    if isinstance(tree, jax.Array):
        return tree
    if _NUMBER_TYPES.isdisjoint(map(type, jax.tree.leaves(tree))):
        return tree
    spec = domain()
    if spec is not None and jax.tree.structure(spec) == jax.tree.structure(tree):
        return jax.tree.map(lambda leaf: jnp.asarray(leaf) if type(leaf) in _NUMBER_TYPES else leaf, tree)
    return jax.tree.map(lambda x: _array(x) if is_list_of_numbers(x) else x, tree, is_leaf=is_list_of_numbers)


def _array(numbers: list[Any]) -> jax.Array:
    try:
        return jnp.asarray(numbers)
    except (TypeError, ValueError) as error:
        message = f"a list of numbers is an array, but the rows of this one differ in length: {advice.short(numbers)}."
        raise ValueError(message) from error


def as_specs(tree: Any, where: str) -> Any:
    """The specs of what a user passed: specs, arrays, numbers, or pytrees of these.

    Raises TypeError for a shape, which JAX would read as a pytree of integers, and for values without shape and dtype.
    """
    refuse_shapes(tree, where, "Pass jax.ShapeDtypeStruct({}, dtype), or an array")

    def convert(leaf: Any) -> jax.ShapeDtypeStruct:
        if is_spec(leaf):
            return spec(leaf)
        if type(leaf) in NUMBERS:
            return spec(jnp.asarray(leaf))
        message = (
            f"{where}: found {type(leaf).__name__} {advice.short(leaf)}; expected a jax.ShapeDtypeStruct(shape, dtype) or an "
            f"array, or a pytree of them. {advice.for_value(leaf)}"
        )
        raise TypeError(message.rstrip())

    return jax.tree.map(convert, lists_as_arrays(tree), is_leaf=lambda leaf: tree is None)


def refuse_shapes(tree: Any, where: str, remedy: str) -> None:
    """Raises TypeError for a shape: an integer, or a container of integers only, also inside of a pytree.

    Parameters
    ----------
    tree : pytree
        What a user passed.
    where : str
        The beginning of the message.
    remedy : str
        What to write instead, with ``{}`` in place of the shape.
    """
    for path, part in jax.tree_util.tree_leaves_with_path(tree, is_leaf=_is_bare_shape):
        # One integer in a pytree may be an index, and an empty container an input without arrays.
        among_others = isinstance(part, _INTEGERS) or not jax.tree.leaves(part)
        if _is_bare_shape(part) and not (path and among_others):
            at = f" at {jax.tree_util.keystr(path)}" if path else ""
            shape = tuple(jax.tree.leaves(part))
            remedy = remedy.format(shape)
            message = f"{where}: found {advice.short(part)}{at}, which is a shape. {remedy}. For several inputs, pass a pytree."
            raise TypeError(message)


def _is_bare_shape(value: Any) -> bool:
    """Whether ``value`` is an integer of Python or NumPy, or a container of integers only."""
    if isinstance(value, _INTEGERS):
        return not isinstance(value, bool)
    return type(value) in (tuple, list, dict) and all(map(_is_bare_shape, jax.tree.leaves(value))) and value != {}
