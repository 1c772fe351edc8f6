"""Numbers and arrays that meet each other before they meet the data, as the rules of ``lo.simplify`` let them."""

from __future__ import annotations

from typing import Any

import numpy as np

_WIDE = frozenset(map(np.dtype, (np.float32, np.float64, np.complex64, np.complex128)))


def can_merge(*values: Any) -> bool:
    """Whether numbers and arrays can be added and multiplied before they meet the data: in the types of narrow integers and
    half precision they would overflow."""
    dtypes = {np.dtype(value.dtype) for value in values if not _is_python(value)}
    return len(dtypes) < 2 and all(dtype in _WIDE for dtype in dtypes)


def _is_python(value: Any) -> bool:
    return type(value) in (bool, int, float, complex)
