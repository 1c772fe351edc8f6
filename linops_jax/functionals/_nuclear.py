"""NuclearNorm: the sum of the singular values."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.functionals._numbers import indicator, real, rounding
from linops_jax.functionals._separable import Separable


class NuclearNorm(Separable):
    """The sum of the singular values of a matrix, or of the matrices in the last two axes of an array.

    Notes
    -----
    The prox is X = U diag(s) Vᴴ → U diag(max(s - step, 0)) Vᴴ. The conjugate is 0 if no singular value of u is above 1, and ∞
    elsewhere. The derivative of the prox is that of A. S. Lewis and H. S. Sendov, Nonsmooth analysis of singular values, 2005,
    which is finite also for singular values that are equal or 0.

    Examples
    --------
    >>> f, x = lo.NuclearNorm(), jnp.array([[3.0, 0.0], [0.0, -1.0]])
    >>> float(f(x)), jnp.round(f.prox(x, 1.5), 4).tolist()
    (4.0, [[1.5, 0.0], [0.0, 0.0]])
    """

    def _value_of(self, x: Any) -> Any:
        return jnp.sum(jnp.linalg.svd(_matrices(x), compute_uv=False))

    def _prox_of(self, x: Any, step: Any) -> Any:
        u, s, vh = jnp.linalg.svd(_matrices(x), full_matrices=False)
        return (u * jnp.maximum(s - step, 0)[..., None, :]) @ vh

    @lo.traced
    def prox_jacobian(self, x: Any, step: Any, dx: Any) -> Any:
        return jax.tree.map(lambda x, dx: _prox_jacobian(x, step.astype(real(x)), dx), x, dx)

    def conjugate(self, u: Any) -> Any:
        def one(u: Any) -> Any:
            largest = jnp.max(jnp.linalg.svd(_matrices(u), compute_uv=False), initial=0)
            return indicator(largest <= 1 + rounding(u, max(u.shape[-2:])), u)

        return self._sum(one, u)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3, 2), jnp.float32)
        yield cls(), jax.ShapeDtypeStruct((2, 2, 3), jnp.complex64)


def _matrices(x: Any) -> Any:
    """The array, if it has two axes or more."""
    if x.ndim < 2:
        message = f"NuclearNorm: expected matrices in the last two axes of each array, found one of shape {x.shape}."
        raise ValueError(message)
    return x


def _prox_jacobian(x: Any, step: Any, dx: Any) -> Any:
    """The derivative of U diag(max(s - step, 0)) Vᴴ.

    In the bases of U and V, the Hermitian part of dx is multiplied by the divided differences of max(s - step, 0), as for a
    function of a Hermitian matrix. The other part is multiplied by those of its odd continuation, between s and -s, and so is
    what lies outside of the spaces of U and V, whose singular values are 0.
    """
    u, s, vh = jnp.linalg.svd(x, full_matrices=False)
    adjoint = lambda a: jnp.conj(jnp.swapaxes(a, -1, -2))  # noqa: E731
    uh, v = adjoint(u), adjoint(vh)
    core = uh @ dx @ v
    left, right = dx @ v - u @ core, uh @ dx - core @ vh
    one, other = s[..., :, None], s[..., None, :]
    even, odd = (core + adjoint(core)) / 2, (core - adjoint(core)) / 2
    inside = even * _difference(one, other, step) + odd * _difference(one, -other, step)
    ratio = _difference(s, -s, step)
    return u @ inside @ vh + (left * ratio[..., None, :]) @ vh + u @ (ratio[..., :, None] * right)


def _difference(a: Any, b: Any, step: Any) -> Any:
    """The divided difference of the odd function sign(a) max(|a| - step, 0), between a ≥ 0 and b."""
    value = lambda a: jnp.sign(a) * jnp.maximum(jnp.abs(a) - step, 0)  # noqa: E731
    both = (a > step) & (b > step)
    apart = ~both & (a != b)
    ratio = (value(a) - value(b)) / jnp.where(apart, a - b, 1)
    return jnp.where(both, 1, jnp.where(apart, ratio, 0))
