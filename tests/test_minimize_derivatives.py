"""Derivatives of lo.minimize: implicit ones and those of the steps, against differences and each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, normal
from minimization import differences, edges_data, lasso_data

import linops_jax as lo
from linops_jax.solvers import ConvergenceWarning


class Times(lo.LinearOperator):
    """A matrix, by NumPy, with derivatives in it."""

    a: jax.Array

    def apply(self, x):
        return self.a @ x

    def adjoint(self, y):
        return self.a.conj().T @ y

    def parameter_vjp(self, x, dy):
        return {"a": np.outer(dy, x.conj())}

    def infer_shape(self, x):
        return S(self.a.shape[:1], np.result_type(self.a.dtype, x.dtype))

    def infer_adjoint_shape(self, y):
        return S(self.a.shape[1:], np.result_type(self.a.dtype, y.dtype))


def of_lasso(parameters, matrix=lo.Matrix, **options):
    """A real number of the minimum."""
    lam, y, a = parameters
    found = lo.minimize(lo.SquaredL2(y) @ matrix(a) + lam * lo.L1(), jnp.zeros(a.shape[1], a.dtype), **options)
    return jnp.sum(jnp.abs(found.value) ** 2 * (1 + jnp.arange(a.shape[1])))


def of_edges(lam, **options):
    a, y = map(jnp.asarray, edges_data())
    D = lo.Matrix(jnp.asarray(differences(9)))
    f = lo.SquaredL2(y) @ lo.Matrix(a) + lam * lo.L1() @ D + lo.NonNegative()
    return jnp.sum(lo.minimize(f, jnp.zeros(9), **options).value ** 2 * (1 + jnp.arange(9)))


def central(function, at, direction, h=1e-5):
    moved = [jax.tree.map(lambda a, d, s=s: a + s * h * d, at, direction) for s in (1, -1)]
    return (function(moved[0]) - function(moved[1])) / (2 * h)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_lasso_in_weight_data_and_matrix(x64, dtype):
    a, y = map(jnp.asarray, lasso_data(dtype))
    at = jnp.asarray(0.3), y, a
    direction = jnp.asarray(1.0), *(jnp.asarray(normal(v.shape, dtype, i)) for i, v in enumerate((y, a)))
    function = jax.jit(lambda p: of_lasso(p, rtol=1e-13))
    grads = jax.grad(function)(at)
    forward = jax.jvp(function, (at,), (direction,))[1]
    for i in range(3):
        only = tuple(d if i == j else jnp.zeros_like(d) for j, d in enumerate(direction))
        reverse = np.real(np.sum(grads[i] * direction[i]))
        np.testing.assert_allclose(reverse, central(function, at, only), rtol=2e-6)
    total = sum(np.real(np.sum(g * d)) for g, d in zip(grads, direction, strict=True))
    np.testing.assert_allclose(forward, total, rtol=1e-6)


def test_total_variation_with_positivity(x64):
    function = jax.jit(lambda lam: of_edges(lam, rtol=1e-12))
    for lam in (0.07, 0.2):
        expected = central(function, lam, 1.0, 1e-4)
        np.testing.assert_allclose(jax.grad(function)(lam), expected, rtol=1e-3)
        np.testing.assert_allclose(jax.jvp(function, (lam,), (1.0,))[1], expected, rtol=1e-3)


def test_the_steps_have_the_derivatives_of_the_minimum(x64):
    implicit = jax.grad(lambda lam: of_edges(lam, rtol=1e-12))(0.2)
    by_steps = jax.grad(lambda lam: of_edges(lam, rtol=1e-12, max_steps=1500, differentiate="unroll"))(0.2)
    np.testing.assert_allclose(implicit, by_steps, rtol=1e-4)
    assert jax.grad(lambda lam: of_edges(lam, differentiate="no"))(0.2) == 0


def test_a_host_matrix_in_a_batch_of_gradients(x64):
    a, y = map(jnp.asarray, lasso_data())
    weights = jnp.array([0.1, 0.3])

    def gradients(matrix):
        return jax.jit(jax.vmap(jax.grad(lambda lam: of_lasso((lam, y, a), matrix, rtol=1e-12))))(weights)

    np.testing.assert_allclose(gradients(Times), gradients(lo.Matrix), rtol=1e-6)
    fields = jax.jit(jax.grad(lambda a: of_lasso((0.3, y, a), Times, rtol=1e-12)))(a)
    np.testing.assert_allclose(fields, jax.grad(lambda a: of_lasso((0.3, y, a), rtol=1e-12))(a), rtol=1e-5, atol=1e-6)


def test_dual_variables_are_differentiated(x64):
    """Of the denoising of two samples: both are their mean where the dual variable is less than the weight."""
    D = lo.Matrix(jnp.array([[-1.0, 1.0]]))

    def dual(y):
        return lo.minimize(lo.SquaredL2(y) + lo.L1() @ D, jnp.zeros(2), rtol=1e-12).dual[0][0]

    found = jax.grad(dual)(jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(found, [-0.5, 0.5], atol=1e-6)


def test_an_inexact_derivative_is_told(x64):
    with pytest.warns(ConvergenceWarning, match=r"a derivative of the minimum is inexact.*at most adjoint_steps=1 "):
        jax.block_until_ready(jax.grad(lambda lam: of_edges(lam, rtol=1e-9, adjoint_steps=1))(0.2))
        jax.effects_barrier()
