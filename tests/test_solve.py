"""lo.solve against dense linear algebra: solutions, derivatives, what it says when it fails."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest
from helpers import S, close, energy, like, normal
from operators import Antilinear, Dense, DerivedMix, ForwardOnly, HalfSpectrum, Modulus, TracedDense

import linops_jax as lo
from linops_jax.solvers import ConvergenceError, ConvergenceWarning, InexactAdjointWarning, solve

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
pytestmark = pytest.mark.usefixtures("x64")
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731


class Positive(Dense, positive=True):
    pass


def tight(dtype):
    return 30 * float(jnp.finfo(dtype).eps)


def positive(dtype, n=6):
    a = normal((2 * n, n), dtype, 1)
    return a.conj().T @ a


def well_conditioned(dtype, n=6):
    return normal((n, n), dtype, 1) + 5 * np.eye(n, dtype=dtype)


NAMED = ["cg", "cgls", "lsmr", "gmres", "bicgstab", "direct"]

# ---- linear, against lstsq ------------------------------------------------------------------------------------------

F32, F64, C64, C128 = DTYPES
SOLVERS = [
    *[("cgls", (9, 5), dtype) for dtype in DTYPES],
    *[("cg", (6, 6), dtype) for dtype in DTYPES],
    ("cgls", (5, 9), C128),
    ("lsmr", (9, 5), F32),
    ("lsmr", (9, 5), C128),
    ("direct", (5, 9), F64),
    ("direct", (5, 9), C64),
    ("gmres", (6, 6), C128),
    ("bicgstab", (6, 6), F64),
    ("bicgstab", (6, 6), C64),
]


@pytest.mark.parametrize(("solver", "shape", "dtype"), SOLVERS, ids=by_name)
def test_every_solver_gives_the_least_squares_solution(solver, shape, dtype):
    square = positive(dtype) if solver == "cg" else well_conditioned(dtype)
    m = square if shape[0] == shape[1] else normal(shape, dtype, 1)
    y = normal(shape[:1], dtype, 2)
    found = solve(Dense(m), y, solver=solver, rtol=tight(dtype))
    close(found.value, np.linalg.lstsq(m, y)[0], scale=20)
    assert found.stats.converged
    assert (found.stats.steps > 0) == (solver != "direct")
    expected = np.linalg.norm(m @ np.asarray(found.value) - y) / np.linalg.norm(y)
    np.testing.assert_allclose(found.stats.residual, expected, atol=100 * tight(dtype))


@pytest.mark.parametrize(
    ("op", "name"),
    [
        (lo.Diagonal(np.array([1.0, 2.0, 3.0])), "direct"),
        (Positive(positive(np.float64, 3)), "cg"),
        (Dense(well_conditioned(np.float64, 3)), "cgls"),
    ],
    ids=["diagonal", "positive", "other"],
)
def test_auto_chooses_by_properties(op, name):
    y = normal((3,), np.float64, 1)
    chosen, named = solve(op, y), solve(op, y, solver=name)
    assert chosen.stats.steps == named.stats.steps
    close(chosen.value, named.value)
    close(op(chosen.value), jnp.asarray(y), scale=1e6)


def test_of_many_solutions_the_one_closest_to_the_start():
    m = normal((8, 3), np.float64, 1) @ normal((3, 6), np.float64, 2)  # rank 3
    y, x0 = normal((8,), np.float64, 3), normal((6,), np.float64, 4)
    close(solve(Dense(m), y, rtol=1e-12).value, np.linalg.pinv(m) @ y, scale=100)
    close(solve(Dense(m), y, x0=x0, rtol=1e-12).value, x0 + np.linalg.pinv(m) @ (y - m @ x0), scale=100)


@pytest.mark.parametrize(("solver", "dtype"), [("cgls", C128), ("direct", F64), (lx.QR(), C128)], ids=by_name)
def test_damping(solver, dtype):
    m, y, r = normal((5, 7), dtype, 1), normal((5,), dtype, 2), normal((9, 7), dtype, 3)
    for regularizer, R in ((None, np.eye(7, dtype=dtype)), (Dense(r), r)):
        stacked, target = np.concatenate([m, 0.3 * R]), np.concatenate([y, np.zeros(len(R), dtype)])
        found = solve(Dense(m), y, solver=solver, damp=0.3, regularizer=regularizer, rtol=1e-12)
        close(found.value, np.linalg.lstsq(stacked, target)[0], scale=100)


@pytest.mark.parametrize("solver", ["cgls", "direct"])
def test_linear_over_the_reals_only(solver):
    a, b, y = (normal(shape, np.complex128, i) for i, shape in enumerate([(5, 5), (5, 5), (5,)]))
    a = a + 4 * np.eye(5)
    matrix = np.block([[(a + b).real, (b - a).imag], [(a + b).imag, (a - b).real]])
    x = np.linalg.solve(matrix, np.concatenate([y.real, y.imag]))
    close(solve(Antilinear(a, b), y, solver=solver, rtol=1e-13).value, x[:5] + 1j * x[5:], scale=1000)


@pytest.mark.parametrize("solver", NAMED)
def test_real_numbers_between_complex_ones(solver):
    """M Re(M^H x) + 3 x: no part of it is declared to be linear over the reals only."""
    m, y = normal((4, 4), np.complex128, 1), normal((4,), np.complex128, 2)
    M = lo.Matrix(m).with_domain(S((4,), F64))
    half = np.block([[m.real], [m.imag]])
    x = np.linalg.solve(half @ half.T + 3 * np.eye(8), np.concatenate([y.real, y.imag]))
    close(solve(M @ M.H + 3 * lo.Identity(), y, solver=solver, rtol=1e-13).value, x[:4] + 1j * x[4:], scale=1000)


class TracedAntilinear(lo.LinearOperator, real_linear=True):
    """a x + b conj(x), in JAX."""

    a: jax.Array
    b: jax.Array

    @lo.traced
    def apply(self, x):
        return self.a @ x + self.b @ jnp.conj(x)

    def infer_adjoint_shape(self, y):
        return S(self.a.shape[1:], y.dtype)


def test_derivatives_over_the_reals_only():
    a, b, y = (normal(shape, np.complex128, i) for i, shape in enumerate([(6, 4), (6, 4), (6,)]))

    def dense(a, b, y):
        matrix = jnp.block([[(a + b).real, (b - a).imag], [(a + b).imag, (a - b).real]])
        x = jnp.linalg.solve(matrix.T @ matrix, matrix.T @ jnp.concatenate([y.real, y.imag]))
        return energy(x[:4] + 1j * x[4:])

    ours = lambda a, b, y: energy(solve(TracedAntilinear(a, b), y, rtol=1e-13).value)  # noqa: E731
    close(jax.grad(ours, (0, 1, 2))(a, b, y), jax.grad(dense, (0, 1, 2))(a, b, y), scale=1e4)


NARROW = [F32, np.float16, jnp.bfloat16]  # in turns: two for each solver


@pytest.mark.parametrize(
    ("solver", "dtype"),
    [(solver, NARROW[(i + j) % 3]) for i, solver in enumerate(NAMED) for j in (0, 1)],
    ids=by_name,
)
def test_narrow_numbers(solver, dtype):
    m, y = (jnp.asarray(array, dtype) for array in (positive(F64, 4) / 4 + np.eye(4), normal((4,), F64, 2)))
    wide = [np.asarray(array, F64) for array in (m, y)]
    atol = 30 * float(jnp.finfo(dtype).eps)
    rtol = max(1e-4, 3 * float(jnp.finfo(dtype).eps))
    found = solve(lo.Matrix(m), y, solver=solver, rtol=rtol)
    assert found.value.dtype == dtype
    np.testing.assert_allclose(found.value.astype(F64), np.linalg.solve(*wide), atol=max(atol, 1e-3))
    slope = jax.grad(lambda m: jnp.sum(solve(lo.Matrix(m), y, solver=solver, rtol=rtol).value.astype(F64)))(m)
    expected = jax.grad(lambda m: jnp.sum(jnp.linalg.solve(m, wide[1])))(wide[0])
    assert slope.dtype == dtype
    np.testing.assert_allclose(slope.astype(F64), expected, atol=max(10 * atol, 1e-2))


def test_from_real_to_complex():
    op, x = HalfSpectrum().with_domain(S((6,), np.float64)), normal((6,), np.float64, 1)
    close(solve(op, np.fft.rfft(x)).value, x)


def test_pytrees():
    op, x = DerivedMix(jnp.asarray([2.0, 3.0])), (normal((3,), np.float64, 1), normal((2, 3), np.float64, 2))
    y = {"a": x[0] + x[1].sum(0), "b": np.array([[2.0], [3.0]]) * x[1]}
    close(solve(op, y, x0=jax.tree.map(jnp.zeros_like, x), rtol=1e-13).value, x, scale=100)


@pytest.mark.parametrize("solver", ["cg", "cgls"])
def test_single_precision_pictures(solver):
    """lineax's CG gives nan here: it takes <p, A p> < 200 n eps <r, r> for a breakdown."""
    d = np.linspace(0.05, 1, 256 * 256, dtype=np.float32)
    found = solve(lo.Diagonal(d), np.where(d < 0.1, 0, 1).astype(np.float32), solver=solver)
    assert found.stats.converged
    np.testing.assert_allclose(found.value, np.where(d < 0.1, 0, 1) / d, rtol=2e-3, atol=1e-4)


