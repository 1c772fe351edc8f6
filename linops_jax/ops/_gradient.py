"""Gradient, Divergence, SymmetrizedGradient: first derivatives along several axes of an array."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments, _stencils


class OfDerivatives(lo.LinearOperator):
    """What operators made of first derivatives have in common: the arguments, and the rows of numbers that these mean."""

    # Tuples, but the constructors that type checkers see in the subclasses take one number too.
    axes: Any = lo.static(default=None)
    step: Any = lo.static(default=(1.0,))
    kind: str = lo.static(default="forward")
    edge: bool = lo.static(default=False)
    boundary: str | None = lo.static(default=None)

    def __init__(
        self,
        axes: int | tuple[int, ...] | None = None,
        step: float | tuple[float, ...] = 1.0,
        kind: str = "forward",
        edge: bool = False,
        boundary: str | None = None,
    ):
        where = type(self).__name__
        self.axes = _arguments.as_axes(axes, f"{where}.axes")
        self.step = _stencils.checked_steps(step, f"{where}.step")
        self.kind, self.edge, self.boundary = _stencils.checked_rows(where, kind, edge, boundary)

    def _derivatives(self, x: Any, axes: tuple[int, ...]) -> list[Any]:
        where, rows = type(self).__name__, (self.kind, self.edge, self.boundary)
        return [
            _stencils.derivatives(x, axis, _stencils.FIRST, step, *rows, where)
            for axis, step in zip(axes, _arguments.one_for_each(self.step, axes, f"{where}.step"), strict=True)
        ]

    def _axes_of(self, x: Any) -> tuple[int, ...]:
        """The axes of the array, or of one component of a field, counted from the end."""
        where = type(self).__name__
        _arguments.require_array(x, where)
        return _stencils.some_axes_of(x, self.axes, f"{where}.axes")

    def _component_of(self, field: Any, *, symmetric: bool = False) -> jax.ShapeDtypeStruct:
        """Specs of one component of a field. Raises ValueError if its first axis does not have one entry for each."""
        where = type(self).__name__
        _arguments.require_array(field, where)
        if not field.shape:
            message = f"{where} expects its components on the first axis, found an array of shape ()."
            raise ValueError(message)
        component = jax.ShapeDtypeStruct(field.shape[1:], field.dtype)
        n = len(self._axes_of(component))
        if field.shape[0] != (expected := n * (n + 1) // 2 if symmetric else n):
            message = (
                f"{where} expects {expected} components on the first axis for {n} axes, found an array of shape "
                f"{field.shape}."
            )
            raise ValueError(message)
        return component


class Gradient(OfDerivatives):
    r"""The gradient of one array: its first derivatives along axes, on a new first axis.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes of the array, all by default. Negative ones count from the end.
    step : float or tuple of float, optional
        The distance between samples, 1 by default: one number for all axes, or one for each.
    kind : str, optional
        ``"forward"``, the default, ``"backward"`` or ``"centered"``.
    edge : bool, optional
        Whether ``"centered"`` has one-sided differences at the ends. Default: False.
    boundary : str, optional
        What lies beyond the ends: ``"zero"``, or ``"periodic"``, the other end. By default nothing does: rows which need more
        samples than there are, are zero.

    Raises
    ------
    TypeError
        If ``axes`` are not integers or ``step`` not numbers.
    ValueError
        If an argument has another value, or if both ``edge`` and ``boundary`` are given. When the operator is applied, if the
        array has no such axes, not as many as ``step`` has numbers, or fewer than 2 samples although ``edge`` is True.

    Notes
    -----
    For the axes a, in the order of ``axes``, with the differences of ``FirstDerivative``:

    .. math:: y_a = \partial_a x .

    The adjoint is minus the divergence, see ``Divergence``.

    References
    ----------
    * Chambolle, A. (2004). An algorithm for total variation minimization and applications. J. Math. Imaging Vis. 20, 89-97: for
      forward differences with a last row of zeros.
    * The documentation of ``pylops.Gradient``, for the new axis.

    Examples
    --------
    >>> lo.ops.Gradient()(jnp.array([[0.0, 1.0], [3.0, 6.0]])).tolist()
    [[[3.0, 5.0], [0.0, 0.0]], [[1.0, 0.0], [3.0, 0.0]]]
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.stack(self._derivatives(x, self._axes_of(x)))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._component_of(y)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((4, 3), jnp.complex64)
        yield cls(axes=-1, step=0.5, kind="centered", edge=True), jax.ShapeDtypeStruct((2, 5), jnp.float32)


