"""The ready-made functionals against their formulas in NumPy and against PyProximal: values, proxes, conjugates, derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pyproximal
import pytest
import scipy.optimize
from helpers import S, close, like, normal

import linops_jax as lo
from linops_jax import functionals

CLASSES = [getattr(lo, name) for name in lo.__all__ if name in vars(functionals)]
SEPARABLE = [lo.SquaredL2(), lo.L1(), lo.L21(), lo.NonNegative(), lo.Box(-1.0, 0.5), lo.Huber(0.7), lo.NuclearNorm()]
DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
Y = np.array([2.0, 0.0, 1.5])


def name(value):
    return getattr(value, "__name__", type(value).__name__)


def moduli(x):
    return np.abs(np.asarray(x).ravel())


VALUES = {  # at any x of shape (3, 2)
    "SquaredL2": (lo.SquaredL2(jnp.full((3, 2), 0.5)), lambda x: np.sum(np.abs(x - 0.5) ** 2) / 2),
    "L1": (lo.L1(), lambda x: np.sum(np.abs(x))),
    "L2": (lo.L2(), np.linalg.norm),
    "L21": (lo.L21(), lambda x: np.sum(np.linalg.norm(x, axis=0))),
    "Huber": (lo.Huber(0.7), lambda x: np.sum(scipy.special.huber(0.7, np.abs(x)))),
    "NuclearNorm": (lo.NuclearNorm(), lambda x: np.linalg.norm(x, "nuc")),
}


def test_there_are_all():
    names = {
        "Box",
        "Huber",
        "KullbackLeibler",
        "L1",
        "L1Ball",
        "L2",
        "L21",
        "NonNegative",
        "NuclearNorm",
        "Simplex",
        "SquaredL2",
    }
    assert {cls.__name__ for cls in CLASSES} == names
    assert all(issubclass(cls, lo.Functional) and list(cls.examples()) for cls in CLASSES)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
def test_values(dtype, x64):
    x = normal((3, 2), dtype)
    found = jax.jit(lambda x: {key: f(x) for key, (f, _) in VALUES.items()})(x)
    close(found, {key: np.asarray(value(x), np.finfo(dtype).dtype) for key, (_, value) in VALUES.items()})


def test_values_of_kullback_leibler():
    f = lo.KullbackLeibler(jnp.asarray(Y, np.float32))
    x = np.array([1.0, 3.0, 2.0])
    assert float(f(jnp.asarray(x, np.float32))) == pytest.approx(np.sum(scipy.special.kl_div(Y, x)), rel=1e-6)
    assert float(f(jnp.array([2.0, 0.0, 1.5]))) == 0
    assert all(np.isinf(f(jnp.array(x))) for x in ([1.0, -0.1, 1.0], [0.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("f", "inside", "outside"),
    [
        (lo.NonNegative(), [0.0, 1.0], [-1e-6, 1.0]),
        (lo.Box(-1.0, 2.0), [-1.0, 2.0], [0.0, 2.1]),
        (lo.Box(upper=jnp.array([0.0, 1.0])), [-9.0, 1.0], [0.1, 1.0]),
        (lo.Simplex(), [0.25, 0.75], [0.25, 0.76]),
        (lo.Simplex(), [1.0, 0.0], [1.25, -0.25]),
        (lo.L1Ball(2.0), [-1.5, 0.5], [-1.5, 0.6]),
    ],
    ids=name,
)
def test_values_of_constraints(f, inside, outside):
    assert float(f(jnp.array(inside))) == 0
    assert float(f(jnp.array(outside))) == np.inf


# ---- proxes -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "other", "dtype"),
    [
        (
            lo.SquaredL2(jnp.asarray(normal((4, 3)), np.float32)),
            pyproximal.L2(b=normal((4, 3)).astype(np.float32).ravel()),
            float,
        ),
        (lo.L1(), pyproximal.L1(), float),
        (lo.L1(), pyproximal.L1(), complex),
        (lo.L2(), pyproximal.Euclidean(), complex),
        (lo.L21(), pyproximal.L21(ndim=4), float),
        (lo.L21(), pyproximal.L21(ndim=4), complex),
        (lo.Box(-0.2, 0.3), pyproximal.Box(-0.2, 0.3), float),
        (lo.NuclearNorm(), pyproximal.Nuclear((4, 3)), float),
        (lo.Simplex(), pyproximal.Simplex(12, 1.0), float),
        (lo.Simplex(axis=1), pyproximal.Simplex(12, 1.0, dims=(4, 3), axis=1), float),
        (lo.L1Ball(2.0), pyproximal.L1Ball(12, 2.0, xtol=1e-12), float),
    ],
    ids=name,
)
def test_proxes_are_those_of_pyproximal(f, other, dtype, x64):
    for step in (0.3, 1.9):
        x = normal((4, 3), dtype, 5)
        expected = np.reshape(other.prox(x.ravel(), step), x.shape)
        np.testing.assert_allclose(
            f.prox(x, step), expected, atol=1e-7 if "Ball" in name(f) or "Simplex" in name(f) else 1e-14
        )


@pytest.mark.parametrize(
    ("f", "value"),
    [
        (lo.Huber(0.7), lambda u: scipy.special.huber(0.7, np.abs(u))),
        (lo.KullbackLeibler(jnp.array(2.0)), lambda u: scipy.special.kl_div(2.0, u)),
        (lo.KullbackLeibler(jnp.array(0.0)), lambda u: scipy.special.kl_div(0.0, u)),
    ],
    ids=["Huber", "KullbackLeibler", "KullbackLeibler of 0"],
)
def test_proxes_are_minima(f, value, x64):
    """Of one number, by Brent's method."""
    xs = np.array([-4.0, -0.3, 0.2, 1.1, 5.0])
    for step in (0.4, 3.0):
        for x, found in zip(xs, np.asarray(f.prox(xs, step)), strict=True):
            best = scipy.optimize.minimize_scalar(
                lambda u, x=x: value(u) + (u - x) ** 2 / (2 * step),  # noqa: B023
                bounds=(0 if "K" in name(f) else -9, 9),
                method="bounded",
                options={"xatol": 1e-10},
            )
            assert found == pytest.approx(best.x, abs=1e-6)