@pytest.mark.parametrize(("solver", "steps"), [("cg", 3), ("cgls", 3)])
def test_preconditioner(solver, steps):
    """Three different eigenvalues are left, of 20: three steps."""
    q, d = np.linalg.qr(normal((20, 20), np.float64, 1))[0], np.logspace(0, 3, 20)
    y = normal((20,), np.float64, 2)
    M = Dense(q / d * np.tile([1, 2, 3], 7)[:20] @ q.T)
    found = solve(Dense(q * d @ q.T), y, solver=solver, rtol=1e-9, preconditioner=M)
    close(found.value, q / d @ q.T @ y, scale=1e5)
    assert found.stats.steps == steps


def test_a_start_within_the_tolerance_takes_no_step_and_keeps_the_derivative():
    m, x = well_conditioned(np.float64), normal((6,), np.float64, 2)
    assert solve(Dense(m), m @ x, x0=x).stats.steps == 0
    slope = jax.jvp(lambda y: solve(Dense(m), y, x0=x, rtol=1e-12).value, (m @ x,), (m @ np.ones(6),))[1]
    close(slope, np.ones(6), scale=100)


# ---- transformations ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "dtype"), [("cgls", C128), ("direct", F64)], ids=by_name)
def test_derivatives_of_least_squares(solver, dtype):
    m, y, damp = normal((7, 4), dtype, 1), normal((7,), dtype, 2), np.float64(0.3)

    def dense(y, m, damp):
        return energy(jnp.linalg.solve(m.conj().T @ m + damp**2 * jnp.eye(4), m.conj().T @ y))

    def ours(y, m, damp):
        return energy(solve(TracedDense(m), y, solver=solver, damp=damp, rtol=1e-12, x0=jnp.zeros(4, dtype)).value)

    found = jax.jit(jax.value_and_grad(ours, (0, 1, 2)))(y, m, damp)
    close(found, jax.value_and_grad(dense, (0, 1, 2))(y, m, damp), scale=100)


