"""LowRank: a matrix that is the product of two thin ones."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments
from linops_jax.ops._matrix import Matrix


class LowRank(lo.LinearOperator):
    r"""A matrix U diag(s) Vᴴ, along one axis of an array.

    Parameters
    ----------
    u : array or nested lists of numbers
        The matrix U, of shape (m, r). It can be differentiated.
    s : array or list of numbers
        The r factors. They can be differentiated.
    v : array or nested lists of numbers
        The matrix V, of shape (n, r), not its adjoint. It can be differentiated.
    axis : int, optional
        The axis of the input that the matrix acts on, the last by default. Negative ones count from the end.

    Raises
    ------
    TypeError
        If an argument holds operators.
    ValueError
        If the shapes do not fit. When the operator is applied, if the input has no such axis, or in another size than n.

    Notes
    -----
    .. math:: y = U \operatorname{diag}(s)\, V^H x, \qquad A^H y = V \operatorname{diag}(\overline{s})\, U^H y .

    Each takes (m + n) r products instead of m n.

    References
    ----------
    * Golub, G. H. and C. F. Van Loan (2013). Matrix Computations, 4th ed., section 2.4.

    Examples
    --------
    >>> u, s, vh = jnp.linalg.svd(jnp.array([[3.0, 0.0, 0.0], [0.0, 1.0, 0.0]]), full_matrices=False)
    >>> A = lo.ops.LowRank(u[:, :1], s[:1], vh[:1].conj().T)
    >>> A(jnp.ones(3)).round(4).tolist()
    [3.0, 0.0]
    """

    u: jax.Array
    s: jax.Array
    v: jax.Array
    axis: int = lo.static(default=-1)

    def __init__(self, u: Any, s: Any, v: Any, axis: int = -1):
        self.u, self.s, self.v = (
            _arguments.as_field(value, f"LowRank.{name}") for name, value in (("u", u), ("s", s), ("v", v))
        )
        shapes = [jnp.shape(value) for value in (self.u, self.s, self.v)]
        if list(map(len, shapes)) != [2, 1, 2] or len({shape[-1] for shape in shapes}) > 1:
            message = (
                f"LowRank.u, s and v have shapes {', '.join(map(str, shapes))}; expected (m, r), (r,) and (n, r). "
                "Of NumPy's svd, v is vh.conj().T."
            )
            raise ValueError(message)
        self.axis = _arguments.as_integer(axis, "LowRank.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self._product(self.u, self.s, self.v, x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return self._product(self.v, jnp.conj(self.s), self.u, y)

    def infer_shape(self, x: Any) -> Any:
        return self._result(x, self.v.shape[0], self.u.shape[0], "LowRank")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._result(y, self.u.shape[0], self.v.shape[0], "LowRank.H")

    def _product(self, left: Any, s: Any, right: Any, x: Any) -> Any:
        coefficients = Matrix(jnp.conj(right).T, self.axis).apply(x)
        return Matrix(jnp.asarray(left) * jnp.asarray(s)[None], self.axis).apply(coefficients)

    def _result(self, x: Any, size: int, new: int, where: str) -> Any:
        return _arguments.along_axis(x, self.axis, size, new, where, self.u.dtype, self.s.dtype, self.v.dtype)

    @classmethod
    def examples(cls) -> Any:
        u, v = jnp.arange(1.0, 5.0).reshape(2, 2), jnp.arange(6.0).reshape(3, 2) - 2
        yield cls(u, jnp.array([2.0, -1.0]), v), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls(1j * u, jnp.array([1j, 2.0]), v, axis=0), jax.ShapeDtypeStruct((3, 4), jnp.complex64)
