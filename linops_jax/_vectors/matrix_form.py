"""Operators between pytrees as matrices that act on vectors."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._vectors.packing import Packing


@functools.partial(jax.tree_util.register_dataclass, data_fields=["op"], meta_fields=["pairs", "complex_linear"])
@dataclasses.dataclass(frozen=True)
class MatrixForm:
    """A linear operator as functions of vectors, which have at least single precision.

    Parameters
    ----------
    op : LinearOperator
        The operator, with a known domain.
    pairs : bool, optional
        Whether complex numbers are stored as pairs (re, im) of real numbers. In this form every operator is a matrix, also
        if it is linear over the real numbers only. Default: False.
    complex_linear : bool, optional
        Whether an operator with a real domain is extended to complex vectors, as a matrix is: A (u + i v) = A u + i A v,
        with the adjoint of this map. Otherwise the imaginary part of vectors in a real domain is dropped. Default: True.
    """

    op: Any
    pairs: bool = False
    complex_linear: bool = True

    @functools.cached_property
    def domain(self) -> Packing:
        return Packing(self.op.domain, self.pairs, jnp.float32)

    @functools.cached_property
    def codomain(self) -> Packing:
        return Packing(self.op.codomain, self.pairs, jnp.float32)

    @property
    def shape(self) -> tuple[int, int]:
        return self.codomain.size, self.domain.size

    @property
    def dtype(self) -> Any:
        """The dtype of the vectors on both sides."""
        return jnp.result_type(self.domain.dtype, self.codomain.dtype)

    def forward(self, v: Any) -> jax.Array:
        def f(v: Any) -> jax.Array:
            return self.codomain.pack(self.op(self.domain.unpack(v)))

        if self._extends_to_complex and shapes.is_complex(v.dtype):
            return f(v.real) + 1j * f(v.imag)
        return f(v)

    def reverse(self, w: Any) -> jax.Array:
        def f(w: Any) -> jax.Array:
            return self.domain.pack(self.op.H(self.codomain.unpack(w)))

        if self._extends_to_complex and (shapes.is_complex(w.dtype) or shapes.is_complex(self.codomain.dtype)):
            return jax.lax.complex(f(w), f(-1j * w))  # Im(M^H w) = Re(M^H (-i w))
        return f(w)

    @property
    def _extends_to_complex(self) -> bool:
        return self.complex_linear and not shapes.is_complex(self.domain.dtype)


def in_own_space(op: Any) -> MatrixForm:
    """The matrix form in which vectors have the same norms and angles as the pytrees they represent.

    Complex if the operator is linear over the complex numbers and all its arrays are complex, otherwise real.
    """
    return MatrixForm(op, pairs=not op._is_complex_linear())


def in_complex_numbers(op: Any) -> MatrixForm:
    """The matrix form with one row or column for each number, real or complex, if there is such a matrix.

    Otherwise, for operators that are linear over the real numbers only, complex numbers are pairs of real numbers.
    """
    return MatrixForm(op, pairs=shapes.has_complex(op.domain) and not op._is_complex_linear())
