"""Our operators in JAX's own solvers and in optax, with gradients, against dense matrices."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from helpers import S, close, normal
from jax.scipy.sparse.linalg import bicgstab, cg, gmres
from operators import Dense, DenseWithParameters

import linops_jax as lo

TALL, DATA = normal((6, 4), np.complex128, 1), normal((6,), np.complex128, 2)
DTYPES = [np.float64, np.complex128]
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731

SOLVERS = {
    "cg": functools.partial(cg, tol=1e-13),
    "gmres": functools.partial(gmres, tol=1e-13, solve_method="incremental"),
    "bicgstab": functools.partial(bicgstab, tol=1e-13),
}


def problem(dtype):
    return (TALL, DATA) if dtype is np.complex128 else (TALL.real, DATA.real)


def regularised(a):
    """A^H A + 0.1, with a host operator."""
    return Dense(a).H @ Dense(a) + 0.1 * lo.Identity()


@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(solver, dtype, x64):
    """The operator is the callable; gradients are implicit, through another solve with its transpose."""
    a, y = problem(dtype)
    weights = normal((4,), dtype, 3)
    matrix = a.conj().T @ a + 0.1 * np.eye(4)
    op = regularised(jnp.asarray(a)).with_domain(S((4,), dtype))

    def loss(solve, y):
        x = solve(y)
        return jnp.sum(jnp.abs(x - weights) ** 2), x

    def ours(y):
        return SOLVERS[solver](op, Dense(a).with_domain(S((4,), dtype)).H(y))[0]

    def dense(y):
        return jnp.linalg.solve(matrix, a.conj().T @ y)

    both = lambda f: jax.jit(jax.value_and_grad(functools.partial(loss, f), has_aux=True))(jnp.asarray(y))  # noqa: E731
    close(both(ours), both(dense), 1e4)


@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
def test_custom_linear_solve(dtype, x64):
    """With gradients in the entries of the matrix too."""
    a, b = normal((4, 4), dtype, 1) + 4 * np.eye(4), normal((4,), dtype, 2)

    def ours(a, b):
        op = DenseWithParameters(a).with_domain(S((4,), dtype))
        solve = lambda matvec, b: bicgstab(matvec, b, tol=1e-13)[0]  # noqa: E731
        return jax.lax.custom_linear_solve(op, b, solve, transpose_solve=solve)

    def loss(f):
        return jax.jit(jax.value_and_grad(lambda a, b: jnp.sum(jnp.abs(f(a, b) - 1) ** 2), (0, 1)))(a, b)

    close(loss(ours), loss(jnp.linalg.solve), 1e4)


def test_batches_of_solves(x64):
    a, b = TALL.real, normal((3, 4), seed=4)
    op = regularised(jnp.asarray(a))
    found = jax.jit(jax.vmap(lambda b: cg(op, b, tol=1e-13)[0]))(b)
    close(found, jnp.asarray(np.linalg.solve(a.T @ a + 0.1 * np.eye(4), b.T).T), 1e4)


def test_preconditioner(x64):
    d = np.array([1.0, 10.0, 100.0, 1000.0])
    found = cg(lo.Diagonal(d), jnp.ones(4), tol=1e-12, maxiter=1, M=lo.Diagonal(1 / d))[0]
    close(found, jnp.asarray(1 / d), 10)


@pytest.mark.parametrize("name", ["gradient descent", "lbfgs"])
def test_optax(name, x64):
    a, y = problem(np.float64)
    matrix = a.T @ a + 0.1 * np.eye(4)
    op = Dense(jnp.asarray(a))

    def loss(x):
        return 0.5 * jnp.sum((op(x) - y) ** 2) + 0.05 * jnp.sum(x**2)

    if name == "lbfgs":
        optimizer, steps = optax.lbfgs(), 40
    else:
        optimizer, steps = optax.sgd(1 / np.linalg.norm(matrix, 2)), 2000

    def step(carry, _):
        x, state = carry
        value, gradient = jax.value_and_grad(loss)(x)
        more = {"value": value, "grad": gradient, "value_fn": loss} if name == "lbfgs" else {}
        updates, state = optimizer.update(gradient, state, x, **more)
        return (optax.apply_updates(x, updates), state), value

    @jax.jit
    def minimize(x):
        return jax.lax.scan(step, (x, optimizer.init(x)), length=steps)[0][0]

    np.testing.assert_allclose(minimize(jnp.zeros(4)), np.linalg.solve(matrix, a.T @ y), rtol=1e-5, atol=1e-7)


def test_parameters_of_an_operator_in_optax(x64):
    """The operator is what is optimised: a pytree like any other."""
    x = normal((4,), seed=5)
    target = normal((3,), seed=6)
    op = DenseWithParameters(jnp.zeros((3, 4)))
    optimizer = optax.adam(0.1)

    @jax.jit
    def minimize(op):
        def step(carry, _):
            op, state = carry
            gradient = jax.grad(lambda op: jnp.sum((op(x) - target) ** 2))(op)
            updates, state = optimizer.update(gradient, state, op)
            return (optax.apply_updates(op, updates), state), None

        return jax.lax.scan(step, (op, optimizer.init(op)), length=300)[0][0]

    np.testing.assert_allclose(minimize(op)(x), target, rtol=1e-4, atol=1e-4)
