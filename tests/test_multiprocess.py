"""Two processes with two CPU devices each: this file is the test, and the program that every process runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from processes import assert_right, gathered, main

import linops_jax as lo  # before jax.distributed.initialize, on purpose

pytestmark = pytest.mark.versions

BATCH = 8


class Gain(lo.LinearOperator, batched=False):
    """x -> gain cumsum(x)."""

    gain: jax.Array

    def apply(self, x, *, out):
        np.multiply(self.gain, np.cumsum(x), out=out)

    def adjoint(self, y):
        return np.flip(np.cumsum(np.flip(np.conj(self.gain) * y)))

    def infer_shape(self, x):
        return x

    def parameter_jvp(self, x, dself):
        return dself.gain * np.cumsum(x)

    def parameter_vjp(self, x, dy):
        return {"gain": np.conj(np.cumsum(x)) * dy}


class Twice(lo.LinearOperator):
    """x -> 2 weights x."""

    weights: jax.Array

    @lo.traced
    def apply(self, x):
        return 2 * self.weights * x

    @lo.traced
    def adjoint(self, y):
        return 2 * self.weights * y

    def infer_shape(self, x):
        return x


def energy(y):
    return jnp.sum(y**2) + jnp.sum(jnp.sin(y))


def gradients(mesh, place, rng):
    """Of a batch, with respect to a field that all have; and the results."""
    gain, x = rng.standard_normal(3).astype(np.float32), rng.standard_normal((BATCH, 3)).astype(np.float32)
    g, xs = place(gain), place(x, "i")

    def loss(gain, xs):
        return energy(jax.vmap(Gain(gain))(xs))

    @jax.jit
    @jax.value_and_grad
    def in_shard_map(g, xs):
        local = lambda g, xs: jax.lax.psum(loss(g, xs), "i")  # noqa: E731
        return jax.shard_map(local, mesh=mesh, in_specs=(P(), P("i")), out_specs=P())(g, xs)

    y = gain.astype(float) * np.cumsum(x.astype(float), axis=1)
    value, gradient = np.sum(y**2) + np.sum(np.sin(y)), np.sum((2 * y + np.cos(y)) * np.cumsum(x, axis=1), axis=0)
    for program in (in_shard_map, jax.jit(jax.value_and_grad(loss))):
        found = program(g, xs)
        np.testing.assert_allclose(found[0].addressable_data(0), value, rtol=1e-5)
        np.testing.assert_allclose(found[1].addressable_data(0), gradient, rtol=1e-4)
    np.testing.assert_allclose(gathered(jax.jit(jax.vmap(Gain(gain)))(xs)), y, rtol=1e-5)


def solvers(mesh, place, rng):
    """lo.solve, inverses and norms, one problem for all processes."""
    weights, y = (place(rng.standard_normal(3 * BATCH).astype(np.float32), "i") for _ in range(2))
    w, expected = gathered(weights), gathered(y) / (2 * gathered(weights))

    def loss(weights, y, solver):
        return jnp.sum(lo.solve(Twice(weights), y, solver=solver, rtol=1e-6, x0=jnp.zeros_like(y)).value)

    for solver in ("cgls", "bicgstab"):
        found = lo.solve(Twice(weights), y, solver=solver, rtol=1e-6, x0=jnp.zeros_like(y))
        np.testing.assert_allclose(gathered(found.value), expected, rtol=1e-3, atol=1e-4)
        slopes = jax.jit(jax.grad(loss, (0, 1)), static_argnums=2)(weights, y, solver)
        np.testing.assert_allclose(
            gathered(slopes[0]), -expected / w, rtol=1e-2, atol=1e-2 * np.max(np.abs(expected / w))
        )
        np.testing.assert_allclose(gathered(slopes[1]), 1 / (2 * w), rtol=1e-2, atol=1e-3)
    np.testing.assert_allclose(gathered(Twice(weights).with_domain(y).inv(y)), expected, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(gathered(lo.norm(Twice(weights), y)), 2 * np.max(np.abs(w)), rtol=1e-4)


def stacks(mesh, place, rng):
    """Stacks of one operator are computed where its fields are."""
    d, x, ys = (rng.standard_normal(shape).astype(np.float32) for shape in ((8, 3), 3, (8, 3)))
    fields, parts = place(d, "i", None), place(ys, "i", None)
    for where in (mesh, None):
        A, B, C = (make(jax.vmap(lo.Diagonal)(fields), mesh=where) for make in (lo.vstack, lo.hstack, lo.block_diag))
        found = A(x), A.H(parts), B(parts), C(parts)
        expected = d * x, np.sum(d * ys, axis=0), np.sum(d * ys, axis=0), d * ys
        for a, b in zip(found, expected, strict=True):
            np.testing.assert_allclose(gathered(a), b, rtol=1e-5, atol=1e-6)
        assert found[0].addressable_data(0).shape == found[3].addressable_data(0).shape == (2, 3)
    gradient = jax.jit(jax.grad(lambda d: jnp.sum(lo.vstack(jax.vmap(lo.Diagonal)(d))(x) ** 2)))(fields)
    np.testing.assert_allclose(gathered(gradient), 2 * d * x**2, rtol=1e-5)


PROGRAMS = {function.__name__: function for function in (gradients, solvers, stacks)}


@pytest.mark.parametrize("names", [("gradients", "solvers", "stacks")], ids=" ".join)
def test_two_processes(names):
    assert_right(__file__, 2, *names)


if __name__ == "__main__":
    main(PROGRAMS, devices=2)
