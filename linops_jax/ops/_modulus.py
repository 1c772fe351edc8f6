"""The modulus and the phase of each element: Abs, AbsSquared, Phase."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp

from linops_jax.ops._elementwise import Elementwise


class Abs(Elementwise, real_linear=True):
    r"""The modulus x → \|x\| of each element, real or complex. The result is real.

    Notes
    -----
    The Jacobian, which is linear over the reals, is dx → Re(conj(x) dx) / \|x\|, and its adjoint is dy → x dy / \|x\|. At 0 there
    is no derivative, and both are 0.

    Examples
    --------
    >>> F, x = lo.ops.Abs(), jnp.array([2.0j])
    >>> F(x).tolist()
    [2.0]
    >>> F.jacobian(x).H(jnp.ones(1)).tolist()
    [1j]
    """

    def _function(self, x: Any) -> Any:
        return jnp.abs(x) if jnp.iscomplexobj(x) else x * jnp.sign(x)  # JAX's derivative of the real one is 1 at 0


class AbsSquared(Elementwise, real_linear=True):
    r"""The squared modulus x → \|x\|² of each element, real or complex. The result is real.

    Notes
    -----
    The Jacobian, which is linear over the reals, is dx → 2 Re(conj(x) dx), and its adjoint is dy → 2 x dy.

    Examples
    --------
    >>> F, x = lo.ops.AbsSquared(), jnp.array([3.0 + 4.0j])
    >>> F(x).tolist()
    [25.0]
    >>> F.jacobian(x).H(jnp.ones(1)).tolist()
    [(6+8j)]
    """

    def _function(self, x: Any) -> Any:
        return jnp.real(x) ** 2 + jnp.imag(x) ** 2 if jnp.iscomplexobj(x) else x**2


class Phase(Elementwise, real_linear=True):
    r"""The phase x → arg x of each element, in radians from -π to π.

    Notes
    -----
    The Jacobian, which is linear over the reals, is dx → Im(conj(x) dx) / \|x\|², and its adjoint is dy → i x dy / \|x\|². At 0
    the value is 0, and the derivatives are NaN. The phase of a real number is 0 or π, with derivative 0.

    Examples
    --------
    >>> jnp.rad2deg(lo.ops.Phase()(jnp.array([1.0, 2.0j]))).tolist()
    [0.0, 90.0]
    """

    def _function(self, x: Any) -> Any:
        return jnp.angle(x)
