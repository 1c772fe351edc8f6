"""Arithmetic of pytrees of arrays: sums, inner products and norms, on any mesh and for numbers of any magnitude.

Norms are computed after a multiplication by a power of two that brings the largest entry close to 1. So no square
overflows or underflows, and the multiplication itself has no rounding errors.

Where devices of a ``shard_map`` have parts of one vector, ``axes`` names the axes of the mesh over which it is spread: sums and
maxima are those of the whole vector. An array that does not vary over an axis is the same on all devices, and counts once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._model import shapes

Axes = tuple[str, ...]  # of the mesh of an enclosing shard_map
Combine = Callable[[Sequence[jax.Array]], jax.Array]


def add(a: Any, scalar: Any, b: Any) -> Any:
    """``a + scalar b``, in the dtypes of ``a``."""
    kind = (lambda u: u.dtype) if jnp.iscomplexobj(scalar) else (lambda u: jnp.finfo(u.dtype).dtype)
    return jax.tree.map(lambda u, v: u + jnp.asarray(scalar, kind(u)) * v.astype(u.dtype), a, b)


def times(scalar: Any, a: Any) -> Any:
    """``scalar a``, in the dtypes of ``a``, for a real scalar."""
    return jax.tree.map(lambda u: scalar.astype(jnp.finfo(u.dtype).dtype) * u, a)


def dot(a: Any, b: Any, axes: Axes = ()) -> jax.Array:
    """Re⟨a, b⟩ of two pytrees: the inner product for operators that are linear over the real numbers only."""
    return jnp.real(inner(a, b, axes))


def inner(a: Any, b: Any, axes: Axes = ()) -> jax.Array:
    """⟨a, b⟩ of two pytrees, with ``a`` conjugated, in at least single precision."""
    pairs = list(zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))
    dtype = jnp.result_type(jnp.float32, *(leaf.dtype for pair in pairs for leaf in pair))

    def one(u: Any, v: Any) -> jax.Array:
        if _compat.place(u).get("sharding"):  # jnp.vdot does not accept sharded axes of explicit meshes
            return jnp.sum(u.conj().astype(dtype) * v)
        return jnp.vdot(u, v, preferred_element_type=dtype).astype(dtype)

    return _over_devices([one(u, v) for u, v in pairs], axes, lambda values: jnp.sum(jnp.stack(values)), jax.lax.psum)


def _over_devices(
    values: Sequence[jax.Array], axes: Axes, combine: Combine, collective: Callable[..., Any]
) -> jax.Array:
    """Numbers combined, each over those of the axes over which it varies, by one collective for numbers that vary alike."""
    alike: dict[tuple[str, ...], list[jax.Array]] = {}
    for value in values:
        alike.setdefault(tuple(axis for axis in axes if axis in _compat.varying_axes(value)), []).append(value)
    return combine([collective(combine(group), names) if names else combine(group) for names, group in alike.items()])


def norm(tree: Any, axes: Axes = ()) -> jax.Array:
    """The Euclidean norm of all arrays. It overflows or underflows only if the result itself cannot be represented."""
    power = exponent(tree, axes)
    unit = shift(tree, -power)
    return shift(jnp.sqrt(dot(unit, unit, axes)), power)


def exponent(tree: Any, axes: Axes = ()) -> jax.Array:
    """The integer e for which the largest entry is between 2^(e-1) and 2^e; 0 if that entry is zero or not finite."""
    return _exponent(_largest(jax.lax.stop_gradient(tree), axes))


def _largest(tree: Any, axes: Axes = ()) -> jax.Array:
    """The largest real or imaginary part of all arrays, in magnitude, in at least single precision."""
    values = [jnp.zeros((), jnp.float32)]
    for leaf in jax.tree.leaves(tree):
        parts = (leaf.real, leaf.imag) if shapes.is_complex(leaf.dtype) else (leaf,)
        for part in parts:
            part = part.astype(jnp.result_type(part.dtype, jnp.float32))
            values.append(jnp.max(jnp.abs(part), initial=0))
    return _over_devices(values, axes, functools.partial(functools.reduce, jnp.maximum), jax.lax.pmax)


def shift(tree: Any, power: Any) -> Any:
    """2^power times all arrays.

    The factor 2^power itself might overflow or underflow, so it is split into two factors.
    """
    power = jnp.asarray(power, jnp.int32)
    half = power >> 1
    kinds = {jnp.finfo(leaf.dtype).dtype for leaf in jax.tree.leaves(tree)}
    factors = {kind: (_power_of_two(half, kind), _power_of_two(power - half, kind)) for kind in kinds}

    def one(leaf: Any) -> Any:
        first, second = factors[jnp.finfo(leaf.dtype).dtype]
        return leaf * first * second

    return jax.tree.map(one, tree)


# By their bits: jnp.ldexp and jnp.frexp are programs of 57 and 33 equations.


def _power_of_two(power: Any, dtype: Any) -> jax.Array:
    """2^power, clipped to the normal numbers of a real dtype."""
    info = jnp.finfo(dtype)
    least, most = np.int32(info.minexp), np.int32(info.maxexp - 1)
    biased = jax.lax.clamp(least, power, most) - (least - 1)
    bits = _bits(info)
    return jax.lax.bitcast_convert_type(biased.astype(bits) << bits.type(info.nmant), info.dtype)


def _exponent(number: jax.Array) -> jax.Array:
    """The integer e with 2^(e-1) <= number < 2^e; 0 for zero, infinity and nan. The number is not negative."""
    info = jnp.finfo(number.dtype)
    bits = _bits(info)
    subnormal = number < info.tiny
    normal = jnp.where(subnormal, number * number.dtype.type(2.0**info.nmant), number)
    biased = jax.lax.bitcast_convert_type(normal, bits) >> bits.type(info.nmant)
    found = biased.astype(jnp.int32) + jnp.where(subnormal, np.int32(info.minexp - info.nmant), np.int32(info.minexp))
    return jnp.where((number > 0) & jnp.isfinite(number), found, np.int32(0))


def _bits(info: Any) -> np.dtype:
    return np.dtype(f"uint{info.bits}")


def is_finite(tree: Any, axes: Axes = ()) -> jax.Array:
    found = [jnp.all(jnp.isfinite(leaf)).astype(jnp.int32) for leaf in jax.tree.leaves(tree)]
    return _over_devices(found, axes, lambda values: jnp.min(jnp.stack(values)), jax.lax.pmin) == 1


def restored(unit: Any, power: Any, axes: Axes = ()) -> tuple[Any, jax.Array]:
    """2^power times all arrays, and whether the results can be represented in their dtypes."""
    found = shift(unit, power)
    return found, holds(found, shift(found, -power), unit, axes)


def holds(found: Any, again: Any, meant: Any, axes: Axes = ()) -> jax.Array:
    """Whether scaled arrays are finite and have lost nothing but precision.

    Parameters
    ----------
    found : pytree of arrays
        The arrays after scaling.
    again : pytree of arrays
        The arrays after scaling them back.
    meant : pytree of arrays
        The arrays before scaling, to which ``again`` is compared.
    axes : tuple of str, optional
        Over which the arrays are spread. Default: none.
    """
    eps = max(float(jnp.finfo(leaf.dtype).eps) for leaf in jax.tree.leaves(found))
    lost = jax.tree.map(jnp.subtract, again, meant)
    return is_finite(found, axes) & (_largest(lost, axes) <= 4 * eps * _largest(meant, axes))
