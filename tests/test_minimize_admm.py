"""lo.minimize by ADMM: the same minima as SciPy, cvxpy and the other algorithms, in steps that do not depend on units."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import normal
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from minimization import differences, edges_data, lasso_data, quadratic_program

import linops_jax as lo


class WithGram(lo.LinearOperator):
    """A host matrix with A^H A; which of its hooks are called is noted."""

    matrix: jax.Array
    calls = []  # noqa: RUF012

    def apply(self, x):
        self.calls.append("apply")
        return self.matrix @ x

    def adjoint(self, y):
        return self.matrix.T @ y

    def gram(self, x):
        self.calls.append("gram")
        return self.matrix.T @ (self.matrix @ x)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(self.matrix.shape[:1], x.dtype)

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct(self.matrix.shape[1:], y.dtype)


def lasso(lam=0.3, dtype=np.float64):
    a, y = map(jnp.asarray, lasso_data(dtype))
    return lo.SquaredL2(y) @ lo.Matrix(a) + lam * lo.L1()


def edges(lam=0.2, scale=1.0, matrix=lo.Matrix):
    """The minimiser is multiplied by the scale."""
    a, y = map(jnp.asarray, edges_data())
    D = lo.Matrix(jnp.asarray(differences(9)))
    return lo.SquaredL2(scale * y) @ matrix(a) + scale * lam * lo.L1() @ D + lo.NonNegative()


def admm(f, x0, **options):
    return lo.minimize(f, x0, solver="admm", **options)


def test_lasso(x64):
    x, least = quadratic_program(*lasso_data(), 0.3, np.eye(8))
    found = admm(lasso(), jnp.zeros(8), rtol=1e-9)
    assert found.stats.converged
    assert found.dual == []
    np.testing.assert_allclose(found.value, x, atol=2e-5)
    assert -1e-10 < found.stats.objective - least <= found.stats.gap + 1e-10
    assert np.count_nonzero(found.value) < 8


def test_total_variation_with_positivity(x64):
    """By a host operator with a gram; and with the derivatives of the other algorithm."""
    x, least = quadratic_program(*edges_data(), 0.2, differences(9), lower=0)
    WithGram.calls.clear()
    found = admm(edges(matrix=WithGram), jnp.zeros(9), rtol=1e-9, history=True)
    assert found.stats.converged
    np.testing.assert_allclose(found.value, x, atol=1e-5)
    assert -1e-10 < found.stats.objective - least <= found.stats.gap + 1e-10
    assert np.all(found.stats.history["objective"] - least <= found.stats.history["gap"] + 1e-10)
    assert np.min(found.value) == 0
    assert WithGram.calls.count("gram") > WithGram.calls.count("apply")

    def solve(lam, solver):
        return jnp.sum(
            lo.minimize(edges(lam), jnp.zeros(9), solver=solver, rtol=1e-12).value ** 2 * (1 + jnp.arange(9))
        )

    own, other = jax.jit(lambda lam: [jax.value_and_grad(solve)(lam, name) for name in ("admm", "pd3o")])(0.2)
    np.testing.assert_allclose(own, other, rtol=1e-5)


def test_isotropic_total_variation_is_that_of_cvxpy(x64):
    cp = pytest.importorskip("cvxpy")
    y = np.add.outer(np.arange(6) > 2, np.arange(6) > 3) + 0.1 * normal((6, 6))
    v = cp.Variable((6, 6))
    slopes = [cp.vstack([cp.diff(v, axis=0), np.zeros((1, 6))]), cp.hstack([cp.diff(v, axis=1), np.zeros((6, 1))])]
    norms = cp.norm(cp.vstack([cp.vec(slope, order="C") for slope in slopes]), axis=0)
    least = cp.Problem(cp.Minimize(cp.sum_squares(v - y) / 2 + 0.3 * cp.sum(norms)), [v >= 0]).solve(solver="CLARABEL")
    found = admm(lo.SquaredL2(y) + 0.3 * lo.L21() @ lo.ops.Gradient() + lo.NonNegative(), jnp.zeros((6, 6)), rtol=1e-7)
    np.testing.assert_allclose(found.stats.objective, least, rtol=1e-6)
    np.testing.assert_allclose(found.value, v.value, atol=1e-3)


def test_steps_do_not_depend_on_units(x64):
    """Neither of the objective, nor of x, nor of operators; each problem of the batch stops by itself."""
    a, y = map(jnp.asarray, edges_data())
    D = jnp.asarray(differences(9))

    @jax.jit
    @jax.vmap
    def solve(of_f, of_x, of_A, of_K, lam):
        f = lo.SquaredL2(of_A * of_x * y) @ lo.Matrix(of_A * a) + lo.NonNegative()
        f = f + of_A**2 / of_K * of_x * lam * lo.L1() @ lo.Matrix(of_K * D)
        found = admm(of_f * f, jnp.zeros(9), rtol=1e-7)
        return found.stats.steps, found.value / of_x

    units = jnp.array([[1, 1, 1, 1], [1e6, 1, 1, 1], [1e-6, 1, 1, 1], [1, 1e6, 1, 1], [1, 1, 1e3, 1], [1, 1, 1, 1e3]])
    weights = jnp.array([0.2] * 6 + [0.02])
    steps, x = solve(*jnp.concatenate([units, jnp.ones((1, 4))]).T, weights)
    assert np.ptp(steps[:6]) <= 1
    assert abs(int(steps[6]) - int(steps[0])) > 1
    np.testing.assert_allclose(x[:6], np.broadcast_to(x[0], (6, 9)), atol=1e-8)
    alone = admm(edges(0.02), jnp.zeros(9), rtol=1e-7)
    assert alone.stats.steps == steps[6]
    np.testing.assert_allclose(alone.value, x[6], atol=1e-12)


def test_other_terms(x64):
    """A dict of complex and real arrays, a smooth term by its prox, a unitary operator."""
    a, y = map(jnp.asarray, lasso_data(np.complex128))
    A = lo.hstack({"u": lo.Matrix(a[:, :5]), "v": lo.Matrix(a[:, 5:])})
    f = lo.Huber(0.5) @ lo.Affine(A, -y) + 0.3 * lo.L1() @ lo.block_diag({"u": lo.FFT(), "v": lo.Identity()})
    x0 = {"u": jnp.zeros(5, complex), "v": jnp.zeros(3)}
    found, other = (lo.minimize(f, x0, solver=solver, rtol=1e-10) for solver in ("admm", "pd3o"))
    assert found.stats.converged
    assert found.value["v"].dtype == np.float64
    for key in x0:
        np.testing.assert_allclose(found.value[key], other.value[key], atol=1e-5)


def test_parts_of_one_problem_on_the_devices_of_a_mesh(x64):
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    y = jnp.asarray(normal((8,), np.float64, 8))

    class Mean(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return (x[:-2] + 2 * x[1:-1] + x[2:]) / 4

    def solve(y):
        blur = Mean() @ lo.Halo(1, "i")
        found = admm(lo.SquaredL2(y) @ blur + 0.05 * lo.L1() @ blur + lo.NonNegative(), jnp.zeros_like(y), rtol=1e-8)
        return found.value, found.stats.objective

    parts, objective = jax.jit(jax.shard_map(solve, mesh=mesh, in_specs=P("i"), out_specs=(P("i"), P())))(y)
    a = sum(np.eye(8, k=k) * w for k, w in ((-1, 0.25), (0, 0.5), (1, 0.25)))
    x, least = quadratic_program(a, np.asarray(y), 0.05, a, lower=0)
    np.testing.assert_allclose(parts, x, atol=1e-3)
    np.testing.assert_allclose(objective, least, rtol=1e-7)


def test_without_a_quadratic_term(x64):
    """The median: the last step is an equation of which any point of an interval is a solution."""
    y = jnp.asarray(normal((5,), np.float64, 3))
    one = lo.Matrix(jnp.ones((5, 1)))
    found = admm(lo.L1() @ lo.Affine(one, -y), jnp.zeros(1), rtol=1e-8)
    np.testing.assert_allclose(found.value, [np.median(y)], atol=1e-6)


def test_with_quadratic_terms_only(x64):
    a, y = lasso_data()
    found = admm(lo.SquaredL2(y) @ lo.Matrix(a), jnp.zeros(8), rtol=1e-8)
    assert found.stats.converged
    np.testing.assert_allclose(found.value, np.linalg.lstsq(a, y)[0], rtol=1e-4)