def test_derivatives_of_positive_systems():
    m, y = positive(np.complex128), normal((6,), np.complex128, 2)
    x0 = jnp.zeros(6, complex)
    ours = lambda y, m: solve(TracedDense(m), y, solver="cg", x0=x0, rtol=1e-12).value  # noqa: E731
    dense = lambda y, m: jnp.linalg.solve(m, y)  # noqa: E731
    both = [jax.value_and_grad(lambda *a, f=f: energy(f(*a)), (0, 1))(y, m) for f in (jax.jit(ours), dense)]
    close(*both, scale=1000)
    pushed = [jax.jvp(f, (y, m), (like(y, 3), like(m, 4)))[1] for f in (ours, dense)]
    close(*pushed, scale=1000)


@pytest.mark.parametrize(("shape", "dtype"), [((7, 3), C128), ((3, 7), F64), ("rank 2", F64)], ids=by_name)
def test_second_derivatives(shape, dtype):
    """Of pinv(A) y, in directions that keep the rank; mixed in A and y, forward over reverse and reverse over reverse."""
    if shape == "rank 2":
        left, right = normal((6, 2), dtype, 1), normal((2, 4), dtype, 2)
        operands, matrix = (left, right), lambda left, right: left @ right
    else:
        operands, matrix = (normal(shape, dtype, 1),), lambda m: m
    y = normal(matrix(*operands).shape[:1], dtype, 3)

    def ours(y, *operands):
        return energy(jnp.sin(solve(lo.Matrix(matrix(*operands)), y, rtol=1e-14).value))

    def pinv(y, *operands):
        m = matrix(*operands)
        if shape == "rank 2":
            left, right = operands
            gram = lambda m: jnp.linalg.inv(m.conj().T @ m)  # noqa: E731
            return energy(jnp.sin(right.conj().T @ gram(right.conj().T) @ gram(left) @ left.conj().T @ y))
        short = m.shape[0] < m.shape[1]
        h = m.conj().T
        return energy(jnp.sin(h @ jnp.linalg.solve(m @ h, y) if short else jnp.linalg.solve(h @ m, h @ y)))

    where, along = (y, *operands), tuple(like(a, 7 + i) for i, a in enumerate((y, *operands)))
    both = []
    for f in (ours, pinv):
        slope = jax.grad(f, tuple(range(len(where))))
        forward = jax.jit(lambda *w, slope=slope: jax.jvp(slope, w, along))(*where)
        real = lambda *w, slope=slope: sum(jnp.vdot(d, s).real for d, s in zip(along, slope(*w), strict=True))  # noqa: E731
        both.append((forward, jax.jit(jax.grad(real, tuple(range(len(where)))))(*where)))
    close(*both, scale=1e5)


@pytest.mark.parametrize("solver", ["cg", "bicgstab", "gmres", "direct"])
def test_second_derivatives_of_square_systems(solver):
    m, y = positive(F64, 4), normal((4,), F64, 2)
    ours = lambda m: energy(solve(lo.Matrix(m), y, solver=solver, rtol=1e-14).value)  # noqa: E731
    dense = lambda m: energy(jnp.linalg.solve(m, y))  # noqa: E731
    along = positive(F64, 4) / 3
    both = [jax.jvp(jax.jit(jax.grad(f)), (m,), (along,))[1] for f in (ours, dense)]
    close(*both, scale=1e7)


