"""Matrix: a dense matrix along chosen axes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments


class Matrix(lo.LinearOperator):
    """Contracts the last axes of ``matrix`` with ``axes`` of x; its first axes take their place.

    With one axis: y[..., i, ...] = sum_j matrix[i, j] x[..., j, ...]. With n axes ``matrix`` has 2 n axes: those of the
    result, then those of the input, both in the order of ``axes``. The adjoint is the same with the conjugate transpose.

    matrix: array of shape ``(*out, *in)``, or nested lists of numbers; a differentiable parameter
    axes: axes of x to contract, negative ones count from the end; one axis may be given as an int
    """

    matrix: jax.Array
    axes: tuple[int, ...] = lo.static(default=(-1,))

    def __init__(self, matrix: Any, axes: int | tuple[int, ...] = (-1,)):
        axes = tuple(map(int, np.atleast_1d(axes)))
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
        axes = self._normalised(x)
        y = jnp.tensordot(self.matrix, x, axes=(tuple(range(n, 2 * n)), axes))
        return jnp.moveaxis(y, tuple(range(n)), axes)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        n = len(self.axes)
        axes = self._normalised(y)
        x = jnp.tensordot(jnp.conj(self.matrix), y, axes=(tuple(range(n)), axes))
        return jnp.moveaxis(x, tuple(range(n)), axes)

    def infer_shape(self, x: Any) -> Any:
        n = len(self.axes)
        return self._result(x, self.matrix.shape[n:], self.matrix.shape[:n])

    def infer_adjoint_shape(self, y: Any) -> Any:
        n = len(self.axes)
        return self._result(y, self.matrix.shape[:n], self.matrix.shape[n:])

    def _normalised(self, x: Any) -> tuple[int, ...]:
        axes = tuple(axis + x.ndim if axis < 0 else axis for axis in self.axes)
        if any(not 0 <= axis < x.ndim for axis in axes) or len(set(axes)) < len(axes):
            message = f"Matrix.axes {self.axes} are not distinct axes of an array of shape {x.shape}."
            raise ValueError(message)
        return axes

    def _result(self, x: Any, expected: tuple[int, ...], new: tuple[int, ...]) -> Any:
        _arguments.require_array(x, "Matrix")
        axes = self._normalised(x)
        found = tuple(x.shape[axis] for axis in axes)
        if found != expected:
            message = (
                f"Matrix of shape {self.matrix.shape} contracts axes of sizes {expected}, found {found} in {x.shape}."
            )
            raise ValueError(message)
        shape = list(x.shape)
        for axis, size in zip(axes, new, strict=True):
            shape[axis] = size
        return jax.ShapeDtypeStruct(tuple(shape), jnp.result_type(self.matrix.dtype, x.dtype))

    @classmethod
    def examples(cls) -> Any:
        matrix = jnp.arange(6.0).reshape(2, 3)
        yield cls(matrix), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(1j * matrix, axes=0), jax.ShapeDtypeStruct((3, 5), jnp.complex64)
