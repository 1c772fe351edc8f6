"""The algebra against matrices over the reals (complex numbers as pairs), and of nonlinear operators against functions.

One expression is evaluated three times: on operators, on their oracles, and, read back from how it prints, again.
"""

import functools
import operator
import pickle

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from helpers import S, between_reals, close, energy, like, normal
from operators import (
    CASES,
    Antilinear,
    Cumulative,
    Dense,
    DerivedDense,
    Gather,
    M,
    Mix,
    Modulus,
    Paper,
    Sine,
    TracedDense,
    W,
)

import linops_jax as lo

DTYPES = [np.float32, np.float64, np.complex64, np.complex128]
by_name = lambda value: getattr(value, "__name__", str(value))  # noqa: E731


# ---- oracles --------------------------------------------------------------------------------------------------------


class Oracle:
    """A map between real or complex vectors as its matrix over the reals."""

    def __init__(self, matrix, is_complex):
        self.matrix, self.is_complex = matrix, is_complex

    @classmethod
    def linear(cls, a, b=0):
        """x -> a x + b conj(x)."""
        if not np.iscomplexobj(a):
            return cls(a + b, False)
        b = b + np.zeros_like(a)
        return cls(np.block([[(a + b).real, (b - a).imag], [(a + b).imag, (a - b).real]]), True)

    def of(self, matrix):
        return Oracle(matrix, self.is_complex)

    def scalar(self, a, n):
        return Oracle.linear(a * np.eye(n, dtype=complex)).matrix if self.is_complex else a * np.eye(n)

    def conjugation(self, n):
        return np.diag(np.repeat([1, -1], n // 2)) if self.is_complex else np.eye(n)

    def __add__(self, other):
        return self.of(self.matrix + other.matrix)

    def __sub__(self, other):
        return self.of(self.matrix - other.matrix)

    def __neg__(self):
        return self.of(-self.matrix)

    def __mul__(self, a):
        n = self.matrix.shape[0]
        return self.of(self.scalar(a, n // 2 if self.is_complex else n) @ self.matrix)

    __rmul__ = __mul__

    def __truediv__(self, a):
        return self * (1 / a)

    def __matmul__(self, other):
        return self.of(self.matrix @ other.matrix)

    def __pow__(self, n):
        return self.of(np.linalg.matrix_power(self.matrix, n))

    @property
    def H(self):
        return self.of(self.matrix.T)

    @property
    def T(self):
        return self.H.conj()

    def conj(self):
        rows, columns = self.matrix.shape
        return self.of(self.conjugation(rows) @ self.matrix @ self.conjugation(columns))


def matrix_of(function, spec):
    """The matrix over the reals of a map, column by column."""
    x = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), spec)
    g, v = between_reals(function, x)
    return jax.vmap(g, 0, 1)(jnp.eye(v.size, dtype=v.dtype))


class Named(Dense):
    name: str = lo.static(default="A")

    def __repr__(self):
        return self.name


class NamedAntilinear(Antilinear, real_linear=True):
    def __repr__(self):
        return "L"


def operators_and_oracles(dtype):
    a, b, d, e, f = (normal(shape, dtype, i) for i, shape in enumerate([(4, 3), (4, 3), (3, 3), (3, 3), (3, 3)]))
    wide = np.complex128 if np.iscomplexobj(a) else np.float64
    operators = {
        "A": Named(a, "A"),
        "B": Named(b, "B"),
        "D": Named(d, "D"),
        "L": NamedAntilinear(e, f),
        "I": lo.Identity(),
    }
    a, b, d, e, f = (m.astype(wide) for m in (a, b, d, e, f))
    oracles = dict(zip("ABDL", [*map(Oracle.linear, (a, b, d)), Oracle.linear(e, f)], strict=True))
    return operators, oracles | {"I": Oracle.linear(np.eye(3, dtype=wide))}


REAL_EXPRESSIONS = """
    A + B; A - B; -A; A + B - A; A - (B - A); -(A - B); A - B + A; -(-A)
    2 * A; A * 3; A / 4; -2.5 * A; A - 2 * B; 0.5 * (A + B); 2 * (A @ D); (2 * A) @ D; -(A @ D); A + A @ D
    A @ D; A @ D @ L; A @ (D @ L); (A + B) @ D; A @ (D + L); (A + B) @ (D - L) @ D
    D ** 0; D ** 1; D ** 3; (D + L) ** 2; (A @ D ** 2).H
    A.H; A.H.H; A.T; A.T.T; A.conj(); A.conj().conj(); A.H.conj(); A.T.H; A.H.T; A.conj().H; A.conj().T
    (A + B).H; (A - B).T; (A + B).conj(); (A @ D).H; (A @ D).T; (A @ D).conj(); (2 * A).H; (-A).H; A.H @ A; A @ A.H
    L; L.H; L.T; L.conj(); L + D; L @ D; (A @ L).H; (A @ L).T; (D - L).conj(); L.H @ L; (L @ D).H @ L
    I; I + D; I - 0.1 * L; (I + D).H; 3 * I; (A.H @ A + 0.1 * I) ** 2; (B.H @ (A - B)).T - D
"""
COMPLEX_EXPRESSIONS = """
    1j * A; A * (2 - 3j); A / (1 + 1j); (1j * A).H; (1j * A).T; (1j * A).conj(); ((2 + 1j) * A).H @ B; -1j * (A + B)
    1j * L; (1j * L).H; (1j * L).T; (1j * L).conj(); L @ (1j * D); (1j * (D + L) @ D).H; ((1 + 2j) * I - L).H
"""


def each(text):
    return [expression.strip() for line in text.strip().splitlines() for expression in line.split(";")]


ALL = each(REAL_EXPRESSIONS) + each(COMPLEX_EXPRESSIONS)
FORMS = {
    "op": (lambda op, domain: op, lambda oracle: oracle),
    "H": (lambda op, domain: op.H, lambda oracle: oracle.H),
    "T with a domain": (lambda op, domain: op.with_domain(domain).T, lambda oracle: oracle.T),
    "conj": (lambda op, domain: op.conj(), lambda oracle: oracle.conj()),
    "linear_transpose": (lambda op, domain: lambda y: jax.linear_transpose(op, domain)(y)[0], lambda oracle: oracle.T),
}


def expressions(dtype):
    return ALL if np.issubdtype(dtype, np.complexfloating) else each(REAL_EXPRESSIONS)


def spaces(matrix, dtype):
    """Specs of input and output."""
    parts = 2 if np.issubdtype(dtype, np.complexfloating) else 1
    return tuple(S((n // parts,), dtype) for n in matrix.shape[::-1])


@functools.cache
def evaluated(dtype):
    """All expressions in all forms as matrices, by one program; an exception stands in for what raises."""
    operators, oracles = operators_and_oracles(dtype)

    def attempt(expression, form):
        op, oracle = eval(expression, operators), eval(expression, oracles)
        domain, _ = spaces(oracle.matrix, dtype)
        try:
            return matrix_of(FORMS[form][0](op, domain), spaces(FORMS[form][1](oracle).matrix, dtype)[0])
        except Exception as error:
            errors[expression, form] = error
            return None

    errors = {}
    with jax.enable_x64(True):
        matrices = jax.jit(lambda: {(e, form): attempt(e, form) for e in expressions(dtype) for form in FORMS})()
    return matrices | errors


@pytest.mark.parametrize(("dtype", "expression"), [(d, e) for d in DTYPES for e in expressions(d)], ids=by_name)
def test_against_matrices(expression, dtype):
    operators, oracles = operators_and_oracles(dtype)
    op, oracle = eval(expression, operators), eval(expression, oracles)
    domain, codomain = spaces(oracle.matrix, dtype)
    assert isinstance(op, lo.LinearOperator)
    with jax.enable_x64(True):
        assert jax.eval_shape(op, domain) == codomain
    for form, (_, expected) in FORMS.items():
        found = evaluated(dtype)[expression, form]
        if isinstance(found, Exception):
            raise found
        close(found, expected(oracle).matrix.astype(np.finfo(dtype).dtype))


@pytest.mark.parametrize("expression", ALL)
def test_printed_form_means_the_same(expression):
    operators, oracles = operators_and_oracles(np.complex64)
    printed = repr(eval(expression, operators))
    found, expected = eval(printed, oracles | {"Identity": lambda: oracles["I"]}), eval(expression, oracles)
    np.testing.assert_allclose(found.matrix, expected.matrix, atol=1e-5, err_msg=printed)


# ---- scalars --------------------------------------------------------------------------------------------------------

SCALARS = [
    2,
    -1,
    0.1,
    1j,
    True,
    np.float32(0.1),
    np.float64(0.1),
    np.complex64(1j),
    np.int32(3),
    np.array(0.5),
    np.array(2j),
]


@pytest.mark.parametrize("scalar", [*SCALARS, np.float16(0.5)], ids=repr)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64, ml_dtypes.bfloat16], ids=by_name)
def test_scalars(scalar, dtype):
    x, m = like(np.zeros(3, dtype), 1), normal((4, 3), dtype)
    y = jnp.asarray(m) @ x
    for op in (scalar * Dense(m), Dense(m) * scalar):
        close(op(x), scalar * y)
    close((Dense(m) / scalar)(x), (1 / scalar) * y)
    close((jnp.asarray(scalar) * Dense(m))(x), jnp.asarray(scalar) * y)


def test_python_scalars_keep_the_dtype(x64):
    for dtype in (np.float16, ml_dtypes.bfloat16, *DTYPES):
        op, x = Dense(np.ones((2, 3), dtype)), np.ones(3, dtype)
        assert {(f(op))(x).dtype for f in (lambda A: 0.1 * A, lambda A: A / 3, lambda A: A - 2 * A)} == {
            np.dtype(dtype)
        }
        assert (0.1 * op).H(np.ones(2, dtype)).dtype == dtype
    assert (np.float64(2) * Dense(np.ones((2, 3), np.float32)))(np.ones(3, np.float32)).dtype == np.float64


def test_complex_multiples_on_a_real_domain():
    """x -> 1j A x + B x from real vectors: the adjoint is the real part."""
    a, b = normal((4, 3), np.float32, 1), normal((4, 3), np.float32, 2)
    op, m = 1j * Dense(a) + Dense(b), 1j * a.astype(np.float64) + b
    x, y = like(np.zeros(3), 1), like(np.zeros(4, complex), 2)
    close(op(x), jnp.asarray(m @ np.asarray(x), np.complex64))
    close(op.with_domain(x).H(y), jnp.asarray((m.conj().T @ np.asarray(y)).real, np.float32))
    close(jax.linear_transpose(op, x)(y)[0], jnp.asarray((m.T @ np.asarray(y)).real, np.float32))


def test_scalars_are_parameters():
    op, x = Dense(M), like(np.zeros(3, complex), 1)
    y, m = like(np.zeros(4, complex), 2), jnp.asarray(M, np.complex64)
    for a in (jnp.float32(0.7), jnp.complex64(0.7 - 0.2j)):
        close(jax.jit(lambda a, x: (a * op)(x))(a, x), a * (m @ x))
        found = jax.grad(lambda a: energy((a * op)(x)) + energy((a * op).H(y)))(a)
        close(found, jax.grad(lambda a: energy(a * (m @ x)) + energy(jnp.conj(a) * (m.conj().T @ y)))(a))
    close(jax.vmap(lambda a: (a * op)(x))(jnp.arange(3.0)), jnp.arange(3.0)[:, None] * (m @ x)[None])


# ---- domains --------------------------------------------------------------------------------------------------------


def test_domains():
    A, spec = Dense(normal((4, 3), np.float32)), S((3,), np.float32)
    B = A.with_domain(spec)
    assert (A.domain, A.codomain) == (None, None)
    assert (
        (B.domain, B.codomain)
        == (B.H.codomain, B.H.domain)
        == (B.T.codomain, B.T.domain)
        == (spec, S((4,), np.float32))
    )
    assert (B + A).domain == (A + B).domain == (2 * B).domain == (A.H @ B).domain == B.conj().domain == spec
    assert (B.H @ A).codomain is None
    assert (A.H @ B).codomain == spec
    assert (B.H @ B).H.domain == spec
    square = Dense(np.ones((3, 3), np.float32)).with_domain(spec)
    assert (square**0).domain == (square**3).domain == spec
    assert B.with_domain(np.zeros(3, np.float32)).domain == spec
    paper = Paper().with_domain((spec, spec))
    assert (paper.domain, paper.codomain) == ((spec, spec), spec)
    assert Sine(np.ones(3), np.asarray(1.0)).jacobian(np.zeros(3)).domain == spec
    assert A.with_domain(S((3,), np.float64)).domain == spec, "x64 is off"


def test_a_domain_serves_operators_without_infer_adjoint_shape():
    A, D = Cumulative(0).with_domain(S((3,), np.complex64)), DerivedDense(M).with_domain(S((3,), np.complex64))
    m, lower = jnp.asarray(M, np.complex64), jnp.tril(jnp.ones((3, 3), np.complex64))
    y, z = like(np.zeros(4, complex), 1), like(np.zeros(3, complex), 2)
    close((D @ A).H(y), lower.T @ (m.conj().T @ y))
    close((Dense(M) @ A).H(y), lower.T @ (m.conj().T @ y))
    close((Cumulative(0) @ A).T(z), lower.T @ (lower.T @ z))
    close((2j * A + Cumulative(0)).H(z), (1 - 2j) * (lower.T @ z))
    close((D.H @ DerivedDense(M))(z), m.conj().T @ (m @ z))
    close((D.H @ D).H(z), m.conj().T @ (m @ z))


def test_pytrees():
    A, x = Mix(W), (like(np.zeros(3, complex), 1), like(np.zeros((2, 3), complex), 2))
    y = A(x)
    close((2 * A - 0.5j * A)(x), jax.tree.map(lambda leaf: (2 - 0.5j) * leaf, y))
    close((A.H @ A)(x), A.H(y))
    expected = jax.tree.map(
        jnp.conj, jax.linear_transpose(functools.partial(twin_mix, A), x)(jax.tree.map(jnp.conj, y))[0]
    )
    close(A.H(y), expected)
    close((-A).T(y), jax.tree.map(operator.neg, jax.linear_transpose(functools.partial(twin_mix, A), x)(y)[0]))


def twin_mix(op, x):
    return CASES["pytrees"].twin(jax.tree.map(jnp.asarray, op), x)


# ---- nonlinear ------------------------------------------------------------------------------------------------------


class Function:
    """A plain function with the same algebra, as oracle."""

    def __init__(self, call):
        self.call = call

    def __call__(self, x):
        return self.call(x)

    def __add__(self, other):
        return Function(lambda x: self(x) + other(x))

    def __sub__(self, other):
        return Function(lambda x: self(x) - other(x))

    def __neg__(self):
        return Function(lambda x: -self(x))

    def __mul__(self, a):
        return Function(lambda x: a * self(x))

    __rmul__ = __mul__

    def __truediv__(self, a):
        return Function(lambda x: self(x) / a)

    def __matmul__(self, other):
        return Function(lambda x: self(other(x)))

    def __pow__(self, n):
        return functools.reduce(operator.matmul, [self] * n)


NONLINEAR = """
    F; -F; F + G; F - D; D - F; 2j * F; F * 0.5; F / 2; F @ D; D @ F; F @ G; F @ F @ F; F ** 3; (F + D) @ (G - 1j * F)
    L @ F; F @ L; -(D @ F) @ L; D @ (F + 0.5 * D) @ F; G @ F - F @ G; F ** 2 + D ** 2; K; K @ D; K @ F; K - K @ F; 3 * K
"""


@pytest.mark.parametrize("expression", each(NONLINEAR))
def test_chain_and_sum_rules(expression):
    a, b, c = normal((3,), complex, 1), np.asarray(0.5 - 0.2j), normal((3, 3), complex, 2) / 3
    e, f = normal((3, 3), complex, 3) / 3, normal((3, 3), complex, 4) / 3
    arrays = dict(zip("abcef", (jnp.asarray(v, np.complex64) for v in (a, b, c, e, f)), strict=True))
    operators = {
        "F": Sine(a, b),
        "G": Sine(np.conj(a), -b),
        "D": Dense(c),
        "L": Antilinear(e, f),
        "K": Modulus(),
    }
    twins = {
        "F": Function(lambda x: arrays["a"] * jnp.sin(arrays["b"] * x)),
        "G": Function(lambda x: arrays["a"].conj() * jnp.sin(-arrays["b"] * x)),
        "D": Function(lambda x: arrays["c"] @ x),
        "L": Function(lambda x: arrays["e"] @ x + arrays["f"] @ x.conj()),
        "K": Function(lambda x: x.real**2 + x.imag**2),
    }
    op, twin = eval(expression, operators), eval(expression, twins)
    x, dx = like(np.zeros(3, complex), 1), like(np.zeros(3, complex), 2)
    assert isinstance(op, lo.NonlinearOperator)
    expected, tangent = jax.jvp(twin, (x,), (dx,))
    close(op(x), expected, 10)
    close(jax.jvp(op, (x,), (dx,))[1], tangent, 10)
    jacobian = op.jacobian(x)
    assert isinstance(jacobian, lo.LinearOperator)
    assert (jacobian.domain, jacobian.codomain) == (jax.eval_shape(lambda: x), jax.eval_shape(lambda: expected))
    close(jacobian(dx), tangent, 10)
    y = like(expected, 3)
    pulled = jax.vjp(twin, x)[1](y)[0]
    close(jax.jit(lambda y: jax.vjp(op, x)[1](y)[0])(y), pulled, 10)
    close(jacobian.T(y), pulled, 10)
    close(jacobian.H(y), jax.vjp(twin, x)[1](y.conj())[0].conj(), 10)
    close(jacobian.H.H(dx), tangent, 10)


def test_linear_exactly_when_every_part_is():
    A, F = Dense(np.ones((3, 3))), Sine(np.ones(3), np.asarray(1.0))
    for op in (A + A, A @ A, 2 * A, -A, A**2, A.H, A.T, A.conj(), A.with_domain(np.zeros(3)), A.jacobian(np.zeros(3))):
        assert isinstance(op, lo.LinearOperator)
    for op in (A + F, F + A, A - F, A @ F, F @ A, F @ F, 2 * F, -F, F**2, F.with_domain(np.zeros(3))):
        assert isinstance(op, lo.NonlinearOperator)
        assert not hasattr(op, "H")


def test_the_jacobian_of_a_linear_operator_is_itself():
    x, dx = like(np.zeros(3, complex), 1), like(np.zeros(3, complex), 2)
    J = Dense(M).jacobian(x)
    close(J(dx), jnp.asarray(M, np.complex64) @ dx)
    assert J.domain == S((3,), np.complex64)


# ---- foreign operands and errors ------------------------------------------------------------------------------------

A43, A33 = Dense(np.ones((4, 3), np.float32)), Dense(np.ones((3, 3), np.float32))
F3 = Sine(np.ones(3), np.asarray(1.0))
SPEC3, SPEC4 = S((3,), np.float32), S((4,), np.float32)


def test_matmul_with_an_array_applies():
    x = np.arange(3, dtype=np.float32)
    for op in (A43, F3, A43 + A43, TracedDense(np.ones((4, 3), np.float32))):
        close(op @ x, op(x))
        close(op @ jnp.asarray(x), op(x))


@pytest.mark.parametrize("op", [A43, F3, A43 + A43, lo.Identity()], ids=["linear", "nonlinear", "sum", "identity"])
@pytest.mark.parametrize(
    "act",
    [
        lambda op: np.ones(3) * op,
        lambda op: jnp.ones(3) * op,
        lambda op: op * np.ones(3),
        lambda op: op * jnp.ones((1,)),
        lambda op: op / np.ones(3),
        lambda op: 1 / op,
        lambda op: np.ones(3) / op,
        lambda op: op + 1,
        lambda op: 1 + op,
        lambda op: 1 - op,
        lambda op: np.ones(3) + op,
        lambda op: op - np.ones(3),
        lambda op: np.ones((3, 3)) @ op,
        lambda op: jnp.ones((3, 3)) @ op,
        lambda op: op @ (1.0, 2.0, 3.0),
        lambda op: op @ 2,
        lambda op: "x" * op,
        lambda op: op * None,
        lambda op: op * op,
        lambda op: op**0.5,
        lambda op: op**op,
    ],
)
def test_foreign_operands(op, act):
    with pytest.raises(TypeError, match=r"unsupported operand|not support ufuncs|not implemented|can't multiply"):
        act(op)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("x", "expected arrays, found str 'x'"),
        (object(), "expected arrays, found object"),
        ({"a": "x"}, "found str 'x'"),
    ],
    ids=["str", "object", "dict"],
)
def test_applied_to_what_is_no_array(value, message):
    for op in (A43, F3, A43 @ A33):
        with pytest.raises(TypeError, match=message):
            op(value)


def test_foreign_operators_get_their_turn():
    class Foreign:
        def __radd__(self, other):
            return "radd"

        def __rmatmul__(self, other):
            return "rmatmul"

        def __rmul__(self, other):
            return "rmul"

    assert (A43 + Foreign(), A43 @ Foreign(), A43 * Foreign()) == ("radd", "rmatmul", "rmul")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: A33.with_domain(SPEC3) @ A43.with_domain(SPEC3), r"cannot compose .*f32\[4\].*f32\[3\]"),
        (lambda: A43.with_domain(SPEC3) + A33.with_domain(S((3, 1), np.float32)), r"cannot add .*domains differ"),
        (
            lambda: lo.Identity().with_domain(SPEC3) + lo.Identity().with_domain(SPEC4),
            r"cannot add .*domains differ.*\[4\]",
        ),
        (lambda: (A43 + A33)(np.ones(3, np.float32)), r"cannot add .*results differ.*f32\[3\].*f32\[4\]"),
        (lambda: (A43 + F3)(np.ones(3, np.float32)), r"cannot add .*results differ.*f32\[3\].*f32\[4\]"),
        (lambda: (Mix(W) + lo.Identity())((np.ones(3), np.ones((2, 3)))), r"cannot add .*results differ"),
        (lambda: A33**-1, r"\*\* -1: negative powers need an exact inverse"),
        (lambda: F3**-2, r"\*\* -2: negative powers need an exact inverse"),
        (
            lambda: A43.with_domain(SPEC3)(np.ones(4)),
            r"cannot be applied: its domain .*found f32\[4\], expected f32\[3\]",
        ),
        (
            lambda: A43.with_domain(SPEC3).H(np.ones(3)),
            r"cannot be applied: its domain .*found f32\[3\], expected f32\[4\]",
        ),
        (
            lambda: (2 * A43.with_domain(SPEC3))((np.ones(3),)),
            r"cannot be applied: its domain .*found \(f32\[3\],\), exp",
        ),
        (
            lambda: A43.with_domain(SPEC3).with_domain(SPEC4),
            r"has another domain already: found f32\[4\], expected f32\[3\]",
        ),
        (lambda: F3.jacobian(np.ones(3))(np.ones(4)), r"cannot be applied: .*found f32\[4\], expected f32\[3\]"),
        (lambda: F3.jacobian(np.ones(3)).H(np.ones(4)), r"cannot be applied: .*found f32\[4\], expected f32\[3\]"),
    ],
)
def test_errors(act, message):
    with pytest.raises(ValueError, match=message):
        act()


