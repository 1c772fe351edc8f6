"""lo.solve for nonlinear operators, against SciPy's least squares and closed forms. Counts are those of the hooks themselves."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest
import scipy.optimize
from helpers import S, between_reals, close, energy, normal
from operators import Modulus

import linops_jax as lo
from linops_jax.solvers import ConvergenceWarning, _linear_model, solve

pytestmark = pytest.mark.usefixtures("x64")
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731
NAMES = ["levenberg_marquardt", "gauss_newton", "dogleg"]

calls = collections.Counter()


@pytest.fixture(autouse=True)
def _start_from_zero():
    calls.clear()


class Wave(lo.NonlinearOperator):
    """sin(B x), real or complex, without ``linearize``."""

    matrix: jax.Array

    def infer_shape(self, x):
        return S(self.matrix.shape[:1], jnp.result_type(self.matrix.dtype, x.dtype))

    def apply(self, x):
        calls["apply"] += 1
        return np.sin(self.matrix @ x)

    def jacobian_apply(self, x, dx):
        calls["jacobian_apply"] += 1
        return np.cos(self.matrix @ x) * (self.matrix @ dx)

    def jacobian_adjoint(self, x, dy):
        calls["jacobian_adjoint"] += 1
        return self.matrix.conj().T @ (np.cos(self.matrix @ x).conj() * dy)

    def hessian_apply(self, x, dx1, dx2):
        return -np.sin(self.matrix @ x) * (self.matrix @ dx1) * (self.matrix @ dx2)

    def hessian_adjoint(self, x, dx, dy):
        return self.matrix.conj().T @ ((-np.sin(self.matrix @ x) * (self.matrix @ dx)).conj() * dy)


class Remembering(Wave):
    """The same with ``linearize``."""

    def infer_state_shape(self, x):
        return self.infer_shape(x)

    def linearize(self, x):
        calls["linearize"] += 1
        return np.sin(self.matrix @ x), np.cos(self.matrix @ x)

    def jacobian_apply(self, x, dx, *, state):
        calls["jacobian_apply"] += 1
        assert np.any(state)
        return state * (self.matrix @ dx)

    def jacobian_adjoint(self, x, dy, *, state):
        calls["jacobian_adjoint"] += 1
        assert np.any(state)
        return self.matrix.conj().T @ (state.conj() * dy)


class Batched(Remembering, batched=True):
    """All products at a point are one call."""

    def linearize(self, x):
        calls["linearize"] += 1
        u = np.einsum("...ij,...j->...i", self.matrix, x)
        return np.sin(u), np.cos(u)

    def jacobian_apply(self, x, dx, *, state):
        calls["jacobian_apply"] += 1
        return state * np.einsum("...ij,...j->...i", self.matrix, dx)


class ForwardOnly(Remembering):
    jacobian_adjoint = None


class ReverseOnly(Remembering):
    jacobian_apply = None


class Traced(lo.NonlinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return jnp.sin(self.matrix @ x)


KINDS = [Wave, Remembering, Batched, ForwardOnly, ReverseOnly, Traced]
PAIRS = [*((cls, NAMES[0]) for cls in KINDS), *((Remembering, name) for name in NAMES[1:])]


def problem(shape=(6, 3), dtype=np.float64, noise=0.05, far=0.3):
    """A matrix, data, and where to start."""
    matrix = normal(shape, dtype, 1) / np.sqrt(shape[1])
    x = 0.7 * normal(shape[1:], dtype, 2)
    y = np.sin(matrix @ x) + noise * normal(shape[:1], dtype, 3)
    return matrix, y.astype(dtype), (x + far * normal(shape[1:], dtype, 4)).astype(dtype)


def by_scipy(function, y, x0, penalty=None):
    """The x that minimises |function(x) - y|² + |penalty(x)|², as a real vector."""
    rest = lambda x: [jax.tree.map(jnp.subtract, function(x), y), None if penalty is None else penalty(x)]  # noqa: E731
    residual, start = between_reals(rest, x0)
    residual = jax.jit(residual)
    tolerances = {"xtol": 1e-15, "ftol": 1e-15, "gtol": 1e-15}
    return scipy.optimize.least_squares(residual, start, jax.jit(jax.jacfwd(residual)), **tolerances).x


def flat(x):
    return between_reals(lambda x: x, x)[1]


# ---- values ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cls", "solver"), PAIRS, ids=by_name)
def test_few_unknowns(cls, solver):
    matrix, y, x0 = problem()
    found = solve(cls(matrix), y, x0=x0, solver=solver, rtol=1e-10)
    np.testing.assert_allclose(found.value, by_scipy(Traced(matrix), y, x0), rtol=1e-6)
    assert found.stats.converged
    rest = np.linalg.norm(np.sin(matrix @ np.asarray(found.value)) - y) / np.linalg.norm(y)
    np.testing.assert_allclose(found.stats.residual, rest, rtol=1e-9)


@pytest.mark.parametrize(
    ("cls", "solver"), [(Wave, NAMES[0]), (ReverseOnly, NAMES[1]), (Traced, NAMES[2])], ids=by_name
)
def test_complex_unknowns_are_pairs_of_reals(cls, solver):
    matrix, y, x0 = problem(dtype=np.complex128)
    found = solve(cls(matrix), y, x0=x0, solver=solver, rtol=1e-10, damp=0.1)
    expected = by_scipy(Traced(matrix), y, x0, lambda x: 0.1 * x)
    np.testing.assert_allclose(flat(found.value), expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64], ids=by_name)
@pytest.mark.parametrize("few", [0, 32])
def test_single_precision(dtype, few, monkeypatch):
    monkeypatch.setattr(_linear_model, "FEW", few)
    matrix, y, x0 = problem(dtype=dtype)
    found = solve(Remembering(matrix), y, x0=x0, rtol=1e-5)
    assert found.value.dtype == dtype
    assert found.stats.converged
    np.testing.assert_allclose(flat(found.value), by_scipy(Traced(matrix), y, x0), rtol=1e-2, atol=1e-3)


@pytest.mark.parametrize(("few", "solver"), [(0, NAMES[0]), (0, NAMES[2]), (32, NAMES[0]), (32, NAMES[2])])
def test_damping_and_a_regularizer(solver, few, monkeypatch):
    monkeypatch.setattr(_linear_model, "FEW", few)
    matrix, y, x0 = problem((5, 4))
    R = lo.Matrix(normal((3, 4), seed=7))
    found = solve(Remembering(matrix), y, x0=x0, solver=solver, damp=0.3, regularizer=R, rtol=1e-9)
    np.testing.assert_allclose(found.value, by_scipy(Traced(matrix), y, x0, lambda x: 0.3 * R(x)), rtol=1e-5)


class Decays(lo.NonlinearOperator):
    """Amplitudes that decay at one rate, at five times: a dict to a pair of arrays."""

    times = np.linspace(0, 2, 5)

    def infer_shape(self, p):
        return (S((5,), p["rate"].dtype), S((5,), p["rate"].dtype))

    def infer_state_shape(self, p):
        return S((5,), p["rate"].dtype)

    def apply(self, p):
        return self.linearize(p)[0]

    def linearize(self, p):
        decay = np.exp(-p["rate"] * self.times)
        return (p["sizes"][0] * decay, p["sizes"][1] * decay), decay

    def jacobian_apply(self, p, dp, *, state):
        slope = -self.times * state * dp["rate"]
        return tuple(dp["sizes"][i] * state + p["sizes"][i] * slope for i in range(2))

    def jacobian_adjoint(self, p, dy, *, state):
        slope = -self.times * state
        rate = sum(p["sizes"][i] * (slope @ dy[i]) for i in range(2))
        return {"rate": np.asarray(rate), "sizes": np.stack([state @ dy[0], state @ dy[1]])}


@pytest.mark.parametrize("solver", ["dogleg"])
def test_pytrees(solver):
    p = {"rate": jnp.array(0.7), "sizes": jnp.array([2.0, -1.0])}
    start = {"rate": jnp.array(0.5), "sizes": jnp.array([1.0, -0.5])}
    found = solve(Decays(), Decays()(p), x0=start, solver=solver, rtol=1e-10)
    close(found.value, p, 1e5)


@pytest.mark.parametrize(
    ("shape", "solver"), [*(((80, 70), name) for name in NAMES), ((3, 200), "auto"), ((3, 200), "dogleg")], ids=str
)
def test_many_unknowns(shape, solver):
    matrix, y, x0 = problem(shape, noise=0, far=0.1)
    found = solve(Remembering(matrix), y, x0=x0, solver=solver, rtol=1e-8)
    np.testing.assert_allclose(np.sin(matrix @ np.asarray(found.value)), y, atol=1e-5)
    assert found.stats.converged
    assert (calls["linearize"], calls["apply"]) == (found.stats.simulations, 0)
    assert found.stats.simulations == found.stats.steps


def test_a_parameter_without_effect_stays():
    """Of many least squares, a step is the smallest, with and without a dense Jacobian."""
    matrix, y, x0 = problem()
    blind = np.concatenate([matrix, np.zeros((6, 1))], 1)
    found = solve(Remembering(blind), y, x0=np.append(x0, 5.0), solver="gauss_newton", rtol=1e-10)
    np.testing.assert_allclose(found.value, [*by_scipy(Traced(matrix), y, x0), 5.0], rtol=1e-6)


# ---- how often the operator is evaluated ----------------------------------------------------------------------------


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(("cls", "solver"), [pair for pair in PAIRS if pair[0] is not Traced], ids=by_name)
def test_simulations(cls, solver, compiled):
    """One a step, whatever the model; and a product for each unknown, or for each number of data in reverse mode."""
    matrix, y, x0 = problem((6, 4))
    run = lambda x0: solve(cls(matrix), y, x0=x0, solver=solver).stats  # noqa: E731
    stats = (jax.jit(run) if compiled else run)(x0)
    steps = int(stats.steps)
    jax.block_until_ready(stats)
    assert (stats.simulations, stats.simulations.dtype) == (steps, stats.steps.dtype)
    expected = {"apply" if cls is Wave else "linearize": steps}
    product, each = {
        ReverseOnly: ("jacobian_adjoint", 6),
        Batched: ("jacobian_apply", 1),
    }.get(cls, ("jacobian_apply", 4))  # fmt: skip
    assert calls == expected | {product: each * steps}  # here no step is rejected


def test_few_data_are_products_with_the_adjoint():
    matrix, y, x0 = problem((2, 5))
    stats = solve(Remembering(matrix), y, x0=x0).stats
    assert calls == {"linearize": stats.simulations, "jacobian_adjoint": 2 * stats.steps}


class Valley(lo.NonlinearOperator):
    """Rosenbrock's: 10 (x1 - x0²) and x0."""

    def infer_shape(self, x):
        return x

    def apply(self, x):
        calls["apply"] += 1
        return np.array([10 * (x[1] - x[0] ** 2), x[0]])

    def jacobian_apply(self, x, dx):
        calls["jacobian_apply"] += 1
        return np.array([10 * (dx[1] - 2 * x[0] * dx[0]), dx[0]])

    def jacobian_adjoint(self, x, dy):
        return np.array([dy[1] - 20 * x[0] * dy[0], 10 * dy[0]])


