"""XLA's element types (xla_data.proto) as NumPy dtypes.

Types of 4 bits and fewer are missing: XLA packs several numbers into a byte, which NumPy cannot represent.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np

BY_CODE: dict[int, np.dtype] = {code: np.dtype(dtype) for code, dtype in {
    1: np.bool_, 2: np.int8, 3: np.int16, 4: np.int32, 5: np.int64, 6: np.uint8, 7: np.uint16, 8: np.uint32,
    9: np.uint64, 10: np.float16, 11: np.float32, 12: np.float64, 15: np.complex64, 16: ml_dtypes.bfloat16,
    18: np.complex128, 19: ml_dtypes.float8_e5m2, 20: ml_dtypes.float8_e4m3fn, 23: ml_dtypes.float8_e4m3b11fnuz,
    24: ml_dtypes.float8_e5m2fnuz, 25: ml_dtypes.float8_e4m3fnuz, 28: ml_dtypes.float8_e4m3,
    29: ml_dtypes.float8_e3m4,
}.items()}  # fmt: skip
_SUPPORTED = frozenset(BY_CODE.values())
_BITS = {dtype.name: 1 << code for code, dtype in BY_CODE.items()}


def bits(names: Iterable[str]) -> int:
    """A set of dtypes as a bit mask, for the extension."""
    return sum(_BITS[name] for name in names)


def refuse_unknown(label: str, avals: Iterable[Any]) -> None:
    """Raises TypeError for arrays with dtypes that NumPy does not have."""
    for aval in avals:
        if not isinstance(aval.dtype, np.dtype):  # a random key of JAX
            message = f"{label}: found {aval.str_short()}, unknown to NumPy. Keep jax.random.key_data(key)."
            raise TypeError(message)
        if np.dtype(aval.dtype) not in _SUPPORTED:
            message = f"{label}: NumPy has no arrays of {aval.dtype}. Convert with astype before the call."
            raise TypeError(message)
