"""Patches: overlapping windows of an array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Patches(lo.LinearOperator):
    r"""Extracts patches, which may overlap, along some axes.

    Parameters
    ----------
    size : int or tuple of int
        The size of a patch: one number for all axes, or one for each.
    step : int or tuple of int, optional
        The distance between the starts of neighbouring patches, 1 by default. Patches overlap if it is smaller than the size.
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.

    Raises
    ------
    ValueError
        If a size or a step is not positive, or if there is not one for each axis. When the operator is applied, if the input
        does not have the axes, or is smaller than a patch.

    Notes
    -----
    Along one axis, with the step s and the size p, entry k of patch m is

    .. math:: y_{m k} = x_{s m + k}, \qquad 0 \le m < \lfloor (n - p) / s \rfloor + 1, \quad 0 \le k < p .

    The numbers of the patches are in the place of the axes, and the entries of a patch are along new axes at the end, as in
    ``sliding_window_view`` of NumPy. The adjoint adds up the patches where they overlap:

    .. math:: (A^H y)_i = \sum_{s m + k = i} y_{m k} .

    If the patches do not reach the end of the axis, the entries there are in no patch, and the adjoint is zero there. Only the
    domain says how many these are: ``A.H(y)`` needs ``with_domain``.

    References
    ----------
    * The documentation of ``numpy.lib.stride_tricks.sliding_window_view``, for the order of axes.

    Examples
    --------
    >>> A = lo.ops.Patches(3, step=2)
    >>> A(jnp.arange(6.0)).tolist()
    [[0.0, 1.0, 2.0], [2.0, 3.0, 4.0]]
    >>> A.with_domain(jnp.zeros(6)).H(jnp.ones((2, 3))).tolist()
    [1.0, 1.0, 2.0, 1.0, 1.0, 0.0]
    """

    size: tuple[int, ...] = lo.static()
    step: tuple[int, ...] = lo.static(default=(1,))
    axes: tuple[int, ...] | None = lo.static(default=None)

    def __init__(
        self,
        size: int | tuple[int, ...],
        step: int | tuple[int, ...] = 1,
        axes: int | tuple[int, ...] | None = None,
    ):
        self.size = _arguments.as_integers(size, "Patches.size", least=1)
        self.step = _arguments.as_integers(step, "Patches.step", least=1)
        self.axes = _arguments.as_axes(axes, "Patches.axes")
        if self.axes is not None:
            self._along(self.axes)

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Patches")
        axes = _arguments.axes_of(x, self.axes, "Patches.axes")
        along = self._along(axes)
        if any(x.shape[axis] < size for axis, size, _ in along):
            message = f"Patches.size {self.size} is larger than the axes {axes} of an array of shape {x.shape}."
            raise ValueError(message)
        for i, (axis, size, step) in enumerate(along):
            y = _extracted(jnp.moveaxis(x, axis - i, -1), size, step)
            x = jnp.moveaxis(y, -2, axis - i - 1)
        return x

    def _along(self, axes: tuple[int, ...]) -> list[tuple[int, int, int]]:
        """Each axis, with its size and its step."""
        sizes = _arguments.one_for_each(self.size, axes, "Patches.size")
        return list(zip(axes, sizes, _arguments.one_for_each(self.step, axes, "Patches.step"), strict=True))

    @classmethod
    def examples(cls) -> Any:
        yield cls(3, step=2, axes=-1), jax.ShapeDtypeStruct((2, 6), jnp.float32)
        yield cls((2, 3), step=(3, 1)), jax.ShapeDtypeStruct((6, 4), jnp.complex64)


def _extracted(x: Any, size: int, step: int) -> Any:
    """The patches along the last axis, of shape (..., patches, size).

    The axis is cut into blocks of ``step`` entries, and a patch is some blocks in a row. XLA transposes this into a few sums of
    arrays; the transpose of indexing would add single entries, one after the other.
    """
    patches, blocks = (x.shape[-1] - size) // step + 1, -(-size // step)
    length = (patches + blocks - 1) * step
    x = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, max(0, length - x.shape[-1]))])[..., :length]
    x = x.reshape(*x.shape[:-1], patches + blocks - 1, step)
    return jnp.concatenate([x[..., b : b + patches, :] for b in range(blocks)], axis=-1)[..., :size]
