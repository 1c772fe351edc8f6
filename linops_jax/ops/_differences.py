"""FirstDerivative, SecondDerivative: finite differences along one axis of an array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments, _stencils


class FirstDerivative(lo.LinearOperator):
    r"""The first derivative of one array along an axis, by finite differences.

    Parameters
    ----------
    axis : int, optional
        The axis, the last by default. Negative ones count from the end.
    step : float, optional
        The distance h between samples, 1 by default.
    kind : str, optional
        ``"centered"``, the default, ``"forward"`` or ``"backward"``.
    edge : bool, optional
        Whether ``"centered"`` has shorter differences at the ends, where its own would need samples beyond them. Default: False.
    order : int, optional
        How many samples ``"centered"`` spans: 3, the default, or 5.
    boundary : str, optional
        What lies beyond the ends: ``"zero"``, or ``"periodic"``, the other end. By default nothing does: rows which need more
        samples than there are, are zero.

    Raises
    ------
    TypeError
        If ``axis`` is not an integer or ``step`` not a number.
    ValueError
        If an argument has another value, or if both ``edge`` and ``boundary`` are given. When the operator is applied, if the
        array has no such axis, or fewer samples than ``edge`` needs (2; 4 for ``order=5``).

    Notes
    -----
    The rows inside are

    .. math::
        \text{forward: } y_i = \frac{x_{i+1} - x_i}{h}, \qquad
        \text{backward: } y_i = \frac{x_i - x_{i-1}}{h}, \qquad
        \text{centered: } y_i = \frac{x_{i+1} - x_{i-1}}{2 h},

    and y_i = (x_{i-2} - 8 x_{i-1} + 8 x_{i+1} - x_{i+2}) / (12 h) for ``order=5``. With ``edge=True`` the first and the last row
    are one-sided; for ``order=5`` the second and the last but one have ``order=3``. The adjoint is the transpose.

    References
    ----------
    * The documentation of ``pylops.FirstDerivative``, for the rows at the ends.

    Examples
    --------
    >>> x = jnp.array([0.0, 1.0, 4.0, 9.0])
    >>> lo.ops.FirstDerivative()(x).tolist()
    [0.0, 2.0, 4.0, 0.0]
    >>> lo.ops.FirstDerivative(edge=True)(x).tolist()
    [1.0, 2.0, 4.0, 5.0]
    >>> lo.ops.FirstDerivative(kind="forward").H(jnp.ones(4)).tolist()
    [-1.0, 0.0, 0.0, 1.0]
    """

    axis: int = lo.static(default=-1)
    step: float = lo.static(default=1.0)
    kind: str = lo.static(default="centered")
    edge: bool = lo.static(default=False)
    order: int = lo.static(default=3)
    boundary: str | None = lo.static(default=None)

    def __init__(
        self,
        axis: int = -1,
        step: float = 1.0,
        kind: str = "centered",
        edge: bool = False,
        order: int = 3,
        boundary: str | None = None,
    ):
        self.axis = _arguments.as_integer(axis, "FirstDerivative.axis")
        self.step = _arguments.as_positive(step, "FirstDerivative.step")
        self.kind, self.edge, self.boundary = _stencils.checked_rows("FirstDerivative", kind, edge, boundary)
        self.order = _arguments.one_of(order, (3, 5), "FirstDerivative.order")

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "FirstDerivative")
        axis = _arguments.axis_of(x, self.axis, "FirstDerivative.axis")
        stencils = _stencils.FIRST if self.order == 3 else _stencils.FIRST_OF_ORDER_5
        rows = self.step, self.kind, self.edge, self.boundary
        return _stencils.derivatives(x, axis, stencils, *rows, "FirstDerivative")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3, 5), jnp.float32)
        yield cls(axis=0, step=0.5, edge=True, order=5), jax.ShapeDtypeStruct((6, 2), jnp.complex64)


class SecondDerivative(lo.LinearOperator):
    r"""The second derivative of one array along an axis, by finite differences.

    Parameters
    ----------
    axis : int, optional
        The axis, the last by default. Negative ones count from the end.
    step : float, optional
        The distance h between samples, 1 by default.
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
        If ``axis`` is not an integer or ``step`` not a number.
    ValueError
        If an argument has another value, or if both ``edge`` and ``boundary`` are given. When the operator is applied, if the
        array has no such axis, or fewer than 3 samples although ``edge`` is True.

    Notes
    -----
    With ``kind="centered"``, the rows inside are

    .. math:: y_i = \frac{x_{i-1} - 2 x_i + x_{i+1}}{h^2} .

    ``"forward"`` has this difference of x_i, x_{i+1}, x_{i+2}, and ``"backward"`` of x_{i-2}, x_{i-1}, x_i. The adjoint is the
    transpose. The centered one is symmetric with ``boundary="zero"`` and ``"periodic"``. Without a boundary it is not, because
    of the rows at the ends.

    References
    ----------
    * The documentation of ``pylops.SecondDerivative``, for the rows at the ends.

    Examples
    --------
    >>> x = jnp.array([0.0, 1.0, 4.0, 9.0])
    >>> lo.ops.SecondDerivative()(x).tolist()
    [0.0, 2.0, 2.0, 0.0]
    >>> lo.ops.SecondDerivative(boundary="zero")(x).tolist()
    [1.0, 2.0, 2.0, -14.0]
    """

    axis: int = lo.static(default=-1)
    step: float = lo.static(default=1.0)
    kind: str = lo.static(default="centered")
    edge: bool = lo.static(default=False)
    boundary: str | None = lo.static(default=None)

    def __init__(
        self, axis: int = -1, step: float = 1.0, kind: str = "centered", edge: bool = False, boundary: str | None = None
    ):
        self.axis = _arguments.as_integer(axis, "SecondDerivative.axis")
        self.step = _arguments.as_positive(step, "SecondDerivative.step")
        self.kind, self.edge, self.boundary = _stencils.checked_rows("SecondDerivative", kind, edge, boundary)

    @lo.traced
    def apply(self, x: Any) -> Any:
        _arguments.require_array(x, "SecondDerivative")
        axis = _arguments.axis_of(x, self.axis, "SecondDerivative.axis")
        rows = self.step, self.kind, self.edge, self.boundary
        return _stencils.derivatives(x, axis, _stencils.SECOND, *rows, "SecondDerivative")

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=self.kind == "centered" and self.boundary is not None)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(kind="backward"), jax.ShapeDtypeStruct((3, 5), jnp.float32)
        yield cls(axis=0, step=0.5, boundary="zero"), jax.ShapeDtypeStruct((4, 2), jnp.complex64)
