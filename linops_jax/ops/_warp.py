"""Warp: an image seen through a field of displacements."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments
from linops_jax.ops._interpolation import BOUNDARIES, Interpolation


class Warp(lo.NonlinearOperator):
    r"""An image at displaced positions, by interpolation: a nonlinear operator of the displacements.

    Parameters
    ----------
    image : array or nested lists of numbers
        The image, with any number of axes. It can be differentiated.
    order : int, optional
        1, the default, for linear interpolation, or 3 for splines.
    boundary : str, optional
        What is beyond the ends of the image, as of ``Interpolation``: ``"edge"``, the default, ``"zero"``, ``"reflect"`` or
        ``"periodic"``.

    Raises
    ------
    TypeError
        If ``image`` holds operators. When the operator is applied, if the displacements are complex.
    ValueError
        If ``order`` or ``boundary`` has another value. When the operator is applied, if the displacements do not have the shape
        ``(image.ndim, *image.shape)``.

    Notes
    -----
    The input x has, along its first axis, the displacements along each axis of the image, in samples. With the interpolated image
    I:

    .. math:: y_n = I(n + x_n) .

    The Jacobian is dx → ∇I(n + x) · dx. For order 1, I has kinks at the samples, and there the slope is that of one side.
    The operator is linear in the image: for fixed displacements ``Interpolation`` is this linear operator.

    Examples
    --------
    >>> F, x = lo.ops.Warp([1.0, 2.0, 4.0]), jnp.array([[0.5, 0.75, 9.0]])
    >>> F(x).tolist()
    [1.5, 3.5, 4.0]
    >>> F.jacobian(x)(jnp.ones((1, 3))).tolist()
    [1.0, 2.0, 0.0]
    """

    image: jax.Array
    order: int = lo.static(default=1)
    boundary: str = lo.static(default="edge")

    def __init__(self, image: Any, order: int = 1, boundary: str = "edge"):
        self.image = _arguments.as_field(image, "Warp.image")
        self.order = _arguments.one_of(order, (1, 3), "Warp.order")
        self.boundary = _arguments.one_of(boundary, BOUNDARIES, "Warp.boundary")

    @lo.traced
    def apply(self, x: Any) -> Any:
        image = jnp.asarray(self.image)
        positions = jnp.indices(image.shape, dtype=_arguments.single(x.dtype)) + x
        seen = Interpolation(positions.reshape(image.ndim, -1).T, image.shape, self.order, self.boundary)
        return seen(image).reshape(image.shape)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Warp")
        shape = self.image.shape
        if x.shape != (len(shape), *shape):
            message = f"Warp of an image of shape {shape} takes displacements of shape {(len(shape), *shape)}, found {x.shape}."
            raise ValueError(message)
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            message = f"Warp takes real displacements, found {x.dtype}."
            raise TypeError(message)
        return jax.ShapeDtypeStruct(shape, _arguments.inexact(self.image.dtype))

    @classmethod
    def examples(cls) -> Any:
        image = jnp.array([[1.0, 2.0, 4.0], [8.0, -1.0, 0.5]])
        yield cls(1j * image), jnp.linspace(-1.3, 1.1, 12, dtype=jnp.float32).reshape(2, 2, 3)