class Divergence(OfDerivatives):
    r"""The divergence of a field, whose components are on the first axis: minus the adjoint of ``Gradient``.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes of one component, all by default. Negative ones count from the end.
    step, kind, edge, boundary : optional
        Those of ``Gradient``, of which this is minus the adjoint. So the differences are backward for ``kind="forward"``, the
        default.

    Raises
    ------
    TypeError, ValueError
        As for ``Gradient``. When the operator is applied, also if the first axis has not one component for each of the axes.

    Notes
    -----
    .. math:: y = -\sum_a \partial_a^H x_a ,

    with the derivatives of ``Gradient``. It computes this with the adjoint of ``Gradient``, so both are equal to the last bit.
    The adjoint is minus the gradient.

    References
    ----------
    * Chambolle, A. (2004). An algorithm for total variation minimization and applications. J. Math. Imaging Vis. 20, 89-97.

    Examples
    --------
    >>> lo.ops.Divergence()(jnp.array([[1.0, 2.0, 3.0]])).tolist()
    [1.0, 1.0, -2.0]
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        self._component_of(x)
        return -self._gradient.H(x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return -self._gradient(y)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return jax.ShapeDtypeStruct((len(self._axes_of(y)), *y.shape), y.dtype)

    @property
    def _gradient(self) -> Gradient:
        return Gradient(self.axes, self.step, self.kind, self.edge, self.boundary)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 4, 3), jnp.complex64)
        yield cls(axes=0, step=0.5, kind="centered"), jax.ShapeDtypeStruct((1, 5, 2), jnp.float32)


class SymmetrizedGradient(OfDerivatives):
    r"""The symmetric part of the Jacobian matrix of a field, whose components are on the first axis.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes of one component, all by default. Negative ones count from the end.
    step, kind, edge, boundary : optional
        Those of ``Gradient``. Total generalized variation takes ``kind="backward"`` for the field of a forward gradient.

    Raises
    ------
    TypeError, ValueError
        As for ``Gradient``. When the operator is applied, also if the first axis has not one component for each of the axes.

    Notes
    -----
    The result has the upper triangle of the matrix on its first axis, row by row. An element off the diagonal stands for two,
    and has the factor √2:

    .. math:: y_{aa} = \partial_a x_a, \qquad y_{ab} = \frac{\partial_a x_b + \partial_b x_a}{\sqrt 2} \quad (a < b) .

    So the norm of the result is the Frobenius norm of the matrices (∂ₐ x_b + ∂_b xₐ) / 2. The adjoint is the transpose.

    References
    ----------
    * Bredies, K., K. Kunisch and T. Pock (2010). Total generalized variation. SIAM J. Imaging Sci. 3, 492-526.

    Examples
    --------
    >>> field = jnp.array([[[0.0, 1.0], [3.0, 6.0]], [[0.0, 0.0], [2.0, 0.0]]])
    >>> lo.ops.SymmetrizedGradient()(field).shape
    (3, 2, 2)
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        axes = self._axes_of(self._component_of(x))
        jacobian = self._derivatives(x, axes)
        return jnp.stack(
            [
                jacobian[a][a] if a == b else (jacobian[a][b] + jacobian[b][a]) / math.sqrt(2)
                for a in range(len(axes))
                for b in range(a, len(axes))
            ]
        )

    def infer_adjoint_shape(self, y: Any) -> Any:
        component = self._component_of(y, symmetric=True)
        return jax.ShapeDtypeStruct((len(self._axes_of(component)), *component.shape), y.dtype)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3, 4), jnp.complex64)
        yield (
            cls(axes=(2, 0, 1), step=(1.0, 0.5, 2.0), kind="backward"),
            jax.ShapeDtypeStruct((3, 3, 2, 4), jnp.float32),
        )