def test_a_rejected_step_has_no_products():
    found = solve(Valley(), np.array([0.0, 1.0]), x0=np.array([-1.2, 1.0]), history=True)
    np.testing.assert_allclose(found.value, [1, 1], rtol=1e-5)
    assert calls["apply"] == found.stats.simulations == found.stats.steps
    rejected = np.sum(np.diff(found.stats.history) == 0)
    assert rejected > 0
    assert calls["jacobian_apply"] == 2 * (found.stats.steps - rejected)


def test_a_composite_evaluates_each_part_once_a_step():
    matrix, y, x0 = problem()
    op = 2 * Remembering(np.eye(6)) @ Wave(matrix) @ lo.Diagonal(np.array([1.0, 2.0, 1.0]))
    stats = solve(op, 2 * np.sin(y), x0=x0, damp=0.1).stats
    assert (calls["linearize"], calls["apply"]) == (stats.simulations, stats.simulations)


def test_simulations_of_others():
    matrix, y, x0 = problem(noise=0)
    assert solve(Traced(matrix), y, x0=x0, solver=optx.BFGS(1e-8, 1e-8)).stats.simulations is None
    assert solve(lo.Matrix(matrix), y).stats.simulations is None
    stats = solve(Remembering(matrix), y, x0=x0, solver=optx.GaussNewton(1e-8, 1e-8)).stats
    assert calls["linearize"] == stats.simulations == stats.steps
    assert f"simulations={stats.steps}" in repr(stats)


