"""Diagonal: multiplication element by element."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments


class Diagonal(lo.LinearOperator):
    """Multiplication x → d x, element by element.

    Parameters
    ----------
    d : array or list of numbers
        The factors. Their shape broadcasts to that of x, by NumPy's rules. They can be differentiated.

    Raises
    ------
    TypeError
        If d holds operators.
    ValueError
        When the operator is applied, if d does not broadcast to the shape of the input.

    Notes
    -----
    The adjoint is y → conj(d) y, and the inverse is y → y / d.

    Examples
    --------
    >>> A = lo.Diagonal([1j, 2.0])
    >>> A(jnp.ones(2)).tolist()
    [1j, (2+0j)]
    >>> A.H(A(jnp.ones(2))).real.tolist()
    [1.0, 4.0]
    """

    d: jax.Array

    def __init__(self, d: Any):
        self.d = _arguments.as_field(d, "Diagonal.d")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return _arguments.with_ndim(self.d, x.ndim) * x

    @lo.traced
    def inverse(self, y: Any) -> Any:
        return Diagonal(1 / jnp.asarray(self.d)).apply(y)

    @lo.traced
    def inverse_adjoint(self, x: Any) -> Any:
        return Diagonal(1 / jnp.conj(self.d)).apply(x)

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(symmetric=not jnp.issubdtype(self.d.dtype, jnp.complexfloating), diagonal=True)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Diagonal")
        _arguments.require_broadcast(self.d, x, "Diagonal.d")
        return jax.ShapeDtypeStruct(x.shape, jnp.result_type(self.d.dtype, x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    @property
    def _elements(self) -> Any:
        return self.d

    def _with_elements(self, elements: Any) -> Diagonal:
        return Diagonal(elements)

    @classmethod
    def examples(cls) -> Any:
        d = jnp.array([1.0, 2.0, -3.0])
        yield cls(d), jax.ShapeDtypeStruct((3,), jnp.float32)
        yield cls(1j * d), jax.ShapeDtypeStruct((2, 3), jnp.complex64)
