"""Two processes with two CPU devices each: this file is the test, and the program that every process runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from processes import join, outputs, running, say

import linops_jax as lo  # before jax.distributed.initialize, on purpose

pytestmark = pytest.mark.versions

PROCESSES, DEVICES, BATCH = 2, 4, 8


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
    """x -> 2 weights x, or with a wrong adjoint."""

    weights: jax.Array
    wrong: bool = lo.static(default=False)

    @lo.traced
    def apply(self, x):
        return 2 * self.weights * x

    @lo.traced
    def adjoint(self, y):
        return (3 if self.wrong else 2) * jnp.conj(self.weights) * y

    def infer_shape(self, x):
        return x


class Stencil(lo.LinearOperator):
    """Three weights along the first axis, on the inner points, in NumPy; or with an adjoint that forgets one."""

    w: jax.Array
    wrong: bool = lo.static(default=False)

    def apply(self, x):
        return self.w[0] * x[:-2] + self.w[1] * x[1:-1] + self.w[2] * x[2:]

    def adjoint(self, y):
        x = np.zeros((len(y) + 2, *y.shape[1:]), y.dtype)
        for i in range(2 if self.wrong else 3):
            x[i : len(y) + i] += np.conj(self.w[i]) * y
        return x

    def parameter_jvp(self, x, dself):
        return dself.w[0] * x[:-2] + dself.w[1] * x[1:-1] + dself.w[2] * x[2:]

    def parameter_vjp(self, x, dy):
        return {"w": np.array([np.vdot(x[i : len(dy) + i], dy) for i in range(3)], self.w.dtype)}

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct((x.shape[0] - 2, *x.shape[1:]), np.result_type(x.dtype, self.w.dtype))

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct((y.shape[0] + 2, *y.shape[1:]), y.dtype)


class Square(lo.NonlinearOperator):
    """x -> x^2, or with half its derivative."""

    wrong: bool = lo.static(default=False)

    @lo.traced
    def apply(self, x):
        return x**2

    @lo.traced
    def jacobian_apply(self, x, dx):
        return (1 if self.wrong else 2) * x * dx

    @lo.traced
    def jacobian_adjoint(self, x, dy):
        return 2 * x * dy

    def infer_shape(self, x):
        return x


def energy(y):
    return jnp.sum(y**2) + jnp.sum(jnp.sin(y))


def gathered(tree):
    """The whole arrays: a test may, which knows that they are small."""
    from jax.experimental import multihost_utils

    return jax.tree.map(lambda leaf: multihost_utils.process_allgather(leaf, tiled=True), tree)


def main():
    number, _, arguments = join(DEVICES // PROCESSES)
    lo.distributed.watch()  # which does nothing here: the end is as always
    mesh = jax.make_mesh((DEVICES,), ("i",), axis_types=(AxisType.Auto,))

    def place(array, *spec):
        return jax.make_array_from_callback(array.shape, NamedSharding(mesh, P(*spec)), lambda index: array[index])

    for name in arguments:
        PROGRAMS[name](mesh, place, np.random.default_rng(0))
    say(f"right {number}")


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


def checks(mesh, place, rng):
    """Of operators on arrays of which each process has a part, with the same verdict in all of them."""
    weights = place(rng.standard_normal(3 * BATCH).astype(np.float32), "i")
    x = place(rng.standard_normal((32, 5)).astype(np.float32), "i")
    sharded = lambda op: lo.sharded(op, mesh, P("i"), P("i"))  # noqa: E731
    stencil = lambda **wrong: sharded(Stencil(jnp.array([0.5, 2.0, -0.3]), **wrong) @ lo.Halo(1, "i"))  # noqa: E731
    test = lo.dot_test(stencil(), x)
    assert test.passed, test
    spec = jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding)
    assert lo.dot_test(stencil(), spec).probes == test.probes[1:]  # drawn there as well
    test = lo.dot_test(stencil(wrong=True), x)
    assert not test.passed
    assert "could say where" in test.diagnosis
    test = lo.dot_test(Twice(weights * (1 + 1j), wrong=True), weights * (2 - 1j))
    assert not test.passed
    assert test.diagnosis.startswith("<u, A^H v> is 1.5 times <A u, v> in every probe")
    report = lo.check_operator(stencil(), x)
    assert {outcome.name for outcome in report.outcomes if "skipped" in outcome.message} == {"shard_map"}
    with pytest.raises(AssertionError, match="<A u, v> = .* could say where"):
        lo.testing.checks.check_adjoint(stencil(wrong=True), x)
    lo.testing.checks.check_jacobian(sharded(Square()), x)
    lo.testing.checks.check_jacobian_adjoint(sharded(Square()), x)
    with pytest.raises(AssertionError, match="jacobian_apply is not the derivative of apply"):
        lo.testing.checks.check_jacobian(sharded(Square(wrong=True)), x)
    by_hand = lo.testing.checks.check_by_hand(Gain(jnp.ones(len(weights))), weights)
    assert (
        by_hand
        == "skipped: it calls hooks by hand, with whole NumPy arrays, and other processes hold parts of the arrays"
    )


def halos(mesh, place, rng):
    """Solves of a problem in two dimensions whose rows are split, against one device and dense matrices."""
    w, y = np.array([0.3, 1.5, -0.4]), rng.standard_normal((8, 3))
    one = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Auto,), devices=jax.local_devices()[:1])

    def model(w, mesh):
        return lo.sharded(Stencil(w) @ lo.Halo(1, "i"), mesh, P("i"), P("i"))

    def loss(w, y, mesh, solver):
        A = model(w, mesh).with_domain(y)
        if solver == "cg":
            A, y = A.H @ A, A.H(y)
        return jnp.sum(jnp.sin(lo.solve(A, y, solver=solver, rtol=1e-13, x0=jnp.zeros_like(y)).value))

    with jax.enable_x64(True):
        dense = sum(np.kron(np.eye(8, k=k), np.eye(3)) * c for k, c in zip((-1, 0, 1), w, strict=True))
        x = np.linalg.solve(dense, y.ravel())
        weight = np.linalg.solve(dense.T, np.cos(x))
        shifted = [np.kron(np.eye(8, k=k), np.eye(3)) @ x for k in (-1, 0, 1)]
        expected = [-np.dot(weight, s) for s in shifted], weight.reshape(y.shape)
        whole, parts = jnp.asarray(y), place(y, "i")
        slopes = jax.jit(jax.value_and_grad(loss, (0, 1)), static_argnums=(2, 3))
        for solver in ("cg", "cgls"):
            value, found = gathered(slopes(w, parts, mesh, solver))
            alone = slopes(w, whole, one, solver)
            np.testing.assert_allclose(value, alone[0], rtol=1e-11)
            for a, b, c in zip(found, alone[1], expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
                np.testing.assert_allclose(a, c, rtol=1e-9, atol=1e-11)
        A = model(w, mesh).with_domain(parts)
        np.testing.assert_allclose(gathered(A.inv(parts)).ravel(), x, rtol=1e-4)
        np.testing.assert_allclose(gathered(lo.norm(A, parts)), np.linalg.norm(dense, 2), rtol=1e-6)


PROGRAMS = {function.__name__: function for function in (gradients, solvers, stacks, checks, halos)}


@pytest.mark.parametrize("names", [("gradients", "solvers", "stacks"), ("checks",), ("halos",)], ids=" ".join)
def test_two_processes(names):
    with running(__file__, PROCESSES, *names) as workers:
        found = outputs(workers)
    for i, (worker, output) in enumerate(zip(workers, found, strict=True)):
        assert worker.returncode == 0, output
        assert f"right {i}" in output


if __name__ == "__main__":
    main()
