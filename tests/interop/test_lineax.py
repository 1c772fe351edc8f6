"""lineax's solvers take our operators as they are; the oracle is the dense matrix."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pylops
import pytest
import scipy.sparse.linalg as ssl
from helpers import S, close, energy, normal
from jax.scipy.sparse.linalg import cg
from operators import Antilinear, Dense, DenseWithParameters, DerivedMix, HalfSpectrum, TracedDense

import linops_jax as lo

F32, F64, C64, C128 = np.float32, np.float64, np.complex64, np.complex128
pytestmark = [pytest.mark.usefixtures("x64"), pytest.mark.newest]
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731


class Positive(Dense, positive=True):
    pass


def matrix(kind, dtype, n=5):
    a = normal((n + 3, n), dtype, 1)
    return {
        "positive": a.conj().T @ a,
        "square": normal((n, n), dtype, 1) + 4 * np.eye(n, dtype=dtype),
        "tall": a,
        "wide": a.T,
    }[kind]


def operator(kind, dtype, cls=None):
    m = matrix(kind, dtype)
    return (cls or (Positive if kind == "positive" else Dense))(m).with_domain(S(m.shape[1:], dtype))


TOLERANCES = {"rtol": 1e-12, "atol": 1e-12}
LOOSE = {"rtol": 1e-6, "atol": 1e-6}
SOLVES = {
    "CG f64": (lx.CG(**TOLERANCES), "positive", F64),
    "CG c64": (lx.CG(**LOOSE), "positive", C64),
    "NormalCG f32": (lx.Normal(lx.CG(**LOOSE)), "tall", F32),
    "NormalCG c128": (lx.Normal(lx.CG(**TOLERANCES)), "wide", C128),
    "GMRES c64": (lx.GMRES(**LOOSE), "square", C64),
    "GMRES f64": (lx.GMRES(**TOLERANCES), "square", F64),
    "BiCGStab f32": (lx.BiCGStab(**LOOSE), "square", F32),
    "BiCGStab c128": (lx.BiCGStab(**TOLERANCES), "square", C128),
    "LSMR f64": (lx.LSMR(**TOLERANCES), "wide", F64),
    "LSMR c128": (lx.LSMR(**TOLERANCES), "tall", C128),
    "LU c128": (lx.LU(), "square", C128),
    "QR f32": (lx.QR(), "tall", F32),
    "SVD c64": (lx.SVD(), "wide", C64),
    "Cholesky c128": (lx.Cholesky(), "positive", C128),
    "Auto f64": (lx.AutoLinearSolver(well_posed=None), "square", F64),
}


@pytest.mark.parametrize(("solver", "kind", "dtype"), SOLVES.values(), ids=SOLVES.keys())
def test_solvers(solver, kind, dtype):
    m, y = matrix(kind, dtype), normal((matrix(kind, dtype).shape[0],), dtype, 2)
    found = lx.linear_solve(operator(kind, dtype), y, solver)
    close(found.value, np.linalg.lstsq(m, y)[0], scale=100)


def test_single_precision_lsmr():
    """With 64 bits switched on, lineax 0.1 mixes precisions there."""
    with jax.enable_x64(False):
        m, y = matrix("tall", F32), normal((8,), F32, 2)
        close(lx.linear_solve(operator("tall", F32), y, lx.LSMR(**LOOSE)).value, np.linalg.lstsq(m, y)[0], scale=100)


def test_diagonal_solver_and_preconditioner():
    d, y = np.array([1.0, 2j, 4.0]), np.array([1.0, 2.0, 3.0 + 0j])
    op = lo.Diagonal(d).with_domain(S((3,), C128))
    close(lx.linear_solve(op, y, lx.Diagonal()).value, y / d)
    inverse = lx.TaggedLinearOperator(lo.Diagonal(1 / d).with_domain(S((3,), C128)), ())
    found = lx.linear_solve(op, y, lx.GMRES(**TOLERANCES), options={"preconditioner": inverse})
    close(found.value, y / d)


@pytest.mark.parametrize(
    ("solver", "kind", "cls"),
    [
        (lx.LSMR(**TOLERANCES), "tall", TracedDense),
        (lx.CG(**TOLERANCES), "positive", DenseWithParameters),
        (lx.LU(), "square", DenseWithParameters),
    ],
    ids=["LSMR", "CG", "LU"],
)
def test_implicit_differentiation(solver, kind, cls):
    m = jnp.asarray(matrix(kind, C128))
    y = jnp.asarray(normal(m.shape[:1], C128, 2))

    def ours(y, m):
        op = lo.declare(cls(m), positive=kind == "positive").with_domain(S(m.shape[1:], m.dtype))
        return lx.linear_solve(op, y, solver).value

    dense = lambda y, m: jnp.linalg.solve(m.conj().T @ m, m.conj().T @ y)  # noqa: E731
    found, expected = (jax.jit(jax.grad(lambda *a, f=f: energy(f(*a)), (0, 1)))(y, m) for f in (ours, dense))
    close(found, expected, scale=1000)


def test_vmap_over_vectors_and_operators():
    ms = normal((3, 5, 5), F64, 1) + 4 * np.eye(5)
    ys = normal((3, 5), F64, 2)
    solve = lambda m, y: lx.linear_solve(Dense(m).with_domain(S((5,), F64)), y, lx.GMRES(**TOLERANCES)).value  # noqa: E731
    close(jax.vmap(solve)(ms, ys), np.stack([np.linalg.solve(m, y) for m, y in zip(ms, ys, strict=True)]), scale=100)


def test_methods():
    m = matrix("tall", C128)
    op = operator("tall", C128)
    assert (op.in_structure(), op.out_structure()) == (S((5,), C128), S((8,), C128))
    assert (op.in_size(), op.out_size()) == (5, 8)
    close(op.mv(jnp.ones(5, C128)), m.sum(1))
    close(op.as_matrix(), m)
    for other, expected in ((op.T, m.T), (op.transpose(), m.T), (lx.conj(op), m.conj()), (lx.linearise(op), m)):
        close(other.as_matrix(), expected)
        assert (other.out_size(), other.in_size()) == expected.shape
    close(lx.materialise(op).mv(jnp.ones(5, C128)), m.sum(1))
    close(
        (lx.TaggedLinearOperator(op, ()) @ lx.DiagonalLinearOperator(jnp.arange(5.0) + 0j)).as_matrix(),
        m * np.arange(5),
    )


def test_methods_on_pytrees():
    op = DerivedMix(jnp.asarray([2.0, 3.0])).with_domain((S((2,), F64), S((2, 2), F64)))
    eye = np.eye(2)
    rows_a = np.hstack([eye, eye, eye])  # u + the sum of v's rows
    rows_b = np.hstack([np.zeros((4, 2)), np.diag([2.0, 2.0, 3.0, 3.0])])
    close(op.as_matrix(), np.vstack([rows_a, rows_b]))
    y = {"a": jnp.ones(2), "b": jnp.ones((2, 2))}
    x = lx.linear_solve(op, y, lx.LU()).value
    close(op(x), y)


def test_tags():
    real, hermitian = operator("positive", F64), operator("positive", C128)
    real.in_size()  # the first method that lineax calls makes us known to its functions
    diagonal = lo.Diagonal(np.array([1.0, 2j])).with_domain(S((2,), C128))
    checks = lx.is_symmetric, lx.is_positive_semidefinite, lx.is_diagonal, lx.is_tridiagonal, lx.is_lower_triangular
    found = {name: [check(op) for check in checks] for name, op in {"r": real, "h": hermitian, "d": diagonal}.items()}
    assert found == {
        "r": [True, True, False, False, False],
        "h": [False, True, False, False, False],  # A^T is not A
        "d": [True, False, True, True, True],
    }
    assert not lx.is_negative_semidefinite(real)
    assert not lx.has_unit_diagonal(diagonal)
    assert lx.is_positive_semidefinite(lx.materialise(real))
    m = matrix("positive", F64)
    close(lx.diagonal(real), np.diagonal(m))
    close(lx.diagonal(diagonal), np.array([1.0, 2j]))
    close(lx.tridiagonal(real), (np.diagonal(m), np.diagonal(m, -1), np.diagonal(m, 1)))


def test_tags_of_what_lineax_makes():
    """A^H A of NormalCG: tagged by lineax, made by us."""
    op = operator("tall", C128)
    product = lx.TaggedLinearOperator(lx.conj(op.transpose()) @ op, lx.positive_semidefinite_tag)
    m = matrix("tall", C128)
    close(product.as_matrix(), m.conj().T @ m)


REAL_WITHIN = lo.Matrix(np.array([[1, 1j], [2, 0]])).with_domain(S((2,), F64))


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Dense(np.eye(3)), r"lineax needs to know the domain of Dense.*with_domain"),
        (Antilinear(np.eye(2), np.eye(2)).with_domain(S((2,), C128)), r"is linear over the reals only.*Use lo.solve"),
        (REAL_WITHIN @ REAL_WITHIN.H, r"is linear over the reals only.*Use lo.solve"),
        (HalfSpectrum().with_domain(S((6,), F64)), r"maps between real and complex arrays.*Use lo.solve"),
    ],
    ids=["no domain", "real linear", "real numbers between complex ones", "real to complex"],
)
def test_refusals(op, message):
    with pytest.raises(TypeError, match=message):
        lx.linear_solve(op, np.ones(3), lx.LSMR(**LOOSE))


def test_no_name_is_lost_to_fields():
    class Turn(lo.LinearOperator):
        transpose: bool = lo.static(default=True)

        @lo.traced
        def apply(self, x):
            return -x

    assert Turn().transpose is True
    assert Turn(False).with_domain(S((2,), F64)).in_size() == 2
    assert not hasattr(Turn(), "tridiagonal")


def test_lineax_is_not_imported(tmp_path):
    code = """