TIGHT = dict.fromkeys(["tol_gap_abs", "tol_gap_rel", "tol_feas"], 1e-10)
CONVEX = {  # f(u), constraints on u; as cvxpy writes them
    "Huber": (lo.Huber(0.75), lambda cp, u: (cp.sum(cp.huber(u, 0.75)) / 2, [])),
    "KullbackLeibler": (
        lo.KullbackLeibler(jnp.full((3, 2), 2.0)),
        lambda cp, u: (cp.sum(cp.kl_div(np.full((3, 2), 2.0), u)), []),
    ),
    "L21": (lo.L21(), lambda cp, u: (cp.sum(cp.norm(u, 2, axis=0)), [])),
    "L2": (lo.L2(), lambda cp, u: (cp.norm(cp.vec(u, order="C"), 2), [])),
    "NuclearNorm": (lo.NuclearNorm(), lambda cp, u: (cp.normNuc(u), [])),
    "Simplex": (lo.Simplex(axis=1), lambda cp, u: (0, [u >= 0, cp.sum(u, axis=1) == 1])),
    "L1Ball": (lo.L1Ball(2.0), lambda cp, u: (0, [cp.sum(cp.abs(u)) <= 2])),
    "Box": (lo.Box(-0.25, 0.5), lambda cp, u: (0, [u >= -0.25, u <= 0.5])),
}


@pytest.mark.parametrize("key", CONVEX)
def test_proxes_are_those_of_cvxpy(key, x64):
    cp = pytest.importorskip("cvxpy")
    (f, write), x, step = CONVEX[key], normal((3, 2), seed=3), 0.75
    u = cp.Variable((3, 2))
    value, constraints = write(cp, u)
    cp.Problem(cp.Minimize(step * value + cp.sum_squares(u - x) / 2), constraints).solve(solver="CLARABEL", **TIGHT)
    np.testing.assert_allclose(f.prox(x, step), u.value, atol=1e-6)


