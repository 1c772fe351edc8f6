"""PyLops' operators as ours against PyLops itself; ours in PyLops' and pyproximal's solvers against dense matrices."""

import jax
import jax.numpy as jnp
import numpy as np
import pylops
import pylops_operators
import pyproximal
import pytest
from helpers import S, close, like, normal
from operators import CASES
from pylops_operators import COMPLEX, MATRIX, OPERATORS
from scipy.sparse.linalg import aslinearoperator

import linops_jax as lo
from linops_jax import interop
from linops_jax.interop._pylops import PyLopsOperator

from_pylops, to_pylops = interop.from_pylops, interop.to_pylops


# ---- from_pylops ----------------------------------------------------------------------------------------------------


@jax.jit
def everything(op, x, y, data):
    """Forward, adjoint and gradient of a misfit for one vector, and for a batch."""

    def of_one(x, y, data):
        misfit = lambda x: 0.5 * jnp.sum(jnp.abs(op(x) - data) ** 2)  # noqa: E731
        return op(x), op.H(y), jax.grad(misfit)(x)

    return of_one(x[0], y[0], data[0]), jax.vmap(of_one)(x, y, data)


def expected(P, op, x, y, data):
    forward = lambda x: P.matvec(x.ravel()).reshape(P.dimsd)  # noqa: E731
    adjoint = lambda y: P.rmatvec(y.ravel()).reshape(P.dims)  # noqa: E731
    values = [
        (forward(x), adjoint(y), np.conj(adjoint((forward(x) - data).astype(data.dtype))))
        for x, y, data in zip(*map(np.asarray, (x, y, data)), strict=True)
    ]
    batch = tuple(map(np.stack, zip(*values, strict=True)))
    dtypes = (op.codomain.dtype, op.domain.dtype, op.domain.dtype)
    return jax.tree.map(lambda a, dtype: a.astype(dtype), (values[0], batch), (dtypes, dtypes))


@pytest.mark.parametrize("name", OPERATORS)
def test_every_operator(name, x64):
    P = pylops_operators.operator(name)
    op = from_pylops(P)
    assert (op.domain.shape, op.codomain.shape) == (tuple(P.dims), tuple(P.dimsd))
    assert op.properties.real_linear is not P.clinear
    x, y, data = like(op.domain, 1, (2,)), like(op.codomain, 2, (2,)), like(op.codomain, 3, (2,))
    close(everything(op, x, y, data), expected(P, op, x, y, data))


def test_there_are_many_operators():
    assert len(pylops_operators.CLASSES) >= 60


SIDES = {
    "MatrixMult": (np.float64, np.float64),
    "MatrixMult float32": (np.float32, np.float32),
    "FirstDerivative complex": (np.complex64, np.complex64),
    "Identity of integers": (np.float64, np.float64),
    "Real": (np.complex128, np.float64),
    "Conj": (np.complex128, np.complex128),
    "FFT real": (np.float64, np.complex128),
    "FFT real float32": (np.float32, np.complex64),
    "Sliding1D": (np.float64, np.float64),
}


@pytest.mark.parametrize("name", SIDES)
def test_dtypes_of_both_sides(name, x64):
    op = from_pylops(pylops_operators.operator(name))
    assert (op.domain.dtype, op.codomain.dtype) == SIDES[name]


@pytest.mark.parametrize("name", ["FFT real", "Real", "Conj", "Convolve1D", "complex multiple"])
def test_adjoints_are_adjoints(name, x64):
    op = from_pylops(pylops_operators.operator(name))
    assert lo.dot_test(op).passed


def test_an_adjoint_of_theirs_that_is_not_one(x64):
    """PyLops 2.8 leaves a complex filter unconjugated."""
    assert not lo.dot_test(from_pylops(pylops_operators.operator("Convolve1D complex"))).passed


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.complex64, np.complex128])
def test_precision_is_that_of_the_operator(dtype, x64):
    op = from_pylops(pylops.MatrixMult(MATRIX), dtype=dtype)
    wanted = np.result_type(dtype, np.float64)
    x, y = normal((3,), dtype, 1), normal((4,), wanted, 2)
    close(op(x), jnp.asarray(MATRIX @ x))
    close(op.H(y), jnp.asarray((MATRIX.T @ y).astype(dtype)))


