"""Two processes that have parts of one picture each: this file is the test, and the program that every process runs."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from processes import assert_right, gathered, main

import linops_jax as lo

pytestmark = pytest.mark.versions


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


class Host(lo.LinearOperator):
    """x -> x, in NumPy."""

    def apply(self, x):
        return np.copy(x)

    def adjoint(self, y):
        return np.copy(y)

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


def checks(mesh, place, rng):
    """Of operators on arrays of which each process has a part, with the same verdict in all of them."""
    weights = place(rng.standard_normal(24).astype(np.float32), "i")
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
    with pytest.raises(AssertionError, match=r"<A u, v> = .* could say where"):
        lo.testing.checks.check_adjoint(stencil(wrong=True), x)
    lo.testing.checks.check_jacobian(sharded(Square()), x)
    lo.testing.checks.check_jacobian_adjoint(sharded(Square()), x)
    with pytest.raises(AssertionError, match="jacobian_apply is not the derivative of apply"):
        lo.testing.checks.check_jacobian(sharded(Square(wrong=True)), x)
    found = {n: check() for n, check in lo.operator_checks(Host(), weights) if lo.testing.checks.CHECKS[n].whole}
    assert set(found) == {"inputs", "by_hand", "threads", "dense_adjoint", "grads", "shard_map", "calls"}
    assert all(note.startswith("skipped: ") and "other processes hold parts" in note for note in found.values()), found
    assert found["by_hand"].startswith("skipped: it calls hooks by hand, with whole NumPy arrays, and")


def explicit(mesh, place, rng):
    """Checks of arrays that are split in their types; forward and reverse mode split Jacobians along different axes."""
    mesh = jax.make_mesh(mesh.devices.shape, ("i",), axis_types=(AxisType.Explicit,))
    values = rng.standard_normal((2, 8)).astype(np.float32)
    with jax.set_mesh(mesh):
        w, x = (jax.device_put(value, jax.NamedSharding(mesh, P("i"))) for value in values)
        assert lo.dot_test(Twice(w), x).passed
        assert not lo.dot_test(Twice(w, wrong=True), x).passed
        lo.testing.checks.check_jacobians(Twice(w), x)


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
        alone = slopes(w, whole, one, "cgls")
        for solver in ("cg", "cgls"):
            value, found = gathered(slopes(w, parts, mesh, solver))
            np.testing.assert_allclose(value, alone[0], rtol=1e-11)
            for a, b, c in zip(found, alone[1], expected, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-9, atol=1e-11)
                np.testing.assert_allclose(a, c, rtol=1e-9, atol=1e-11)
        A = model(w, mesh).with_domain(parts)
        np.testing.assert_allclose(gathered(A.inv(parts)).ravel(), x, rtol=1e-4)
        np.testing.assert_allclose(gathered(lo.norm(A, parts)), np.linalg.norm(dense, 2), rtol=1e-6)


PROGRAMS = {function.__name__: function for function in (checks, explicit, halos)}


@pytest.mark.parametrize("names", [("checks",), ("explicit", "halos")], ids=" ".join)
def test_two_processes(names):
    assert_right(__file__, 2, *names)


if __name__ == "__main__":
    main(PROGRAMS, devices=2)
