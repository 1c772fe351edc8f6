"""The arguments of ready-made operators."""

from __future__ import annotations

import operator
from collections.abc import Iterable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

# The names of what lies beyond the ends of an array, and those that np.pad has for them.
PAD_MODES = {"zero": "constant", "periodic": "wrap", "edge": "edge", "reflect": "reflect", "symmetric": "symmetric"}


def as_field(value: Any, where: str) -> Any:
    """A list of numbers, or nested lists, as an array; other values as they are. Raises TypeError for operators."""
    leaves = jax.tree.leaves(value, is_leaf=_is_operator)
    if any(map(_is_operator, leaves)):
        message = f"{where} expects an array, found {value!r:.80}. lo.block makes an operator of operators."
        raise TypeError(message)
    return jnp.asarray(value) if isinstance(value, list) else value


def require_array(x: Any, where: str) -> None:
    """Raises TypeError if the input is not one array."""
    if not (hasattr(x, "shape") and hasattr(x, "dtype")):
        leaves = jax.tree.leaves(x)
        are_numbers = bool(leaves) and all(getattr(leaf, "shape", None) == () for leaf in leaves)
        advice = (
            "A shape is not an array: pass jnp.zeros(shape)" if are_numbers else "lo.block_diag is for several inputs"
        )
        found = jax.tree.map(lambda leaf: leaf.dtype, x) if are_numbers else x
        message = f"{where} takes one array, found {type(x).__name__} {found!r:.80}. {advice}."
        raise TypeError(message)


def as_integer(value: Any, where: str, least: int | None = None) -> int:
    """One integer; raises TypeError for other values, and ValueError for one below ``least``."""
    try:
        number = operator.index(value)
    except TypeError:
        message = f"{where} is {value!r:.80}; expected an integer."
        raise TypeError(message) from None
    if least is not None and number < least:
        message = f"{where} is {number}; expected an integer from {least}."
        raise ValueError(message)
    return number


def as_integers(values: Any, where: str, least: int | None = None) -> tuple[int, ...]:
    """One or several integers as a tuple."""
    several = np.ndim(values) > 0
    return tuple(as_integer(value, where, least) for value in (values if several else (values,)))


def as_axes(axes: Any, where: str) -> tuple[int, ...] | None:
    """One or several axes as a tuple; None, which stands for all axes, as it is."""
    return None if axes is None else as_integers(axes, where)


def axes_of(x: Any, axes: tuple[int, ...] | None, where: str) -> tuple[int, ...]:
    """The axes of an array counted from the end, in the same order; all for None.

    Counted from the end they stay the same if batch axes are put in front. Raises ValueError if they are not distinct axes of x.
    """
    ndim = len(x.shape)
    given = range(ndim) if axes is None else axes
    found = tuple(axis % ndim - ndim for axis in given if -ndim <= axis < ndim)
    if len(found) < len(given) or len(set(found)) < len(found):
        message = f"{where} {axes} are not distinct axes of an array of shape {x.shape}."
        raise ValueError(message)
    return found


def axis_of(x: Any, axis: int, where: str) -> int:
    """One axis of an array counted from the end. Raises ValueError if x has no such axis."""
    ndim = len(x.shape)
    if not -ndim <= axis < ndim:
        message = f"{where} {axis} is not an axis of an array of shape {x.shape}."
        raise ValueError(message)
    return axis % ndim - ndim


def one_of(value: Any, names: Iterable[Any], where: str) -> Any:
    """The value, if it is one of the names. Raises ValueError for others."""
    names = tuple(names)
    if value not in names:
        message = f"{where} is {value!r}; expected one of {', '.join(map(repr, names))}."
        raise ValueError(message)
    return value


def as_positive(value: Any, where: str) -> float:
    """One number above zero, such as a sampling step; raises TypeError or ValueError for other values."""
    if np.ndim(value) or not isinstance(value, int | float | np.number | np.ndarray) or isinstance(value, bool):
        message = f"{where} is {value!r:.80}; expected a number."
        raise TypeError(message)
    if not 0 < value < np.inf:
        message = f"{where} is {value!r:.80}; expected a number above zero."
        raise ValueError(message)
    return float(value)


def require_sizes(x: Any, axes: tuple[int, ...], sizes: tuple[int, ...], where: str) -> None:
    """Raises ValueError if the array does not have these sizes along these axes."""
    found = tuple(x.shape[axis] for axis in axes)
    if found != sizes:
        one = len(axes) == 1
        expected = f"size {sizes[0]} along axis {axes[0]}" if one else f"sizes {sizes} along the axes {axes}"
        message = f"{where} expects {expected}, found {found[0] if one else found} in an array of shape {x.shape}."
        raise ValueError(message)


