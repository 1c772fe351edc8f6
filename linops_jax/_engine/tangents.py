"""Tangents and cotangents as JAX hands them over: its own symbolic zeros, and placeholders of what is wanted."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import numpy as np
from jax.interpreters import ad


def is_zero(tangent: Any) -> bool:
    return type(tangent) is ad.Zero


def zero(result: Any) -> Any:
    return ad.Zero(jax.typeof(result).to_tangent_aval())


def vanishes(tangent: Any) -> bool:
    """Whether it is zero already: rules that fill in missing tangents hand over arrays of zeros."""
    if is_zero(tangent) or isinstance(tangent, jax.core.Tracer):
        return is_zero(tangent)
    return getattr(tangent, "is_fully_addressable", True) and not np.any(np.asarray(tangent))


def is_wanted(operand: Any) -> bool:
    """Whether an operand of a linear equation is a placeholder: its cotangent is asked for."""
    return ad.is_undefined_primal(operand)


def aval(operand: Any) -> Any:
    return operand.aval if is_wanted(operand) else jax.typeof(operand)
