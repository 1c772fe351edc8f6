"""The arguments of lo.minimize as its program takes them, or an error that names them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax.minimizers._problem import number
from linops_jax.solvers._problem import as_inexact

DERIVATIVES = ("implicit", "unroll", "no")
MOST_SIZES = {"fista": 1, "pd3o": 2, "admm": 1}  # of a step
SIZES = {
    "fista": "one positive number",
    "pd3o": "a positive number tau, or a pair (tau, sigma)",
    "admm": "one positive number, the penalty relative to the operators' norms",
}


def as_start(x0: Any) -> Any:
    """The start as arrays. Raises ValueError if there are no numbers in it."""
    x0 = as_inexact(shapes.as_arrays(x0, "lo.minimize: x0"))
    if not sum(leaf.size for leaf in jax.tree.leaves(x0)):
        found = shapes.describe_tree(x0) if jax.tree.leaves(x0) else f"{x0!r:.80}"
        message = (
            f"lo.minimize: x0 has no numbers, found {found}. It says the structure, shapes and dtypes of x: pass for example "
            "zeros."
        )
        raise ValueError(message)
    return x0


def require_derivatives(differentiate: Any, solver: str) -> None:
    """Raises ValueError for a way to differentiate that there is not."""
    if differentiate not in DERIVATIVES:
        message = (
            f"lo.minimize: differentiate must be one of {', '.join(map(repr, DERIVATIVES))}, found {differentiate!r}."
        )
        raise ValueError(message)
    if differentiate == "unroll" and solver == "admm":
        message = (
            "lo.minimize: differentiate='unroll' is for 'fista' and 'pd3o': the steps of 'admm' solve equations up to a "
            "tolerance. Use 'implicit'."
        )
        raise ValueError(message)


def as_step(step: Any, solver: str, x: Any) -> Any:
    """The step sizes as arrays, or None. Raises ValueError if they are none of this solver."""
    if step is None:
        return None
    sizes = tuple(step) if isinstance(step, tuple | list) else (step,)
    is_number = all(jnp.ndim(size) == 0 and not jnp.iscomplexobj(size) for size in sizes)
    if (
        not 0 < len(sizes) <= MOST_SIZES[solver]
        or not is_number
        or any(shapes.is_concrete(size) and not np.asarray(size) > 0 for size in sizes)
    ):
        message = f"lo.minimize: step of {solver!r} must be {SIZES[solver]}, found {step!r:.80}."
        raise ValueError(message)
    arrays = tuple(jnp.asarray(size, number(x)) for size in sizes)
    return arrays if len(arrays) == 2 else arrays[0]
