"""Matrix: a dense matrix along some axes of an array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Matrix(lo.LinearOperator):
    r"""Multiplication by a dense matrix along some axes of one array.

    Parameters
    ----------
    matrix : array or nested lists of numbers
        The matrix, of shape ``(*out, *in)``. It can be differentiated.
    axes : int or tuple of int, optional
        The axes of the input that are contracted with the last axes of ``matrix``, in this order. Negative ones count
        from the end; the last axis by default. The first axes of ``matrix`` take their place.

    Raises
    ------
    TypeError
        If ``matrix`` holds operators.
    ValueError
        If ``matrix`` does not have two axes for each of ``axes``. When the operator is applied, if the input does not
        have the axes, or not in these sizes.

    Notes
    -----
    Along one axis, with matrix M:

    .. math:: y_{\dots i \dots} = \sum_j M_{ij}\, x_{\dots j \dots} .

    The adjoint is the same with the conjugate transpose of M.

    Examples
    --------
    >>> A = lo.Matrix([[1.0, 2.0], [3.0, 4.0]])
    >>> A(jnp.ones(2)).tolist()
    [3.0, 7.0]
    >>> A.H(jnp.ones(2)).tolist()
    [4.0, 6.0]
    """

    matrix: jax.Array
    axes: tuple[int, ...] = lo.static(default=(-1,))

    def __init__(self, matrix: Any, axes: int | tuple[int, ...] = (-1,)):
        axes = _arguments.as_integers(axes, "Matrix.axes")
        matrix = _arguments.as_field(matrix, "Matrix.matrix")
        if hasattr(matrix, "ndim") and jnp.ndim(matrix) != 2 * len(axes):
            message = (
                f"Matrix.matrix has shape {jnp.shape(matrix)}; along {len(axes)} axes {axes} it needs {2 * len(axes)} axes: "
                "those of the result, then those of the input."
            )
            raise ValueError(message)
        self.matrix = matrix
        self.axes = axes

    @lo.traced
    def apply(self, x: Any) -> Any:
        n = len(self.axes)
        axes = self._axes(x)
        y = jnp.tensordot(self.matrix, x, axes=(tuple(range(n, 2 * n)), axes))
        return jnp.moveaxis(y, tuple(range(n)), axes)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        n = len(self.axes)
        axes = self._axes(y)
        x = jnp.tensordot(jnp.conj(self.matrix), y, axes=(tuple(range(n)), axes))
        return jnp.moveaxis(x, tuple(range(n)), axes)

    def infer_shape(self, x: Any) -> Any:
        n = len(self.axes)
        return self._result(x, self.matrix.shape[n:], self.matrix.shape[:n])

    def infer_adjoint_shape(self, y: Any) -> Any:
        n = len(self.axes)
        return self._result(y, self.matrix.shape[:n], self.matrix.shape[n:])

    def _axes(self, x: Any) -> tuple[int, ...]:
        return _arguments.axes_of(x, self.axes, "Matrix.axes")

    def _result(self, x: Any, expected: tuple[int, ...], new: tuple[int, ...]) -> Any:
        """Specs of the result, in which axes of sizes ``new`` replace those of sizes ``expected``."""
        _arguments.require_array(x, "Matrix")
        axes = self._axes(x)
        found = tuple(x.shape[axis] for axis in axes)
        if found != expected:
            message = (
                f"Matrix of shape {self.matrix.shape} contracts axes of sizes {expected}, found {found} in {x.shape}."
            )
            raise ValueError(message)
        return _arguments.resized(x, axes, new, jnp.result_type(self.matrix.dtype, x.dtype))

    @classmethod
    def examples(cls) -> Any:
        matrix = jnp.arange(6.0).reshape(2, 3)
        yield cls(matrix), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(1j * matrix, axes=0), jax.ShapeDtypeStruct((3, 5), jnp.complex64)
