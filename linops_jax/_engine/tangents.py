"""Tangents and cotangents in JAX's rules: symbolic zeros, and placeholders for operands whose cotangents are wanted."""

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
    """Whether a tangent is known to be zero: a symbolic zero, or an array of zeros, as rules of JAX may pass instead."""
    if is_zero(tangent) or isinstance(tangent, jax.core.Tracer):
        return is_zero(tangent)
    return getattr(tangent, "is_fully_addressable", True) and not np.any(np.asarray(tangent))


def is_wanted(operand: Any) -> bool:
    """Whether an operand of a linear equation is a placeholder, which means that its cotangent is wanted."""
    return ad.is_undefined_primal(operand)


def aval(operand: Any) -> Any:
    return operand.aval if is_wanted(operand) else jax.typeof(operand)