@pytest.mark.parametrize("solver", ["cg", "cgls", "lsmr", "gmres", "bicgstab", "auto"])
def test_another_number_is_no_new_program(solver):
    """Whatever it comes as: of compilations, JAX tells its listeners."""
    m, y = positive(F64), normal((6,), F64, 1)
    op, damps = lo.declare(lo.Matrix(m), positive=True), solver in ("lsmr", "cgls")
    if solver == "auto":
        op, y, damps = Modulus(), y**2, True

    def run(kind, number):
        more = {"damp": kind(number)} if damps else {}
        more |= {"x0": jnp.ones(6)} if solver == "auto" else {}
        return solve(op, y, solver=solver, rtol=kind(number / 100), atol=kind(number / 1000), **more)

    compiled = []
    for kind in (float, np.float64, np.float32, jnp.asarray):
        run(kind, 0.1)
    listener = lambda name, *_, **__: compiled.append(name)  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        for kind in (float, np.float64, np.float32, jnp.asarray):
            for number in (0.2, 0.3):
                run(kind, number)
    finally:
        jax.monitoring.unregister_event_duration_listener(listener)
    assert not [name for name in compiled if "backend_compile" in name]


def test_vmap_is_a_loop():
    ms, ys = normal((3, 6, 4), np.float64, 1), normal((3, 6), np.float64, 2)
    found = jax.jit(jax.vmap(lambda m, y: solve(Dense(m), y, damp=0.1, rtol=1e-12)))(ms, ys)
    expected = [
        np.linalg.lstsq(np.concatenate([m, 0.1 * np.eye(4)]), np.append(y, np.zeros(4)))[0]
        for m, y in zip(ms, ys, strict=True)
    ]
    close(found.value, np.stack(expected), scale=100)
    assert found.stats.steps.shape == found.stats.converged.shape == (3,)
    close(jax.vmap(lambda y: solve(Dense(ms[0]), y, damp=0.1, rtol=1e-12).value)(ys)[0], expected[0], scale=100)


# ---- units ----------------------------------------------------------------------------------------------------------

SCALES = [
    *[(solver, F32, scale) for solver in ("cg", "cgls", "lsmr", "gmres", "bicgstab", "direct") for scale in (-99, 99)],
    *[(solver, F64, scale) for solver in ("cg", "cgls", "bicgstab") for scale in (-830, 830)],
    ("cgls", C64, -99),
]


def by_power(matrix, y, power_of_A, power_of_y, **options):
    """The solution for 2^.. A and 2^.. y, in the units of A and y."""
    factor = lambda power: matrix.real.dtype.type(2.0**power)  # noqa: E731
    op = lo.declare(Dense(matrix * factor(power_of_A)), positive=options["solver"] == "cg")
    if "damp" in options:
        options["damp"] *= factor(power_of_A)
    found = solve(op, y * factor(power_of_y), throw=True, **options)
    return np.asarray(found.value) * 2.0 ** (power_of_A - power_of_y), found.stats


@pytest.mark.parametrize(("solver", "dtype", "power"), SCALES, ids=by_name)
def test_units_change_no_digit(solver, dtype, power):
    """Powers of two; about 1e-30, 1e30, 1e-250 and 1e250. Neither operators nor data, each alone or both."""
    m = positive(dtype) if solver == "cg" else well_conditioned(dtype)
    y = normal((6,), dtype, 2)
    expected, stats = by_power(m, y, 0, 0, solver=solver)
    close(expected.astype(dtype), np.linalg.solve(m, y).astype(dtype), scale=1e-6 / np.finfo(dtype).eps)
    for powers in ((power, power), (power, 0), (0, power)):
        found, scaled = by_power(m, y, *powers, solver=solver)
        if solver in ("direct", "lsmr"):  # LAPACK has units of its own
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6 * np.abs(expected).max())
        else:
            np.testing.assert_array_equal(found, expected)
        assert scaled.steps == stats.steps


@pytest.mark.parametrize("solver", ["cgls", "lsmr", "direct"])
def test_units_of_damping(solver):
    m, y = normal((9, 5), F32, 1), normal((9,), F32, 2)
    expected = np.linalg.solve(m.T @ m + 0.09 * np.eye(5), m.T @ y)
    for powers in ((0, 0), (-99, -99), (90, 20)):
        found, _ = by_power(m, y, *powers, solver=solver, damp=F32(0.3))
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_data_almost_out_of_reach():
    """A^H y is 1e-25, y is 1: squares of their quotient do not exist in single precision."""
    found = solve(Dense(np.array([[0], [1]], F32)), np.array([1, 1e-25], F32))
    np.testing.assert_allclose(found.value, [1e-25], rtol=1e-5)
    assert found.stats.converged


@pytest.mark.parametrize("solver", ["cg", "cgls", "lsmr", "gmres", "bicgstab", "direct"])
@pytest.mark.parametrize("powers", [(-99, 99), (99, -99)])
def test_solutions_that_no_number_holds(solver, powers):
    op = lo.declare(lo.Matrix(np.diag(F32([1, 2])) * F32(2.0 ** powers[0])), positive=True)
    with pytest.warns(ConvergenceWarning, match=rf"^lo\.solve: {solver} stopped after \d+ steps"):
        assert not solve(op, np.ones(2, F32) * F32(2.0 ** powers[1]), solver=solver).stats.converged


