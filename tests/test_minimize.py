"""lo.minimize: the minima, against SciPy, closed forms and optimality conditions; its options, and what it refuses."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, normal
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from minimization import differences, edges_data, lasso_data, quadratic_program
from operators import Dense

import linops_jax as lo
from linops_jax.minimizers._terms import take_apart
from linops_jax.solvers import ConvergenceError, ConvergenceWarning


class Square(lo.NonlinearOperator):
    @lo.traced
    def apply(self, x):
        return x**2


def lasso(lam=0.3, dtype=np.float64, matrix=lo.Matrix):
    a, y = map(jnp.asarray, lasso_data(dtype))
    return lo.SquaredL2(y) @ matrix(a) + lam * lo.L1()


def edges(lam=0.2):
    a, y = map(jnp.asarray, edges_data())
    return lo.SquaredL2(y) @ lo.Matrix(a) + lam * lo.L1() @ lo.Matrix(jnp.asarray(differences(9))) + lo.NonNegative()


# ---- minima ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "matrix"), [("fista", Dense), ("pd3o", lo.Matrix)])
def test_lasso(x64, solver, matrix):
    a, y = lasso_data()
    x, least = quadratic_program(a, y, 0.3, np.eye(8))
    found = lo.minimize(lasso(matrix=matrix), jnp.zeros(8), solver=solver, rtol=1e-9)
    assert found.stats.converged
    assert found.dual == []
    np.testing.assert_allclose(found.value, x, atol=2e-5)
    assert -1e-10 < found.stats.objective - least <= found.stats.gap + 1e-10
    assert found.stats.gap <= 1e-9 * found.stats.objective
    assert np.count_nonzero(found.value) < 8


def test_total_variation_with_positivity(x64):
    a, y = edges_data()
    x, least = quadratic_program(a, y, 0.2, differences(9), lower=0)
    found = lo.minimize(edges(), jnp.zeros(9), rtol=1e-9)
    assert found.stats.converged
    np.testing.assert_allclose(found.value, x, atol=1e-5)
    assert -1e-10 < found.stats.objective - least <= found.stats.gap + 1e-10
    assert np.min(found.value) == 0
    (u,) = found.dual
    assert np.max(np.abs(u)) <= 0.2 * (1 + 1e-12)
    steep = np.abs(np.diff(x)) > 1e-3
    np.testing.assert_allclose(u[steep], 0.2 * np.sign(np.diff(x))[steep], atol=1e-6)  # a subgradient at D x


def test_complex_unknown_by_its_optimality_conditions():
    dtype = np.complex64
    a, y = lasso_data(dtype)
    eps = np.finfo(dtype).eps
    found = lo.minimize(lasso(0.8, dtype), jnp.zeros(8, dtype), rtol=100 * eps)
    assert found.value.dtype == dtype
    assert found.stats.converged
    x = np.asarray(found.value, np.complex128)
    slope = a.conj().T.astype(np.complex128) @ (y - a @ x)
    on = np.abs(x) > 0
    assert 0 < np.sum(on) < 8
    np.testing.assert_allclose(slope[on], 0.8 * x[on] / np.abs(x[on]), atol=2e3 * np.sqrt(eps))
    assert np.max(np.abs(slope[~on])) <= 0.8 * (1 + 1e3 * np.sqrt(eps))


def test_real_unknown_of_complex_data(x64):
    y = jnp.asarray(normal((6,), np.complex128, 5))
    found = lo.minimize(lo.SquaredL2(y) @ lo.FFT() + 2.0 * lo.L1() + lo.NonNegative(), jnp.zeros(6), rtol=1e-12)
    scale = (
        lo.FFT().with_domain(S((6,), np.complex128)).gram(jnp.ones(6, complex))[0].real
    )  # a multiple of the identity
    back = np.real(lo.FFT().with_domain(S((6,), np.complex128)).H(y))
    np.testing.assert_allclose(found.value, np.maximum(back - 2.0, 0) / scale, atol=1e-5)


def test_pytrees_are_vectors(x64):
    a, y = map(jnp.asarray, lasso_data())
    both = lo.hstack({"u": lo.Matrix(a[:, :3]), "v": lo.Matrix(a[:, 3:])})
    f = lo.SquaredL2(y) @ both + 0.3 * lo.L1()
    found = lo.minimize(f, {"u": jnp.zeros(3), "v": jnp.zeros(5)}, rtol=1e-10).value
    whole = quadratic_program(*lasso_data(), 0.3, np.eye(8))[0]
    np.testing.assert_allclose(np.concatenate([found["u"], found["v"]]), whole, atol=2e-5)


def test_a_nonlinear_model_ends_where_it_is_stationary(x64):
    y = jnp.array([4.0, 1.0, 0.01])
    square = Square()
    found = lo.minimize(lo.SquaredL2(y) @ square + 0.1 * lo.L1(), jnp.array([0.5, 2.0, 0.1]), rtol=1e-9)
    assert found.stats.converged
    assert np.isinf(found.stats.gap)
    x = found.value
    np.testing.assert_allclose((2 * x * (x**2 - y))[:2], -0.1, atol=1e-6)
    assert x[2] == 0


# ---- expressions ----------------------------------------------------------------------------------------------------


def test_expressions_of_one_objective(x64):
    a, y = map(jnp.asarray, lasso_data())
    A = lo.Matrix(a)
    half = lo.Diagonal(jnp.full(8, 0.5))
    expressions = [
        lo.SquaredL2() @ lo.Affine(A, -y) + 0.3 * lo.L1(),
        lo.SquaredL2(y / 2) @ (0.5 * A) * 4 + (0.6 * lo.L1()) / 2,
        (lo.SquaredL2(y - a @ jnp.ones(8)) @ A + 0.3 * lo.L1() @ lo.Affine(lo.Identity(), jnp.ones(8)))
        @ lo.Affine(lo.Identity(), -jnp.ones(8)),
        0.25 * (lo.SquaredL2(2 * y) @ (2 * A)).with_domain(S((8,), float)) + 0.6 * lo.L1() @ half,
    ]
    x = jnp.asarray(normal((8,), np.float64, 11))
    parts = [take_apart(f) for f in (lasso(), *expressions)]
    found = jax.jit(lambda x: [[term.value(term.inside(x)) for term in terms] for terms in parts])(x)
    for values in found:
        np.testing.assert_allclose(values, found[0], rtol=1e-12)
    found = lo.minimize(expressions[2], jnp.zeros(8), rtol=1e-9)
    np.testing.assert_allclose(found.value, quadratic_program(*lasso_data(), 0.3, np.eye(8))[0], atol=2e-5)


def test_a_unitary_operator_has_the_prox_of_the_functional(x64):
    y = jnp.asarray(normal((6,), np.complex128, 6))
    F = lo.FFT()
    found = lo.minimize(lo.SquaredL2(y) + 0.7 * lo.L1() @ F, jnp.zeros(6, complex), rtol=1e-12)
    assert found.dual == []
    spectrum = np.fft.fft(y, norm="ortho")
    spectrum = spectrum * np.maximum(1 - 0.7 / np.abs(spectrum), 0)
    np.testing.assert_allclose(found.value, np.fft.ifft(spectrum, norm="ortho"), atol=1e-6)


def test_the_last_constraint_is_fulfilled_exactly(x64):
    y = jnp.asarray(normal((6,), np.float64, 7))
    found = lo.minimize(lo.SquaredL2(y) + 0.1 * lo.L1() + lo.NonNegative(), jnp.zeros(6), rtol=1e-10)
    assert len(found.dual) == 1
    assert np.min(found.value) == 0
    np.testing.assert_allclose(found.value, np.maximum(y - 0.1, 0), atol=1e-6)


# ---- units, batches, programs, meshes -------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [lasso, edges], ids=["fista", "pd3o"])
def test_multiples_of_the_objective_take_the_same_steps(make):
    x0 = jnp.zeros(8 if make is lasso else 9, jnp.float32)
    f = jax.tree.map(lambda leaf: leaf.astype(np.float32) if hasattr(leaf, "dtype") else leaf, make())
    one, other = (lo.minimize(g, x0, rtol=1e-4) for g in (f, 1024 * f))
    assert one.stats.steps == other.stats.steps > 5
    np.testing.assert_allclose(one.value, other.value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [lasso, edges], ids=["fista", "pd3o"])
def test_each_problem_of_a_batch_stops_by_itself(x64, make):
    x0 = jnp.zeros(8 if make is lasso else 9)
    weights = jnp.array([0.05, 0.3, 2.0])
    solve = jax.jit(lambda lam: lo.minimize(make(lam), x0, rtol=1e-7))
    together, alone = jax.vmap(solve)(weights), [solve(lam) for lam in weights]
    steps = [int(found.stats.steps) for found in alone]
    assert together.stats.steps.tolist() == steps
    assert len(set(steps)) == 3
    for i, found in enumerate(alone):
        np.testing.assert_allclose(together.value[i], found.value, atol=1e-12)


def test_other_weights_data_and_tolerances_are_no_new_program():
    class Seen(Dense):
        @lo.traced
        def apply(self, x):
            traces.append(1)
            return self.matrix @ x

    traces, counts = [], []
    a, y = (array.astype(np.float32) for array in lasso_data())
    for lam in (0.1, 0.2, jnp.float32(0.3)):
        f = lo.SquaredL2(lam * y) @ Seen(jnp.asarray(a)) + lam * lo.L1()
        lo.minimize(f, jnp.zeros(8, np.float32), rtol=float(lam) * 1e-2)
        counts.append(len(traces))
    assert 0 < counts[0] == counts[1] == counts[2]


def test_parts_of_one_problem_on_the_devices_of_a_mesh(x64):
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    y = jnp.asarray(normal((8,), np.float64, 8))
    mean = Mean()

    def solve(y):
        f = lo.SquaredL2(y) @ (mean @ lo.Halo(1, "i")) + 0.05 * lo.L1() + lo.NonNegative()
        found = lo.minimize(f, jnp.zeros_like(y), rtol=1e-8)
        return found.value, found.stats.objective

    parts, objective = jax.jit(jax.shard_map(solve, mesh=mesh, in_specs=P("i"), out_specs=(P("i"), P())))(y)
    a = sum(np.eye(8, k=k) * w for k, w in ((-1, 0.25), (0, 0.5), (1, 0.25)))
    x, least = quadratic_program(a, np.asarray(y), 0.05, np.eye(8), lower=0)
    np.testing.assert_allclose(parts, x, atol=1e-3)
    np.testing.assert_allclose(objective, least, rtol=1e-7)


class Mean(lo.LinearOperator):
    @lo.traced
    def apply(self, x):
        return (x[:-2] + 2 * x[1:-1] + x[2:]) / 4


# ---- what is told ---------------------------------------------------------------------------------------------------


def test_history_and_callback(x64):
    told = []
    found = lo.minimize(
        lasso(), jnp.zeros(8), history=True, callback=lambda *seen: told.append(seen), rtol=1e-6, progress=False
    )
    steps, history = int(found.stats.steps), found.stats.history
    assert [step for step, _ in told] == list(range(1, steps + 1))
    assert history["objective"].shape == history["gap"].shape == (steps,)
    np.testing.assert_allclose([distance for _, distance in told], history["gap"] / history["objective"])
    assert told[-1][1] <= 1e-6 < told[-2][1]
    assert np.all(history["objective"] - found.stats.objective <= history["gap"] + 1e-12)
    again = lo.minimize(lasso(), jnp.zeros(8), step=found.stats.step)
    assert again.stats.steps == steps


def test_steps_are_shown(capfd):
    lo.minimize(lasso(dtype=np.float32), jnp.zeros(8, np.float32), rtol=1e-3, progress=True)
    assert "lo.minimize" in capfd.readouterr().err


def test_a_minimum_is_printed():
    found = lo.minimize(lasso(dtype=np.float32), jnp.zeros(8, np.float32), rtol=1e-3, history=True)
    assert repr(found).startswith("Minimum(f32[8], MinimumStats(steps=")
    assert "converged=True, history={'gap': f32[" in repr(found)
    program = jax.make_jaxpr(lambda y: lo.minimize(lo.SquaredL2(y), y).value)(jnp.ones(3))
    assert "while" in str(program)


def test_a_warning_or_an_error_where_it_does_not_converge():
    solve = functools.partial(lo.minimize, lasso(dtype=np.float32), jnp.zeros(8, np.float32), max_steps=2)
    with pytest.warns(
        ConvergenceWarning, match=r"lo\.minimize: fista stopped after 2 steps, before it reached rtol=1e-06"
    ):
        assert not solve().stats.converged
    with pytest.raises(ConvergenceError, match=r"fista stopped after 2 steps"):
        solve(throw=True)
    with pytest.raises(Exception, match=r"lo\.minimize: fista stopped before it reached its tolerance"):
        jax.block_until_ready(jax.jit(lambda: solve(throw=True))())


# ---- bad input ------------------------------------------------------------------------------------------------------

Y = jnp.ones(3, np.float32)
EASY = lo.SquaredL2(Y)


class Bare(lo.Functional):
    """A functional without a prox."""

    @lo.traced
    def apply(self, x):
        return jnp.max(x)


class Inside(lo.Functional):
    """A smooth functional that claims to be less steep than it is."""

    smooth = 1e-3

    @lo.traced
    def apply(self, x):
        return jnp.sum(x**2) / 2


SQUARE = Square()
NAN = jnp.array([1.0, np.nan, 1.0], np.float32)
REFUSED = {
    "negative": (ValueError, r"weight of L1.* is -0\.1.* must not have a negative", EASY - 0.1 * lo.L1(), {}),
    "complex": (TypeError, r"the weight of SquaredL2.* is complex64\[\]|c64\[\].*one real number", 1j * EASY, {}),
    "vector": (TypeError, r"expects a sum of functionals of operators", lo.Affine(lo.Identity(), Y), {}),
    "linear": (TypeError, r"expects a sum of functionals.*is none", lo.Identity(), {}),
    "array": (TypeError, r"expects a sum of functionals.*the array f32\[3\]", Y, {}),
    "nonlinear": (NotImplementedError, r"no algorithm takes L1.*of a nonlinear operator", lo.L1() @ SQUARE, {}),
    "no prox": (NotImplementedError, r"no algorithm takes Bare.*neither a prox nor", Bare() @ lo.Diagonal(Y), {}),
    "fista": (ValueError, r"'fista' takes one term.*cannot take L1", lo.L1() @ lo.Diagonal(Y), {"solver": "fista"}),
    "solver": (ValueError, r"unknown solver 'adam'\. There are 'auto', 'fista', 'pd3o'", EASY, {"solver": "adam"}),
    "step": (ValueError, r"step of 'fista' must be one positive number, found -1", EASY, {"step": -1.0}),
    "steps": (ValueError, r"step of 'fista' must be one positive number, found \(1", EASY, {"step": (1.0, 1.0)}),
    "pair": (ValueError, r"tau, or a pair \(tau, sigma\), found 0", EASY, {"step": 0.0, "solver": "pd3o"}),
    "penalty": (
        ValueError,
        r"step of 'admm' must be one positive.*found \(1",
        EASY,
        {"step": (1.0, 1.0), "solver": "admm"},
    ),
    "splitting": (
        ValueError,
        r"'admm' takes.*cannot take SquaredL2.*Square",
        lo.SquaredL2(Y) @ SQUARE,
        {"solver": "admm"},
    ),
    "splitting without prox": (ValueError, r"'admm' takes terms.*cannot take Inside", Inside(), {"solver": "admm"}),
    "splitting of negatives": (ValueError, r"'admm' takes.*cannot take -1 \* SquaredL2", -1 * EASY, {"solver": "admm"}),
    "unrolled equations": (
        ValueError,
        r"'unroll' is for 'fista' and 'pd3o'.*Use 'implicit'",
        EASY,
        {"differentiate": "unroll", "solver": "admm"},
    ),
    "rtol": (ValueError, r"lo\.minimize: rtol must not be negative or NaN, found -1e-06", EASY, {"rtol": -1e-6}),
    "adjoint_rtol": (
        ValueError,
        r"adjoint_rtol must not be negative or NaN, found nan",
        EASY,
        {"adjoint_rtol": np.nan},
    ),
    "tolerances": (TypeError, r"lo\.minimize: rtol must be a real number, found", EASY, {"rtol": Y}),
    "max_steps": (ValueError, r"lo\.minimize: max_steps must be at least 1, found 0", EASY, {"max_steps": 0}),
    "a fraction of steps": (TypeError, r"max_steps must be an integer, found 1\.5", EASY, {"max_steps": 1.5}),
    "adjoint_steps": (ValueError, r"adjoint_steps must be at least 1, found -3", EASY, {"adjoint_steps": -3}),
    "derivative": (
        ValueError,
        r"differentiate must be one of 'implicit', 'unroll', 'no'",
        EASY,
        {"differentiate": "yes"},
    ),
    "callback": (TypeError, r"lo\.minimize: callback must be a function", EASY, {"callback": 3}),
    "data": (ValueError, r"SquaredL2.* is nan at x0, which is finite: the data", lo.SquaredL2(NAN), {}),
    "thresholded data": (ValueError, r"SquaredL2.* is nan at x0", lo.SquaredL2(NAN) + 0.1 * lo.L1(), {"throw": True}),
    "infinite weight": (ValueError, r"the weight of L1.* is inf\. Weights are finite", EASY + np.inf * lo.L1(), {}),
    "unbounded": (ConvergenceError, r"fista diverged.*The objective has no minimum", -1 * EASY, {}),
    "large": (ConvergenceError, r"fista diverged in \d+ steps of size 3\..*step is too large", EASY, {"step": 3.0}),
    "claim": (ConvergenceError, r"fista diverged.*`smooth` is wrong", Inside(), {}),
}


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_is_refused(case):
    error, message, f, options = REFUSED[case]
    with pytest.raises(error, match=message):
        lo.minimize(f, Y / 2, **options)


@pytest.mark.parametrize("x0", [{}, None, np.zeros((0, 3))], ids=["dict", "None", "empty"])
def test_a_start_without_numbers(x0):
    with pytest.raises(ValueError, match=r"lo\.minimize: x0 has no numbers, found ({}|None|f\d+\[0,3\])\. It says"):
        lo.minimize(lo.L1(), x0)


def test_an_infinite_start():
    with pytest.raises(ValueError, match=r"lo\.minimize: x0 has entries that are infinite or NaN"):
        lo.minimize(EASY + lo.L1(), Y.at[1].set(np.inf))


def test_a_primal_dual_step_that_is_too_large_is_seen():
    with pytest.raises(ConvergenceError, match=r"pd3o diverged in \d+ steps of size 100, 100"):
        lo.minimize(EASY + lo.L1() @ lo.Diagonal(2 * Y), Y / 2, step=(100, 100))


def test_functionals_of_parts_that_are_no_sums_are_refused():
    """A norm of the parts of one device says nothing of the norm of all."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))

    def solve(y):
        return lo.minimize(lo.SquaredL2(y) @ (Mean() @ lo.Halo(1, "i")) + lo.L2(), jnp.zeros_like(y)).value

    with pytest.raises(NotImplementedError, match=r"communicate over 'i'.*L2 is not known to be a sum over parts"):
        jax.shard_map(solve, mesh=mesh, in_specs=P("i"), out_specs=P("i"))(jnp.ones(8))