@pytest.mark.parametrize(("few", "solver"), [(0, NAMES[0]), (0, NAMES[2]), (32, NAMES[0]), (32, NAMES[1])])
def test_fits_of_different_speeds(solver, few, monkeypatch):
    """Each as if it were alone. The state of a model is never that of a point where it was not linearized."""
    monkeypatch.setattr(_linear_model, "FEW", few)
    matrix, y, x0 = problem()
    starts = jnp.stack([x0, np.asarray(by_scipy(Traced(matrix), y, x0)) + 1e-2, x0 + 0.5])
    run = lambda x0: solve(Remembering(matrix), y, x0=x0, solver=solver, rtol=1e-5, history=True, max_steps=40)  # noqa: E731
    found = jax.jit(jax.vmap(run))(starts)
    alone = [run(x0) for x0 in starts]
    assert len({int(one.stats.steps) for one in alone}) > 1
    for i, one in enumerate(alone):
        np.testing.assert_allclose(found.value[i], one.value, rtol=1e-6)
        steps = int(one.stats.steps)
        assert found.stats.steps[i] == found.stats.simulations[i] == steps
        np.testing.assert_allclose(found.stats.history[i, :steps], one.stats.history, rtol=1e-6, atol=1e-12)
        assert np.all(np.isnan(found.stats.history[i, steps:]))