def test_arrays_of_a_pytree_are_separate():
    x = {"a": jnp.asarray(normal((3, 2), np.float32)), "b": [jnp.asarray(normal((2, 4), np.float32, 1))]}

    @jax.jit
    def evaluate(x):
        whole = {name(f): (f.prox(x, 0.5), f(x)) for f in SEPARABLE}
        of_each = lambda f: {"a": f.prox(x["a"], 0.5), "b": [f.prox(x["b"][0], 0.5)]}  # noqa: E731
        return whole, {name(f): (of_each(f), f(x["a"]) + f(x["b"][0])) for f in SEPARABLE}

    close(*evaluate(x))


@pytest.mark.parametrize("f", [lo.L2(), lo.L1Ball(2.0)], ids=name)
def test_arrays_of_a_pytree_are_one_vector(f):
    @jax.jit
    def evaluate(x):
        parts = [x[:3], x[3:]]
        mixed = f.prox([parts[0].astype(np.complex64), parts[1]], 0.5)
        return (f.prox(parts, 0.5), f(parts), mixed[0]), (f.prox(x, 0.5), f(x))

    (found, value, mixed), expected = evaluate(normal((7,), np.float32))
    close((np.concatenate(found), value), jax.tree.map(np.asarray, expected))
    close(np.asarray(mixed), np.asarray(found[0]).astype(np.complex64))


def test_an_imaginary_part_of_the_data_does_not_move_real_numbers():
    f, x = lo.SquaredL2(jnp.array([1 + 2j, 3j])), jnp.array([1.0, 1.0])
    close(f.prox(x, 1.0), jnp.array([1.0, 0.5]))
    close(f.gradient(x), jnp.array([0.0, 1.0]))


@pytest.mark.parametrize("f", [lo.L1(), lo.L2(), lo.L21(), lo.L1Ball(1.0), lo.NuclearNorm()], ids=name)
@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_norms_of_small_and_large_numbers(f, size):
    x = jnp.asarray(normal((2, 3), np.float32))
    if f.indicator:
        close(lo.L1Ball(size).prox(size * x, 1.0) / size, f.prox(x, 1.0))
        return
    close(f(size * x) / size, f(x))
    close(f.prox(size * x, size * 0.3) / size, f.prox(x, 0.3))


def test_large_numbers_leave_the_simplex_no_less_exact():
    x = np.array([1e6, 1e6 - 0.25, -1e6], np.float32)
    close(lo.Simplex().prox(x, 1.0), jnp.array([0.625, 0.375, 0.0]))


def test_nan_stays_nan():
    functionals = [*SEPARABLE, lo.L2(), lo.L1Ball(1.0), lo.Simplex(), lo.KullbackLeibler(jnp.ones((2, 2)))]
    run = jax.jit(lambda x: [(f.prox(x, 1.0), f.conjugate_prox(x, 1.0), f(x)) for f in functionals])
    for f, (prox, dual, value) in zip(functionals, run(jnp.array([[jnp.nan, 1.0], [2.0, 3.0]])), strict=True):
        assert np.isnan(prox[0, 0]), f
        assert np.isnan(dual[0, 0]), f
        assert np.isinf(value) if f.indicator else np.isnan(value), f


@pytest.mark.parametrize(
    ("f", "x"),
    [
        (lo.Simplex(), [700, 700.31, 700.13, -700.2]),
        (lo.Simplex(), [1e20, 1e20, 0.0]),
        (lo.L1Ball(1.0), [70, -70.31, 70.13, -70.2]),
        (lo.L1Ball(1.0), [70j, 70.31, 42.1 + 56.1j, -70.2]),
        (lo.L1Ball(1e-6), [0.7, -0.7, 0.1]),
    ],
)
def test_projections_are_in_the_set_by_its_own_test(f, x):
    p = f.prox(jnp.array(x), 1.0)
    assert float(f(p)) == 0
    assert float(jnp.sum(jnp.abs(p))) == pytest.approx(getattr(f, "radius", 1.0), rel=1e-6)


# ---- derivatives --------------------------------------------------------------------------------------------------------


