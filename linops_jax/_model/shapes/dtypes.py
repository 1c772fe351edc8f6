"""The kinds of numbers that dtypes hold, and the casts that are allowed between them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def is_inexact(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.inexact)


def is_complex(dtype: Any) -> bool:
    return jnp.issubdtype(dtype, np.complexfloating)


def has_complex(tree: Any) -> bool:
    return any(is_complex(leaf.dtype) for leaf in jax.tree.leaves(tree))


def all_complex(tree: Any) -> bool:
    return all(is_complex(leaf.dtype) for leaf in jax.tree.leaves(tree))


def strong(array: jax.Array) -> jax.Array:
    """The array without JAX's weak type, so that its dtype is the one that an operator promises."""
    return array.astype(array.dtype)


def castable(found: Any, wanted: Any) -> bool:
    """Whether NumPy's rule ``same_kind`` allows a cast; the dtypes of ml_dtypes, such as bfloat16, count as real floats."""
    if found == wanted:
        return True
    if found.kind in "OSUmM":
        return False
    if found.kind != "V" and wanted.kind != "V":
        return np.can_cast(found, wanted, "same_kind")
    real = is_inexact(wanted) and not is_complex(wanted)
    return (
        is_complex(wanted) or (real and found.kind in "biuf") or (real and is_inexact(found) and not is_complex(found))
    )


def real_scalar(tree: Any) -> jax.ShapeDtypeStruct:
    """The spec of a real number with the precision of the arrays of a pytree."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(tree) if is_inexact(leaf.dtype)]
    dtype = jnp.result_type(*dtypes or [float])
    return jax.ShapeDtypeStruct((), jnp.finfo(dtype).dtype)