# ---- watched --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("solver", NAMES)
@pytest.mark.filterwarnings("ignore::linops_jax.ConvergenceWarning")
def test_history_and_callback(solver):
    matrix, y, x0 = problem()
    told, options = [], {"x0": x0, "solver": solver, "damp": 0.1}
    expected = [
        np.linalg.norm(np.sin(matrix @ np.asarray(solve(Traced(matrix), y, max_steps=n, **options).value)) - y)
        for n in (1, 4)
    ] / np.linalg.norm(y)
    options |= {"max_steps": 4, "history": True, "callback": lambda *call: told.append(call)}
    run = lambda y: solve(Remembering(matrix), y, **options).stats  # noqa: E731
    for function in (run, jax.jit(run), lambda y: jax.tree.map(lambda x: x[0], jax.vmap(run)(y[None]))):
        told.clear()
        stats = function(y)
        jax.effects_barrier()
        np.testing.assert_allclose(stats.history[np.array([0, 3])], expected, rtol=1e-5)
        assert stats.history[-1] == stats.residual
        assert [step for step, _ in told] == [1, 2, 3, 4]
        assert [residual for _, residual in told] == list(np.asarray(stats.history))
        assert {type(value) for call in told for value in call} == {int, float}


def test_history_has_one_number_per_step():
    matrix, y, x0 = problem()
    stats = solve(Traced(matrix), y, x0=x0, history=True).stats
    assert stats.history.shape == (stats.steps,)
    kept = jax.jit(lambda y: solve(Traced(matrix), y, x0=x0, history=True, max_steps=50).stats.history)(y)
    np.testing.assert_allclose(kept[: len(stats.history)], stats.history, rtol=1e-9)
    assert np.all(np.isnan(kept[len(stats.history) :]))


def test_what_a_callback_raises():
    def stop(step, residual):
        raise KeyError(step)

    matrix, y, x0 = problem()
    with pytest.raises(KeyError, match="1"):
        solve(Remembering(matrix), y, x0=x0, callback=stop)
    solve(Remembering(matrix), y, x0=x0)


def test_derivatives_are_not_told():
    matrix, y, x0 = problem()
    told = []
    loss = lambda y, **more: jnp.sum(solve(Traced(matrix), y, x0=x0, rtol=1e-10, **more).value)  # noqa: E731
    slope = jax.grad(loss)(y, callback=lambda step, _: told.append(step), history=True)
    jax.effects_barrier()
    close(slope, jax.grad(loss)(y), 1e3)
    assert told == list(range(1, len(told) + 1))


def test_a_solver_of_optimistix_is_watched():
    matrix, y, x0 = problem()
    stats = solve(Traced(matrix), y, x0=x0, solver=optx.Dogleg(1e-8, 1e-8), history=True).stats
    assert stats.history[-1] == stats.residual


def test_no_convergence():
    matrix, y, x0 = problem()
    with pytest.warns(ConvergenceWarning, match=r"gauss_newton stopped after 2 steps"):
        found = solve(Remembering(matrix), y, x0=x0, solver="gauss_newton", max_steps=2)
    assert not found.stats.converged


def test_no_step_at_all():
    matrix, y, x0 = problem()
    stats = jax.jit(lambda y: solve(Traced(matrix), y, x0=x0, max_steps=0, history=True).stats)(y)
    np.testing.assert_allclose(stats.residual, np.linalg.norm(np.sin(matrix @ x0) - y) / np.linalg.norm(y))
    assert (stats.steps, stats.converged, stats.simulations) == (0, False, None)