def differences(function, x, dx, h=1e-6):
    return jax.tree.map(lambda a, b: (a - b) / (2 * h), function(x + h * dx), function(x - h * dx))


H = 1e-6
SIGNS = np.array([1.0, -1.0, 0.0, 0.0])


@jax.jit
def derivatives(f, x, step, dx, dy):
    """Of the prox: in x, in the step, and back; and the prox at x ± H dx, and at step -+ H."""
    _, forward = jax.linearize(f.prox, x, step)
    in_x, in_step = forward(dx, 0 * step), forward(jax.tree.map(jnp.zeros_like, dx), jnp.ones_like(step))
    back, to_step = jax.vjp(f.prox, x, step)[1](jax.tree.map(jnp.conj, dy))
    move = lambda s: jax.tree.map(lambda a, d: a + s.astype(a.dtype) * H * d, x, dx)  # noqa: E731
    moved = jax.vmap(lambda s, t: f.prox(move(s), step + t * H))(SIGNS, SIGNS[::-1])
    return in_x, in_step, jax.tree.map(jnp.conj, back), to_step, moved


@pytest.mark.parametrize("cls", CLASSES, ids=name)
def test_derivatives_of_proxes(cls, x64):
    """In x and the step, in both modes, against differences; self-adjoint in x."""
    for i, (f, spec) in enumerate(cls.examples()):
        x, dx, dy = (
            like(jax.tree.map(lambda s: S(s.shape, np.result_type(s.dtype, np.float64)), spec), 3 * i + k)
            for k in range(3)
        )
        flat = lambda tree: np.concatenate([np.ravel(leaf).view(float) for leaf in jax.tree.leaves(tree)])  # noqa: E731
        step = np.float64(0.37)

        in_x, in_step, back, to_step, moved = derivatives(f, x, step, dx, dy)
        moved = [flat(jax.tree.map(lambda leaf, i=i: np.asarray(leaf[i]), moved)) for i in range(4)]
        np.testing.assert_allclose(flat(in_x), (moved[0] - moved[1]) / (2 * H), atol=1e-7)
        np.testing.assert_allclose(flat(in_step), (moved[3] - moved[2]) / (2 * H), atol=1e-7)
        assert np.vdot(flat(back), flat(dx)) == pytest.approx(np.vdot(flat(dy), flat(in_x)), abs=1e-12)
        assert float(to_step) == pytest.approx(np.vdot(flat(dy), flat(in_step)), abs=1e-12)


@pytest.mark.parametrize("f", [*SEPARABLE, lo.L2(), lo.L1Ball(2.0), lo.Simplex()], ids=name)
def test_derivatives_at_zero_are_numbers(f):
    x = jnp.zeros((2, 3))

    @jax.jit
    def derivatives(x):
        return jax.grad(f)(x), jax.jacfwd(f.prox)(x, 0.5), jax.grad(lambda x, s: jnp.sum(f.prox(x, s)), (0, 1))(x, 0.5)

    found = derivatives(x)
    for leaf in jax.tree.leaves(found):
        assert np.all(np.isfinite(leaf))
    if not f.indicator and "Nuclear" not in name(f):
        close(found[0], x)


@pytest.mark.parametrize("shape", [(3, 3), (2, 4), (4, 2)])
@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=["real", "complex"])
def test_the_derivative_of_the_nuclear_norm_where_singular_values_are_equal_or_zero(shape, dtype, x64):
    k = min(shape)
    u, v = (np.linalg.qr(normal((n, n), dtype, i))[0][:, :k] for i, n in enumerate(shape))
    f, dx = lo.NuclearNorm(), normal(shape, dtype, 7)
    derivative = jax.jit(lambda x: jax.jvp(lambda x: f.prox(x, 1.0), (x,), (dx,))[1])
    for s in ([2.0, 2.0, 2.0], [2.0, 0.5, 0.5], [2.0, 0.0, 0.0], [0.5, 0.0, 0.0]):
        x = (u * s[:k]) @ v.conj().T
        np.testing.assert_allclose(derivative(x), differences(lambda x: np.asarray(f.prox(x, 1.0)), x, dx), atol=1e-7)


