"""Derivatives of lo.minimize: implicit ones and those of the steps, against differences and each other."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal
from minimization import differences, edges_data, lasso_data
from operators import DenseWithParameters

import linops_jax as lo
from linops_jax.solvers import ConvergenceWarning


def of_lasso(parameters, matrix=lo.Matrix, **options):
    """A real number of the minimum."""
    lam, y, a = parameters
    found = lo.minimize(lo.SquaredL2(y) @ matrix(a) + lam * lo.L1(), jnp.zeros(a.shape[1], a.dtype), **options)
    return jnp.sum(jnp.abs(found.value) ** 2 * (1 + jnp.arange(a.shape[1])))


def of_edges(lam, **options):
    a, y = map(jnp.asarray, edges_data())
    D = lo.Matrix(jnp.asarray(differences(9)))
    f = lo.SquaredL2(y) @ lo.Matrix(a) + lam * lo.L1() @ D + lo.NonNegative()
    return jnp.sum(lo.minimize(f, jnp.zeros(9), step=(1.5, 0.16), **options).value ** 2 * (1 + jnp.arange(9)))


def central(function, at, direction, h=1e-5):
    moved = [jax.tree.map(lambda a, d, s=s: a + s * h * d, at, direction) for s in (1, -1)]
    return (function(moved[0]) - function(moved[1])) / (2 * h)


def test_lasso_in_weight_data_and_matrix(x64):
    a, y = map(jnp.asarray, lasso_data())
    at = jnp.asarray(0.3), y, a
    direction = jnp.asarray(1.0), *(jnp.asarray(normal(v.shape, np.float64, i)) for i, v in enumerate((y, a)))
    function = functools.partial(of_lasso, rtol=1e-13)
    grads, forward = jax.jit(lambda p: (jax.grad(function)(p), jax.jvp(function, (p,), (direction,))[1]))(at)
    of_each = [jnp.sum(grad * d) for grad, d in zip(grads, direction, strict=True)]
    value = jax.jit(function)
    for i in range(3):
        only = tuple(d if i == j else jnp.zeros_like(d) for j, d in enumerate(direction))
        np.testing.assert_allclose(of_each[i], central(value, at, only), rtol=1e-6)
    np.testing.assert_allclose(forward, sum(of_each), rtol=1e-7)


def test_complex_data(x64):
    a, y = map(jnp.asarray, lasso_data(np.complex128))
    direction = jnp.asarray(normal(y.shape, np.complex128, 9))
    function = jax.jit(lambda y: of_lasso((0.3, y, a), rtol=1e-13))
    found = jax.jvp(function, (y,), (direction,))[1]
    np.testing.assert_allclose(found, central(function, y, direction), rtol=1e-6)


def test_total_variation_with_positivity(x64):
    """Implicit derivatives and those of the steps, at two weights in one batch."""
    weights, h = jnp.array([0.07, 0.2]), 1e-4
    implicit = functools.partial(of_edges, rtol=1e-12)
    by_steps = functools.partial(of_edges, rtol=1e-12, max_steps=100, differentiate="unroll")
    values = jax.jit(jax.vmap(implicit))(jnp.concatenate([weights + h, weights - h]))
    found = jax.jit(jax.vmap(lambda lam: [jax.grad(implicit)(lam), jax.grad(by_steps)(lam)]))(weights)
    np.testing.assert_allclose(found[0], (values[:2] - values[2:]) / (2 * h), rtol=1e-4)
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6)
    assert jax.grad(lambda lam: of_edges(lam, differentiate="no", max_steps=200, rtol=1e-3))(0.2) == 0


def test_a_host_matrix_in_a_batch_of_gradients(x64):
    a, y = map(jnp.asarray, lasso_data())
    weights = jnp.array([0.1, 0.3])

    def gradients(matrix):
        of = lambda lam, a: of_lasso((lam, y, a), matrix, rtol=1e-12)  # noqa: E731
        return jax.jit(jax.vmap(jax.grad(of, (0, 1)), (0, None)))(weights, a)

    for found, expected in zip(gradients(DenseWithParameters), gradients(lo.Matrix), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


def test_dual_variables_are_differentiated(x64):
    """Of the denoising of two samples: both are their mean where the dual variable is less than the weight."""
    D = lo.Matrix(jnp.array([[-1.0, 1.0]]))

    def dual(y):
        return lo.minimize(lo.SquaredL2(y) + lo.L1() @ D, jnp.zeros(2), rtol=1e-12).dual[0][0]

    found = jax.jit(jax.jacfwd(dual))(jnp.array([0.0, 0.5]))
    np.testing.assert_allclose(found, [-0.5, 0.5], atol=1e-6)


def test_an_inexact_derivative_is_told(x64):

    def differentiate():
        jax.grad(lambda lam: of_edges(lam, rtol=1e-9, adjoint_steps=1))(0.2)
        jax.effects_barrier()

    with pytest.warns(ConvergenceWarning, match=r"a derivative of the minimum is inexact.*at most adjoint_steps=1 "):
        differentiate()