# ---- derivatives ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "few"), [(Wave, 0), (Wave, 32), (Remembering, 32), (ForwardOnly, 32), (ReverseOnly, 32)], ids=by_name
)
def test_derivatives_of_a_solution(cls, few, monkeypatch):
    monkeypatch.setattr(_linear_model, "FEW", few)
    matrix, y, x0 = problem()

    def loss(y, damp):
        return energy(solve(cls(matrix), y, x0=x0, damp=damp, rtol=1e-12).value)

    along = normal(y.shape, seed=9), 1.0
    step = 1e-4
    ahead, behind = (loss(y + sign * step * along[0], 0.2 + sign * step) for sign in (1, -1))
    slopes = jax.grad(loss, (0, 1))(jnp.asarray(y), jnp.asarray(0.2))
    np.testing.assert_allclose(np.dot(slopes[0], along[0]) + slopes[1], (ahead - behind) / (2 * step), rtol=1e-5)


# ---- units and tolerances -------------------------------------------------------------------------------------------


class Saturation(lo.NonlinearOperator):
    """tanh(matrix x), with hooks on NumPy arrays."""

    matrix: jax.Array

    def apply(self, x):
        return np.tanh(self.matrix @ x)

    def jacobian_apply(self, x, dx):
        return (1 - np.tanh(self.matrix @ x) ** 2) * (self.matrix @ dx)

    def jacobian_adjoint(self, x, dy):
        return self.matrix.T @ ((1 - np.tanh(self.matrix @ x) ** 2) * dy)

    def infer_shape(self, x):
        return S(self.matrix.shape[:1], x.dtype)


class SaturationForward(Saturation):
    jacobian_adjoint = None


class SaturationReverse(Saturation):
    jacobian_apply = None


class TracedSaturation(lo.NonlinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return jnp.tanh(self.matrix @ x)


MATRIX, TRUTH = normal((6, 3), np.float64, 1), 0.5 * normal((3,), np.float64, 2)


@pytest.mark.parametrize(
    ("cls", "solver"),
    [
        (Saturation, "auto"),
        (TracedSaturation, "dogleg"),
        (SaturationForward, "auto"),
        (SaturationReverse, "auto"),
        (TracedSaturation, optx.GaussNewton(1e-10, 1e-10)),
    ],
    ids=by_name,
)
def test_nonlinear_least_squares(cls, solver):
    found = solve(cls(MATRIX), np.tanh(MATRIX @ TRUTH), x0=np.zeros(3), solver=solver, rtol=1e-10)
    np.testing.assert_allclose(found.value, TRUTH, rtol=1e-6)
    assert found.stats.converged
    assert found.stats.residual < 1e-6


def test_nonlinear_over_the_reals_only():
    """|x|² of complex x: a whole circle of solutions, of which any will do."""
    found = solve(Modulus(), np.array([1.0, 4.0]), x0=np.array([1 + 1j, 1 - 2j]), rtol=1e-10)
    np.testing.assert_allclose(np.abs(found.value), [1, 2], rtol=1e-6)


@pytest.mark.slow
def test_nonlinear_derivatives_are_implicit():
    y, damp = np.tanh(MATRIX @ TRUTH) + 0.05 * normal((6,), np.float64, 3), 0.2

    def ours(y, damp, matrix):
        return solve(TracedSaturation(matrix), y, x0=jnp.zeros(3), damp=damp, rtol=1e-12).value

    x = ours(y, damp, jnp.asarray(MATRIX))

    def gradient(x, *parameters):  # zero at the minimum: dx = -H^-1 d(gradient)
        loss = lambda x, y, damp, m: jnp.sum((jnp.tanh(m @ x) - y) ** 2) + damp**2 * jnp.sum(x**2)  # noqa: E731
        return jax.grad(loss)(x, *parameters)

    parameters = y, damp, jnp.asarray(MATRIX)
    cotangent = jax.grad(energy)(x)
    row = -jnp.linalg.solve(jax.jacobian(gradient)(x, *parameters), cotangent)
    expected = jax.vjp(lambda *p: gradient(x, *p), *parameters)[1](row)
    found = jax.jit(jax.grad(lambda *p: energy(ours(*p)), (0, 1, 2)))(*parameters)
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
