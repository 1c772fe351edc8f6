"""Operators as matrices, against the matrices that they are made of; norms and singular values against NumPy's."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
from helpers import S, normal
from operators import Antilinear, Dense, Sine

import linops_jax as lo
from linops_jax.measures import _dense, _norm, _spectrum

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def a(dtype, *shape, seed=0):
    return normal(shape, dtype, seed)


def pytree(dtype):
    """A dict of operators, and its matrix."""
    m, n = a(dtype, 4, 3), a(dtype, 2, 5, seed=1)
    op = lo.block_diag({"p": Dense(m), "q": lo.Matrix(n)})
    return op, {"p": S((3,), dtype), "q": S((5,), dtype)}, scipy.linalg.block_diag(m, n)


CASES = {
    "tall": lambda t: (Dense(a(t, 4, 3)), S((3,), t), a(t, 4, 3)),
    "wide": lambda t: (lo.Matrix(a(t, 2, 5)), S((5,), t), a(t, 2, 5)),
    "two axes": lambda t: (lo.Matrix(a(t, 4, 3), axes=0), S((3, 2), t), np.kron(a(t, 4, 3), np.eye(2))),
    "pytrees": pytree,
    "composite": lambda t: (
        (Dense(a(t, 4, 3)).H @ Dense(a(t, 4, 3)) + 0.5 * lo.Identity()).with_domain(S((3,), t)),
        None,
        a(t, 4, 3).conj().T @ a(t, 4, 3) + 0.5 * np.eye(3),
    ),
    "adjoint": lambda t: (Dense(a(t, 4, 3)).with_domain(S((3,), t)).H, None, a(t, 4, 3).conj().T),
    "0-d": lambda t: (lo.Diagonal(a(t)), S((), t), a(t).reshape(1, 1)),
}
SQUARE = {
    "square": lambda t: (Dense(a(t, 4, 4)), S((4,), t), a(t, 4, 4)),
    "diagonal": lambda t: (lo.Diagonal(a(t, 3)), S((2, 3), t), np.diag(np.tile(a(t, 3), 2))),
    "pytrees": lambda t: (
        lo.block_diag([Dense(a(t, 4, 4)), (lo.Matrix(a(t, 3, 3)),)]),
        [S((4,), t), (S((2, 3), t),)],
        scipy.linalg.block_diag(a(t, 4, 4), a(t, 3, 3), a(t, 3, 3)),
    ),
    "composite": CASES["composite"],
    "0-d": CASES["0-d"],
}
names = pytest.mark.parametrize("name", CASES)
square = pytest.mark.parametrize("name", SQUARE)
dtypes = pytest.mark.parametrize("dtype", DTYPES, ids=lambda dtype: dtype.__name__)
two_dtypes = pytest.mark.parametrize("dtype", [np.float32, np.complex128], ids=lambda dtype: dtype.__name__)


@pytest.fixture(autouse=True)
def x64():
    with jax.enable_x64(True):
        yield


def near(found, expected, scale=1.0):
    found, expected = np.asarray(found), np.asarray(expected)
    assert found.shape == expected.shape
    tolerance = 300 * np.finfo(found.dtype).eps * scale
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance * np.max(np.abs(expected), initial=1e-3))


def pairs(matrix, of_conjugate=0):
    """x -> M x + N conj(x) between (re, im) pairs that are neighbours."""
    m, n = np.asarray(matrix), np.asarray(of_conjugate)
    blocks = np.array([[(m + n).real, (n - m).imag], [(m + n).imag, (m - n).real]])
    return blocks.transpose(2, 0, 3, 1).reshape(2 * m.shape[0], 2 * m.shape[1])


# ---- matrices -------------------------------------------------------------------------------------------------------


@names
@dtypes
def test_todense(name, dtype):
    op, spec, matrix = CASES[name](dtype)
    found = lo.todense(op, spec)
    assert found.dtype == dtype
    near(found, matrix)


def test_columns_are_inputs_and_rows_results_in_c_order():
    op, spec, _ = CASES["two axes"](np.float64)
    x = normal((3, 2), np.float64, 5)
    near(lo.todense(op, spec) @ x.ravel(), np.asarray(op(x)).ravel())
    op, spec, _ = pytree(np.float64)
    x = {"q": a(np.float64, 5), "p": a(np.float64, 3)}
    found = lo.todense(op, spec) @ np.concatenate([x["p"], x["q"]])
    near(found, np.concatenate([op(x)["p"], op(x)["q"]]))


def test_todense_of_mixed_dtypes_and_of_integers():
    op = lo.block_diag([lo.Matrix(a(np.float32, 2, 3)), lo.Matrix(a(np.complex128, 4, 2))])
    found = lo.todense(op, [S((3,), np.float32), S((2,), np.complex128)])
    assert found.dtype == np.complex128
    near(found, scipy.linalg.block_diag(a(np.float32, 2, 3), a(np.complex128, 4, 2)))
    found = lo.todense(3 * lo.Identity(), S((2,), np.int32))
    assert found.dtype == np.int32
    np.testing.assert_array_equal(found, 3 * np.eye(2))


def test_todense_of_real_arrays_with_complex_results():
    spec = S((8,), np.float64)
    near(lo.todense(lo.FFT(), spec), np.fft.fft(np.eye(8), norm="ortho"))
    m = np.fft.fft(np.eye(8), norm="ortho")
    near(lo.todense(lo.FFT(), spec, real=True), np.stack([m.real, m.imag], 1).reshape(16, 8))


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_real_matrices(dtype):
    m, n = a(dtype, 3, 3), a(dtype, 3, 3, seed=1)
    near(lo.todense(Antilinear(m, n), S((3,), dtype), real=True), pairs(m, n))
    near(lo.todense(Dense(m), S((3,), dtype), real=True), pairs(m))
    near(lo.tosparse(Antilinear(m, n), S((3,), dtype), real=True).toarray(), pairs(m, n))
    assert lo.todense(Dense(m), S((3,), dtype), real=True).dtype == np.finfo(dtype).dtype


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0)])
def test_zero_sizes(shape):
    op, spec = lo.Matrix(np.zeros(shape)), S(shape[1:], np.float64)
    assert lo.todense(op, spec).shape == lo.tosparse(op, spec).shape == shape
    assert lo.norm(op, spec) == 0
    assert lo.todense(lo.Identity(), {}).shape == (0, 0)
    assert lo.diagonal(lo.Matrix(np.zeros((0, 0))), S((0,), np.float64)).shape == (0,)
    assert lo.trace(lo.Matrix(np.zeros((0, 0))), S((0,), np.float64)) == 0


@names
@two_dtypes
def test_tosparse(name, dtype):
    op, spec, matrix = CASES[name](dtype)
    found = lo.tosparse(op, spec, format="coo")
    assert (found.format, found.dtype, found.nnz) == ("coo", dtype, np.count_nonzero(matrix))
    near(found.toarray(), matrix)


def test_formats_of_tosparse():
    assert lo.tosparse(lo.Identity(), S((4,), np.float32)).format == "csr"
    with pytest.raises(ValueError, match="unknown"):
        lo.tosparse(lo.Identity(), S((4,), np.float32), format="unknown")


def test_batches(monkeypatch):
    """A matrix that does not divide into batches, all of whose batches differ."""
    monkeypatch.setattr(_dense, "_BATCH_BYTES", 16 * (7 + 11) * 3)
    m = a(np.float64, 7, 11)
    assert _dense._batch(_dense.MatrixForm(lo.Matrix(m).with_domain(S((11,), np.float64)))) == 3
    near(lo.todense(lo.Matrix(m), S((11,), np.float64)), m)
    near(lo.tosparse(lo.Matrix(m), S((11,), np.float64)).toarray(), m)
    n = a(np.float64, 10, 10)
    near(lo.diagonal(lo.Matrix(n), S((10,), np.float64)), np.diag(n))


@square
@dtypes
def test_diagonal_and_trace(name, dtype):
    op, spec, matrix = SQUARE[name](dtype)
    found = lo.diagonal(op, spec)
    domain = op.domain if spec is None else spec
    assert jax.tree.map(lambda leaf: (leaf.shape, leaf.dtype), found) == jax.tree.map(
        lambda leaf: (leaf.shape, np.dtype(dtype)), domain
    )
    near(np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(found)]), np.diag(matrix))
    near(lo.trace(op, spec), np.trace(matrix))
    value, error = lo.trace(op, spec, return_error=True)
    near(value, np.trace(matrix))
    assert error == 0


def test_the_diagonal_of_a_diagonal_operator_is_one_product():
    calls = []

    class Counted(lo.LinearOperator, diagonal=True, symmetric=True):
        def apply(self, x):
            calls.append(1)
            return 2 * x

        def adjoint(self, y):
            return 2 * y

        def infer_shape(self, x):
            return x

    near(lo.diagonal(Counted(), S((50,), np.float64)), np.full(50, 2.0))
    assert len(calls) == 1


def test_transformations_of_measures():
    spec, ms = S((4,), np.float64), a(np.float64, 3, 4, 4)
    measures = jax.jit(lambda op: (lo.todense(op, spec), lo.diagonal(op, spec), lo.trace(op, spec), lo.norm(op, spec)))
    for found, expected in zip(
        measures(Dense(ms[0])), (ms[0], np.diag(ms[0]), np.trace(ms[0]), np.linalg.norm(ms[0], 2)), strict=True
    ):
        near(found, expected)
    near(jax.vmap(lambda m: lo.todense(lo.Matrix(m), spec))(ms), ms)
    near(jax.vmap(lambda m: lo.diagonal(lo.Matrix(m), spec))(ms), np.einsum("kii->ki", ms))
    near(jax.vmap(lambda m: lo.norm(lo.Matrix(m), spec))(ms), np.linalg.norm(ms, 2, axis=(1, 2)))
    near(jax.grad(lambda m: lo.trace(lo.Matrix(m), spec))(ms[0]), np.eye(4))
    near(jax.grad(lambda m: jnp.sum(lo.todense(lo.Matrix(m), spec) ** 2))(ms[0]), 2 * ms[0])


# ---- estimated traces -----------------------------------------------------------------------------------------------


@two_dtypes
def test_estimated_trace(dtype):
    b = a(dtype, 200, 200).astype(np.complex128 if np.iscomplexobj(dtype(0)) else np.float64)
    matrix = (b @ b.conj().T / 200).astype(dtype)
    op, spec = lo.Matrix(matrix), S((200,), dtype)
    value, error = lo.trace(op, spec, samples=30, return_error=True)
    assert (value.shape, value.dtype, error.shape, error.dtype) == ((), dtype, (), np.finfo(dtype).dtype)
    assert 0 < error < 0.05 * np.trace(matrix).real
    assert abs(value - np.trace(matrix)) < 5 * error
    assert lo.trace(op, spec, samples=30) == value
    assert lo.trace(op, spec, samples=30, seed=jax.random.key(0)) == value
    assert lo.trace(op, spec, samples=30, seed=1) != value


def test_estimated_traces_that_are_exact():
    low = a(np.complex128, 200, 4)
    found = lo.trace(lo.Matrix(low @ low.conj().T), S((200,), complex), samples=30)
    near(found, np.sum(np.abs(low) ** 2) + 0j)
    spec, low = S((60,), np.float64), a(np.float64, 60, 4)
    m = a(np.float64, 60, 60)
    near(lo.trace(lo.FFT(), spec, samples=30), np.trace(np.fft.fft(np.eye(60), norm="ortho")), 10)
    tree = lo.block_diag([lo.Matrix(m), lo.Diagonal(low)])
    near(lo.trace(tree, [spec, S((60, 4), np.float64)], samples=150), np.trace(m) + low.sum())


def test_without_matfree(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matfree", None)
    with pytest.raises(ImportError, match=r'matfree, which is not installed: pip install "linops-jax\[interop\]"'):
        lo.trace(lo.Matrix(np.eye(7)), S((7,), np.float64), samples=2)


# ---- norms ----------------------------------------------------------------------------------------------------------


@names
@dtypes
def test_norm_of_small_operators(name, dtype):
    op, spec, matrix = CASES[name](dtype)
    found = lo.norm(op, spec)
    assert (found.shape, found.dtype) == ((), np.finfo(dtype).dtype)
    near(found, np.linalg.norm(matrix, 2))


@pytest.fixture
def iterate(monkeypatch):
    """Small matrices go the way of large ones."""
    monkeypatch.setattr(_norm, "_DENSE", 0)
    monkeypatch.setattr(_spectrum, "_DENSE_CONDITION", 0)


@two_dtypes
def test_norm_of_a_nonnormal_operator(dtype, iterate):
    """Its spectral radius is 0: power iteration on it would find nothing."""
    matrix = np.triu(a(dtype, 20, 20), 1)
    assert np.max(np.abs(np.linalg.eigvals(matrix))) < 1e-3
    found = lo.norm(lo.Matrix(matrix), S((20,), dtype))
    assert (found.shape, found.dtype) == ((), np.finfo(dtype).dtype)
    np.testing.assert_allclose(found, np.linalg.norm(matrix, 2), rtol=5e-5)


@pytest.mark.parametrize(
    "matrix",
    [
        np.eye(20),
        np.zeros((20, 20)),
        1e-36 * np.eye(20),
        1e36 * np.eye(20),
        np.diag(np.repeat([1, 2], 10)),
        np.outer(np.arange(20), np.ones(20)),
        np.eye(20)[:, ::-1] * (np.arange(20) == 3),
    ],
    ids=["identity", "zero", "tiny", "huge", "twofold", "rank one", "one entry"],
)
def test_norm_where_krylov_spaces_are_small(matrix, iterate):
    """Invariant subspaces from the first step on, and squares beyond the range of single precision."""
    found = lo.norm(lo.Matrix(matrix.astype(np.float32)), S((20,), np.float32))
    np.testing.assert_allclose(found, np.linalg.norm(matrix, 2), rtol=1e-5)


def test_norm_over_the_reals(iterate):
    """Of real inputs only the real ones count; linear over the reals only, the matrix between pairs does."""
    m, n = a(np.complex128, 12, 12), a(np.complex128, 12, 12, seed=1)
    rtol = 5e-5
    np.testing.assert_allclose(lo.norm(Antilinear(m, n), S((12,), complex)), np.linalg.norm(pairs(m, n), 2), rtol=rtol)
    stacked = np.concatenate([m.real, m.imag])
    np.testing.assert_allclose(lo.norm(lo.Matrix(m), S((12,), float)), np.linalg.norm(stacked, 2), rtol=rtol)
    assert lo.norm(lo.Matrix(np.array([[1, 1j]])), S((2,), float)) == pytest.approx(1)
    assert lo.norm(lo.Matrix(np.array([[1, 1j]])), S((2,), complex)) == pytest.approx(np.sqrt(2))


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16])
def test_norm_in_half_precision(dtype, iterate):
    m = jnp.asarray(a(np.float32, 12, 9), dtype)
    found = lo.norm(lo.Matrix(m), S((9,), dtype))
    np.testing.assert_allclose(
        found, np.linalg.norm(np.asarray(m, np.float64), 2), rtol=4 * float(jnp.finfo(dtype).eps)
    )


def test_derivative_of_the_norm(iterate):
    m, spec = a(np.complex128, 9, 8), S((8,), complex)
    u, s, vh = np.linalg.svd(m)
    value, slope = jax.jit(jax.value_and_grad(lambda m: lo.norm(lo.Matrix(m), spec, rtol=1e-10)))(m)
    near(value, s[0])
    near(slope, np.outer(u[:, 0], vh[0]).conj(), 1e5)


def test_a_norm_that_did_not_converge(iterate):
    m = np.diag(np.linspace(0.99, 1, 20).astype(np.float32))
    with pytest.warns(
        RuntimeWarning, match=r"lo\.norm: 2 iterations did not reach rtol=1\.2e-05 for Matrix.*at least 0\.99"
    ):
        lo.norm(lo.Matrix(m), S((20,), np.float32), rtol=1e-10, maxiter=2)


# ---- spectra --------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["dense", "ARPACK"])
def both(request):
    if request.param == "ARPACK":
        request.getfixturevalue("iterate")


@names
@two_dtypes
def test_condition_number(name, dtype):
    op, spec, matrix = CASES[name](dtype)
    near(lo.condition_number(op, spec), np.linalg.cond(matrix), 10)


def test_condition_number_of_large_operators(iterate):
    dtype, matrix = np.complex128, a(np.complex128, 20, 20)
    found = lo.condition_number(lo.Matrix(matrix), S((20,), dtype))
    assert (found.shape, found.dtype) == ((), np.finfo(dtype).dtype)
    np.testing.assert_allclose(found, np.linalg.cond(matrix), rtol=1e-4)


def test_known_condition_numbers():
    assert lo.condition_number(lo.FFT(), S((1 << 20,), np.complex64)) == 1
    assert lo.condition_number(lo.Diagonal(np.array([1.0, 0.0])), S((2,), float)) == np.inf


def check_svd(op, found, matrix, dtype):
    s = np.linalg.svd(matrix, compute_uv=False)
    assert found.s.dtype == np.finfo(dtype).dtype
    near(found.s, s[: len(found.s)], 10)
    product, adjoint = jax.vmap(op)(found.v), jax.vmap(op.H)(found.u)
    scaled = lambda tree: jax.tree.map(lambda leaf: leaf * jnp.expand_dims(found.s, range(1, leaf.ndim)), tree)  # noqa: E731
    for one, other in ((product, scaled(found.u)), (adjoint, scaled(found.v))):
        jax.tree.map(lambda p, q: near(p, q, 100 * len(s)), one, other)
    for side, spec in ((found.u, op.codomain), (found.v, op.domain)):
        shapes = jax.tree.map(lambda leaf: S((len(found.s), *leaf.shape), leaf.dtype), spec)
        assert jax.tree.map(lambda leaf: S(leaf.shape, leaf.dtype), side) == shapes


@pytest.mark.parametrize("name", ["two axes", "pytrees", "adjoint"])
@two_dtypes
def test_svds(name, dtype, both):
    op, spec, matrix = CASES[name](dtype)
    op = op if spec is None else op.with_domain(spec)
    check_svd(op, lo.svds(op, 2), matrix, dtype)


def test_svds_over_the_reals(both):
    m, n = a(np.complex128, 4, 4), a(np.complex128, 4, 4, seed=1)
    op = Antilinear(m, n).with_domain(S((4,), complex))
    check_svd(op, lo.svds(op, 3), pairs(m, n), complex)
    op = lo.Matrix(m).with_domain(S((4,), float))
    check_svd(op, lo.svds(op, 3), np.concatenate([m.real, m.imag]), float)


def test_other_singular_values(both):
    m = a(np.float64, 9, 6)
    s = np.linalg.svd(m, compute_uv=False)
    near(lo.svds(lo.Matrix(m), 2, S((6,), float), which="SM").s, s[-2:], 1e4)
    near(lo.svds(lo.Matrix(m), 6, S((6,), float)).s, s)


@pytest.mark.parametrize("which", ["LM", "SM", "LA", "SA"])
@two_dtypes
def test_eigsh(which, dtype, both):
    b = a(dtype, 8, 8)
    matrix = b + b.conj().T
    w = np.linalg.eigvalsh(matrix)
    expected = {
        "LM": np.sort(w[np.argsort(-abs(w))[:3]]),
        "SM": np.sort(w[np.argsort(abs(w))[:3]]),
        "LA": w[-3:],
        "SA": w[:3],
    }
    op = lo.declare(lo.Matrix(matrix), symmetric=True).with_domain(S((8,), dtype))
    found = lo.eigsh(op, 3, which=which)
    near(found.w, expected[which], 100)
    assert (found.v.shape, found.v.dtype, found.w.dtype) == ((3, 8), dtype, np.finfo(dtype).dtype)
    near(jax.vmap(op)(found.v), found.w[:, None] * found.v, 1e3)
    near(found.v.conj() @ found.v.T, np.eye(3), 10)


def test_eigsh_of_pytrees(both):
    op, spec, matrix = pytree(np.complex64)
    found = lo.eigsh((op.H @ op).with_domain(spec), 2)
    near(found.w, np.linalg.svd(matrix, compute_uv=False)[1::-1] ** 2, 10)
    assert jax.tree.map(lambda leaf: leaf.shape, found.v) == {"p": (2, 3), "q": (2, 5)}


def test_real_numbers_between_complex_ones(both):
    """M Re(M^H x) + 3 x: no part declares it, and it is linear over the reals only."""
    m = a(complex, 3, 3)
    M = lo.Matrix(m).with_domain(S((3,), float))
    op = M @ M.H + 3 * lo.Identity()
    matrix = pairs(m @ m.conj().T / 2 + 3 * np.eye(3), m @ m.T / 2)
    near(lo.todense(op, real=True), matrix, 10)
    near(lo.norm(op), np.linalg.norm(matrix, 2), 1e10)
    near(lo.eigsh(op, 2).w, np.linalg.eigvalsh(matrix)[-2:], 100)
    near(lo.svds(op, 2).s, np.linalg.eigvalsh(matrix)[:-3:-1], 100)
    with pytest.raises(ValueError, match=r"lo\.trace: .*c128\[3\] to c128\[3\] and is linear over the reals only"):
        lo.trace(op)


# ---- bad input ------------------------------------------------------------------------------------------------------

FUNCTIONS = {
    **{name: getattr(lo, name) for name in ("todense", "tosparse", "diagonal", "trace", "norm", "condition_number")},
    "svds": lambda A, spec=None: lo.svds(A, 1, spec),
    "eigsh": lambda A, spec=None: lo.eigsh(A, 1, spec),
}
SPECTRAL = ("norm", "condition_number", "svds", "eigsh")
functions = pytest.mark.parametrize("name", FUNCTIONS)


@functions
def test_what_no_function_takes(name):
    measure = FUNCTIONS[name]
    with pytest.raises(TypeError, match=rf"lo\.{name} needs a linear operator, found ndarray\. lo\.Matrix\(a\)"):
        measure(np.eye(3))
    with pytest.raises(
        TypeError, match=rf"lo\.{name} needs a linear operator, and Sine.* is nonlinear.*F\.jacobian\(x\)"
    ):
        measure(Sine(np.ones(3), np.asarray(1.0)))
    with pytest.raises(
        TypeError, match=rf"lo\.{name}: Identity\(\) does not know its domain.*second argument.*with_domain"
    ):
        measure(lo.Identity())
    with pytest.raises(ValueError, match=r"another domain already"):
        measure(lo.Identity().with_domain(S((3,), float)), S((4,), float))


@pytest.mark.parametrize("name", SPECTRAL)
def test_integers_have_no_norm(name):
    with pytest.raises(TypeError, match=rf"lo\.{name}: the domain of Identity\(\) has integers, i32\[3\]"):
        FUNCTIONS[name](lo.Identity(), S((3,), np.int32))


def test_a_sparse_matrix_needs_numbers():
    with pytest.raises(TypeError, match=r"lo\.tosparse of Diagonal.* on numbers.*lo\.todense\(A\) works under all"):
        jax.jit(lambda d: lo.tosparse(lo.Diagonal(d), d).nnz)(jnp.ones(3))


@pytest.mark.parametrize(
    ("name", "instead"),
    [("svds", r"svd\(lo\.todense\(A\)\)"), ("eigsh", r"eigh\(lo\.todense\(A\)\)"), ("condition_number", r"2\^20")],
)
def test_what_needs_numbers_says_so_where_there_are_none(name, instead, iterate):
    def measure(m):
        A = lo.declare(lo.Matrix(m), symmetric=True).with_domain(S((9,), float))
        return jax.tree.leaves(FUNCTIONS[name](A))[0].sum()

    m = jnp.diag(jnp.arange(1.0, 10.0))
    measure(m)
    message = (
        rf"lo\.{name} of Matrix.* on numbers: it does not work under jit.*pass what it returns as an arg.*{instead}"
    )
    for transformed in (jax.jit(measure), jax.grad(measure), jax.jit(lambda _: measure(m))):
        with pytest.raises(TypeError, match=message):
            transformed(m)
    with pytest.raises(TypeError, match=message):
        jax.vmap(measure)(m[None])


@pytest.mark.parametrize("name", ["todense", "tosparse", "diagonal", "trace"])
def test_real_linear_operators_have_no_complex_matrix(name):
    op, spec = Antilinear(np.eye(3), np.eye(3)), S((3,), complex)
    with pytest.raises(
        ValueError, match=rf"lo\.{name}: Antilinear.* maps c128\[3\] to c128\[3\] .*reals only.*real=True"
    ):
        FUNCTIONS[name](op, spec)
    with pytest.raises(
        ValueError, match=r"lo\.todense: Function\(real\) maps c128\[3\] to f64\[3\] .*reals only.*real=True"
    ):
        lo.todense(lo.Function(jnp.real, spec))


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (
            lambda: lo.diagonal(lo.Matrix(np.ones((4, 3))), S((3,), float)),
            r"no diagonal.*found f64\[4\], expected f64\[3\]",
        ),
        (
            lambda: lo.trace(lo.vstack([lo.Identity()]), S((3,), float)),
            r"lo\.trace: .* has no diagonal.*found \[f64\[3\]\]",
        ),
        (
            lambda: lo.trace(lo.Identity(), S((3,), float), samples=0),
            r"samples=0 is not possible .* 3 entries; expected 1 to 3",
        ),
        (lambda: lo.trace(lo.Identity(), S((3,), float), samples=4), r"samples=4 is not possible"),
        (
            lambda: lo.trace(lo.Identity(), (S((3,), float), S((3,), complex)), samples=2),
            r"samples=2 needs a domain that is all real or all complex, found \(f64\[3\], c128\[3\]\)",
        ),
        (
            lambda: lo.condition_number(lo.Identity(), S((0,), float)),
            r"a matrix of shape \(0, 0\), without singular values",
        ),
        (
            lambda: lo.svds(lo.Identity(), 0, S((3,), float)),
            r"lo\.svds: k=0 is not possible; expected an integer from 1 to 3",
        ),
        (lambda: lo.svds(lo.Identity(), 4, S((3,), float)), r"lo\.svds: k=4 is not possible"),
        (lambda: lo.svds(lo.Identity(), 1.5, S((3,), float)), r"lo\.svds: k=1\.5 is not possible"),
        (
            lambda: lo.svds(lo.Identity(), 1, S((3,), float), which="LA"),
            r"which='LA' is not known; expected one of 'LM', 'SM'",
        ),
        (lambda: lo.eigsh(lo.Identity(), 4, S((3,), float)), r"lo\.eigsh: k=4 is not possible"),
        (lambda: lo.eigsh(lo.Identity(), 1, S((3,), float), which="XX"), r"lo\.eigsh: which='XX' is not known"),
        (
            lambda: lo.eigsh(lo.Matrix(np.eye(3)), 1, S((3,), float)),
            r"needs a symmetric operator.*class Matrix\(lo\.LinearOperator, symmetric=True\) or lo\.declare\(A, symmetric=True\)",
        ),
    ],
)
def test_errors(act, message):
    with pytest.raises(ValueError, match=message):
        act()