@pytest.mark.parametrize("solver", ["cg", "cgls", "lsmr", "gmres", "bicgstab", "direct"])
def test_zero_for_zero(solver):
    op, y = Positive(positive(F64, 3)), normal((3,), F64, 1)
    found = solve(op, np.zeros(3), solver=solver, throw=True)
    np.testing.assert_array_equal(found.value, np.zeros(3))
    assert found.stats.steps == found.stats.residual == 0
    both = jax.jit(jax.vmap(lambda y: solve(op, y, solver=solver, throw=True)))(np.stack([np.zeros(3), y]))
    np.testing.assert_array_equal(both.value[0], np.zeros(3))
    np.testing.assert_allclose(both.value[1], np.linalg.solve(op.matrix, y), rtol=1e-4)
    exact = solve(op, op.matrix @ y, x0=y, solver=solver, throw=True)
    np.testing.assert_allclose(exact.value, y)


def test_bicgstab_gives_the_best_of_its_iterates():
    m, y = normal((12, 12), np.float64, 5), normal((12,), np.float64, 5)
    found = jax.jit(lambda y: solve(Dense(m), y, solver="bicgstab", max_steps=10, history=True))(y)
    residuals = found.stats.history / np.linalg.norm(y)
    assert residuals[-1] > 5 * np.min(residuals)
    np.testing.assert_allclose(found.stats.residual, np.min(residuals), rtol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(m @ found.value - y) / np.linalg.norm(y), np.min(residuals), rtol=1e-9)


@pytest.mark.parametrize(
    ("matrix", "converged"),
    [(np.eye(2), True), ([[0, 1], [-1, 0]], False), ([[0, 0], [0, 0]], False), ([[1, 0], [0, 0]], False)],
    ids=["identity", "skew", "zero", "singular"],
)
@pytest.mark.parametrize("solver", ["gmres", "bicgstab"])
def test_breakdowns_are_finite(solver, matrix, converged):
    """For the caller, and for hooks."""

    class Finite(Dense):
        def apply(self, x):
            assert np.all(np.isfinite(x))
            return super().apply(x)

    found = jax.jit(lambda y: solve(Finite(np.array(matrix, float)), y, solver=solver))(np.ones(2))
    assert np.all(np.isfinite(found.value))
    assert np.isfinite(found.stats.residual)
    reached = np.linalg.norm(matrix @ np.asarray(found.value) - 1) < 1e-5
    assert found.stats.converged == reached
    assert reached or not converged


def test_numbers_that_are_not_finite_are_no_convergence():
    for solver in ("cg", "cgls", "lsmr", "gmres", "bicgstab", "direct"):
        for y in (np.array([1, np.nan, 1]), np.array([1, np.inf, 1])):
            found = jax.jit(lambda y, solver=solver: solve(Positive(positive(F64, 3)), y, solver=solver))(y)
            assert not found.stats.converged, (solver, y)


def test_small_entries_of_a_diagonal_are_divided_by():
    d = np.array([1, 1e-12, 0], F32)
    np.testing.assert_allclose(solve(lo.Diagonal(d), np.array([1, 1, 1], F32)).value, [1, 1e12, 0], rtol=1e-6)


# ---- convergence ----------------------------------------------------------------------------------------------------


def ill_conditioned():
    m = np.vander(np.linspace(0, 1, 12), 8)
    return Dense(m), np.ones(12)


def test_no_convergence_warns_with_the_numbers():
    with pytest.warns(
        ConvergenceWarning, match=r"cgls stopped after 2 steps, before it reached rtol=1e-06, atol=0; the rela"
    ):
        found = solve(*ill_conditioned(), max_steps=2)
    assert not found.stats.converged


def test_no_convergence_raises_where_asked():
    with pytest.raises(ConvergenceError, match=r"cgls stopped after 3 steps"):
        solve(*ill_conditioned(), max_steps=3, throw=True)


def test_no_convergence_in_compiled_code():
    op, y = ill_conditioned()
    assert not jax.jit(lambda y: solve(op, y, max_steps=2))(y).stats.converged
    with pytest.raises(Exception, match="cgls stopped before it reached its tolerance"):
        jax.block_until_ready(jax.jit(lambda y: solve(op, y, max_steps=2, throw=True))(y))


def test_a_number_of_steps():
    """Two steps of CGLS, by hand."""
    op, y = ill_conditioned()
    found = solve(op, y, max_steps=2, rtol=0)
    basis = np.stack([op.matrix.T @ y, op.matrix.T @ op.matrix @ op.matrix.T @ y], 1)
    best = basis @ np.linalg.lstsq(op.matrix @ basis, y)[0]
    assert found.stats.steps == 2
    close(found.value, best, scale=100)