@pytest.mark.parametrize("dtype", [np.float32, np.complex64], ids=["real", "complex"])
def test_the_gradient_is_the_conjugate_of_that_of_jax(dtype):
    x = normal((3,), dtype)
    for f in (lo.SquaredL2(jnp.ones(3, dtype)), lo.Huber(0.7)):
        close(jax.jit(f.gradient)(x), jnp.conj(jax.grad(f)(x)))
    A = lo.Matrix(normal((4, 3), dtype, 1))
    f = lo.SquaredL2() @ A
    close(f.jacobian(x).H(jnp.ones(())), A.H(A(x)))


@pytest.mark.parametrize(
    ("make", "values"),
    [
        (lo.SquaredL2, jnp.array([[1.0, 2.0], [0.0, -1.0]])),
        (lo.KullbackLeibler, jnp.array([[1.0, 2.0], [0.5, 3.0]])),
        (lo.Huber, jnp.array([0.5, 1.5])),
        (lambda b: lo.Box(-b, b), jnp.array([0.5, 1.5])),
        (lo.L1Ball, jnp.array([0.5, 1.5])),
    ],
    ids=["SquaredL2", "KullbackLeibler", "Huber", "Box", "L1Ball"],
)
def test_fields_are_batched_and_differentiated(make, values):
    x = jnp.array([3.0, -0.7])
    loss = lambda value, step: jnp.sum(make(value).prox(x, step) ** 2)  # noqa: E731
    steps = jnp.array([0.3, 1.1])
    found = jax.jit(jax.vmap(jax.value_and_grad(loss)))(values, steps)
    alone = jax.jit(jax.value_and_grad(loss))
    each = [alone(value, step) for value, step in zip(values, steps, strict=True)]
    close(found, jax.tree.map(lambda *leaves: jnp.stack(leaves), *each))
    value, h, step = values[1], 1e-2, steps[0]
    slope = (alone(value + h, step)[0] - alone(value - h, step)[0]) / (2 * h)
    assert float(jnp.sum(alone(value, step)[1])) == pytest.approx(float(slope), rel=1e-2, abs=1e-2)


