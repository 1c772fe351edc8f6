"""Which numbers and arrays the rules of ``lo.simplify`` may combine before they are applied to the data."""

from __future__ import annotations

from typing import Any

import numpy as np

_WIDE = frozenset(map(np.dtype, (np.float32, np.float64, np.complex64, np.complex128)))


def can_merge(*values: Any) -> bool:
    """Whether numbers and arrays may be combined first: arrays of one dtype only, in which overflow is not likely."""
    dtypes = {np.dtype(value.dtype) for value in values if not _is_python(value)}
    return len(dtypes) < 2 and all(dtype in _WIDE for dtype in dtypes)


def _is_python(value: Any) -> bool:
    return type(value) in (bool, int, float, complex)