import sys
import jax.numpy as jnp
import linops_jax as lo
op = lo.Diagonal(jnp.ones(2)).with_domain(jnp.ones(2))
assert op.as_matrix().shape == (2, 2)
assert not {"lineax", "equinox"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)  # not from the checkout


# ---- one problem, eight solvers of four libraries -------------------------------------------------------------------

A, SIZE = Dense(normal((12, 6), F64, 1)), {"iter_lim": 100, "atol": 1e-14, "btol": 1e-14}
OVER, UNDER = S((6,), F64), S((12,), F64)


def by_lineax(solver, normal_equations=False):
    def solve(op, y):
        if normal_equations:
            op, y = lo.declare(op.H @ op, positive=True), op.H(y)
        return lx.linear_solve(op, y, solver).value

    return solve


def by_jax(op, y):
    return cg(op.H @ op, op.H(y), tol=1e-14)[0]


def by_scipy_cg(op, y):
    linear = lo.interop.to_scipy(op)
    return ssl.cg(linear.H @ linear, linear.H @ y, rtol=1e-14)[0]


JAX_SOLVERS = {
    "lineax CG": by_lineax(lx.CG(**TOLERANCES), normal_equations=True),
    "lineax GMRES": by_lineax(lx.GMRES(**TOLERANCES), normal_equations=True),
    "lineax NormalCG": by_lineax(lx.Normal(lx.CG(**TOLERANCES))),
    "lineax LSMR": by_lineax(lx.LSMR(**TOLERANCES)),
    "jax cg": by_jax,
}
OTHER_SOLVERS = {
    "scipy lsqr": lambda op, y: ssl.lsqr(lo.interop.to_scipy(op), y, **SIZE)[0],
    "scipy lsmr": lambda op, y: ssl.lsmr(lo.interop.to_scipy(op), y, maxiter=100, atol=1e-14, btol=1e-14)[0],
    "scipy cg": by_scipy_cg,
    "pylops cgls": lambda op, y: pylops.cgls(lo.interop.to_pylops(op), y, niter=30, tol=1e-20)[0],
}


