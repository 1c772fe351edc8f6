"""A^H of every composite is conj(vjp(conj y)), for all mixtures of real and complex parts, on whatever domain."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, like, normal
from operators import Antilinear

import linops_jax as lo

C, R = np.complex64, np.float32


class RealPart(lo.LinearOperator, real_linear=True):
    """Complex to real."""

    def apply(self, x):
        return x.real

    def adjoint(self, y):
        return y.astype(C)

    def infer_shape(self, x):
        return S(x.shape, R)

    def infer_adjoint_shape(self, y):
        return S(y.shape, C)


class Turn(lo.LinearOperator):
    """Anything to complex."""

    def apply(self, x):
        return 2j * x

    def adjoint(self, y):
        return -2j * y

    def infer_shape(self, x):
        return S(x.shape, C)

    infer_adjoint_shape = infer_shape


class Conj(lo.LinearOperator, real_linear=True):
    def apply(self, x):
        return np.conj(x)

    def adjoint(self, y):
        return np.conj(y)

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


class Damp(lo.LinearOperator):
    """Real factors, whatever the input."""

    d: jax.Array

    def apply(self, x, *, out):
        np.multiply(self.d, x, out=out)

    def adjoint(self, y, *, out):
        np.multiply(self.d, y, out=out)

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


class TracedDamp(lo.LinearOperator):
    """The same, with an adjoint that JAX derives."""

    d: jax.Array

    @lo.traced
    def apply(self, x):
        return jnp.asarray(self.d) * x

    def infer_adjoint_shape(self, y):
        return y


class Energy(lo.NonlinearOperator, real_linear=True):
    """Complex to real."""

    def apply(self, x):
        return x.real**2 + x.imag**2

    def jacobian_apply(self, x, dx):
        return 2 * np.real(np.conj(x) * dx)

    def jacobian_adjoint(self, x, dy):
        return 2 * x * dy

    def infer_shape(self, x):
        return S(x.shape, R)


class Square(lo.NonlinearOperator):
    def apply(self, x):
        return x**2

    def jacobian_apply(self, x, dx):
        return 2 * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * np.conj(x) * dy

    def infer_shape(self, x):
        return x


P, T, K, D, E = RealPart(), Turn(), Conj(), Damp(np.array([1, 2, 3], R)), TracedDamp(np.array([3, 1, 2], R))
M = lo.Matrix(normal((3, 3), C))
I = lo.Identity()  # noqa: E741
F = lo.FFT()
COMPLEX, REAL = S((3,), C), S((3,), R)

# operators that say the domain of their adjoints themselves
SELF_EVIDENT = [
    1j * P, P + T, -(P + T), T @ P, T @ P + 2 * K, P @ M @ K, (1 + 2j) * K, K @ (2j * M), (2j * K).conj(), (P + T).H @ T,
    lo.vstack([P, T]), lo.vstack({"a": P + T, "b": lo.vstack((K, 1j * P))}), lo.kron(P, M), lo.along_axis(1j * P, -1),
    lo.declare(T @ P, real_linear=True), (1j * K) ** 3, T @ P @ (1j * (P + T)) - M.H @ P, (T @ (P + 1j * K)).H.H,
]  # fmt: skip
# complex operators, and real parts inside of them, on a real domain
ON_REALS = [
    1j * D, T + D, T @ D, 2j * E, T @ E + D, E + M, F.H, M.T, M + M.H, M.H @ D @ M, F @ D, M.conj() @ E, P @ F, D @ P @ F,
    lo.vstack([D, T, P @ M]), (1j * M) ** 2, lo.kron(M, D), lo.along_axis(T @ D, -1),
    I + 1j * I, lo.Zero() + M, 1j * lo.Diagonal(np.array([1, 2, 3], R)), lo.Function(lambda x: 1j * x, REAL),
]  # fmt: skip


def true_adjoint(op, x, y):
    return jax.tree.map(jnp.conj, jax.vjp(op, x)[1](jax.tree.map(jnp.conj, y))[0])


def check(op, x):
    y = like(op(x), 2)
    expected = true_adjoint(op, x, y)
    fixed = op.with_domain(x)
    close(fixed.H(y), expected, scale=10)
    close(jax.jit(lambda A, y: A.H(y))(fixed, y), expected, scale=10)
    close(fixed.T(y), jax.vjp(op, x)[1](y)[0], scale=10)
    close(fixed.gram(x), true_adjoint(op, x, op(x)), scale=10)
    close(jax.vmap(fixed.H)(jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), y)),
          jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), expected), scale=10)  # fmt: skip
    assert fixed.H.domain == fixed.codomain
    assert fixed.H.codomain == fixed.domain
    # the adjoint is itself a linear map whose adjoint is the operator
    close(true_adjoint(fixed.H, y, x), op(x), scale=10)
    simple = lo.simplify(fixed.H)
    close(simple(y), expected, scale=30)
    assert (simple.domain, simple.codomain) == (fixed.codomain, fixed.domain)


def point(op, spec):
    """Kronecker products take an array of two axes."""
    return like(S((3, 3), spec.dtype) if "kron" in str(op) else spec, 1)


@pytest.mark.parametrize("op", SELF_EVIDENT, ids=str)
def test_mixtures_on_complex_numbers(op):
    x = point(op, COMPLEX)
    check(op, x)
    y = like(op(x), 2)
    close(op.H(y), true_adjoint(op, x, y), scale=10)
    close(lo.simplify(op.H)(y), op.H(y), scale=30)


@pytest.mark.parametrize("op", ON_REALS, ids=str)
def test_mixtures_on_real_numbers(op):
    check(op, point(op, REAL))


@pytest.mark.parametrize(("op", "spec"), [*((op, COMPLEX) for op in SELF_EVIDENT[::3]), *((op, REAL) for op in ON_REALS[1::3])],
                         ids=str)  # fmt: skip
def test_mixtures_pass_every_check(op, spec):
    x = point(op, spec)
    lo.check_operator(op.with_domain(x), x)


@pytest.mark.parametrize("op", [lo.hstack([P, T]), lo.block([[P, T]]), lo.block([[P, None], [K, T]]), lo.block_diag([P, T])],
                         ids=str)  # fmt: skip
def test_containers(op):
    x = [like(COMPLEX, 1), like(COMPLEX, 3)]
    check(op, x)
    y = like(op(x), 2)
    close(op.H(y), true_adjoint(op, x, y), scale=10)


@pytest.mark.parametrize("op", [lo.hstack([D, T]), lo.block([[D, T], [E, None]])], ids=str)
def test_containers_on_real_numbers(op):
    check(op, [like(REAL, 1), like(REAL, 3)])


@pytest.mark.parametrize("G", [1j * Energy(), Energy() + T, T @ Energy(), T @ Energy() @ M, lo.vstack([Energy(), T]),
                               lo.Affine(P, 1j * normal((3,), C)), (1j * Energy() + T) @ (K + Square())], ids=str)  # fmt: skip
def test_jacobians(G):
    x = like(COMPLEX, 1)
    J, y = G.jacobian(x), like(G(x), 2)
    close(J.H(y), true_adjoint(G, x, y), scale=10)
    close(J(x), jax.jvp(G, (x,), (x,))[1], scale=10)
    lo.check_operator(G, x)


@pytest.mark.parametrize("G", [1j * Square(), Square() + T, M @ Square(), lo.Affine(D, 1j * normal((3,), C))], ids=str)
def test_jacobians_on_real_numbers(G):
    x = like(REAL, 1)
    y = like(G(x), 2)
    close(G.jacobian(x).H(y), true_adjoint(G, x, y), scale=10)


def test_an_affine_map_wider_than_its_operator(x64):
    for x, b in ((jnp.ones(3, np.float32), np.ones(3)), (jnp.ones(3), np.ones(3) * 1j)):
        G = lo.Affine(I, b)
        J = G.jacobian(x)
        assert J.codomain == G(x).aval.update(weak_type=False) or J.codomain.dtype == G(x).dtype
        assert J(x).dtype == jax.jvp(G, (x,), (x,))[1].dtype == G(x).dtype
        close(J.H(G(x)), true_adjoint(G, x, G(x)))
        lo.check_operator(G, x)


def test_least_squares_of_a_mixture():
    x = like(COMPLEX, 1)
    A = (P + T).with_domain(x)
    close(lo.solve(A, A(x)).value, x, scale=100)
    B, r = F.H.with_domain(REAL), like(REAL, 1)
    close(lo.solve(B, B(r)).value, r, scale=100)


def test_gradients_of_adjoints_of_real_arrays():
    r = like(REAL, 1)
    energy = lambda A: lambda r: jnp.sum(jnp.abs(A(r)) ** 2)  # noqa: E731
    dense = jnp.asarray(np.fft.fft(np.eye(3), norm="ortho").conj().T, C)
    close(jax.grad(energy(F.H))(r), jax.grad(energy(lambda r: dense @ r))(r), scale=10)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, C])
@pytest.mark.parametrize("op", [lo.Diagonal(np.array([1j, 2, 3], C)), lo.Diagonal(np.ones(3, R)), lo.Matrix(np.eye(3, dtype=C)),
                                TracedDamp(np.ones(3, R)), F, lo.vstack([E, I])], ids=str)  # fmt: skip
def test_adjoints_take_what_promotes_to_the_codomain(op, dtype):
    """Derived ones as well as given ones; on the codomain itself they are what they always are."""
    y = jax.tree.map(lambda leaf: like(S(leaf.shape, dtype), 2), op(like(REAL, 1)))
    found = op.H(y)
    wide = jax.tree.map(lambda leaf, s: leaf.astype(s.dtype), y, op._infer_shape(found))
    close(found, op.H(wide))
    assert np.all(np.isfinite(np.asarray(jax.tree.leaves(found)[0])))


def test_an_operator_with_a_domain_answers_in_its_codomain():
    for op in (I, D, F, 2 * I, lo.vstack([D, I])):
        fixed = op.with_domain(REAL)
        for dtype in (np.int32, np.float16, np.float32):
            y = fixed(like(S((3,), dtype), 1))
            assert jax.tree.map(lambda leaf: S(leaf.shape, leaf.dtype), y) == fixed.codomain
    with pytest.raises(ValueError, match=r"found c64\[3\], expected f32\[3\]"):
        I.with_domain(REAL)(like(COMPLEX, 1))


def test_a_domain_can_be_made_smaller():
    A = M.with_domain(COMPLEX)
    r, y = like(REAL, 1), like(COMPLEX, 2)
    small = A.with_domain(REAL)
    assert (small.domain, small.codomain) == (REAL, COMPLEX)
    close(small.H(y), jnp.real(A.H(y)))
    close(small(r), A(r))
    with pytest.raises(ValueError, match=r"has another domain already: found c64\[3\], expected f32\[3\]"):
        small.with_domain(COMPLEX)


def test_inverses_on_real_numbers():
    d = lo.Diagonal(normal((3,), C))
    for op in (d.inv, (d @ lo.Diagonal(np.array([1, 2, 3], R))).inv, d**-2, (2j * d).inv):
        check(op, like(REAL, 1))


def test_inverses_of_multiples_of_what_is_linear_over_the_reals():
    """The inverse of y = a conj(x) is conj(y / a), not conj(y) / a."""
    y = normal((3,), C)
    conj = lo.declare(Antilinear(np.zeros((3, 3), C), np.eye(3, dtype=C)), unitary=True)
    close((np.complex64(1j) * conj).inv(y), jnp.asarray(np.conj(y / 1j), C))
    close((np.complex64(2j) * conj).with_domain(COMPLEX).inv(y), jnp.asarray(np.conj(y / 2j), C), scale=100)


def test_kronecker_products_of_a_real_domain_and_complex_results():
    """The factor that returns complex numbers comes last, whichever it is."""
    a, b = lo.Matrix(normal((3, 3), R)).with_domain(REAL), M.with_domain(REAL)
    for op, dense in (
        (lo.kron(a, b), np.kron(a.op.matrix, b.op.matrix)),
        (lo.kron(b, a), np.kron(b.op.matrix, a.op.matrix)),
    ):
        close(lo.todense(op), jnp.asarray(dense), scale=10)
        check(op, like(S((3, 3), R), 1))
    close(
        lo.todense(lo.kron_sum(a, b)),
        jnp.asarray(np.kron(a.op.matrix, np.eye(3)) + np.kron(np.eye(3), b.op.matrix)),
        scale=10,
    )


class Rounds(lo.LinearOperator):
    """Traced code that returns less precision than it promises."""

    @lo.traced
    def apply(self, x):
        return x.astype(R)

    def infer_shape(self, x):
        return S(x.shape, np.float64)


class RoundsSquares(lo.NonlinearOperator):
    @lo.traced
    def apply(self, x):
        return (x**2).astype(R)

    def infer_shape(self, x):
        return S(x.shape, np.float64)


WIDE, NARROW = normal((3, 3), C, 1), normal((3, 3), R, 2)


@pytest.mark.parametrize(
    ("a", "b", "matrix"),
    [
        (lo.Matrix(WIDE).with_domain(COMPLEX), lo.Matrix(NARROW).with_domain(REAL), np.kron(WIDE, NARROW)),
        (lo.Matrix(NARROW).with_domain(REAL), lo.Matrix(WIDE).with_domain(COMPLEX), np.kron(NARROW, WIDE)),
        (lo.Matrix(WIDE).with_domain(REAL), lo.Matrix(WIDE).with_domain(COMPLEX), np.kron(WIDE, WIDE)),
        (lo.Matrix(WIDE).with_domain(COMPLEX), lo.Matrix(WIDE).with_domain(REAL), np.kron(WIDE, WIDE)),
        (lo.Matrix(WIDE), lo.Matrix(NARROW).with_domain(REAL), np.kron(WIDE, NARROW)),
        (lo.Matrix(NARROW).with_domain(REAL), lo.Matrix(WIDE), np.kron(NARROW, WIDE)),
        (
            lo.kron(lo.Matrix(NARROW).with_domain(REAL), lo.Matrix(NARROW).with_domain(REAL)),
            lo.Matrix(WIDE).with_domain(COMPLEX),
            np.kron(np.kron(NARROW, NARROW), WIDE),
        ),
    ],
)
def test_kronecker_products_with_a_real_domain_beside_a_complex_one(a, b, matrix):
    """The factor with a real domain comes first, and so the whole has a real domain."""
    op, shape = lo.kron(a, b), (3,) * (2 if len(matrix) == 9 else 3)
    x, y = normal(shape, R, 3), normal(shape, C, 4)
    if a.domain is not None and b.domain is not None:
        assert (op.domain, op.codomain) == (S(shape, R), S(shape, C))
    close(op(x), (matrix @ x.ravel()).reshape(shape))
    expected = (matrix.conj().T @ y.ravel()).real.reshape(shape)
    close(op.with_domain(S(shape, R)).H(y), expected)
    close(op.H(y), expected)
    close(jax.vjp(op, jnp.asarray(x))[1](jnp.conj(y))[0], expected)


def test_a_kronecker_product_has_one_order_on_every_part_of_its_domain():
    """The real part is linear over the reals only: after a turn by 90 degrees it would be zero."""
    op = lo.kron(P.with_domain(COMPLEX), T.with_domain(REAL))
    assert op.domain == S((3, 3), C)
    small, x = op.with_domain(S((3, 3), R)), like(S((3, 3), R), 1)
    close(small(x), 2j * x)
    check(small, x)


def test_kronecker_products_of_factors_that_do_not_commute():
    """Conjugation and a turn: the adjoint and the inverse are those of the factors in the other order."""
    turn, flip = (1j * I).with_domain(COMPLEX), lo.declare(K, symmetric=True, unitary=True).with_domain(COMPLEX)
    op, x = lo.kron(turn, flip), like(S((3, 3), C), 1)
    for part in (op, lo.kron(flip, turn)):
        check(part, x)
        close(part.inv(part(x)), x, scale=30)
    hermitian = lo.declare(M + M.H, symmetric=True).with_domain(COMPLEX)
    assert not lo.kron(hermitian, flip).properties.symmetric
    assert lo.kron(hermitian, hermitian).properties.symmetric


def test_kronecker_products_in_which_neither_factor_comes_last():
    a, b = lo.Matrix(WIDE).with_domain(REAL), Turn().with_domain(REAL)
    message = r"cannot build kron\(.*neither of which takes what the other one returns. Leave out the domain of one"
    with pytest.raises(ValueError, match=message):
        lo.kron(a, b)
    close(lo.kron(lo.Matrix(WIDE), b)(normal((3, 3), R)), 2j * WIDE @ normal((3, 3), R))


def test_derivatives_of_traced_code_less_precise_than_promised(x64):
    x = jnp.arange(1.0, 4.0)
    close(jax.grad(lambda x: Rounds()(x).sum())(x), jnp.ones(3))
    close(jax.grad(lambda x: RoundsSquares()(x).sum())(x), 2 * x)
    close(lo.Diagonal(jnp.asarray(2j)).H(jnp.ones(2, R)), -2j * jnp.ones(2))  # a weakly typed array


def test_a_real_part_of_y_does_not_make_the_domain_real():
    """Where another part of y is complex, or what comes before in a product."""
    a, b = lo.Matrix(normal((3, 3), C)), lo.Diagonal(normal((3,), C, 1))
    op, y = lo.vstack([a, K]) @ b, [like(COMPLEX, 1), like(REAL, 2)]
    wide = [leaf.astype(C) for leaf in y]
    close(op.H(y), true_adjoint(op, like(COMPLEX, 3), wide), scale=10)
    close(lo.vstack([a, K]).H(y), true_adjoint(lo.vstack([a, K]), like(COMPLEX, 3), wide), scale=10)
    along = lo.along_axis(T, 0)
    x = like(S((3, 3), R), 1)
    close((along.H @ along)(x), 4 * x.astype(C), scale=10)  # as of T.H @ T