def test_a_domain_that_the_operator_cannot_take():
    with pytest.raises((TypeError, ValueError), match=r"Matrix\.infer_shape|contracts axes"):
        lo.Matrix(np.ones((4, 3))).with_domain(SPEC4)
    with pytest.raises(ValueError, match=r"complex64|c64"):
        F3.jacobian(np.ones(3))(np.ones(3, np.complex64))


def test_gather_in_a_composition():
    """Integers pass through the chain rule."""
    op = Dense(np.ones((2, 4), np.float32)) @ Gather()
    x = (np.array([2, 0, 2, 1]), like(np.zeros(3), 1))
    twin = lambda x: jnp.ones((2, 4)) @ x[1][x[0]]  # noqa: E731
    close(op(x), twin(x))
    close(jax.grad(lambda v: energy(op((x[0], v))))(x[1]), jax.grad(lambda v: energy(twin((x[0], v))))(x[1]))


def test_a_product_is_one_operator_after_another():
    """Also where an adjoint could be taken for that of a real domain, or of another shape."""
    fft, shift = lo.FFT(), lo.Diagonal(jnp.exp(0.3j * jnp.arange(8.0)))
    x = jnp.arange(8.0)
    found = (fft.H @ shift @ fft)(x)
    assert found.dtype == np.complex64
    np.testing.assert_allclose(found, np.fft.ifft(np.exp(0.3j * np.arange(8)) * np.fft.fft(np.arange(8.0))), atol=1e-5)

    total, pick = lo.Matrix(jnp.tril(jnp.ones((8, 8)))), lo.Matrix(jnp.eye(8)[:3])

    class Cumulative(lo.LinearOperator):
        def apply(self, x):
            return np.cumsum(x)

        def adjoint(self, y):
            return np.cumsum(y[::-1])[::-1]

        def infer_shape(self, x):
            return x

    class Known(Cumulative):
        def infer_adjoint_shape(self, y):
            return y

    expected = np.asarray(jnp.tril(jnp.ones((3, 3))).T @ pick.matrix @ total.matrix @ x)
    np.testing.assert_allclose((Known().H @ pick @ Known())(x), expected, rtol=1e-5)
    np.testing.assert_allclose(
        (Cumulative().H @ Cumulative())(x), np.asarray(total.matrix.T @ total.matrix @ x), rtol=1e-5
    )
    with pytest.raises(TypeError, match=r"Cumulative\.H\(y\) needs to know the shape"):
        (Cumulative().H @ pick @ Cumulative())(x)


@pytest.mark.parametrize(
    "make", [lambda: lo.Affine(lo.Identity(), jnp.ones(3)), lambda: lo.Function(operator.neg, jnp.ones(3))]
)
def test_affine_and_function_are_classes(make):
    op = make()
    cls = type(op)
    assert cls in (lo.Affine, lo.Function)
    assert cls is getattr(lo.algebra, cls.__name__)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(op))(jnp.ones(3)), op(jnp.ones(3)))