def test_complex_arrays_in_operators_that_drop_imaginary_parts(x64):
    op = from_pylops(pylops.FirstDerivative(4, kind="forward"), dtype=np.complex128)
    x = normal((4,), np.complex128)
    close(op(x), jnp.asarray(np.append(np.diff(x), 0)))


def test_without_64_bits():
    op = from_pylops(pylops.MatrixMult(MATRIX))
    assert (op.domain, op.codomain) == (S((3,), np.float32), S((4,), np.float32))
    x = normal((3,), np.float32)
    close(op(x), jnp.asarray((MATRIX @ x).astype(np.float32)))


def test_a_real_side_stays_real(x64):
    fft, real = pylops_operators.operator("FFT real"), pylops_operators.operator("Real")
    with pytest.raises(TypeError, match=r"FFT.* of PyLops: its domain is real \(clinear is False\), found complex128"):
        PyLopsOperator(fft, False, True)(np.ones(fft.dims, complex))
    with pytest.raises(TypeError, match=r"Real.* of PyLops: its codomain is real"):
        PyLopsOperator(real, True, False).H(np.ones(real.dimsd, complex))
    with pytest.raises(ValueError, match=r"domain does not match the input: found c128\[5,3\], expected f64\[5,3\]"):
        from_pylops(fft)(np.ones(fft.dims, complex))


def test_wrong_shape():
    op = from_pylops(pylops.Flip((3, 4)))
    with pytest.raises(ValueError, match=r"found f32\[12\], expected f32\[3,4\]"):
        op(jnp.ones(12))
    with pytest.raises(
        ValueError, match=r"of PyLops: expected an array of shape \(3, 4\) in its domain, found \(12,\)"
    ):
        PyLopsOperator(pylops.Flip((3, 4)), False, False)(jnp.ones(12))


def test_what_from_pylops_does_not_take():
    with pytest.raises(
        TypeError, match=r"from_pylops expects a pylops.LinearOperator, .*from_scipy takes those of SciPy"
    ):
        from_pylops(aslinearoperator(MATRIX))
    with pytest.raises(
        TypeError, match=r"from_pylops expects a pylops.LinearOperator, found an array of shape \(4, 3\)"
    ):
        from_pylops(MATRIX)
    with pytest.raises(TypeError, match=r"from_scipy expects .* from_pylops takes operators of PyLops"):
        interop.from_scipy(pylops.Flip(3))


# ---- to_pylops ------------------------------------------------------------------------------------------------------

TO_PYLOPS = {
    "real": (lo.Matrix(MATRIX), S((3,), np.float64), True),
    "complex": (lo.Matrix(COMPLEX, axes=0), S((3, 2), np.complex128), True),
    "real to complex": (lo.FFT(), S((2, 3), np.float64), False),
    "real part": (CASES["real part"].op, CASES["real part"].x, False),
    "real linear": (CASES["conjugates"].op, CASES["conjugates"].x, False),
    "pytree": (CASES["pytrees"].op, CASES["pytrees"].x, True),
    "no axes": (lo.Identity(), S((), np.float64), True),
}


@pytest.mark.parametrize("name", TO_PYLOPS)
def test_to_pylops(name, x64):
    op, spec, clinear = TO_PYLOPS[name]
    op = op.with_domain(spec)
    P = to_pylops(op)
    assert P.clinear is clinear
    x, y = (np.asarray(pack(like(side, 1))) for side in (op.domain, op.codomain))
    assert P.shape == (y.size, x.size)
    if hasattr(spec, "shape") and spec.shape:
        assert (P.dims, P.dimsd) == (op.domain.shape, op.codomain.shape)
    close(P.matvec(x), np.asarray(pack(op(like(op.domain, 1)))))
    close(P.rmatvec(y), np.asarray(pack(op.H(like(op.codomain, 1)))))
    X, Y = np.stack([x, 2 * x], 1), np.stack([y, -y], 1)
    close(P.matmat(X), np.stack([P.matvec(column) for column in X.T], 1))
    close(P.rmatmat(Y), np.stack([P.rmatvec(column) for column in Y.T], 1))
    flag = {"complex": 3, "pytree": 3, "real linear": 3, "real to complex": 2, "real part": 1}.get(name, 0)
    assert pylops.utils.dottest(P, complexflag=flag, rtol=1e-10)


def pack(tree):
    return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(tree)])


def test_shaped_arrays_in_and_out(x64):
    P = to_pylops(lo.FFT(), S((2, 3), np.complex128))
    x = normal((2, 3), np.complex128)
    close(P @ x, np.fft.fft2(x, norm="ortho"))
    close(P.H @ (P @ x), x)