@pytest.mark.parametrize(("name", "solve"), (JAX_SOLVERS | OTHER_SOLVERS).items(), ids=JAX_SOLVERS | OTHER_SOLVERS)
def test_one_problem_many_solvers_one_answer_with_gradients(name, solve):
    op, y, c = A.with_domain(OVER), normal((12,), F64, 2), normal((6,), F64, 3)
    inverse = np.linalg.pinv(A.matrix)
    close(jnp.asarray(solve(op, y)), inverse @ y, scale=1e4)
    if name in JAX_SOLVERS:
        gradient = jax.jit(jax.grad(lambda y: jnp.vdot(c, solve(op, y))))(y)
        close(gradient, inverse.T @ c, scale=1e4)
    else:  # what an implicit gradient is: one more solve, with the adjoint
        loss = lambda step: c @ np.asarray(solve(op, y + step))  # noqa: E731
        d = normal((12,), F64, 4)
        np.testing.assert_allclose(loss(d) - loss(0 * d), (inverse.T @ c) @ d, rtol=1e-8)


@pytest.mark.parametrize(
    "order",
    [
        "import lineax as lx, linops_jax as lo; A = lo.Identity().with_domain(spec)",
        "import linops_jax as lo, lineax as lx; A = lo.Identity().with_domain(spec)",
        "import linops_jax as lo; B = lo.Identity(); import lineax as lx; A = B.with_domain(spec)",
        "import linops_jax as lo; A = lo.Identity().with_domain(spec); import lineax as lx; A.H",
    ],
    ids=["lineax first", "lineax second", "lineax after an operator", "another operator after lineax"],
)
def test_lineax_knows_operators_before_it_calls_one(order, tmp_path):
    source = f"""
import jax
spec = jax.ShapeDtypeStruct((3,), "float32")
{order}
assert lx.is_symmetric(A) and lx.is_diagonal(A) and lx.is_positive_semidefinite(A) and not lx.has_unit_diagonal(A)
assert lx.TaggedLinearOperator(A, ()).in_size() == 3
"""
    subprocess.run([sys.executable, "-c", source], check=True, timeout=120, cwd=tmp_path)  # what is installed
