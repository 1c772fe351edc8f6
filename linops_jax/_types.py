"""Names for what annotations mean. Type checkers have no pytrees: to them, the first two are anything."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np

Arrays: TypeAlias = Any  # a pytree of arrays
Specs: TypeAlias = Any  # a pytree of jax.ShapeDtypeStruct; users may give arrays, which have shapes and dtypes, too
Scalar: TypeAlias = complex | np.number | np.bool_ | np.ndarray | jax.Array  # arrays: 0-d ones
Real: TypeAlias = float | np.number | np.ndarray | jax.Array  # likewise
Seed: TypeAlias = int | jax.Array  # an integer, or a key of jax.random
