"""Type aliases for annotations. Type checkers have no type for pytrees, so the first two mean ``Any`` to them."""

from __future__ import annotations

from typing import Any, TypeAlias

import jax
import numpy as np

Arrays: TypeAlias = Any  # a pytree of arrays
Specs: TypeAlias = Any  # a pytree of jax.ShapeDtypeStruct, or of arrays, of which only shapes and dtypes matter
Scalar: TypeAlias = complex | np.number | np.bool_ | np.ndarray | jax.Array  # arrays must have shape ()
Real: TypeAlias = float | np.number | np.ndarray | jax.Array  # arrays must have shape ()
Seed: TypeAlias = int | jax.Array  # an integer, or a key of jax.random
