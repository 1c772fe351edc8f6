"""What functionals do with the elements of arrays: moduli, roots and thresholds, with derivatives that are never nan."""

from __future__ import annotations

from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np


def as_field(value: Any) -> Any:
    """What a constructor gets for an array field, where it may be a number; in double precision, also where JAX has none."""
    if not isinstance(value, int | float | complex | np.number):
        return value
    return np.asarray(value, np.complex128 if np.iscomplexobj(value) else np.float64)


def as_real_field(value: Any, where: str) -> Any:
    """The same, unless some numbers are complex."""
    value = as_field(value)
    for leaf in jax.tree.leaves(value):
        if isinstance(leaf, np.ndarray | jax.Array) and jnp.iscomplexobj(leaf):
            message = f"{where}: expected real numbers, found {leaf.dtype}. Use their real part."
            raise TypeError(message)
    return value


def is_known(value: Any) -> bool:
    """Whether a field is an array with values, not a tracer or a pytree."""
    return isinstance(value, np.ndarray | jax.Array) and not isinstance(value, jax.core.Tracer)


def positive(value: Any, where: str) -> Any:
    """A field that must be positive, as a real array without axes; only concrete values can be refused."""
    if jnp.shape(value) != () or jnp.iscomplexobj(value):
        message = f"{where}: expected a positive number, found {value!r:.80}."
        raise TypeError(message)
    value = as_field(value)
    if is_known(value) and not value > 0:
        message = f"{where}: expected a positive number, found {value}."
        raise ValueError(message)
    return value


def as_inexact(x: Any) -> Any:
    """The array, in single precision if it holds integers."""
    return x if jnp.issubdtype(x.dtype, np.inexact) else x.astype(np.float32)


def real(x: Any) -> Any:
    """The real dtype with the precision of an array."""
    return jnp.finfo(x.dtype).dtype


def like(value: Any, x: Any) -> Any:
    """An array in the dtype of x: its real part if x is real."""
    return (value if jnp.iscomplexobj(x) else jnp.real(value)).astype(x.dtype)


def only_real(x: Any, who: str) -> Any:
    """The array, unless it is complex."""
    if jnp.iscomplexobj(x):
        message = (
            f"{who}: expected real numbers, found {x.dtype}. Compose it with lo.ops.Real(): {who}(...) @ lo.ops.Real()."
        )
        raise TypeError(message)
    return x


def require_axis(x: Any, axis: int, who: str) -> None:
    """Raises ValueError if an array does not have the axis."""
    if not -x.ndim <= axis < x.ndim:
        message = f"{who}: expected arrays with an axis {axis}, found one of shape {x.shape}. Give {who} another axis."
        raise ValueError(message)


# ---- with derivative 0 where there is none ------------------------------------------------------------------------------


def absolute(x: Any) -> Any:
    """The modulus of each element, with derivative 0 at 0."""
    return jnp.abs(x) if jnp.iscomplexobj(x) else x * jnp.sign(x)


def squared(x: Any) -> Any:
    """The squared modulus of each element."""
    return jnp.real(x) ** 2 + jnp.imag(x) ** 2 if jnp.iscomplexobj(x) else x**2


def root(x: Any) -> Any:
    """The square root of nonnegative numbers, with derivative 0 at 0."""
    zero = x <= 0  # not true of nan, which stays
    return jnp.where(zero, 0, jnp.sqrt(jnp.where(zero, 1, x)))


def unit(largest: Any) -> Any:
    """The unit in which numbers up to ``largest`` are squared, so that no square overflows, or is lost beside others."""
    largest = jax.lax.stop_gradient(largest)
    return jnp.where((largest > 0) & jnp.isfinite(largest), largest, 1)


def shrink(x: Any, size: Any, by: Any) -> Any:
    """The elements of x, of the given sizes, with sizes that are less by ``by``; 0 where that would be negative."""
    cut = size <= by  # not true of nan, which stays
    return jnp.where(cut, 0, x - by * (x / jnp.where(cut, 1, size)))


def threshold(sizes: Any, total: Any, axis: int) -> tuple[Any, Any]:
    """The number t, for each row along an axis, with Σ max(sizes - t, 0) = total: the largest size, and how far above it t is.

    Rounding their sum would lose what is small beside the sizes: see ``above``.
    By sorting: J. Duchi et al., Efficient projections onto the l1-ball for learning in high dimensions, 2008.
    """
    values = jax.lax.stop_gradient(sizes)
    largest = jnp.max(values, axis=axis, keepdims=True)
    falling = jnp.flip(jnp.sort(values - largest, axis=axis), axis)  # near 0 no digits are lost in the sums
    sums = jnp.cumsum(falling, axis=axis)
    counts = jnp.cumsum(jnp.ones_like(falling), axis=axis)
    fixed = jax.lax.stop_gradient(total)
    number = jnp.sum(counts * falling > sums - fixed, axis=axis, keepdims=True)
    last = jnp.take_along_axis(falling, number - 1, axis=axis)
    active = values - largest >= last
    rest = jnp.sum(jnp.where(active, sizes - largest, 0), axis=axis, keepdims=True) - total
    return largest, rest / jnp.sum(active, axis=axis, keepdims=True)


def above(sizes: Any, largest: Any, further: Any) -> Any:
    """The numbers max(sizes - t, 0) with t = largest + further, whose sum is exact also where t is large."""
    return jnp.maximum((sizes - largest) - further, 0)


# ---- sets ---------------------------------------------------------------------------------------------------------------


def indicator(inside: Any, x: Any) -> Any:
    """The number 0 in the real dtype of x, or infinity if not all of ``inside`` is true."""
    return jnp.where(jnp.all(inside), 0, jnp.inf).astype(real(x))


def rounding(x: Any, terms: int = 1) -> float:
    """How far rounding may bring a sum of so many numbers, relative to it, that a prox has put on the boundary of a set."""
    return 16 * float(jnp.finfo(x.dtype).eps) * max(terms, 1) ** 0.5