# ---- what does not fit --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: lo.Huber(-1.0), ValueError, r"Huber\.delta: expected a positive number, found -1\.0"),
        (lambda: lo.L1Ball(0), ValueError, r"L1Ball\.radius: expected a positive number, found 0"),
        (lambda: lo.Huber(jnp.ones(2)), TypeError, r"Huber\.delta: expected a positive number, found Array"),
        (lambda: lo.Huber(1j), TypeError, r"Huber\.delta: expected a positive number, found 1j"),
        (lambda: lo.Box(1.0, 0.0), ValueError, r"Box: expected lower bounds that are not above the upper .* 1\.0 and 0\.0"),
        (lambda: lo.SquaredL2(jnp.ones(2))(jnp.ones(3)), ValueError,
         r"SquaredL2: expected arrays in the shapes of x, found \(2,\) for an x of shape \(3,\)"),
        (lambda: lo.NonNegative()(jnp.ones(3, complex)), TypeError,
         r"NonNegative: expected real numbers, found complex64\. .*lo\.ops\.Real\(\)"),
        (lambda: lo.Box(0.0).prox(jnp.ones(3, complex), 1.0), TypeError, r"Box: expected real numbers, found complex64"),
        (lambda: lo.Simplex().prox(jnp.ones(3, complex), 1.0), TypeError, r"Simplex: expected real numbers"),
        (lambda: lo.Simplex().prox(jnp.ones((0, 2)), 1.0), ValueError, r"Simplex: expected at least one number .* \(0, 2\)"),
        (lambda: lo.KullbackLeibler(jnp.ones(3))(jnp.ones(3, complex)), TypeError, r"KullbackLeibler: expected real numbers"),
        (lambda: lo.Simplex(axis=1).prox(jnp.ones((3, 0)), 1.0), ValueError, r"Simplex: .* \(3, 0\): there the set is empty"),
        (lambda: lo.Simplex(axis=1)(jnp.ones(3)), ValueError, r"Simplex: expected arrays with an axis 1, found one of .* \(3,\)"),
        (lambda: lo.L21()(jnp.ones(())), ValueError, r"L21: expected arrays with an axis 0, found one of shape \(\)"),
        (lambda: lo.NuclearNorm()(jnp.ones(3)), ValueError, r"NuclearNorm: expected matrices .* found one of shape \(3,\)"),
        (lambda: lo.NuclearNorm().prox(jnp.ones(3), 1.0), ValueError, r"NuclearNorm: expected matrices"),
        (lambda: lo.NuclearNorm().conjugate(jnp.ones(3)), ValueError, r"NuclearNorm: expected matrices"),
        (lambda: lo.KullbackLeibler(jnp.array([1, -2])), ValueError, r"KullbackLeibler\.y: expected counts, .* found -2"),
        (lambda: lo.KullbackLeibler({"a": jnp.array(-0.5)}), ValueError, r"KullbackLeibler\.y: expected counts, .* found -0\.5"),
        (lambda: lo.KullbackLeibler(1j), TypeError, r"KullbackLeibler\.y: expected real numbers, found complex128"),
        (lambda: lo.Box(upper=jnp.ones(2, complex)), TypeError, r"Box\.upper: expected real numbers, found complex64"),
        (lambda: lo.L1().gradient(jnp.ones(3)), NotImplementedError, r"L1 is not smooth, .*Use L1\.prox\(x, step\)"),
    ],
)  # fmt: skip
def test_messages(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    "f",
    [lo.SquaredL2(), lo.L1(), lo.L2(), lo.L21(), lo.NonNegative(), lo.Box(), lo.L1Ball(1.0), lo.NuclearNorm(),
     lo.KullbackLeibler(1), lo.Simplex(axis=1)],
    ids=name,
)  # fmt: skip
def test_arrays_without_elements(f):
    x = jnp.zeros((0, 2))
    zero = jnp.zeros(())
    close(jax.jit(lambda x: [f(x), f.conjugate(x), f.conjugate({}), f.prox(x, 1.0)])(x), [zero, zero, zero, x])
    assert (f.prox({}, 1.0), f.conjugate_prox({}, 1.0)) == ({}, {})
    if jax.tree.leaves(f):
        close(f({}), zero)
        return
    with pytest.raises(
        TypeError, match=r"needs at least one array as input or in its fields, found none\. Pass arrays"
    ):
        f({})


def test_data_may_be_a_number():
    cases = [(lo.KullbackLeibler, 2), (lo.KullbackLeibler, 2.0), (lo.SquaredL2, 2.0), (lo.SquaredL2, np.complex64(2j))]

    @jax.jit
    def evaluate(x):
        pairs = [(cls(y), cls(jnp.full(2, y))) for cls, y in cases]
        return [[(f(x), f.prox(x, 1.0), f.conjugate(x / 4)) for f in both] for both in zip(*pairs, strict=True)]

    close(*evaluate(jnp.array([1.0, 3.0])))


def test_integers_have_values_in_single_precision():
    close(lo.L1()(jnp.array([1, -2])), jnp.array(3.0))
    close(lo.SquaredL2()(jnp.array([1, -2])), jnp.array(2.5))


# ---- the checks ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("cls", CLASSES, ids=name)
def test_they_pass_every_check(cls):
    for f, x in cls.examples():
        assert lo.check_operator(f, x).passed


@pytest.mark.parametrize(
    ("f", "spec"),
    [
        (lo.L1(), S((0,), np.float32)),
        (lo.Simplex(axis=-1), S((2, 3), np.float64)),
        pytest.param(lo.L1Ball(1e-6), S((3,), np.float32), marks=pytest.mark.slow),
        pytest.param(lo.Box(0.0, 1.0), S((4,), np.float64), marks=pytest.mark.slow),
    ],
    ids=["no element", "Simplex in float64", "small L1Ball", "Box in float64"],
)
def test_they_pass_every_check_elsewhere(f, spec, x64):
    assert lo.check_operator(f, spec).passed
