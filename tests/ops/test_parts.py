"""Real, Imag and Conj: real-linear maps, whose adjoints satisfy the identity for real parts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, between_reals, close, energy, like

from linops_jax.ops._parts import Conj, Imag, Real

F, C = np.float32, np.complex64
PARTS = [(Real(), jnp.real, lambda y: y + 0j), (Imag(), jnp.imag, lambda y: 1j * y), (Conj(), jnp.conj, jnp.conj)]


@pytest.mark.parametrize(("op", "function", "adjoint"), PARTS, ids=str)
def test_parts_and_their_adjoints(op, function, adjoint):
    z = like(S((2, 3), C), 1)
    y = like(jax.eval_shape(function, z), 2)
    close(op(z), function(z))
    close(op.H(y), adjoint(y))
    close(op.with_domain(z).H(y), adjoint(y))
    close(jax.grad(lambda z: energy(op(z)))(z), jax.grad(lambda z: energy(function(z)))(z))
    forward, v = between_reals(function, z)
    backward, w = between_reals(op.H, y)
    close(jax.jacobian(backward)(w), jax.jacobian(forward)(v).T)


@pytest.mark.parametrize(("op", "function", "adjoint"), PARTS, ids=str)
def test_on_real_arrays_and_pytrees(op, function, adjoint):
    x = {"a": like(S((3,), F), 1), "b": (like(S((), C), 2),)}
    close(op(x), jax.tree.map(function, x))
    real = op.with_domain(x["a"])
    close(real.H(x["a"]), adjoint(x["a"]).real)


def test_double_precision(x64):
    z = like(S((3,), np.complex128), 1)
    close((Real()(z), Imag()(z), Real().H(z.real)), (z.real, z.imag, z.real + 0j))


def test_conj_is_its_own_inverse_and_adjoint():
    z = like(S((3,), C), 1)
    close(Conj().inv(Conj()(z)), z)
    assert Conj().properties.real_linear
    assert Real().properties.real_linear
    assert Imag().properties.real_linear
