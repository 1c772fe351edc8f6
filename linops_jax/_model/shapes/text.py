"""Specs as text, for messages."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from linops_jax._model.shapes.structs import is_spec

_SHORT = {"float": "f", "bfloat": "bf", "complex": "c", "int": "i", "uint": "u"}


def describe(leaf: Any) -> str:
    """A spec as text: ``f32[3,4]`` for a float32 array of shape (3, 4)."""
    name = np.dtype(leaf.dtype).name
    letters = name.rstrip("0123456789")
    shape = ",".join(map(str, leaf.shape))
    return f"{_SHORT.get(letters, letters)}{name[len(letters) :]}[{shape}]"


def describe_tree(tree: Any) -> str:
    """The specs of a pytree as text, in Python's notation for containers: ``(f32[3], {'a': i32[]})``."""
    if tree is None or is_spec(tree):
        return "None" if tree is None else describe(tree)
    if isinstance(tree, dict):
        return "{" + ", ".join(f"{key!r}: {describe_tree(value)}" for key, value in tree.items()) + "}"
    if type(tree) in (tuple, list):
        inner = ", ".join(map(describe_tree, tree))
        if isinstance(tree, list):
            return f"[{inner}]"
        return f"({inner},)" if len(tree) == 1 else f"({inner})"
    return repr(jax.tree.map(lambda leaf: Text(describe(leaf)), tree))


class Text(str):
    """A string that prints without quotes inside of containers."""

    __slots__ = ()
    __repr__ = str.__str__
