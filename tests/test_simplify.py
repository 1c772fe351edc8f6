"""Each rule of lo.simplify: what comes out, and that it is the same operator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, between_reals, close, like, normal
from operators import Antilinear, Dense

import linops_jax as lo


class Named(Dense):
    name: str = lo.static(default="A")

    def __repr__(self):
        return self.name


class RealLinear(Antilinear, real_linear=True):
    def __repr__(self):
        return "L"


class Wave(lo.NonlinearOperator):
    def apply(self, x):
        return np.sin(x)

    def jacobian_apply(self, x, dx):
        return np.cos(x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(np.cos(x)) * dy

    def infer_shape(self, x):
        return x

    def __repr__(self):
        return "F"


C = np.complex64
SPEC = S((3,), C)
A, B, E = (Named(normal((3, 3), C, i), name) for i, name in enumerate("ABE"))
U = lo.declare(Named(np.linalg.qr(normal((3, 3), C))[0], "U"), unitary=True)
W = lo.declare(Named(np.eye(3, dtype=C), "W"), positive=True)
L, F = RealLinear(normal((3, 3), C, 5), normal((3, 3), C, 6)), Wave()
D, G = lo.Diagonal(normal((3,), C, 7)), lo.Diagonal(normal((3,), C, 8))
I, ZERO = lo.Identity(), lo.Zero()  # noqa: E741
PAIR = lo.vstack([A, B])
DIAGONAL = "Diagonal(d=c64[3])"
CASES = [
    (A, "A"),
    (I @ A @ I, "A"),
    (I @ I, "Identity()"),
    (I.with_domain(SPEC) @ A, "Identity() @ A"),  # of whose result nobody knows that it is complex
    (I.with_domain(SPEC) @ A.with_domain(SPEC), "A"),
    (1 * A, "A"),
    (2 * (3 * A), "6 * A"),
    ((2 * A) @ (3 * B), "6 * A @ B"),
    (A @ (2j * B), "A @ (2j * B)"),  # of what may be integers it makes complex numbers, in JAX's default precision
    ((A @ (2j * B)).with_domain(SPEC), "2j * A @ B"),
    (L @ (2 * B), "2 * L @ B"),
    (L @ (2j * B), "L @ (2j * B)"),
    ((2j * B) @ L, "2j * B @ L"),
    (A.H.H, "A"),
    ((2j * A).H, "-2j * A.H"),
    ((A + 2 * B).H, "A.H + 2 * B.H"),
    (W.H, "W"),
    (W.H @ A, "W @ A"),
    (I.conj(), "Identity()"),
    (U.H @ U, "U.H @ U"),
    ((U.H @ U).with_domain(SPEC), "Identity()"),
    ((U @ U.H @ A).with_domain(SPEC), "A"),
    (A.H @ A, "A.H @ A"),
    ((A @ U.H @ (2 * U) @ B).with_domain(SPEC), "2 * A @ B"),
    (D.inv @ D @ A, f"{DIAGONAL}.inv @ {DIAGONAL} @ A"),
    ((D.inv @ D @ A).with_domain(SPEC), "A"),
    (D @ G, DIAGONAL),
    (D @ G @ D @ A, f"{DIAGONAL} @ A"),
    (2 * D, DIAGONAL),
    (D.H, DIAGONAL),
    (D + G, DIAGONAL),
    (D + A + G, f"{DIAGONAL} + A"),
    (D + 2 * I, DIAGONAL),
    (A + A, "2 * A"),
    (A - 3 * A + B, "-2 * A + B"),
    (0.5 * I + B + I, "1.5 * Identity() + B"),
    (A + ZERO, "A"),
    (ZERO + ZERO, "2 * Zero(shape=None)"),
    ((A @ lo.Zero()).with_domain(SPEC), "Zero(shape=(3,))"),
    (A @ lo.Zero(), "A @ Zero(shape=None)"),
    (lo.block_diag([A, B]) @ lo.vstack([D, G]), f"vstack([A @ {DIAGONAL}, B @ {DIAGONAL}])"),
    (lo.hstack([A, B]) @ lo.vstack([E, I]), "A @ E + B"),
    (lo.hstack([A, B]) @ lo.block_diag([E, I]) @ PAIR, "A @ E @ A + B @ B"),
    (PAIR.H @ PAIR, "A.H @ A + B.H @ B"),
    (lo.block_diag([A, I]).H @ PAIR, "vstack([A.H @ A, B])"),
    (lo.along_axis(I @ A, 0), "along_axis(A, 0)"),
    (F @ I, "F"),
    (2 * (F @ (3 * A)), "2 * F @ (3 * A)"),
    ((2 * A) @ F, "2 * A @ F"),
    (F + F, "2 * F"),
    (A.with_domain(SPEC).with_domain(SPEC) @ I, "A"),
]


@pytest.mark.parametrize(("op", "text"), CASES, ids=[f"{op} is {text}" for op, text in CASES])
def test_rules(op, text):
    simple = lo.simplify(op)
    assert repr(simple).split(" : ")[0] == text
    assert repr(lo.simplify(simple)) == repr(simple)
    assert isinstance(simple, lo.LinearOperator) == isinstance(op, lo.LinearOperator)
    assert op.domain in (None, simple.domain)
    x = like(SPEC, 1)
    close(simple(x), op(x), scale=30)
    close(jax.jit(simple)(x), op(x), scale=30)
    if isinstance(op, lo.LinearOperator):
        fixed, y = op.with_domain(SPEC), like(op(x), 2)
        close(simple.with_domain(SPEC).H(y), fixed.H(y), scale=30)
        g, v = between_reals(op, x)
        h, _ = between_reals(simple, x)
        close(jax.vmap(h, 0, 1)(jnp.eye(v.size)), jax.vmap(g, 0, 1)(jnp.eye(v.size)), scale=30)
    else:
        close(jax.jvp(simple, (x,), (x,)), jax.jvp(op, (x,), (x,)), scale=30)


@pytest.mark.parametrize("at", range(0, len(CASES), 4))
def test_the_harness_proves_what_comes_out(at):
    lo.check_operator(lo.simplify(CASES[at][0]), SPEC)


def test_a_real_input_stays_complex():
    """U.H @ U of a real x is complex: the identity would not be, so it stays where a real domain is known."""
    real = S((3,), np.float32)
    product = (U.H @ U.with_domain(real)).with_domain(real)
    assert lo.simplify(product).codomain == product.codomain


def test_parameters_stay_parameters():
    x = like(SPEC, 1)

    def loss(simplify):
        return lambda d, a: jnp.sum(jnp.abs(simplify(lo.Diagonal(d) @ (a * lo.Diagonal(d)) + a * A)(x)) ** 2)

    d, a = jnp.asarray(D.d), jnp.float32(0.7)
    found, expected = (jax.grad(loss(f), argnums=(0, 1))(d, a) for f in (lo.simplify, lambda op: op))
    close(found, expected, scale=30)


def test_operators_as_arguments_of_jit():
    x = like(SPEC, 1)
    op = U.H @ (2 * U) @ (D @ G)
    close(jax.jit(lambda op, x: lo.simplify(op)(x))(op, x), op(x), scale=30)


def test_not_an_operator():
    with pytest.raises(TypeError, match=r"simplify expected an operator, found int 2"):
        lo.simplify(2)


WIDE, REAL = S((3,), np.complex128), S((3,), np.float32)
FOURIER = lo.FFT()


class Repeat(lo.LinearOperator):
    """Without infer_adjoint_shape."""

    def apply(self, x):
        return np.concatenate([x, x])

    def adjoint(self, y):
        return y[: len(y) // 2] + y[len(y) // 2 :]

    def infer_shape(self, x):
        return S((2 * x.shape[0],), x.dtype)


N = Repeat()
H = lo.declare(A + A.H, symmetric=True)
SPACES = {
    "an identity within wider precision": I.with_domain(SPEC).with_domain(WIDE),
    "a unitary product on real numbers": (FOURIER.H @ FOURIER).with_domain(REAL),
    "a Hermitian matrix on real numbers": H.with_domain(REAL),
    "a complex domain made real": (-FOURIER).with_domain(SPEC).with_domain(REAL),
    "a stack of complex domains made real": lo.vstack([A.with_domain(SPEC), FOURIER]).with_domain(REAL),
    "a power made real": (A**2).with_domain(SPEC).with_domain(REAL),
    "adjoints of unknown shape": (N.H @ N @ N).with_domain(REAL),
    "a Jacobian wider than its operator": lo.Affine(lo.Matrix(np.eye(3, dtype=np.float32)), normal((3,), C)).jacobian(
        np.ones(3, np.float32)
    ),
    "a complex factor on real numbers": (2j * lo.Matrix(np.eye(3, dtype=np.float32))).with_domain(REAL),
    "an adjoint on real numbers": (1j * FOURIER.H).with_domain(REAL),
    "a Kronecker product of what does not commute": lo.kron(A, L).with_domain(S((3, 3), C)),
    "a complex factor beside real parts taken inside": (1j * (A @ B.with_domain(REAL).H)).with_domain(SPEC),
}  # fmt: skip


@pytest.mark.parametrize("name", SPACES)
def test_spaces_stay(name, x64):
    op = SPACES[name]
    for part in (op, op.H, op.T, op.gram):
        simple = lo.simplify(part)
        assert (simple.domain, simple.codomain) == (part.domain, part.codomain)
        x = like(part.domain, 1)
        close(simple(x), part(x), scale=30)


class Free(lo.LinearOperator):
    """JAX derives its adjoint, but none that takes integers."""

    m: jax.Array

    @lo.traced
    def apply(self, x):
        return self.m @ x

    def infer_adjoint_shape(self, y):
        return S((3,), jnp.result_type(self.m, y))


def test_floats_that_a_sum_makes_of_integers_stay():
    m = np.arange(9, dtype=np.int32).reshape(3, 3)
    op, y = (0.5 * I + Free(m)).H, jnp.arange(3)
    close(op(y), ((0.5 * np.eye(3) + m).T @ np.arange(3.0)).astype(np.float32))
    close(lo.simplify(op)(y), op(y))


def test_factors_of_integers_keep_their_precision(x64):
    a, b = lo.Matrix(np.eye(3, dtype=np.float32)), lo.Diagonal(np.arange(3))
    op, x = a @ (1j * b), jnp.arange(3)
    assert lo.simplify(op)(x).dtype == op(x).dtype == np.complex128


@pytest.mark.parametrize(
    "op",
    [
        lo.Diagonal(np.array([200, 100, 3], np.uint8)) @ lo.Diagonal(np.array([100, 100, 3], np.uint8)),
        lo.Diagonal(np.ones(3, bool)) + lo.Diagonal(np.ones(3, bool)),
        100 * lo.Diagonal(np.array([100, 3, 1], np.int8)),
        np.int8(100) * (np.int8(100) * I),
        np.bool_(True) * I + np.bool_(True) * I,
        np.float16(6e4) * (np.float16(6e4) * I),
        lo.Diagonal(np.full(3, 6e4, np.float16)) @ lo.Diagonal(np.full(3, 6e4, np.float16)),
    ],
    ids=str,
)
def test_numbers_of_narrow_types_do_not_meet_each_other(op):
    x = like(REAL, 1)
    close(lo.simplify(op)(x), op(x))


def test_parts_that_promote_differently_stay_together():
    """Of an unknown domain the whole stack promotes what it gets; apart, its parts would not."""
    real, wide = lo.Matrix(np.eye(3, dtype=np.float32)), A
    r = like(REAL, 1)
    for op, y in ((lo.hstack([real, wide]).H, r), (lo.vstack([real, wide]).H, [r, like(SPEC, 2)]),
                  (lo.block([[real, wide]]).H, [r])):  # fmt: skip
        close(lo.simplify(op)(y), op(y))
    assert repr(lo.simplify(lo.hstack([A, B]).H)) == "vstack([A.H, B.H])"


def test_a_part_whose_domain_was_the_smaller_one_keeps_it(x64):
    op = lo.vstack([I.with_domain(SPEC).T, lo.Matrix(np.eye(3, dtype=np.complex128)).with_domain(SPEC).H])
    close(lo.simplify(op)(like(WIDE, 1)), op(like(WIDE, 1)))


def test_wide_factors_stay_where_something_narrows(x64):
    op = A.with_domain(SPEC) @ (np.float64(2) * I)
    x = like(SPEC, 1)
    assert lo.simplify(op)(x).dtype == op(x).dtype
    fixed = (lo.Matrix(np.eye(3, dtype=np.float32)).with_domain(REAL) @ (np.float64(2) * I)).with_domain(REAL)
    assert lo.simplify(fixed).codomain == fixed.codomain


def test_a_complex_factor_does_not_pass_real_parts():
    """These are inside: the domain and the codomain are complex, or unknown."""
    m, n = normal((3, 3), C, 11), normal((3, 3), C, 12)
    to_real = lo.Matrix(m) @ lo.Matrix(n).with_domain(REAL).H  # y -> m Re(n^H y)
    y = normal((3,), C, 13)
    expected = jnp.asarray(n @ (m.conj().T @ (-1j * y)).real)
    close(lo.simplify((1j * to_real).H)(y), expected, scale=10)
    along = (1j * lo.along_axis(to_real, 0)).H
    assert along.domain is None
    close(lo.simplify(along)(y[:, None]), expected[:, None], scale=10)
    r = np.float32([[2, 1, 0], [0, 1, 3], [1, 0, 1]])
    unknown = (1j * (lo.Matrix(r).with_domain(REAL) @ lo.Matrix(r))).H
    assert unknown.domain is None
    close(lo.simplify(unknown)(y), jnp.asarray((r.T @ r.T @ (-1j * y)).real.astype(np.float32)), scale=10)


class Twice(lo.algebra.Combinator):
    """A combinator in a file of its own: nothing else knows it."""

    op: lo.LinearOperator

    def apply(self, x):
        return jax.tree.map(lambda y: y + y, self.op(x))

    def adjoint_operator(self):
        return Twice(self.op.H)

    def inputs_of_parts(self, x):
        return [x]

    def simplifications(self, x):
        yield None  # a rule that does not apply
        yield 2 * self.op


def test_a_new_combinator_says_its_rules_itself():
    op = Twice(I @ A).with_domain(SPEC)
    simple = lo.simplify(op)
    assert repr(simple) == "2 * A : c64[3] -> c64[3]"
    assert repr(lo.simplify(op.H)).startswith("2 * ")
    close(simple(like(SPEC, 1)), op(like(SPEC, 1)))
    assert "└── op = A : c64[3] -> c64[3]" in str(lo.tree(Twice(A).with_domain(SPEC)))
