"""PyProximal's functions as ours, and ours in PyProximal's algorithms, against PyProximal itself and SciPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pyproximal
import pytest
from helpers import S, close, normal
from minimization import differences, edges_data, lasso_data, quadratic_program
from pyproximal.optimization.primal import ProximalGradient
from pyproximal.optimization.primaldual import PrimalDual

import linops_jax as lo
from linops_jax import interop

from_pyproximal, to_pyproximal = interop.from_pyproximal, interop.to_pyproximal
STEP = 0.4

# ---- from_pyproximal ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("P", "dtype"),
    [
        (pyproximal.L1(0.3), np.float32),
        (pyproximal.L21(ndim=2), np.complex64),
        (pyproximal.Nuclear((2, 6), 0.5), np.float32),
        (pyproximal.Box(-0.5, 0.5), np.float32),
        (pyproximal.L2(b=normal((12,)), q=normal((12,), seed=1), alpha=0.7), np.float32),  # writes into its argument
    ],
)
def test_values_and_proxes_are_those_of_pyproximal(P, dtype):
    x = normal((2, 2, 6), dtype)
    f = from_pyproximal(P)
    value, prox = jax.jit(jax.vmap(lambda x: (f(x), f.prox(x, STEP))))(x)
    proxes = [P.prox(row.ravel(), STEP).reshape(row.shape) for row in x]
    values = [P(row.ravel()) for row in x]
    values = [(0 if v else np.inf) if isinstance(v, bool) else v for v in values]
    np.testing.assert_allclose(value, np.float32(values), rtol=1e-5)
    np.testing.assert_allclose(prox, np.stack(proxes).astype(dtype), rtol=1e-5, atol=1e-6)


def test_the_gradient_is_that_of_pyproximal(x64):
    matrix, b, x = normal((4, 3), complex), normal((4,), complex, 1), normal((3,), complex, 2)
    P = pyproximal.L2(pylops.MatrixMult(matrix, dtype=complex), b, sigma=0.5)
    f = from_pyproximal(P, smooth=0.5 * np.linalg.norm(matrix, 2) ** 2, convex=True)
    close(f.gradient(x), jnp.asarray(0.5 * matrix.conj().T @ (matrix @ x - b)))
    dx = normal((3,), complex, 3)
    slope = (P(x + 1e-6 * dx) - P(x - 1e-6 * dx)) / 2e-6
    np.testing.assert_allclose(jax.jvp(f, (x,), (dx,))[1], slope, rtol=1e-7)


def test_minimize_takes_their_functions(x64):
    """A lasso of their misfit and their penalty, and a constraint of theirs behind an operator of theirs."""
    a, y = lasso_data()
    misfit = from_pyproximal(pyproximal.L2(pylops.MatrixMult(a), y), smooth=np.linalg.norm(a, 2) ** 2, convex=True)
    f = misfit + from_pyproximal(pyproximal.L1(0.3), convex=True)
    found = lo.minimize(f, jnp.zeros(8), rtol=1e-8, progress=False, differentiate="no")
    expected, least = quadratic_program(a, y, 0.3, np.eye(8))
    np.testing.assert_allclose(found.stats.objective, least, rtol=1e-7)
    np.testing.assert_allclose(found.value, expected, atol=1e-4)


def test_without_a_gap_where_convexity_is_not_known(x64):
    a, y = edges_data()
    D = interop.from_pylops(pylops.MatrixMult(differences(9)))
    f = lo.SquaredL2(y) @ lo.Matrix(a) + 0.1 * from_pyproximal(pyproximal.L1()) @ D
    found = lo.minimize(f, jnp.zeros(9), rtol=1e-9, progress=False, differentiate="no")
    assert not jnp.isfinite(found.stats.gap)
    np.testing.assert_allclose(found.stats.objective, quadratic_program(a, y, 0.1, differences(9))[1], rtol=1e-6)


def test_their_functions_pass_the_checks():
    lo.check_operator(from_pyproximal(pyproximal.L1(0.7), convex=True), S((5,), np.float32))


# ---- to_pyproximal ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("f", "P"),
    [
        (2.0 * (0.5 * lo.SquaredL2(0.3)), pyproximal.L2(b=np.full(6, 0.3))),
        (0.2 * lo.L21(), pyproximal.L21(ndim=2, sigma=0.2)),
        (lo.NonNegative(), pyproximal.Box(0.0, np.inf)),
    ],
)
def test_ours_are_those_of_pyproximal(f, P):
    found, v = to_pyproximal(f, S((2, 3), np.float32)), normal((6,))
    assert (found(v), type(found(v))) == (pytest.approx(P(v)), type(P(v)))
    assert found.hasgrad == P.hasgrad
    for name, arguments in (("prox", (v, STEP)), ("proxdual", (v, STEP)), ("grad", (v,))):
        result = getattr(found, name)(*arguments)
        np.testing.assert_allclose(result, getattr(P, name)(*arguments), rtol=1e-5, atol=1e-6)
    assert found.prox(v, np.array([STEP])).dtype == np.float32


def test_ours_in_their_proximal_gradient(x64):
    a, y = lasso_data()
    misfit = to_pyproximal(lo.SquaredL2(y) @ lo.Matrix(a), np.zeros(8))
    penalty = to_pyproximal(0.3 * lo.L1(), np.zeros(8))
    tau = 1 / np.linalg.norm(a, 2) ** 2
    x = ProximalGradient(misfit, penalty, np.zeros(8), tau=tau, niter=300, acceleration="fista")
    np.testing.assert_allclose(misfit(x) + penalty(x), quadratic_program(a, y, 0.3, np.eye(8))[1], rtol=1e-6)


def test_ours_in_their_primal_dual_method(x64):
    a, y = edges_data()
    misfit, penalty = pyproximal.L2(pylops.MatrixMult(a), y), to_pyproximal(0.1 * lo.L1(), np.zeros(8))
    D = interop.to_pylops(lo.Matrix(differences(9)), np.zeros(9))
    x = PrimalDual(misfit, penalty, D, np.zeros(9), tau=2.0, mu=0.12, niter=300)
    value = np.sum((a @ x - y) ** 2) / 2 + 0.1 * np.sum(abs(np.diff(x)))
    np.testing.assert_allclose(value, quadratic_program(a, y, 0.1, differences(9))[1], rtol=1e-6)


def test_a_pytree_is_one_vector(x64):
    spec = {"a": S((2,), complex), "b": S((3,), float)}
    v = normal((5,), complex)
    found = to_pyproximal(lo.L2(), spec)
    v[2:] = v[2:].real
    np.testing.assert_allclose(found.prox(v, STEP), pyproximal.Euclidean().prox(v, STEP))
    assert found(v) == pytest.approx(np.linalg.norm(v))


def test_there_and_back():
    P = pyproximal.L1()
    f = from_pyproximal(P).with_domain(S((3,), np.float32))
    np.testing.assert_allclose(to_pyproximal(f).prox(np.arange(3.0), 1), P.prox(np.arange(3.0), 1))
    ours = (0.5 * lo.L1()).with_domain(S((3,), np.float32))
    back = from_pyproximal(to_pyproximal(ours))
    assert (repr(back), back.domain) == (repr(ours), ours.domain)


# ---- bad input ----------------------------------------------------------------------------------------------------------


class Wrong(pyproximal.ProxOperator):
    def prox(self, x, tau):
        return x[1:] if len(x) == 3 else 1j * x


def test_what_is_no_function_of_pyproximal():
    with pytest.raises(
        TypeError, match=r"from_pyproximal expects a pyproximal.ProxOperator, found an array of shape \(2,\)"
    ):
        from_pyproximal(np.zeros(2))
    with pytest.raises(TypeError, match="from_pylops takes operators of PyLops"):
        from_pyproximal(pylops.Identity(3))
    with pytest.raises(ValueError, match="L1 of PyProximal has no gradient"):
        from_pyproximal(pyproximal.L1(), smooth=1)
    with pytest.raises(
        ValueError, match="expected `smooth`, a Lipschitz constant of the gradient, to be positive, found -1"
    ):
        from_pyproximal(pyproximal.L2(), smooth=-1)


def test_arguments_and_results_that_do_not_fit():
    f = from_pyproximal(Wrong())
    with pytest.raises(TypeError, match="L1 of PyProximal takes one array of floating-point numbers, found"):
        from_pyproximal(pyproximal.L1())({"a": jnp.zeros(2)})
    with pytest.raises(ValueError, match=r"the prox of Wrong of PyProximal has 2 numbers for an x of shape \(3,\)"):
        f.prox(jnp.zeros(3), 1)
    with pytest.raises(TypeError, match="the prox of Wrong of PyProximal is complex for an x of float32"):
        f.prox(jnp.zeros(2), 1)


def test_what_is_no_objective():
    x = jnp.zeros(3)
    with pytest.raises(TypeError, match=r"to_pyproximal needs a functional, and .* is linear"):
        to_pyproximal(lo.Identity(), x)
    with pytest.raises(TypeError, match=r"to_pyproximal: L1.* does not know its domain"):
        to_pyproximal(lo.L1())
    with pytest.raises(TypeError, match=r"to_pyproximal needs a function to one real number, and .* gives"):
        to_pyproximal(lo.ops.AbsSquared(), x)
    with pytest.raises(ValueError, match=r"is -2\.0 times a functional, and a prox needs a positive number"):
        to_pyproximal(-2.0 * lo.L1(), x)
    with pytest.raises(NotImplementedError, match=r"has neither a prox nor a gradient\. Convert the functional alone"):
        to_pyproximal(lo.L1() @ lo.Diagonal(jnp.ones(3)), x)


def test_bad_vectors_and_steps():
    P = to_pyproximal(lo.SquaredL2() @ lo.Diagonal(jnp.ones(3)), jnp.zeros(3))
    with pytest.raises(ValueError, match=r"takes vectors of 3 numbers, found an array of shape \(4,\)"):
        P(np.zeros(4))
    with pytest.raises(
        NotImplementedError, match="has no prox, only a gradient: use it where PyProximal wants a smooth"
    ):
        P.prox(np.zeros(3), 1)
    with pytest.raises(ValueError, match="expects one positive number tau, found 0"):
        to_pyproximal(lo.L1(), jnp.zeros(3)).prox(np.zeros(3), 0)