def test_real_operators_of_complex_vectors(x64):
    P, x = to_pylops(lo.Matrix(MATRIX), S((3,), np.float64)), normal((3,), np.complex128)
    close(P @ x, MATRIX @ x)


def test_inside_of_compiled_programs(x64):
    P, x = to_pylops(lo.Matrix(MATRIX), S((3,), np.float64)), normal((3,))
    close(jax.jit(P.matvec)(jnp.asarray(x)), jnp.asarray(MATRIX @ x))


TALL, DATA = normal((6, 3), np.complex128, 1), normal((6,), np.complex128, 2)
SOLVERS = {
    "cgls": lambda P, y, x0: pylops.optimization.basic.cgls(P, y, x0, niter=20, tol=1e-12)[0],
    "lsqr": lambda P, y, x0: pylops.optimization.basic.lsqr(P, y, x0, niter=20, atol=0, btol=0, conlim=0)[0],
    "normal equations": lambda P, y, x0: pylops.optimization.leastsquares.normal_equations_inversion(P, y, None)[0],
    "division": lambda P, y, x0: P / y,
}


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers(solver, dtype, x64):
    a, y = (v.astype(dtype) if dtype is np.complex128 else v.real for v in (TALL, DATA))
    P = to_pylops(lo.Matrix(a), S((3,), dtype))
    found = SOLVERS[solver](P, y, np.zeros(3, dtype))
    np.testing.assert_allclose(found, np.linalg.lstsq(a, y)[0], rtol=1e-5, atol=1e-6)


def test_sparse_solutions(x64):
    """FISTA of PyLops and of pyproximal on orthonormal columns: a soft threshold of A^H y."""
    a = np.linalg.qr(TALL.real)[0]
    P, y, eps = to_pylops(lo.Matrix(a), S((3,), np.float64)), DATA.real, 0.3
    threshold = lambda t: np.sign(a.T @ y) * np.maximum(np.abs(a.T @ y) - t, 0)  # noqa: E731
    found = pylops.optimization.sparsity.fista(P, y, niter=200, eps=2 * eps, alpha=1.0, tol=0)[0]
    np.testing.assert_allclose(found, threshold(eps), atol=1e-8)
    found = pyproximal.optimization.primal.ProximalGradient(
        pyproximal.L2(P, y), pyproximal.L1(eps), np.zeros(3), tau=0.9, niter=200, acceleration="fista"
    )
    found = found[0] if isinstance(found, tuple) else found
    np.testing.assert_allclose(found, threshold(eps), atol=1e-8)


def test_with_operators_of_theirs(x64):
    P = pylops.VStack([to_pylops(lo.Matrix(MATRIX), S((3,), np.float64)), 2 * pylops.Identity(3)])
    close(P @ np.ones(3), np.append(MATRIX.sum(1), [2.0, 2.0, 2.0]))


def test_there_and_back(x64):
    fft = lo.FFT().with_domain(S((2, 3), np.complex128))
    x = like(fft.domain, 1)
    close(from_pylops(to_pylops(fft))(x), fft(x))
    op, spec, _ = TO_PYLOPS["pytree"]
    P = to_pylops(op, spec)
    back = from_pylops(P)
    v = like(back.domain, 1)
    close(jax.jit(back)(v), jnp.asarray(P @ np.asarray(v)))
    close(back.H(back(v)), jnp.asarray(P.H @ (P @ np.asarray(v))))


def test_bad_input():
    with pytest.raises(
        TypeError, match=r"to_pylops expects an operator of linops_jax, found an array of shape \(4, 3\)"
    ):
        to_pylops(MATRIX)
    with pytest.raises(TypeError, match=r"to_pylops: .*FFT.* does not know its domain\. Pass it, to_pylops\(op, "):
        to_pylops(lo.FFT())
    with pytest.raises(TypeError, match=r"to_pylops needs a linear operator, and .* is nonlinear"):
        to_pylops(CASES["paper"].op)
    with pytest.raises(TypeError, match=r"to_pylops: the domain of .* has int32 arrays"):
        to_pylops(lo.Identity(), S((3,), np.int32))
    with pytest.warns(UserWarning, match="to_pylops: the domain is float64, but JAX computes in float32"):
        to_pylops(lo.Identity(), np.ones(3))
