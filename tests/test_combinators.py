"""Combinators against what they must equal: matrices over the reals, all properties, every transformation, four dtypes."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, between_reals, close, energy, like, normal, stack
from operators import Antilinear, Dense

import linops_jax as lo

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]


def real(m):
    """A matrix over the reals; complex numbers are pairs, all real parts first."""
    return np.block([[m.real, -m.imag], [m.imag, m.real]]) if np.iscomplexobj(m) else m


class Symmetric(lo.LinearOperator, symmetric=True):
    """Without an adjoint: it follows."""

    matrix: jax.Array

    def apply(self, x):
        return self.matrix @ x

    def infer_shape(self, x):
        return x


def cases(dtype):
    """name -> operator, specs of its input, and its matrix over the reals."""
    wide = np.complex128 if np.issubdtype(dtype, np.complexfloating) else np.float64
    a, b, c, d = (normal(shape, dtype, i) for i, shape in enumerate([(4, 3), (4, 3), (2, 3), (2, 5)]))
    A, B, C, D = map(Dense, (a, b, c, d))
    a, b, c, d = (m.astype(wide) for m in (a, b, c, d))
    e = normal((3, 3), dtype, 7)
    hermitian = e + e.conj().T
    q = np.linalg.qr(e.astype(wide))[0].astype(dtype)
    r = functools.partial(np.asarray, dtype=wide)
    three, five = S((3,), dtype), S((5,), dtype)
    ra, rb, rc, rd = map(real, (a, b, c, d))
    z = np.zeros((rc.shape[0], rd.shape[1])), np.zeros((ra.shape[0], rd.shape[1]))
    fixed = C.with_domain(three)
    image = S((3, 5), dtype)
    yield "vstack", lo.vstack([A, C]), three, np.vstack([ra, rc])
    yield "vstack of a dict", lo.vstack({"p": C, "q": (A, B)}), three, np.vstack([rc, ra, rb])
    yield "hstack", lo.hstack([C, D]), [three, five], np.hstack([rc, rd])
    yield "hstack of a tuple", lo.hstack((A, 2 * B)), (three, three), np.hstack([ra, 2 * rb])
    yield (
        "block_diag",
        lo.block_diag({"u": A, "v": D}),
        {"u": three, "v": five},
        np.block([[ra, z[1]], [np.zeros((rd.shape[0], ra.shape[1])), rd]]),
    )
    yield "block", lo.block([[A, None], [C, D]]), [three, five], np.block([[ra, z[1]], [rc, rd]])
    yield (
        "block of dicts",
        lo.block({"p": {"u": C, "v": D}, "q": {"u": B, "v": None}}),
        {"u": three, "v": five},
        np.block([[rc, rd], [rb, z[1]]]),
    )
    yield (
        "stack of stacks",
        lo.vstack([A, C]) @ lo.hstack([lo.Identity(), Dense(e)]),
        [three, three],
        np.vstack([ra, rc]) @ np.hstack([np.eye(len(real(r(e)))), real(r(e))]),
    )
    yield "gram of a stack", (lambda V: V.H @ V)(lo.vstack([A, C])), three, real(a.conj().T @ a + c.conj().T @ c)
    yield "kron", lo.kron(C, D), image, real(np.kron(c, d))
    yield "kron with domains", lo.kron(fixed, D.with_domain(five)), image, real(np.kron(c, d))
    yield (
        "kron_sum",
        lo.kron_sum(Dense(e), Dense(hermitian)),
        S((3, 3), dtype),
        real(np.kron(e, np.eye(3)) + np.kron(np.eye(3), hermitian)).astype(ra.dtype),
    )
    yield "along_axis 0", lo.along_axis(C, 0), image, real(np.kron(c, np.eye(5)))
    yield "along_axis -1", lo.along_axis(D, -1), image, real(np.kron(np.eye(3), d))
    yield "along two axes", lo.along_axis(lo.kron(D, C), (2, 0)), S((3, 2, 5), dtype), real(_two_axes(c, d))
    yield "Function", lo.Function(lambda x: jnp.asarray(c, dtype) @ x, three), three, rc
    yield (
        "Function of NumPy",
        lo.Function(lambda x: c.astype(dtype) @ x, three, adjoint=lambda y: c.astype(dtype).conj().T @ y),
        three,
        rc,
    )
    yield "declared", lo.declare(Dense(q), unitary=True), three, real(r(q))
    yield "symmetric class", Symmetric(hermitian), three, real(r(hermitian))
    yield "inverse", lo.Diagonal(e[0]).inv, three, real(np.diag(1 / r(e[0])))
    yield (
        "inverse of parts",
        (lo.declare(Dense(q), unitary=True) @ (2 * lo.Diagonal(e[0]))).inv,
        three,
        real(np.diag(0.5 / r(e[0])) @ r(q).conj().T),
    )
    yield (
        "inverse of a stack",
        lo.block_diag([lo.Diagonal(e[0]), lo.Identity()]).inv,
        [three, three],
        np.block(
            [
                [real(np.diag(1 / r(e[0]))), np.zeros_like(real(r(e)))],
                [np.zeros_like(real(r(e))), np.eye(len(real(r(e))))],
            ]
        ),
    )
    yield "negative power", lo.Diagonal(e[0]) ** -2, three, real(np.diag(r(e[0]) ** -2))
    yield "frozen", lo.freeze(Bilinear(), {1: jnp.asarray(e[0])}, linear=True), three, real(np.diag(r(e[0])))
    f, g = normal((3, 3), dtype, 8), normal((3, 3), dtype, 9)
    L = Antilinear(f, g)
    if wide is np.complex128:
        f, g = r(f), r(g)
        rl = np.block([[(f + g).real, (g - f).imag], [(f + g).imag, (f - g).real]])
        yield "R-linear stack", lo.vstack([A, L]), three, np.vstack([ra, rl])
        yield "R-linear along an axis", lo.along_axis(L, -1), S((1, 3), dtype), rl


def _two_axes(c, d):
    """D on axis 2 and C on axis 0 of an array of shape (3, 2, 5): from the definition of each entry."""
    m = np.einsum("ai,bk,jl->ajbilk", c, d, np.eye(2))
    return m.reshape(2 * 2 * 2, 3 * 2 * 5)


class Bilinear(lo.NonlinearOperator):
    """x, h -> x h."""

    def apply(self, x):
        return x[0] * x[1]

    def jacobian_apply(self, x, dx):
        return x[1] * dx[0] + x[0] * dx[1]

    def jacobian_adjoint(self, x, dy):
        return np.conj(x[1]) * dy, np.conj(x[0]) * dy

    def infer_shape(self, x):
        return x[0]


with jax.enable_x64(True):
    ONCE = {np.float32: pytest.mark.slow, np.complex128: pytest.mark.slow}  # more of the same on other versions
    CASES = [
        pytest.param((dtype, name), marks=ONCE.get(dtype, ()), id=f"{dtype.__name__}-{name}")
        for dtype in DTYPES
        for name, *_ in cases(dtype)
    ]


@pytest.fixture(params=CASES)
def case(request, x64):
    dtype, wanted = request.param
    return next(rest for name, *rest in cases(dtype) if name == wanted)


def matrix_of(function, spec):
    g, v = between_reals(function, jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), spec))
    return jax.vmap(g, 0, 1)(jnp.eye(v.size, dtype=v.dtype))


def test_is_its_matrix(case):
    """Forward, adjoint, transpose, conjugate, as argument of jit, with a domain and without, by JAX and by ourselves."""
    op, spec, m = case
    assert isinstance(op, lo.LinearOperator)
    fixed = op.with_domain(spec)
    out = jax.eval_shape(op, spec)
    assert fixed.codomain == out
    assert op.domain in (None, spec)

    @jax.jit
    def matrices(op, fixed):
        transposed = jax.linear_transpose(op, spec)
        conj = functools.partial(jax.tree.map, jnp.conj)
        return (
            matrix_of(op, spec),
            matrix_of(fixed.H, out),
            matrix_of(lambda y: conj(transposed(conj(y))[0]), out),
            matrix_of(lambda y: conj(fixed.T(conj(y))), out),
            matrix_of(lambda x: conj(op.conj()(conj(x))), spec),
            matrix_of(fixed.gram, spec),
            matrix_of(lambda x: jax.jvp(op, (x,), (x,))[1], spec),
            matrix_of(lambda y: conj(jax.vjp(op, like(spec, 3))[1](conj(y))[0]), out),
        )

    m = jnp.asarray(m, matrix_of(op, spec).dtype)
    for found, expected in zip(matrices(op, fixed), [m, m.T, m.T, m.T, m, m.T @ m, m, m.T], strict=True):
        close(found, expected, scale=10)


def test_vmap_is_a_loop_and_eager_is_jitted(case):
    op, spec, _ = case
    xs = like(spec, 1, lead=(3,))
    each = [jax.tree.map(lambda leaf, i=i: leaf[i], xs) for i in range(3)]
    expected = stack([op(x) for x in each])
    close(jax.vmap(op)(xs), expected, scale=10)
    fixed, ys = op.with_domain(spec), expected
    expected = stack([fixed.H(jax.tree.map(lambda leaf, i=i: leaf[i], ys)) for i in range(3)])
    close(jax.vmap(fixed.H)(ys), expected, scale=10)


def test_properties_are_true(case):
    """What is known of a combinator holds for its matrix, and of an argument of jit too, but for what factors say."""
    op, spec, m = case
    known = op.properties
    n = len(m)
    if known.symmetric:
        np.testing.assert_allclose(m, m.T, atol=1e-5)
    if known.positive:
        assert np.linalg.eigvalsh((m + m.T) / 2).min() > -1e-5
    if known.unitary:
        np.testing.assert_allclose(m.T @ m, np.eye(n), atol=1e-5)
        np.testing.assert_allclose(m @ m.T, np.eye(n), atol=1e-5)
    if known.diagonal:
        weights = like(spec, 5)
        weighted = jax.tree.map(lambda w, x: jnp.real(w) * x, weights, like(spec, 6))
        close(op(weighted), jax.tree.map(lambda w, y: jnp.real(w) * y, weights, op(like(spec, 6))))
    seen = []
    leaves, tree = jax.tree.flatten(op)
    jax.eval_shape(lambda leaves: seen.append(jax.tree.unflatten(tree, leaves).properties), leaves)
    has_factors = any(isinstance(leaf, int | float) for leaf in leaves)
    assert seen == [dataclasses.replace(known, positive=seen[0].positive and known.positive) if has_factors else known]
    jax.eval_shape(lambda: seen.append(op.properties))
    assert seen[1:] == [known]


# ---- which properties are found --------------------------------------------------------------------------------------

A = Dense(normal((4, 3), np.float32))
E = Dense(normal((3, 3), np.float32))
W = lo.declare(lo.Diagonal(np.arange(1, 5, dtype=np.float32)), positive=True)
U = lo.declare(lo.Matrix(np.eye(3, dtype=np.float32)[::-1].copy()), unitary=True, symmetric=True)
I = lo.Identity()  # noqa: E741
SPECTRUM = lo.Diagonal(np.array([1, 1j, 2], np.complex64))
REAL = lo.Diagonal(np.array([1, -1, 2], np.float32))


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (A, ""),
        (A.H @ A, "symmetric positive"),
        (A.gram, "symmetric positive"),
        (A @ A.H, "symmetric positive"),
        (A.H @ W @ A, "symmetric positive"),
        (A.H @ lo.declare(W, positive=False) @ A, "symmetric"),
        (A.H @ E @ A, ""),
        (A.H @ Dense(A.matrix), ""),
        (E.H @ A.H @ A @ E, "symmetric positive"),
        (E.H @ (A.H @ W) @ (A @ E), "symmetric positive"),
        ((A @ E).gram, "symmetric positive"),
        (2 * A.gram + 0.1 * I, "symmetric positive"),
        (2 * A.H @ A + 0.1 * I, "symmetric positive"),
        (2 * A.H @ E @ A, ""),
        (A.H @ (2 * A), ""),
        (A.gram - 0.1 * I, "symmetric"),
        (-2 * A.gram, "symmetric"),
        (1j * A.gram, ""),
        (A.gram + E, ""),
        (I, "symmetric positive unitary diagonal"),
        (-I, "symmetric unitary diagonal"),
        (1j * I, "unitary diagonal"),
        (3 * I, "symmetric positive diagonal"),
        (jnp.float32(3) * I, "symmetric diagonal"),
        (REAL, "symmetric diagonal"),
        (SPECTRUM, "diagonal"),
        (REAL @ REAL, "symmetric positive diagonal"),
        (REAL @ SPECTRUM, "diagonal"),
        (W @ W, "symmetric positive diagonal"),
        (U @ U, "symmetric positive unitary"),
        (U**3, "symmetric unitary"),
        (U.H, "symmetric unitary"),
        (U.T, "symmetric unitary"),
        (U.with_domain(S((3,), np.float32)), "symmetric unitary"),
        (U.inv, "symmetric unitary"),
        (REAL.inv, "symmetric diagonal"),
        (lo.FFT(), "unitary"),
        (lo.FFT(norm="backward"), ""),
        (lo.Zero(), "symmetric positive diagonal"),
        (lo.Zero((2,)), ""),
        (lo.vstack([I, I]), ""),
        (lo.block_diag([U, I]), "symmetric unitary"),
        (lo.block_diag([W, I]), "symmetric positive diagonal"),
        (lo.kron(U, I), "symmetric unitary"),
        (lo.along_axis(U, 0), "symmetric unitary"),
        (lo.Function(lambda x: x, S((3,), np.float32), unitary=True), "unitary"),
        (lo.declare(A, real_linear=True), "real_linear"),
        (lo.Identity() + Antilinear(normal((3, 3)), normal((3, 3), seed=1)), "real_linear"),
    ],
    ids=repr,
)
def test_what_is_known(op, expected):
    known = op.properties
    names = ("symmetric", "positive", "unitary", "diagonal", "real_linear")
    assert " ".join(name for name in names if getattr(known, name)) == expected


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda s: s, {"positive": True, "symmetric": True}),
        (lambda s: -s, {"symmetric": True}),
        (lambda s: s / 2, {"positive": True, "symmetric": True, "unitary": True}),
        (lambda s: 1j * s, {}),
        (jnp.asarray, {"symmetric": True}),
        (lambda s: None, {}),
    ],
    ids=["the same", "negative", "one", "imaginary", "an array of JAX", "nothing"],
)
def test_what_is_known_of_a_factor_goes_with_it(change, expected):
    op = 2 * I.with_domain(S((3,), np.float32))
    changed = jax.tree.map(change, op)
    assert changed.properties == lo.Properties(diagonal=True, **expected)
    assert (-op + changed).properties.positive is False
    found = []
    jax.jit(lambda op: found.append(jax.tree.map(change, op).properties.positive))(op)
    assert found == [False]  # one program for every factor


def test_gradients_of_multiples_have_their_structure():
    op, x = 2.0 * lo.Diagonal(np.arange(1, 4, dtype=np.float32)), np.ones(3, np.float32)
    slope = jax.grad(lambda op: jnp.sum(op(x)))(op)
    stepped = jax.tree.map(lambda p, g: p - g, op, slope)
    np.testing.assert_allclose(stepped.scalar, 2 - 6, rtol=1e-6)
    assert not stepped.properties.positive
    last, _ = jax.lax.scan(lambda op, _: (jax.tree.map(lambda p: -p, op), None), op, length=3)
    np.testing.assert_allclose(last(x), op(x))


def test_inverses_by_solvers_know_the_factor(monkeypatch):
    """By conjugate gradients, though the operator is an argument of a compiled function."""
    from linops_jax.solvers import _iterate

    monkeypatch.setattr(_iterate, "cgls", None)
    op = 2 * lo.declare(Dense(np.diag(np.arange(1, 4, dtype=np.float32))), positive=True)
    np.testing.assert_allclose(
        op.with_domain(S((3,), np.float32)).inv(np.ones(3, np.float32)), 1 / (2 * np.arange(1, 4)), rtol=1e-5
    )


def test_inexact_adjoints_add_up():
    rough = lo.declare(A, adjoint_rtol=1e-3)
    assert (rough.H @ rough).properties.adjoint_rtol == pytest.approx(2e-3)
    assert (rough + A).properties.adjoint_rtol == pytest.approx(1e-3)
    assert lo.vstack([A, rough]).properties.adjoint_rtol == pytest.approx(1e-3)
    assert A.properties.adjoint_rtol is None
    assert repr(rough.properties) == "Properties(adjoint_rtol=0.001)"


# ---- gram -----------------------------------------------------------------------------------------------------------


class Counting(Dense):
    """Counts in ``calls`` which hooks run."""

    calls: list = lo.static(default=None)

    def gram(self, x):
        self.calls.append("gram")
        return np.conj(self.matrix.T) @ (self.matrix @ x)

    def apply(self, x):
        self.calls.append("apply")
        return super().apply(x)

    def adjoint(self, y):
        self.calls.append("adjoint")
        return super().adjoint(y)


class Calls(list):
    __hash__ = object.__hash__


@pytest.mark.parametrize(
    "gram",
    [
        lambda A: A.gram,
        lambda A: A.H @ A,
        lambda A: A.with_domain(S((3,), np.float32)).gram,
        lambda A: (2 * lo.Identity()) @ (A.H @ A) @ (0.5 * lo.Identity()),
        lambda A: (A @ lo.Identity()).gram,
    ],
)
def test_gram_uses_the_hook(gram):
    m, calls = normal((4, 3), np.float32), Calls()
    op = Counting(m, calls)
    x = like(np.zeros(3), 1)
    for function in (gram(op), jax.jit(gram(op)), lambda x: jax.jit(lambda op, x: op(x))(gram(op), x)):
        close(function(x), jnp.asarray(m.T @ m) @ x)
    close(jax.vjp(gram(op), x)[1](x)[0], jnp.asarray(m.T @ m) @ x)
    assert set(calls) == {"gram"}


def test_gram_on_real_vectors_of_a_complex_operator_keeps_the_imaginary_part():
    m = normal((4, 3), np.complex64)
    op = Counting(m, Calls())
    x = like(np.zeros(3), 1)
    close((op.H @ op)(x), jnp.asarray(m.conj().T @ m) @ x)
    close(op.with_domain(x).gram(x), jnp.real(jnp.asarray(m.conj().T @ m) @ x))


def test_gram_is_a_plain_method_for_hooks_and_on_the_class():
    class Ridge(Counting):
        def inverse(self, y):
            return np.linalg.solve(self.matrix, y) if self.gram(y) is not None else y

    m = normal((3, 3), np.float32)
    op = Ridge(m, Calls())
    x = normal((3,), np.float32, 1)
    np.testing.assert_array_equal(Ridge.gram(op, x), np.conj(m.T) @ (m @ x))
    close(op.inv(m @ x), jnp.asarray(x), scale=100)
    assert isinstance(op.gram, lo.LinearOperator)


# ---- inverse --------------------------------------------------------------------------------------------------------


class Triangular(Dense):
    def inverse(self, y):
        return np.linalg.solve(self.matrix, y)


class Both(Triangular):
    def inverse_adjoint(self, x):
        return np.linalg.solve(np.conj(self.matrix.T), x)


class SymmetricInverse(Symmetric):
    def inverse(self, y):
        return np.linalg.solve(self.matrix, y)


def test_inverse_by_hooks():
    m = normal((3, 3), np.complex64) + 3 * np.eye(3, dtype=np.complex64)
    y = like(np.zeros(3, complex), 1)
    op, expected = Both(m), np.linalg.inv(m.astype(np.complex128))
    close(op.inv(y), jnp.asarray(expected @ np.asarray(y), np.complex64), scale=10)
    close(op.inv.H(y), jnp.asarray(expected.conj().T @ np.asarray(y), np.complex64), scale=10)
    close(op.H.inv(y), op.inv.H(y), scale=10)
    close(jax.linear_transpose(op.inv, y)(y)[0], jnp.asarray(expected.T @ np.asarray(y), np.complex64), scale=10)
    close((op**-2)(y), op.inv(op.inv(y)), scale=10)
    assert op.inv.inv is op
    hermitian = SymmetricInverse(m + m.conj().T)
    close(hermitian.inv.H(y), hermitian.inv(y), scale=100)
    close(jax.vjp(hermitian.inv, y)[1](jnp.conj(y))[0], jnp.conj(hermitian.inv(y)), scale=100)
    np.testing.assert_array_equal(hermitian.adjoint(np.asarray(y)), hermitian.apply(np.asarray(y)))
    lo.check_operator(hermitian, y)


def test_inverse_without_its_adjoint_names_it():
    op = Triangular(normal((3, 3), np.float32) + 3 * np.eye(3, dtype=np.float32))
    y = like(np.zeros(3), 1)
    with pytest.raises(NotImplementedError, match=r"Triangular has no inverse_adjoint"):
        op.inv.H(y)
    with pytest.raises(NotImplementedError, match=r"inverse_adjoint"):
        jax.vjp(op.inv, y)[1](y)


# ---- nonlinear ------------------------------------------------------------------------------------------------------


class Squares(lo.NonlinearOperator):
    def apply(self, x):
        return x**2

    def jacobian_apply(self, x, dx):
        return 2 * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * np.conj(x) * dy

    def infer_shape(self, x):
        return x


M43, M33 = normal((4, 3), np.float32), normal((3, 3), np.float32, 1)
V3 = normal((3,), np.float32, 2)
NONLINEAR = {
    "vstack": (lo.vstack({"a": Squares(), "b": Dense(M43)}), S((3,), np.float32), lambda x: {"a": x**2, "b": M43 @ x}),
    "hstack": (lo.hstack([Squares(), Dense(M33)]), [S((3,), np.float32)] * 2, lambda x: x[0] ** 2 + M33 @ x[1]),
    "block_diag": (
        lo.block_diag((Squares(), Dense(M43))),
        (S((3,), np.float32),) * 2,
        lambda x: (x[0] ** 2, M43 @ x[1]),
    ),
    "block": (
        lo.block([[Squares(), Dense(M33)], [None, Squares()]]),
        [S((3,), np.float32)] * 2,
        lambda x: [x[0] ** 2 + M33 @ x[1], x[1] ** 2],
    ),
    "along_axis": (lo.along_axis(Dense(M43) @ Squares(), 0), S((3, 2), np.float32), lambda x: M43 @ x**2),
    "affine": (lo.Affine(Dense(M33), V3), S((3,), np.float32), lambda x: M33 @ x + V3),
    "affine after": (Squares() @ lo.Affine(Dense(M33), V3), S((3,), np.float32), lambda x: (M33 @ x + V3) ** 2),
    "frozen": (lo.freeze(Bilinear(), {0: V3}), S((3,), np.float32), lambda x: V3 * x),
    "frozen at a list": (lo.freeze(Bilinear(), {0: V3.tolist()}), S((3,), np.float32), lambda x: V3 * x),
    "frozen linear": (
        lo.freeze(lo.hstack((Dense(M43), Dense(-M43))), {1: V3}),
        S((3,), np.float32),
        lambda x: M43 @ (x - V3),
    ),
    "frozen by name": (
        lo.freeze(lo.hstack({"a": Squares(), "b": Dense(M33), "c": Squares()}), {"b": V3}),
        {"a": S((3,), np.float32), "c": S((3,), np.float32)},
        lambda x: x["a"] ** 2 + M33 @ V3 + x["c"] ** 2,
    ),
    "product": (Squares() @ Dense(M33) @ Squares(), S((3,), np.float32), lambda x: (M33 @ x**2) ** 2),
    "sum": (Squares() + 2 * Dense(M33), S((3,), np.float32), lambda x: x**2 + 2 * M33 @ x),
}


@pytest.mark.parametrize("name", NONLINEAR)
def test_nonlinear(name):
    """Values, Jacobians as operators and by JAX, and gradients, against the same function in JAX."""
    op, spec, twin = NONLINEAR[name]
    assert isinstance(op, lo.NonlinearOperator)
    x, dx = like(spec, 1), like(spec, 2)
    y, expected = jax.jvp(twin, (x,), (dx,))
    close(op(x), y, scale=10)
    close(op.jacobian(x)(dx), expected, scale=10)
    close(jax.jit(lambda op, x, dx: jax.jvp(op, (x,), (dx,)))(op, x, dx), (y, expected), scale=10)
    dy = like(y, 3)
    (expected,) = jax.vjp(twin, x)[1](dy)
    close(op.jacobian(x).H(dy), expected, scale=10)
    close(jax.vjp(op, x)[1](dy)[0], expected, scale=10)
    close(jax.grad(lambda x: energy(op(x)))(x), jax.grad(lambda x: energy(twin(x)))(x), scale=30)
    xs = stack([x, dx])
    close(jax.vmap(op)(xs), jax.vmap(twin)(xs), scale=10)
    lo.check_operator(op, spec)


def test_frozen_values_and_offsets_are_parameters():
    x, h = like(np.zeros(3), 1), jnp.asarray(V3)
    close(jax.grad(lambda h: energy(lo.freeze(Bilinear(), {1: h})(x)))(h), jax.grad(lambda h: energy(x * h))(h))
    close(jax.grad(lambda b: energy(lo.Affine(Dense(M33), b)(x)))(h), jax.grad(lambda b: energy(M33 @ x + b))(h))


# ---- printed forms --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("op", "text"),
    [
        (lo.vstack([I, 2 * I]), "vstack([Identity(), 2 * Identity()])"),
        (lo.hstack({"a": I, "b": I}), "hstack({'a': Identity(), 'b': Identity()})"),
        (lo.block([[I, None], [I, I]]), "block([[Identity(), None], [Identity(), Identity()]])"),
        (lo.kron(I, I + I), "kron(Identity(), Identity() + Identity())"),
        (lo.along_axis(lo.FFT(), (0, -1)), "along_axis(FFT(axes=None, norm='ortho'), (0, -1))"),
        (lo.Affine(I, V3), "Affine(Identity(), f32[3])"),
        (REAL.inv, "Diagonal(d=f32[3]).inv"),
        (lo.freeze(Bilinear(), {1: V3}), "freeze(Bilinear(), {1: f32[3]})"),
        (lo.declare(I, symmetric=True) @ U.H, "Identity() @ Matrix(matrix=f32[3,3], axes=(-1,)).H"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_printed(op, text):
    assert repr(op) == text


# ---- bad input ------------------------------------------------------------------------------------------------------

F3, F4 = S((3,), np.float32), S((4,), np.float32)
A3, E3 = A.with_domain(F3), E.with_domain(F3)


@pytest.mark.parametrize(
    ("act", "error", "message"),
    [
        (lambda: lo.vstack([]), ValueError, r"vstack: there are no operators in \[\]"),
        (lambda: lo.hstack({}), ValueError, r"hstack: there are no operators"),
        (lambda: lo.block([[]]), ValueError, r"block: there are no operators"),
        (
            lambda: lo.vstack([A, np.ones((2, 2))]),
            TypeError,
            r"vstack: expected operators, found the array f64\[2,2\] at \[1\]\. Wrap a matrix in lo\.Matrix",
        ),
        (lambda: lo.block_diag({"a": 2.0}), TypeError, r"block_diag: expected operators, found float 2\.0 at \['a'\]"),
        (lambda: lo.vstack([A, None]), TypeError, r"found NoneType None at \[1\]"),
        (
            lambda: lo.vstack([A3, A.H.with_domain(F4)]),
            ValueError,
            r"cannot stack Dense.* and .*: their domains differ: found f32\[4\], expected f32\[3\]",
        ),
        (
            lambda: lo.hstack([A3, E3]),
            ValueError,
            r"cannot add the results of Dense.*found f32\[3\], expected f32\[4\]",
        ),
        (
            lambda: lo.hstack([A, E])(np.ones(3)),
            ValueError,
            r"hstack\(\[.*\]\): expected one entry for each operator, \['\*', '\*'\], found f32\[3\]",
        ),
        (
            lambda: lo.vstack([A, E]).with_domain(F3).H(np.ones(3)),
            ValueError,
            r"found f32\[3\], expected \[f32\[4\], f32\[3\]\]",
        ),
        (
            lambda: lo.block_diag({"a": A})({"b": np.ones(3)}),
            ValueError,
            r"block_diag.*: expected one entry for each operator, \{'a': '\*'\}, found",
        ),
        (lambda: lo.block([A, E]), ValueError, r"block: expected a list, tuple or dict of rows"),
        (lambda: lo.block([[A, E], [A]]), ValueError, r"block: rows must have one structure; row 0 has .*row 1 has"),
        (lambda: lo.block([[A, None], [A, None]]), ValueError, r"block: column 1 has no operator, .*lo\.Zero"),
        (lambda: lo.block([[A, A], [None, None]]), ValueError, r"block: row 1 has no operator"),
        (lambda: lo.block([[A3, A.H], [A.H.with_domain(F4), A]]).domain, ValueError, r"block: .*their domains differ"),
        (lambda: lo.kron(A, Squares()), TypeError, r"kron: expected a linear operator, found Squares"),
        (lambda: lo.kron(A, 2), TypeError, r"kron: expected a linear operator, found int 2"),
        (
            lambda: lo.kron(lo.vstack([A]).with_domain(F3), A),
            TypeError,
            r"kron: .* maps \[f32\[4\]\]; expected one array",
        ),
        (
            lambda: lo.kron(A, A)(np.ones((3, 3, 3))),
            ValueError,
            r"f32\[3,3,3\] does not have 1 axes for the first factor and 2|kron.*with_domain",
        ),
        (lambda: lo.kron(A, A)([np.ones(3)]), TypeError, r"kron.*found \[f32\[3\]\], expected one array"),
        (
            lambda: lo.along_axis(A, (0, 0)),
            ValueError,
            r"along_axis: expected one or several different axes, found \(0, 0\)",
        ),
        (lambda: lo.along_axis(A, ()), ValueError, r"along_axis: expected one or several"),
        (lambda: lo.along_axis(np.ones(3), 0), TypeError, r"along_axis: expected operators, found the array f64\[3\]"),
        (
            lambda: lo.along_axis(A, 2)(np.ones((3, 3))),
            ValueError,
            r"along_axis.*found f32\[3,3\], expected one array that has the axes \(2,\)",
        ),
        (
            lambda: lo.along_axis(lo.Zero((2, 2, 2)), (0, 2))(np.ones((3, 3, 3))),
            ValueError,
            r"2 axes become 3, which can take the place of consecutive axes only",
        ),
        (
            lambda: lo.along_axis(Squares(), 0).jacobian(np.ones((3, 3)))(np.ones(3)),
            ValueError,
            r"jacobian.*cannot be applied: .*found f32\[3\]",
        ),
        (lambda: lo.Function(3, F3), TypeError, r"Function: expected a function as function, found int 3"),
        (
            lambda: lo.Function(np.sin, F3, adjoint=3),
            TypeError,
            r"Function: expected a function as adjoint, found int 3",
        ),
        (lambda: lo.Function(jnp.sin, F3, hermitian=True), TypeError, r"hermitian"),
        (lambda: lo.Affine(Squares(), V3), TypeError, r"Affine: expected a linear operator, found Squares"),
        (
            lambda: lo.Affine(A3, V3),
            ValueError,
            r"Affine: b does not have the shape of the result of Dense.*: found f32\[3\], expected f32\[4\]",
        ),
        (lambda: lo.Affine(A, V3)(np.ones(3)), ValueError, r"Affine: b does not have the shape"),
        (
            lambda: lo.declare(Squares(), symmetric=True),
            TypeError,
            r"declare expected a linear operator, found Squares",
        ),
        (
            lambda: lo.declare(A, hermitian=True),
            TypeError,
            r"declare: unknown properties hermitian\. Operators know symmetric, positive",
        ),
        (lambda: lo.freeze(2, {0: V3}), TypeError, r"freeze: expected operators, found int 2"),
        (lambda: lo.freeze(Bilinear(), {}), ValueError, r"freeze: expected a dict of fixed inputs"),
        (lambda: lo.freeze(Bilinear(), {0: V3, "a": V3}), ValueError, r"freeze: positions and names are mixed"),
        (lambda: lo.freeze(Bilinear(), {-1: V3}), ValueError, r"freeze: positions count from 0, found -1"),
        (
            lambda: lo.freeze(Bilinear().with_domain((F3, F3)), {2: V3}),
            ValueError,
            r"freeze: .* has no input 2: its domain is \(f32\[3\], f32\[3\]\)",
        ),
        (
            lambda: lo.freeze(2 * lo.hstack([A, A]), {1: V3}),
            ValueError,
            r"freeze: the inputs of .* are a list, .* Make it of a tuple",
        ),
        (lambda: lo.freeze(A @ lo.hstack((E, E)), {2: V3}), ValueError, r"freeze: .* has no input 2: it has \[0, 1\]"),
        (
            lambda: lo.freeze(lo.block_diag({"a": A, "b": A}), {"c": V3}),
            ValueError,
            r"freeze: .* has no input 'c': it has \['a', 'b'\]",
        ),
        (lambda: lo.freeze(Bilinear(), {2: V3})(V3), ValueError, r"freeze.*the inputs \[2\] are fixed"),
        (lambda: lo.freeze(Bilinear(), {1: V3})((V3,)), ValueError, r"expected the one input that is not fixed"),
        (
            lambda: lo.freeze(lo.hstack({"a": E, "b": E}), {"b": V3})(V3),
            ValueError,
            r"expected a dict of the inputs that are not fixed, found f32\[3\]",
        ),
        (
            lambda: lo.freeze(lo.hstack((A, A)), {1: V3}, linear=True),
            ValueError,
            r"so with some of them fixed it is affine",
        ),
        (
            lambda: lo.freeze(Bilinear(), {1: V3}, linear=True).H(V3),
            TypeError,
            r"freeze.*\.H\(y\) needs to know the shape",
        ),
        (
            lambda: A3**2,
            ValueError,
            r"\*\* 2: only an operator from a space to itself has powers\. The result does not fit the domain: found f32\[4\], "
            r"expected f32\[3\]",
        ),
        (lambda: E**-1, ValueError, r"\*\* -1: negative powers need an exact inverse.*lo\.solve"),
        (lambda: (0 * I) ** -1, ValueError, r"negative powers need an exact inverse"),
        (
            lambda: (E3 @ lo.Matrix(M33)) @ A3,
            ValueError,
            r"Matrix of shape \(3, 3\) contracts axes of sizes \(3,\), found \(4,\)",
        ),
        (
            lambda: (A3 @ I @ I) @ A3,
            ValueError,
            r"cannot compose .* does not fit the domain of Dense.*, factor 1 of 3: found f32\[4\], expected f32\[3\]",
        ),
        (lambda: A3 @ (1j * I).with_domain(F3), ValueError, r"cannot compose .*found c64\[3\], expected f32\[3\]"),
        (
            lambda: A3 + A.with_domain(S((3,), np.complex64)),
            ValueError,
            r"their domains differ: found c64\[3\], expected f32\[3\]",
        ),
        (
            lambda: A3(np.ones(3, np.complex64)),
            ValueError,
            r"its domain does not match the input: found c64\[3\], expected f32\[3\]",
        ),
        (lambda: Squares().gram, AttributeError, r"Squares is nonlinear and has no gram\. .*jacobian\(x\)\.gram"),
        (lambda: Squares().inv, AttributeError, r"Squares is nonlinear and has no inv"),
    ],
)
def test_errors(act, error, message):
    with pytest.raises(error, match=message):
        act()


@pytest.mark.parametrize("other", [2, 2.0, np.ones(3), "A", None])
def test_only_operators_are_added(other):
    with pytest.raises(TypeError, match=r"unsupported operand|does not support ufuncs"):
        A + other
    with pytest.raises(TypeError, match=r"unsupported operand|does not support ufuncs"):
        other - A