def require_ndim(value: Any, ndim: int, where: str) -> None:
    """Raises ValueError if an array field has another number of axes; what is no array is left to the field's own check."""
    if hasattr(value, "ndim") and value.ndim != ndim:
        message = f"{where} has shape {value.shape}; expected {ndim} {'axis' if ndim == 1 else 'axes'}."
        raise ValueError(message)


def resized(x: Any, axes: tuple[int, ...], sizes: tuple[int, ...], dtype: Any = None) -> jax.ShapeDtypeStruct:
    """Specs of an array with other sizes along some axes."""
    shape = list(x.shape)
    for axis, size in zip(axes, sizes, strict=True):
        shape[axis] = size
    return jax.ShapeDtypeStruct(tuple(shape), x.dtype if dtype is None else dtype)


def lead_of(x: Any, shape: tuple[int, ...], where: str) -> tuple[int, ...]:
    """The sizes of the batch axes of an array whose last axes have this shape. Raises TypeError or ValueError for others."""
    require_array(x, where)
    n = len(x.shape) - len(shape)
    if n < 0 or tuple(x.shape[n:]) != shape:
        message = f"{where} takes an array whose last axes have the sizes {shape}, found shape {x.shape}."
        raise ValueError(message)
    return tuple(x.shape[:n])


def inexact(dtype: Any) -> Any:
    """The type itself, if it is one of real or complex numbers; float32 for integers and booleans."""
    return dtype if jnp.issubdtype(dtype, jnp.inexact) else jnp.dtype(jnp.float32)


def single(dtype: Any) -> Any:
    """The type in which a transform computes: single precision for integers and half precision."""
    return jnp.result_type(dtype, jnp.float32)


def require_samples(x: Any, axes: tuple[int, ...], least: int, where: str) -> None:
    """Raises ValueError if the array has fewer samples along one of the axes."""
    if any(x.shape[axis] < least for axis in axes):
        message = f"{where} needs at least {least} samples along the axes {axes}, found an array of shape {x.shape}."
        raise ValueError(message)


def along_axis(x: Any, axis: int, size: int, new: int, where: str, *dtypes: Any) -> jax.ShapeDtypeStruct:
    """Specs of the product of a matrix of shape (new, size) and an array along one axis; ``dtypes`` are those of the matrix.

    Raises TypeError or ValueError for another input. ``where`` is the operator, or its adjoint: ``"Name.H"``.
    """
    require_array(x, where)
    axis = axis_of(x, axis, f"{where.removesuffix('.H')}.axis")
    require_sizes(x, (axis,), (size,), where)
    return resized(x, (axis,), (new,), jnp.result_type(x.dtype, *dtypes))


def one_for_each(values: tuple[Any, ...], axes: tuple[int, ...], where: str) -> tuple[Any, ...]:
    """One value for each axis; a single one is for all axes. Raises ValueError for another number of values."""
    if len(values) not in (1, len(axes)):
        message = f"{where} is {values}; expected one value, or one for each of the {len(axes)} axes."
        raise ValueError(message)
    return values if len(values) == len(axes) else values * len(axes)


def as_indices(value: Any, size: int | None, where: str) -> Any:
    """Indices of an axis of this size (None: their number), from 0 on: a NumPy array, or a JAX array if they are traced."""
    indices = value if isinstance(value, jax.core.Tracer) else np.asarray(value)
    if not jnp.issubdtype(indices.dtype, jnp.integer) and np.size(indices) > 0:
        message = f"{where} holds {indices.dtype}; expected integers."
        raise TypeError(message)
    require_ndim(indices, 1, where)
    size = int(indices.size) if size is None else size
    if isinstance(indices, np.ndarray) and (wrong := indices[(indices < -size) | (indices >= size)]).size:
        message = f"{where} holds {wrong[0]}, which is not an index of an axis of size {size}."
        raise ValueError(message)
    indices = indices.astype(np.int32 if size < 2**31 else np.int64)
    return (np if isinstance(indices, np.ndarray) else jnp).where(indices < 0, indices + size, indices)


def require_broadcast(value: Any, x: Any, where: str) -> None:
    """Raises ValueError if the array field does not broadcast to the shape of the input."""
    if value.ndim > x.ndim or jnp.broadcast_shapes(value.shape, x.shape) != x.shape:
        message = (
            f"{where} has shape {value.shape}, which does not broadcast to that of the input, {x.shape}. Add "
            "the missing axes to the input."
        )
        raise ValueError(message)


def with_ndim(value: Any, ndim: int) -> Any:
    """The array with axes of size 1 in front, because rank promotion may be forbidden."""
    value = jnp.asarray(value)
    return value.reshape((1,) * (ndim - value.ndim) + value.shape)


def _is_operator(value: Any) -> bool:
    return isinstance(value, lo.LinearOperator | lo.NonlinearOperator)
