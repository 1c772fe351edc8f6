"""Laplacian: the sum of second derivatives along axes of an array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments, _stencils


class Laplacian(lo.LinearOperator):
    r"""The Laplacian of one array: the sum of its second derivatives along axes.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes, all by default. Negative ones count from the end.
    step : float or tuple of float, optional
        The distance between samples, 1 by default: one number for all axes, or one for each.
    kind : str, optional
        ``"centered"``, the default, ``"forward"`` or ``"backward"``.
    edge : bool, optional
        Whether the first and the last row of ``"centered"`` repeat their neighbours. Default: False.
    boundary : str, optional
        What lies beyond the ends: ``"zero"``, or ``"periodic"``, the other end. By default nothing does: rows which need more
        samples than there are, are zero.

    Raises
    ------
    TypeError
        If ``axes`` are not integers or ``step`` not numbers.
    ValueError
        If an argument has another value, or if both ``edge`` and ``boundary`` are given. When the operator is applied, if the
        array has no such axes, not as many as ``step`` has numbers, or fewer than 3 samples although ``edge`` is True.

    Notes
    -----
    .. math:: y = \sum_a \frac{\partial^2 x}{\partial a^2} ,

    with the differences of ``SecondDerivative`` along each axis a. It is symmetric with ``kind="centered"`` and
    ``boundary="zero"`` or ``"periodic"``. Without a boundary it is not, because of the rows at the ends.

    References
    ----------
    * The documentation of ``pylops.Laplacian``, for the rows at the ends.

    Examples
    --------
    >>> lo.ops.Laplacian(boundary="zero")(jnp.ones((3, 3))).tolist()
    [[-2.0, -1.0, -2.0], [-1.0, 0.0, -1.0], [-2.0, -1.0, -2.0]]
    """

    axes: tuple[int, ...] | None = lo.static(default=None)
    step: tuple[float, ...] = lo.static(default=(1.0,))
    kind: str = lo.static(default="centered")
    edge: bool = lo.static(default=False)
    boundary: str | None = lo.static(default=None)

    def __init__(
        self,
        axes: int | tuple[int, ...] | None = None,
        step: float | tuple[float, ...] = 1.0,
        kind: str = "centered",
        edge: bool = False,
        boundary: str | None = None,
    ):
        self.axes = _arguments.as_axes(axes, "Laplacian.axes")
        self.step = _stencils.checked_steps(step, "Laplacian.step")
        self.kind, self.edge, self.boundary = _stencils.checked_rows("Laplacian", kind, edge, boundary)

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "Laplacian")
        axes = _stencils.some_axes_of(x, self.axes, "Laplacian.axes")
        steps = _arguments.one_for_each(self.step, axes, "Laplacian.step")
        rows = self.kind, self.edge, self.boundary
        terms = [
            _stencils.derivatives(x, axis, _stencils.SECOND, step, *rows, "Laplacian")
            for axis, step in zip(axes, steps, strict=True)
        ]
        return sum(terms[1:], terms[0])

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=self.kind == "centered" and self.boundary is not None)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4, 5), jnp.complex64)
        yield cls(axes=(0, -1), step=(0.5, 2.0), boundary="zero"), jax.ShapeDtypeStruct((4, 2, 3), jnp.float32)
