"""When iterations end: tolerances and numbers of steps that make no sense are refused, in lo.solve and lo.minimize alike."""

from __future__ import annotations

import numbers
from typing import Any

import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes


def require_limits(where: str, **limits: Any) -> None:
    """Raises TypeError for a tolerance that is no real number, ValueError for one that is known to be negative or NaN."""
    for name, limit in limits.items():
        is_number = shapes.is_concrete(limit) or shapes.is_spec(limit) or isinstance(limit, np.generic)
        if not is_number or jnp.ndim(limit) or shapes.is_complex(jnp.result_type(limit)):
            message = f"{where}: {name} must be a real number, found {limit!r:.80}."
            raise TypeError(message)
        if (shapes.is_concrete(limit) or isinstance(limit, np.generic)) and not float(limit) >= 0:
            message = (
                f"{where}: {name} must not be negative or NaN, found {float(limit):g}. With 0 all steps are taken that are "
                "allowed."
            )
            raise ValueError(message)


def require_steps(where: str, least: int = 1, **steps: Any) -> None:
    """Raises TypeError for a number of steps that is no integer, ValueError for one that is too small."""
    for name, count in steps.items():
        if not isinstance(count, numbers.Integral) or isinstance(count, bool):
            message = (
                f"{where}: {name} must be an integer, found {count!r:.80}. It is part of the program, as shapes are."
            )
            raise TypeError(message)
        if count < least:
            message = f"{where}: {name} must be at least {least}, found {count}."
            raise ValueError(message)
