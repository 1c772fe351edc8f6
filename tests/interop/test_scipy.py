"""Our operators in SciPy's solvers, and SciPy's operators and sparse matrices as ours, against dense matrices."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.sparse as sparse
import scipy.sparse.linalg as sla
from helpers import S, close, energy, like, normal
from operators import CASES

import linops_jax as lo
from linops_jax import interop

from_scipy, to_scipy = interop.from_scipy, interop.to_scipy

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
LINEAR = [name for name, case in CASES.items() if case.linear and case.reverse]
PAIRS = {"conjugates", "real part"}
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731


# ---- to_scipy: the matrix -------------------------------------------------------------------------------------------


def columns(L, function):
    """The matrix of a function between pytrees, column by column."""
    unit = np.eye(L.shape[1], dtype=L.call.form.domain.dtype)
    return np.stack([L.to_data(function(L.from_vector(e))) for e in unit], 1)


@pytest.mark.parametrize("name", LINEAR)
def test_matrix(name, x64):
    case = CASES[name]
    L = to_scipy(case.op, case.x)
    expected = columns(L, case.reference)
    assert (L.shape, L.pairs) == (expected.shape, name in PAIRS)
    assert L.dtype == expected.dtype
    complex_result = np.iscomplexobj(expected)
    x, y = normal(L.shape[1:], np.float64, 1), normal(L.shape[:1], np.float64, 2)
    X, Y = normal((L.shape[1], 3), np.complex128, 3), normal((L.shape[0], 2), np.complex128, 4)
    close(L @ x, expected @ x)
    close(L.H @ y, expected.conj().T @ y)
    close(L @ X, expected @ X)
    close(L.H @ Y, expected.conj().T @ Y)
    close(L.T @ Y, expected.T @ Y)
    close(L @ X[:, :1], expected @ X[:, :1])
    assert np.iscomplexobj(L @ x) == complex_result


@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
def test_dtypes(dtype, x64):
    a = normal((4, 3), dtype)
    L = to_scipy(lo.Matrix(a), S((3,), dtype))
    assert L.dtype == dtype
    x = np.arange(3)
    close(L @ x, (a @ x).astype(dtype))
    close(L @ np.eye(3, dtype=np.int8), a)


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
def test_half_precision_comes_out_in_single(dtype):
    L = to_scipy(lo.Identity(), S((3,), dtype))
    assert L.dtype == np.float32
    close(L @ np.arange(3.0), np.arange(3, dtype=np.float32))


def test_vectors_of_pytrees(x64):
    x = {"b": normal((2, 3), np.float64, 1), "a": normal((2,), np.float32, 2)}
    L = to_scipy(lo.Identity(), x)
    v = np.concatenate([x["a"], x["b"].ravel()])
    close(L.to_vector(x), v)
    close(L.to_data(x), v)
    close(L @ v, v)
    for tree in (L.from_vector(v), L.from_data(v)):
        close(tree, jax.tree.map(jnp.asarray, x))


def test_pairs_are_what_view_gives(x64):
    x = normal((2, 3), np.complex128)
    L = to_scipy(CASES["real part"].op, x)
    close(L.to_vector(x), x.ravel().view(np.float64))
    close(L @ L.to_vector(x), x.real.ravel())
    close(L.from_vector(L.to_vector(x)), jnp.asarray(x))


def test_real_parts_inside_make_pairs():
    """Between complex spaces, by way of the adjoint to a real one."""
    m, n = normal((3, 3), np.complex64, 1), normal((3, 3), np.complex64, 2)
    L = to_scipy(lo.Matrix(m) @ lo.Matrix(n).with_domain(S((3,), np.float32)).H)
    y = normal((3,), np.complex64, 3)
    expected = (m @ (n.conj().T @ y).real).astype(np.complex64)
    assert L.pairs
    close(L @ y.view(np.float32), expected.view(np.float32), scale=10)


def test_nothing_is_compiled_twice():
    class Counted(lo.LinearOperator):
        a: jax.Array

        @lo.traced
        def apply(self, x):
            traces.append(x)
            return self.a * x

    traces = []
    for a in (1.0, 2.0):
        L = to_scipy(Counted(jnp.asarray(a)), S((3,), jnp.float32))
        before = len(traces)
        for _ in range(3):
            close(L @ np.ones(3), np.full(3, a, np.float32))
            close(L.H @ np.ones(3), np.full(3, a, np.float32))
        assert a == 1.0 or len(traces) == before


def test_results_may_be_written_to_and_inputs_need_not():
    x = np.ones(3, np.float32)
    x.flags.writeable = False
    L = to_scipy(lo.Identity(), x)
    y = L @ x
    y += 1
    close(L.H @ x, np.ones(3, np.float32))


def test_precision_is_remembered():
    with jax.enable_x64(True):
        L = to_scipy(lo.Matrix(jnp.eye(2) / 3), S((2,), np.float64))
    close(L @ np.ones(2), np.full(2, 1 / 3))


def test_operators_with_a_domain_need_no_spec():
    L = to_scipy(lo.FFT().with_domain(S((2, 3), np.complex64)))
    close(L @ np.arange(6.0), np.fft.fft2(np.arange(6).reshape(2, 3), norm="ortho").ravel().astype(np.complex64))


# ---- to_scipy: SciPy's solvers --------------------------------------------------------------------------------------

LEAST_SQUARES = {
    "lsqr": lambda L, b: sla.lsqr(L, b, atol=1e-12, btol=1e-12)[0],
    "lsmr": lambda L, b: sla.lsmr(L, b.astype(np.result_type(b, float)), atol=1e-12, btol=1e-12)[
        0
    ],  # overflows in single
    "cg": lambda L, b: sla.cg(L.H @ L, L.H @ b, rtol=1e-12)[0],
    "gmres": lambda L, b: sla.gmres(L.H @ L, L.H @ b, rtol=1e-12)[0],
    "bicgstab": lambda L, b: sla.bicgstab(L.H @ L, L.H @ b, rtol=1e-12)[0],
}


@pytest.mark.parametrize("solver", LEAST_SQUARES)
@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
def test_solvers(solver, dtype, x64):
    a, b = normal((6, 3), dtype, 1), normal((6,), dtype, 2)
    L = to_scipy(lo.Matrix(a), S((3,), dtype))
    tolerance = 1e-4 if np.finfo(dtype).eps > 1e-10 else 1e-9
    np.testing.assert_allclose(LEAST_SQUARES[solver](L, b), np.linalg.lstsq(a, b)[0], rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=by_name)
def test_spectra(dtype, x64):
    a = normal((9, 6), dtype)
    L = to_scipy(lo.Matrix(a), S((6,), dtype))
    gram = to_scipy(lo.Matrix(a).H @ lo.Matrix(a), S((6,), dtype))
    singular = np.linalg.svd(a)[1]
    close(np.sort(sla.svds(L, 2, random_state=0)[1]), np.sort(singular[:2]), 1e3)
    close(np.sort(sla.eigsh(gram, 2, v0=np.ones(6))[0]), np.sort(singular[:2] ** 2), 1e3)
    start = normal((6, 1), dtype, 1)
    np.testing.assert_allclose(sla.lobpcg(gram, start, tol=1e-9, maxiter=200)[0], singular[:1] ** 2, rtol=1e-6)


def test_least_squares_over_pairs(x64):
    case = CASES["conjugates"]
    L = to_scipy(case.op, case.x)
    y = normal((4,), np.complex128, 5)
    matrix = columns(L, case.reference)
    found = sla.lsqr(L, L.to_data(y), atol=1e-14, btol=1e-14)[0]
    expected = np.linalg.lstsq(matrix, y.view(np.float64))[0]
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    close(L.from_vector(expected), jnp.asarray(expected.view(np.complex128)))


# ---- to_scipy: bad input --------------------------------------------------------------------------------------------


def test_arrays_are_not_operators():
    with pytest.raises(TypeError, match=r"to_scipy expects an operator .* array of shape \(2, 2\) .* lo\.Matrix\(a\)"):
        to_scipy(np.eye(2))
    with pytest.raises(TypeError, match=r"to_scipy expects an operator of linops_jax, found str 'A'\.$"):
        to_scipy("A")


def test_unknown_domain():
    with pytest.raises(TypeError, match=r"to_scipy: .* does not know its domain\. Pass it, to_scipy\(op, jax.Shape"):
        to_scipy(lo.FFT())


def test_shapes_are_not_specs():
    with pytest.raises(
        TypeError, match=r"FFT\.with_domain: found \(3, 4\), which is a shape\. Pass jax\.ShapeDtypeStruct"
    ):
        to_scipy(lo.FFT(), (3, 4))


def test_nonlinear_operators():
    with pytest.raises(
        TypeError, match=r"to_scipy needs a linear operator, and .*Paper.* nonlinear.*op\.jacobian\(x\)"
    ):
        to_scipy(CASES["paper"].op)


def test_without_adjoint():
    case = CASES["forward only"]
    L = to_scipy(case.op, S((3,), np.complex64))
    close(L @ np.arange(3.0), np.array([4, 0, 2], np.complex64))
    with pytest.raises(NotImplementedError, match="ForwardOnly has no adjoint"):
        L.rmatvec(np.ones(3))


def test_integers():
    with pytest.raises(TypeError, match=r"to_scipy: the domain of .* has int32 arrays of shape \(3,\); only real and"):
        to_scipy(lo.Identity(), S((3,), np.int32))


def test_64_bits_that_are_switched_off():
    spec = S((3,), np.complex128)
    with pytest.warns(UserWarning, match="to_scipy: the domain is complex128, but JAX computes in complex64") as found:
        L = to_scipy(lo.Identity(), spec)
    assert (found[0].filename, L.dtype) == (__file__, np.complex64)
    with jax.enable_x64(True):
        fixed = lo.Identity().with_domain(spec)
    with pytest.raises(ValueError, match=r"to_scipy: .* got its domain of complex128 while 64 bits were switched on"):
        to_scipy(fixed)


# ---- from_scipy: sparse matrices ------------------------------------------------------------------------------------

FORMATS = ["csr", "csc", "coo", "bsr", "dia", "dok", "lil"]


def sparse_matrix(dtype=np.float64, format="csr"):
    dense = normal((5, 4), dtype, 1) * (np.arange(20).reshape(5, 4) % 3 == 0)
    return sparse.csr_array(dense).asformat(format), dense


@jax.jit
def everything(op, twin, x, y):
    """Forward, adjoint, batches, and gradients in the input and in all of the matrix."""

    def of(forward, adjoint):
        both = lambda x, y: (forward(x), adjoint(y))  # noqa: E731
        return both(x[0], y[0]), jax.vmap(both)(x, y), jax.grad(lambda x: energy(jax.vmap(forward)(x)))(x)

    return of(op, op.H), of(lambda x: twin @ x, lambda y: twin.conj().T @ y)


@pytest.mark.parametrize("matrix_type", [sparse.csr_array, sparse.csr_matrix], ids=by_name)
@pytest.mark.parametrize("format", FORMATS)
def test_formats(format, matrix_type, x64):
    _, dense = sparse_matrix()
    op = from_scipy(matrix_type(dense).asformat(format))
    assert (op.domain, op.codomain) == (S((4,), np.float64), S((5,), np.float64))
    close(*everything(op, dense, like(op.domain, 1, (3,)), like(op.codomain, 2, (3,))))


@pytest.mark.parametrize("of_x", DTYPES, ids=by_name)
@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.float32, np.complex128], ids=by_name)
def test_sparse_dtypes(dtype, of_x, x64):
    matrix, dense = sparse_matrix(dtype)
    op = from_scipy(matrix, dtype=of_x)
    wanted = jnp.result_type(dtype, of_x)
    x, y = like(S((3, 4), of_x), 1), like(S((3, 5), wanted), 2)
    close(jax.vmap(op)(x), (x @ dense.T).astype(wanted))
    adjoint = y @ dense.conj()
    close(jax.vmap(op.H)(y), (adjoint if jnp.iscomplexobj(x) else adjoint.real).astype(of_x))


def test_the_domain_takes_the_dtype_of_the_matrix():
    assert from_scipy(sparse_matrix(np.float32)[0]).domain == S((4,), np.float32)
    assert from_scipy(sparse_matrix(np.float64)[0]).domain == S((4,), np.float32)  # without 64 bits
    assert from_scipy(sparse_matrix(np.complex64)[0]).domain == S((4,), np.complex64)
    assert from_scipy(sparse_matrix(np.int32)[0]).domain == S((4,), np.float32)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128], ids=by_name)
def test_gradients_in_the_entries(dtype, x64):
    matrix, dense = sparse_matrix(dtype)
    rows, columns = dense.nonzero()
    x, y, t = like(S((4,), dtype), 1), like(S((5,), dtype), 2), like(S(matrix.data.shape, dtype), 3)
    leaves, tree = jax.tree.flatten(from_scipy(matrix))

    def found(data, x, y):
        op = jax.tree.unflatten(tree, [data, *leaves[1:]])
        return op(x), op.H(y)

    def twin(data, x, y):
        a = jnp.zeros((5, 4), dtype).at[rows, columns].set(data)
        return a @ x, a.conj().T @ y

    data = leaves[0]
    gradients = lambda f: jax.grad(lambda *z: energy(f(*z)), (0, 1, 2))(data, x, y)  # noqa: E731
    pushed = lambda f: jax.jvp(lambda data: f(data, x, y)[0], (data,), (t,))  # noqa: E731
    mapped = lambda f: jax.vmap(f, (0, None, None))(jnp.stack([data, t]), x, y)  # noqa: E731
    close(*jax.jit(lambda: [(gradients(f), pushed(f), mapped(f)) for f in (found, twin)])())


def test_a_batch_is_one_product(x64):
    class Counted(sla.LinearOperator):
        def _matmat(self, X):
            calls.append(X.shape)
            return 2 * X

        _rmatmat = _matmat

    calls = []
    op = from_scipy(Counted(np.float64, (3, 3)))
    calls.clear()
    x = normal((4, 5, 3))
    close(jax.vmap(jax.vmap(op))(x), jnp.asarray(2 * x))
    close(jax.vmap(jax.vmap(op.H))(x), jnp.asarray(2 * x))
    assert calls == [(3, 20)] * 2


def test_repeated_entries_are_summed(x64):
    coo = sparse.coo_array(([1.0, 2.0, 5.0], ([0, 0, 1], [1, 1, 0])), (2, 3))
    op = from_scipy(coo)
    close(op(np.arange(1.0, 4.0)), jnp.array([6.0, 5.0]))
    unsorted = sparse.csr_array(([1.0, 2.0, 4.0], [2, 0, 0], [0, 3, 3]), (2, 3))
    close(from_scipy(unsorted)(np.arange(1.0, 4.0)), jnp.array([9.0, 0.0]))
    assert unsorted.nnz == 3  # the user's matrix is as it was


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (2, 3)])
def test_empty_matrices(shape):
    op = from_scipy(sparse.csr_array(shape, dtype=np.float32))
    close(jax.vmap(op)(jnp.ones((2, shape[1]))), jnp.zeros((2, shape[0])))
    close(op.H(jnp.ones(shape[0])), jnp.zeros(shape[1]))


# ---- from_scipy: LinearOperators ------------------------------------------------------------------------------------


class OnlyMatvec(sla.LinearOperator):
    def _matvec(self, x):
        return np.cumsum(x)


@pytest.mark.parametrize("dtype", DTYPES, ids=by_name)
@pytest.mark.parametrize("kind", ["aslinearoperator", "functions", "composed"])
def test_linear_operators(kind, dtype, x64):
    a = normal((5, 4), dtype, 1)
    L = {
        "aslinearoperator": lambda: sla.aslinearoperator(a),
        "functions": lambda: sla.LinearOperator(a.shape, lambda x: a @ x, lambda y: a.conj().T @ y, dtype=dtype),
        "composed": lambda: sla.aslinearoperator(a / 2) + sla.aslinearoperator(a / 2),
    }[kind]()
    op = from_scipy(L)
    assert (op.domain, op.codomain) == (S((4,), dtype), S((5,), dtype))
    close(*everything(op, a, like(op.domain, 1, (3,)), like(op.codomain, 2, (3,))))


@pytest.mark.parametrize("of_x", DTYPES, ids=by_name)
def test_result_type(of_x, x64):
    op = from_scipy(sla.aslinearoperator(np.eye(2, dtype=np.float32)), dtype=of_x)
    assert op(jnp.ones(2, of_x)).dtype == jnp.result_type(np.float32, of_x)


@pytest.mark.parametrize("case", ["class", "function", "no dtype"])
def test_without_rmatvec(case):
    L = {
        "class": lambda: OnlyMatvec(np.float32, (3, 3)),
        "function": lambda: sla.LinearOperator((3, 3), np.cumsum, dtype=np.float32),
        "no dtype": lambda: OnlyMatvec(None, (3, 3)),
    }[case]()
    op = from_scipy(L)
    assert op.domain == S((3,), np.float32)
    close(jax.jit(jax.vmap(op))(jnp.ones((2, 3))), jnp.array([[1.0, 2.0, 3.0]] * 2))
    with pytest.raises(NotImplementedError, match=r"ForwardScipyOperator has no adjoint"):
        op.H(jnp.ones(3))
    with pytest.raises(NotImplementedError, match=r"ForwardScipyOperator has no adjoint"):
        jax.grad(lambda x: jnp.sum(op(x)))(jnp.ones(3))


def test_an_adjoint_that_fails_is_seen_where_it_is_used():
    def failing(y):
        message = "of the user"
        raise ZeroDivisionError(message)

    op = from_scipy(sla.LinearOperator((2, 2), lambda x: x, failing, dtype=np.float32))
    with pytest.raises(ZeroDivisionError, match="of the user"):
        op.H(jnp.ones(2))


def test_there_and_back(x64):
    matrix, dense = sparse_matrix(np.complex128)
    L = to_scipy(from_scipy(matrix))
    close(L @ np.eye(4), dense)
    op = from_scipy(to_scipy(lo.Matrix(dense), S((4,), np.complex128)))
    close(*everything(op, dense, like(op.domain, 1, (3,)), like(op.codomain, 2, (3,))))
    x = CASES["pytrees"].x
    L = to_scipy(CASES["pytrees"].op, x)
    op = from_scipy(L)
    close(*everything(op, columns(L, CASES["pytrees"].reference), like(op.domain, 1, (3,)), like(op.codomain, 2, (3,))))


def test_what_scipy_made_of_our_operators_cannot_come_back():
    L = to_scipy(lo.Identity(), S((3,), np.float32))
    op = from_scipy(L + L)
    with pytest.raises(RuntimeError, match="no_execution"):
        op(jnp.ones(3))


# ---- from_scipy: bad input ------------------------------------------------------------------------------------------


def test_what_from_scipy_does_not_take():
    with pytest.raises(
        TypeError, match=r"from_scipy expects .* found an array of shape \(2, 2\).* lo\.Matrix\(a\) makes"
    ):
        from_scipy(np.eye(2))
    with pytest.raises(TypeError, match=r"from_scipy expects .* It is an operator of linops_jax already\."):
        from_scipy(lo.FFT())
    with pytest.raises(TypeError, match=r"from_scipy expects .*, found int 3\.$"):
        from_scipy(3)
    with pytest.raises(ValueError, match=r"SparseMatrix expects a two-dimensional sparse matrix .* found shape \(3,\)"):
        from_scipy(sparse.coo_array(np.ones(3)))


def test_wrong_shape():
    op = from_scipy(sparse_matrix(np.float32)[0])
    with pytest.raises(ValueError, match=r"found f32\[3\], expected f32\[4\]"):
        op(jnp.ones(3))
    with pytest.raises(ValueError, match=r"SparseMatrix expects size 4 along axis -1, found 2 in an array of shape"):
        jax.tree.leaves(op, is_leaf=lambda op: type(op).__name__ == "SparseMatrix")[0](jnp.ones((2, 2)))


def test_matrices_beyond_32_bits():
    wide = sparse.csr_array(([1.0], ([0], [2**32])), (1, 2**32 + 1))
    with pytest.raises(ValueError, match=r"SparseMatrix of shape .* needs 64 bit indices: switch jax_enable_x64 on"):
        from_scipy(wide)


# ---- the package ----------------------------------------------------------------------------------------------------


def test_nothing_is_imported_before_it_is_asked_for(tmp_path):
    code = """
