"""Real, Imag and Conj, which are linear over the real numbers only."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo


class Real(lo.LinearOperator, real_linear=True):
    r"""The real part of each array of a pytree.

    Notes
    -----
    .. math:: z \mapsto \operatorname{Re} z, \qquad y \mapsto y + 0 i .

    The map is linear over the real numbers only: ⟨A x, y⟩ and ⟨x, Aᴴ y⟩ have the same real part. ``A.H(y)`` is complex, unless
    ``with_domain`` says that the input of A is real.

    References
    ----------
    * Kreutz-Delgado, K. (2009). The complex gradient operator and the CR-calculus. arXiv:0906.4835.

    Examples
    --------
    >>> A = lo.ops.Real()
    >>> A(jnp.array([1 + 2j])).tolist()
    [1.0]
    >>> A.H(jnp.array([3.0])).tolist()
    [(3+0j)]
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jax.tree.map(jnp.real, x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return y  # it becomes complex in a complex domain

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _complex(y)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.complex64)


class Imag(lo.LinearOperator, real_linear=True):
    r"""The imaginary part of each array of a pytree.

    Notes
    -----
    .. math:: z \mapsto \operatorname{Im} z, \qquad y \mapsto i y .

    The map is linear over the real numbers only: ⟨A x, y⟩ and ⟨x, Aᴴ y⟩ have the same real part. ``A.H(y)`` is complex, unless
    ``with_domain`` says that the input of A is real.

    References
    ----------
    * Kreutz-Delgado, K. (2009). The complex gradient operator and the CR-calculus. arXiv:0906.4835.

    Examples
    --------
    >>> A = lo.ops.Imag()
    >>> A(jnp.array([1 + 2j])).tolist()
    [2.0]
    >>> A.H(jnp.array([3.0])).tolist()
    [3j]
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jax.tree.map(jnp.imag, x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return jax.tree.map(lambda y: jax.lax.complex(jnp.zeros_like(y), y), y)

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _complex(y)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.complex64)


class Conj(lo.LinearOperator, real_linear=True, symmetric=True, unitary=True):
    r"""The complex conjugate of each array of a pytree.

    Notes
    -----
    .. math:: z \mapsto \overline{z}, \qquad y \mapsto \overline{y} .

    The map is linear over the real numbers only: ⟨A x, y⟩ and ⟨x, Aᴴ y⟩ have the same real part. It is its own adjoint and its
    own inverse.

    References
    ----------
    * Kreutz-Delgado, K. (2009). The complex gradient operator and the CR-calculus. arXiv:0906.4835.

    Examples
    --------
    >>> lo.ops.Conj()(jnp.array([1 + 2j])).tolist()
    [(1-2j)]
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jax.tree.map(jnp.conj, x)

    def infer_shape(self, x: Any) -> Any:
        return x

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((2, 3), jnp.complex64)
        yield cls(), (jax.ShapeDtypeStruct((2,), jnp.float32), jax.ShapeDtypeStruct((), jnp.complex64))


def _complex(y: Any) -> Any:
    return jax.tree.map(lambda y: jax.ShapeDtypeStruct(y.shape, jnp.result_type(y.dtype, jnp.complex64)), y)