def test_lineax_solvers_bring_their_own_tolerance():
    m, y = well_conditioned(np.float64), normal((6,), np.float64, 2)
    found = solve(Dense(m), y, solver=lx.BiCGStab(1e-10, 1e-10), preconditioner=Dense(np.linalg.inv(m)))
    close(found.value, np.linalg.solve(m, y), scale=100)


class Roughly(Dense, adjoint_rtol=1e-2):
    pass


def test_an_inexact_adjoint_meets_a_solver_that_relies_on_it(recwarn):
    op, y = Roughly(well_conditioned(np.float64)), normal((6,), np.float64, 1)
    with pytest.warns(InexactAdjointWarning, match=r"cgls relies on the adjoint of .*adjoint_rtol=0.01"):
        solve(op, y)
    solve(op, y, solver="bicgstab")


def test_without_an_adjoint():
    x = normal((5,), np.float64, 1)
    found = solve(ForwardOnly().with_domain(S((5,), np.float64)), 2 * np.roll(x, 1), solver="gmres", rtol=1e-12)
    close(found.value, x, scale=100)


def residuals_by_hand(solver, op, y, steps):
    """‖r‖ of the table in lo.solve, for x after 1, 2, ... steps."""
    for count in range(1, steps + 1):
        x = np.asarray(solve(op, y, solver=solver, max_steps=count, rtol=0, atol=0).value)
        r = y - op.matrix @ x
        yield np.linalg.norm(op.matrix.T @ r if solver == "cgls" else r)


@pytest.mark.parametrize("solver", ["cg", "cgls", "bicgstab"])
@pytest.mark.parametrize("scale", [1, 1e-200])
def test_history_and_callback(solver, scale):
    op, y = Positive(positive(F64) + 5 * np.eye(6)), normal((6,), F64, 1)
    expected = scale * np.array(list(residuals_by_hand(solver, op, y, 4)))
    told, options = [], {"solver": solver, "max_steps": 4, "rtol": 0, "history": True}
    options["callback"] = lambda *call: told.append(call)
    run = lambda y: solve(op, y, **options).stats.history  # noqa: E731
    for function in (run, jax.jit(run), lambda y: jax.vmap(run)(y[None])[0]):
        told.clear()
        history = function(scale * y)
        jax.effects_barrier()
        np.testing.assert_allclose(history, expected, rtol=1e-6)
        assert [step for step, _ in told] == [1, 2, 3, 4]
        assert [residual for _, residual in told] == list(np.asarray(history))
        assert {type(value) for call in told for value in call} == {int, float}


def test_history_has_one_number_per_step():
    op, y = Positive(positive(F64) + 5 * np.eye(6)), normal((6,), F64, 1)
    found = solve(op, y, history=True)
    steps = int(found.stats.steps)
    assert found.stats.history.shape == (steps,)
    assert "history=f64[" in repr(found.stats)
    kept = jax.jit(lambda y: solve(op, y, history=True, max_steps=50).stats.history)(y)
    np.testing.assert_allclose(kept[:steps], found.stats.history, rtol=1e-9)
    assert np.all(np.isnan(kept[steps:]))
    assert solve(op, y).stats.history is None
    assert solve(op, 0 * y, history=True).stats.history.shape == (0,)


def test_derivatives_are_not_told():
    m, y = well_conditioned(F64), normal((6,), F64, 1)
    told = []
    loss = lambda y, **more: jnp.sum(solve(Dense(m), y, rtol=1e-12, **more).value)  # noqa: E731
    slope = jax.grad(loss)(y, callback=lambda step, _: told.append(step), history=True)
    jax.effects_barrier()
    close(slope, jax.grad(loss)(y))
    assert told == list(range(1, len(told) + 1))


def test_what_a_callback_raises():
    def stop(step, residual):
        raise KeyError(step)

    op, y = Positive(positive(F64)), normal((6,), F64, 1)
    with pytest.raises(KeyError, match="1"):
        solve(op, y, callback=stop)
    solve(op, y)


def test_progress(capfd):
    solve(*ill_conditioned(), max_steps=2, rtol=0, progress=True)
    assert "A applied" in capfd.readouterr().err
    solve(*ill_conditioned(), max_steps=2, rtol=0)
    assert not capfd.readouterr().err


def test_solution_prints_shapes():
    found = solve(lo.Diagonal(np.array([1.0, 2.0])), np.ones(2))
    assert repr(found) == "Solution(f64[2], Stats(steps=0, residual=0.0, converged=True))"


# ---- bad input ------------------------------------------------------------------------------------------------------


class NoAdjointShape(lo.LinearOperator):
    def apply(self, x):
        return x

    def adjoint(self, y):
        return y

    def infer_shape(self, x):
        return x