import sys, linops_jax, linops_jax.interop
assert not {"pylops", "nifty", "scipy.sparse.linalg._isolve"} & set(sys.modules), sorted(sys.modules)
assert "to_scipy" in dir(linops_jax.interop)
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)  # not from the checkout


@pytest.mark.parametrize(
    ("name", "module"),
    [("to_pylops", "pylops"), ("from_pylops", "pylops"), ("to_nifty", "nifty"), ("to_nifty_re", "nifty")],
)
def test_missing_packages_name_the_extra(name, module, monkeypatch):
    for file in ("_pylops", "_nifty", "_nifty_re"):
        monkeypatch.delitem(sys.modules, f"linops_jax.interop.{file}", raising=False)
    for loaded in [key for key in sys.modules if key.split(".")[0] == module]:
        monkeypatch.setitem(sys.modules, loaded, None)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=rf'lo\.interop\.{name} needs {module}.*pip install "linops-jax\[interop\]"'):
        getattr(interop, name)


def test_unknown_names():
    with pytest.raises(
        AttributeError, match=r"has no attribute 'to_matlab'; it has from_pylops, from_pyproximal, from_scipy"
    ):
        interop.to_matlab  # noqa: B018


def test_calls_compare_no_forms(monkeypatch):
    """JAX compares static arguments in the middle of its caches, where no Python may run: see _interned."""
    from linops_jax._vectors import MatrixForm, Packing

    a = normal((4, 3), np.float32)
    first, second = (to_scipy(lo.Matrix(a), S((3,), np.float32)) for _ in range(2))

    def refuse(*operands):
        raise AssertionError

    for kind in (MatrixForm, Packing):
        monkeypatch.setattr(kind, "__eq__", refuse)
        monkeypatch.setattr(kind, "__hash__", refuse)
    x = np.ones(3, np.float32)
    for L in (first, second, first):
        close(L @ x, a @ x)
