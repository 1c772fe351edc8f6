"""The search for views of XLA's memory that a hook has kept."""

from __future__ import annotations

import gc
from typing import Any

import numpy as np


def derived_arrays(view: np.ndarray) -> list[np.ndarray]:
    """All arrays of the process that share the memory of ``view``. Slow, so it is called only for a hook that kept some."""
    todo: list[Any] = gc.get_objects()
    seen = set(map(id, todo))
    found = []
    while todo:
        referents = gc.get_referents(*todo)
        todo = []
        for item in referents:
            if id(item) in seen:
                continue
            seen.add(id(item))
            if isinstance(item, np.ndarray):
                if item is not view and _has_base(item, view):
                    found.append(item)
            elif not gc.is_tracked(item):
                todo.append(item)
    return found


def _has_base(array: Any, view: np.ndarray) -> bool:
    while isinstance(array, np.ndarray | memoryview):
        if array is view:
            return True
        array = array.obj if isinstance(array, memoryview) else array.base
    return False
