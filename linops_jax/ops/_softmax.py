"""Softmax: positive numbers with sum 1."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Softmax(lo.NonlinearOperator):
    r"""Positive numbers with sum 1 along some axes of a real array, in the ratios of the exponentials.

    Parameters
    ----------
    axis : int or tuple of int, optional
        The axes of the sum. Negative ones count from the end; the last axis by default.

    Raises
    ------
    TypeError
        When the operator is applied, if the input is complex.
    ValueError
        When the operator is applied, if the input does not have the axes.

    Notes
    -----
    Along one axis:

    .. math:: s_i = \frac{e^{x_i}}{\sum_j e^{x_j}} .

    The Jacobian is dx → s (dx - ⟨s, dx⟩). It is symmetric. The largest x is subtracted first, so nothing overflows.

    Examples
    --------
    >>> lo.ops.Softmax()(jnp.array([0.0, 1000.0, 1000.0])).tolist()
    [0.0, 0.5, 0.5]
    """

    axis: tuple[int, ...] = lo.static(default=(-1,))

    def __init__(self, axis: int | tuple[int, ...] = -1):
        self.axis = _arguments.as_integers(axis, "Softmax.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jax.nn.softmax(x, axis=_arguments.axes_of(x, self.axis, "Softmax.axis"))

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Softmax")
        _arguments.axes_of(x, self.axis, "Softmax.axis")
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            message = f"Softmax takes a real array, found one of {x.dtype}. Take its real part, or its modulus, before."
            raise TypeError(message)
        return jax.ShapeDtypeStruct(x.shape, jnp.result_type(x.dtype, float))

    @classmethod
    def examples(cls) -> Any:
        yield cls(axis=0), jax.ShapeDtypeStruct((3, 2), jnp.float32)