EYE = Dense(np.eye(3))
WIDE = Dense(np.ones((4, 3)))
Y = np.ones(3)
BAD = {
    "solver": (ValueError, r"unknown solver 'svd'.*'auto', 'cg', 'cgls'", lambda: solve(EYE, Y, solver="svd")),
    "shape": (ValueError, r"y does not fit the codomain of Dense.*f64\[4\]", lambda: solve(EYE.with_domain(Y), np.ones(4))),
    "complex y": (ValueError, r"y is c128\[3\].*is real", lambda: solve(EYE.with_domain(Y), 1j * Y)),
    "array": (TypeError, r"expects an operator, found the array f64\[3,3\]; lo.Matrix\(a\)", lambda: solve(np.eye(3), Y)),
    "domain": (TypeError, r"the domain of NoAdjointShape\(\) is unknown", lambda: solve(NoAdjointShape(), Y)),
    "integers": (TypeError, r"solvers need floating", lambda: solve(EYE.with_domain(S((3,), int)), Y)),
    "regularizer alone": (ValueError, r"no effect without damp", lambda: solve(EYE, Y, regularizer=EYE)),
    "regularizer": (TypeError, r"must be a linear operator", lambda: solve(EYE, Y, damp=1, regularizer=np.eye(3))),
    "damp": (ValueError, r"damp must be a real number, found f64\[3\]", lambda: solve(EYE, Y, damp=Y)),
    "damped cg": (ValueError, r"'cg' does not damp", lambda: solve(EYE, Y, damp=1, solver="cg")),
    "preconditioner": (TypeError, r"must be a linear op", lambda: solve(EYE, Y, preconditioner=np.eye(3))),
    "rectangular preconditioner": (
        ValueError,
        r"must map the domain of A to itself",
        lambda: solve(EYE, Y, preconditioner=WIDE),
    ),
    "rectangular": (ValueError, r"'gmres' needs an operator from a", lambda: solve(WIDE, np.ones(4), solver="gmres")),
    "callback": (
        ValueError,
        r"lsmr does not tell its residuals.*'cg', 'cgls', 'bicgstab'",
        lambda: solve(EYE, Y, solver="lsmr", callback=print),
    ),
    "history": (ValueError, r"GMRES does not tell", lambda: solve(EYE, Y, solver=lx.GMRES(1e-6, 1e-6), history=True)),
    "history of a direct solve": (ValueError, r"direct does not tell", lambda: solve(lo.Diagonal(Y), Y, history=True)),
    "nonlinear history": (
        ValueError,
        r"BFGS does not tell its residuals.*'levenberg_marquardt', 'gauss_newton', 'dogleg'",
        lambda: solve(Modulus(), Y, x0=Y, solver=optx.BFGS(1e-6, 1e-6), history=True),
    ),
    "no function": (TypeError, r"callback must be a function of the step and the res", lambda: solve(EYE, Y, callback=3)),
    "rtol": (ValueError, r"lo\.solve: rtol must not be negative or NaN, found -0\.1", lambda: solve(EYE, Y, rtol=-0.1)),
    "atol": (ValueError, r"lo\.solve: atol must not be negative or NaN, found nan", lambda: solve(EYE, Y, atol=np.nan)),
    "tolerances": (TypeError, r"lo\.solve: rtol must be a real number, found 1j", lambda: solve(EYE, Y, rtol=1j)),
    "max_steps": (ValueError, r"lo\.solve: max_steps must be at least 0, found -1", lambda: solve(EYE, Y, max_steps=-1)),
    "steps": (TypeError, r"lo\.solve: max_steps must be an integer, found 2\.5", lambda: solve(EYE, Y, max_steps=2.5)),
    "nonlinear": (ValueError, r"Modulus\(\) is nonlinear: say where to start", lambda: solve(Modulus(), Y)),
    "nonlinear solver": (
        ValueError,
        r"unknown solver 'cg'.*'levenberg_marquardt'",
        lambda: solve(Modulus(), Y, x0=Y, solver="cg"),
    ),
    "nonlinear preconditioner": (
        ValueError,
        r"for linear operators only",
        lambda: solve(Modulus(), Y, x0=Y, preconditioner=EYE),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("error", "message", "call"), BAD.values(), ids=BAD.keys())
def test_bad_input(error, message, call):
    with pytest.raises(error, match=message):
        call()


def test_missing_package(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "lineax", None)
    monkeypatch.delitem(__import__("sys").modules, "linops_jax.solvers._lineax", raising=False)
    with pytest.raises(ImportError, match=r'needs lineax, which is not installed: pip install "linops-jax\[interop\]"'):
        solve(EYE, Y, solver="lsmr")


# ---- the inverse by a solver ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=by_name)
def test_inverse_by_a_solver(dtype):
    m = well_conditioned(dtype)
    inverse = Dense(m).with_domain(S((6,), dtype)).inv
    y = jnp.asarray(normal((6,), dtype, 2))
    for op, expected in ((inverse, np.linalg.inv(m)), (inverse.H, np.linalg.inv(m).conj().T)):
        close(op(y), expected @ y, scale=1e5)
    assert inverse.domain == inverse.codomain == S((6,), dtype)
    assert inverse.inv.domain == inverse.domain
    assert lo.dot_test(inverse, y).passed


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_inverse_in_any_unit(scale):
    m, y = F32(scale) * well_conditioned(F32), normal((6,), F32, 2)
    for op, expected in ((Dense(m), m), (Positive(F32(scale) * positive(F32)), F32(scale) * positive(F32))):
        found = np.float64(scale) * op.with_domain(y).inv(y)
        np.testing.assert_allclose(found, np.linalg.solve(expected / np.float64(scale), y), rtol=1e-2, atol=1e-4)


def test_inverse_in_shard_map():
    m, ys = well_conditioned(np.float64), normal((2, 6), np.float64, 3)
    inverse = TracedDense(m).with_domain(S((6,), np.float64)).inv
    mesh = jax.sharding.Mesh(jax.devices()[:2], "i")
    spec = jax.sharding.PartitionSpec("i")
    solved = jax.shard_map(lambda y: inverse(y[0])[None], mesh=mesh, in_specs=spec, out_specs=spec)
    close(jax.jit(solved)(ys), np.linalg.solve(m, ys.T).T, scale=1e4)


def test_inverse_derivatives():
    m, y = jnp.asarray(positive(np.complex128)), jnp.asarray(normal((6,), np.complex128, 2))
    found = jax.grad(lambda m, y: energy(lo.declare(TracedDense(m), positive=True).with_domain(y).inv(y)), (0, 1))(m, y)
    close(found, jax.grad(lambda m, y: energy(jnp.linalg.solve(m, y)), (0, 1))(m, y), scale=1e6)


def test_inverse_refuses_rectangular_operators():
    inverse = WIDE.inv
    with pytest.raises(ValueError, match=r"has no inverse: it maps f64\[3\] to f64\[4\].*lo.solve\(A, y\)"):
        inverse(np.ones(4))


def test_inverse_of_a_singular_operator_warns():
    with pytest.warns(ConvergenceWarning, match=r"\.inv stopped after"):
        lo.declare(Dense(np.diag([1.0, 0.0])), positive=True).inv(np.ones(2))


def test_inverse_keeps_properties():
    inverse = Positive(positive(np.float64)).inv
    assert inverse.properties == lo.Properties(positive=True, adjoint_rtol=1e-3)
    assert repr(inverse).endswith(".inv")


@pytest.mark.slow
@pytest.mark.parametrize(("positive", "dtype"), [(False, np.complex128), (True, np.float64)])
def test_the_harness_passes_an_inverse_by_a_solver(positive, dtype, x64):
    a = normal((6, 6), dtype)
    a = a @ a.conj().T + np.eye(6) if positive else a + 4 * np.eye(6)
    lo.check_operator(lo.declare(lo.Matrix(a), positive=positive).inv, S((6,), dtype))


# ---- what code closes over ------------------------------------------------------------------------------------------


def of_closure(m, y):
    return energy(solve(lo.Function(lambda v: m @ v, S((m.shape[1],), m.dtype)), y, rtol=1e-13).value)


def of_pinv(m, y):
    return energy(jnp.linalg.pinv(m) @ y)


def test_tracers_that_an_operator_closes_over():
    m, y = normal((7, 3), F64, 1), normal((7,), F64, 2)
    expected = jax.grad(of_pinv)(m, y)
    for slope in (jax.grad(of_closure), jax.jit(jax.grad(of_closure))):
        close(slope(m, y), expected, scale=100)
    close(jax.vmap(jax.grad(of_closure), (0, None))(np.stack([m, 2 * m]), y)[0], expected, scale=100)
    second = [jax.jvp(lambda m, f=f: jax.grad(f)(m, y), (m,), (like(m, 3),))[1] for f in (of_closure, of_pinv)]
    close(*second, scale=1e4)


def test_tracers_of_shard_map_that_an_operator_closes_over():
    ms, y = normal((2, 7, 3), F64, 1), normal((7,), F64, 2)
    mesh = jax.sharding.Mesh(jax.devices()[:2], "i")
    spec = jax.sharding.PartitionSpec("i")
    slope = lambda m: jax.grad(of_closure)(m[0], y)[None]  # noqa: E731
    found = jax.shard_map(slope, mesh=mesh, in_specs=spec, out_specs=spec)(ms)
    close(found, jax.vmap(lambda m: jax.grad(of_pinv)(m, y))(ms), scale=100)


def test_a_domain_and_a_codomain_of_different_precision():
    m, y = normal((7, 3), F64, 1), normal((7,), F64, 2)
    op = lo.vstack([lo.Matrix(m.astype(F32)), lo.Matrix(2 * m)])
    for solver in ("cgls", "lsmr", "direct"):
        found = solve(op, [y.astype(F32), y], x0=np.zeros(3, F32), solver=solver, rtol=1e-5)
        assert found.value.dtype == F32
        expected = np.linalg.lstsq(np.concatenate([m, 2 * m]), np.concatenate([y, y]))[0]
        np.testing.assert_allclose(found.value, expected, rtol=1e-3, atol=1e-4)
