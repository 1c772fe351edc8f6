"""What the converters accept, and what they say of anything else."""

from __future__ import annotations

import warnings
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo


def operator(op: Any, spec: Any, where: str, *, depth: int = 3) -> Any:
    """``op`` with a domain, which ``spec`` gives where the operator has none, and its fields as JAX arrays.

    Raises TypeError if ``op`` is not an operator, if ``spec`` is not a spec, or if the domain is unknown; ValueError
    for a domain in 64 bits that have been switched off since. Warns (UserWarning) where ``spec`` asks for such;
    ``depth`` is how many calls up the user's line is.
    """
    if not isinstance(op, lo.LinearOperator | lo.NonlinearOperator):
        advice = "lo.Matrix(a) makes an operator of an array." if isinstance(op, np.ndarray | jax.Array) else ""
        message = f"{where} expects an operator of linops_jax, found {describe(op)}. {advice}".rstrip()
        raise TypeError(message)
    if spec is not None:
        op = op.with_domain(spec)
        _warn_of_64_bits(spec, where, depth + 1)
    if op.domain is None:
        message = (
            f"{where}: {op!r} does not know its domain. Pass it, {where}(op, jax.ShapeDtypeStruct(shape, dtype)), or fix "
            "it with op.with_domain(spec)."
        )
        raise TypeError(message)
    for leaf in jax.tree.leaves(op.domain):
        if _given(leaf) != leaf.dtype:
            message = (
                f"{where}: {op!r} got its domain of {leaf.dtype} while 64 bits were switched on in JAX, and now they are "
                f'not. Call {where} where they are: jax.config.update("jax_enable_x64", True).'
            )
            raise ValueError(message)
    return jax.tree.map(jnp.asarray, op)


def linear(op: Any, spec: Any, where: str) -> lo.LinearOperator:
    """As ``operator``; raises TypeError for a nonlinear operator, too, and for integers."""
    if isinstance(op, lo.NonlinearOperator):
        message = f"{where} needs a linear operator, and {op!r} is nonlinear. Convert its derivative, op.jacobian(x)."
        raise TypeError(message)
    op = operator(op, spec, where, depth=4)
    for name, side in (("domain", op.domain), ("codomain", op.codomain)):
        for leaf in jax.tree.leaves(side):
            if not jnp.issubdtype(leaf.dtype, jnp.inexact):
                message = (
                    f"{where}: the {name} of {op!r} has {leaf.dtype} arrays of shape {leaf.shape}; only real and complex "
                    "floating point numbers have adjoints and solvers. Give it a domain in floating point."
                )
                raise TypeError(message)
    return op


def describe(value: Any) -> str:
    """An argument as text for an error message."""
    if isinstance(value, np.ndarray | jax.Array):
        return f"an array of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} {value!r:.80}"


def _warn_of_64_bits(spec: Any, where: str, depth: int) -> None:
    for leaf in jax.tree.leaves(spec):
        if hasattr(leaf, "dtype") and leaf.dtype != (given := _given(leaf)):
            message = (
                f"{where}: the domain is {leaf.dtype}, but JAX computes in {given}. Switch 64 bits on with "
                f'jax.config.update("jax_enable_x64", True), or ask for {given} to silence this warning.'
            )
            warnings.warn(message, UserWarning, stacklevel=depth)
            return


def _given(leaf: Any) -> Any:
    """The dtype that JAX has for that of a leaf."""
    return jax.dtypes.canonicalize_dtype(leaf.dtype)