def test_derivatives_of_parts_of_one_problem_are_refused():
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))

    def solve(y):
        return lo.minimize(lo.SquaredL2(y) @ (Mean() @ lo.Halo(1, "i")) + lo.L1(), jnp.zeros_like(y)).value

    with pytest.raises(NotImplementedError, match=r"no implicit derivatives in shard_map.*outside of shard_map"):
        jax.grad(lambda y: jnp.sum(jax.shard_map(solve, mesh=mesh, in_specs=P("i"), out_specs=P("i"))(y)))(jnp.ones(8))


# ---- far from the start ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extra", [lo.NonNegative(), 1e-9 * lo.L1() @ lo.Matrix([[1.0, 1.0]])], ids=["fista", "pd3o"])
def test_a_small_gap_next_to_the_start_is_not_the_end(extra, x64):
    """The gap is a bound for minimisers that are not much longer than x, and x begins at zero."""
    A = lo.Matrix(np.array([[1.0, 0.0], [0.0, 0.03], [0.0, 0.0]]))
    found = lo.minimize(lo.SquaredL2(np.array([0.0, 1.0, 10.0])) @ A + extra, jnp.zeros(2), rtol=1e-4)
    assert found.stats.converged
    assert abs(found.stats.objective - 50) < 50 * 1e-4
    np.testing.assert_allclose(found.value, [0, 1 / 0.03], rtol=0.5, atol=1e-6)


def test_what_rests_at_first_does_not_run_away(x64):
    K, b = lo.Matrix(np.array([[2.0]])), jnp.array([0.2])
    f = lo.SquaredL2() + lo.L1() @ lo.Affine(K, b) + 2.0 * lo.L1() @ lo.Affine(K, -b)
    found = lo.minimize(f, jnp.zeros(1))
    np.testing.assert_allclose(found.value, 0.1, rtol=1e-5)


def test_weights_of_constraints_and_traced_ones():
    A = lo.Matrix(np.array([[1.0, 1.0], [0.0, 2.0]], np.float32))
    run = jax.jit(lambda w: lo.minimize(lo.SquaredL2(jnp.full(2, 5.0)) + w * lo.Box(0.0, 1.0) @ A, jnp.zeros(2)))
    zero, one, negative = (run(jnp.float32(w)) for w in (0, 1, -1))
    for found in (zero, one):
        np.testing.assert_allclose(found.value, 0.5, atol=1e-4)  # where the sum of both is 1
        assert found.stats.converged
        assert not np.isnan(found.stats.objective)
    assert not negative.stats.converged
