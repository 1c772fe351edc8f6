"""What is known of domains and codomains: once for each operator, however operators nest."""

import copy
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, like

import linops_jax as lo
from linops_jax._operators import upstream

REAL = S((3,), np.float32)
I = lo.Identity()  # noqa: E741
calls = []


class Repeat(lo.LinearOperator):
    """Its adjoint does not know the shape of its result: the input may have any even length."""

    def apply(self, x):
        return np.concatenate([x, x])

    def adjoint(self, y):
        return y[: len(y) // 2] + y[len(y) // 2 :]

    def infer_shape(self, x):
        return S((2 * x.shape[0],), x.dtype)


class Counted(lo.LinearOperator):
    d: jax.Array

    def apply(self, x):
        return self.d * x

    def adjoint(self, y):
        return self.d * y

    def infer_shape(self, x):
        calls.append(x)
        return x


class First(lo.LinearOperator):
    """The first numbers of an array of any length: its result does not say the domain."""

    n: int = lo.static(default=2)

    def apply(self, x):
        return x[: self.n]

    def adjoint(self, y):
        raise NotImplementedError

    def infer_shape(self, x):
        return S((self.n,), x.dtype)


A = Repeat()
N = A.H @ A
EXPECTED = {
    "N": (N, 2),
    "N @ I @ N": (N @ I @ N, 4),
    "N @ N": (N @ N, 4),
    "N ** 3": (N**3, 8),
    "(2 N) ** 2": ((2 * N) ** 2, 16),
    "A.H @ -A": (A.H @ -A, -2),
    "(2 A).H @ A": ((2 * A).H @ A, 4),
    "(A @ I).H @ A": ((A @ I).H @ A, 2),
    "A.H @ (I + 2 I) @ A": (A.H @ (I + 2 * I) @ A, 6),
    "A.T @ A": (A.T @ A, 2),
    "(A @ A).H @ A @ A": ((A @ A).H @ A @ A, 4),
    "vstack.H @ vstack": (lo.vstack([A, 2 * A]).H @ lo.vstack([A, 2 * A]), 10),
    "hstack @ vstack": (lo.hstack([A.H, A.H]) @ lo.vstack([A, A]), 4),
    "block": (lo.block([[A.H, None], [None, A.H]]) @ lo.block([[A], [A]]), [2, 2]),
    "gram": (A.gram @ A.gram, 4),
}


@pytest.mark.parametrize("name", EXPECTED)
def test_what_a_product_has_passed_says_the_shape_of_an_adjoint(name):
    op, factor = EXPECTED[name]
    x = [like(REAL, 1)] if name == "block" else like(REAL, 1)
    expected = jax.tree.map(lambda f: f * like(REAL, 1), factor)
    for call in (op, jax.jit(op), lambda x: jax.jit(lambda op, x: op(x))(op, x), op.with_domain(x)):
        close(call(x), expected)
    y = like(expected, 2)
    close(op.with_domain(x).H(y), jax.vjp(op, x)[1](y)[0])


def test_what_stands_beside_says_nothing():
    for op, x in ((lo.hstack([A.H, A]), [jnp.ones(6), jnp.ones(3)]), (A.H, jnp.ones(6)), (A.H @ I, jnp.ones(6))):
        with pytest.raises(TypeError, match=r"Repeat\.H\(y\) needs to know the shape of its result"):
            op(x)
    A(jnp.ones(3))
    (A.H @ A)(jnp.ones(3))
    with pytest.raises(TypeError, match=r"Repeat\.H\(y\) needs to know the shape of its result"):
        A.H(jnp.ones(6))  # what was called before is not what it was applied to


def test_the_last_one_that_gave_such_a_result_counts():
    x = like(REAL, 1)
    both = lo.block_diag([First().H, I]) @ lo.vstack([First(), I])  # not on the way: First.H sees what passed First
    assert jax.eval_shape(both, x)[0].shape == (3,)


@pytest.mark.parametrize(
    ("step", "parts"),
    [
        (lambda A: I + A.with_domain(REAL).H, 1),
        (lambda A: (2.0 * A).with_domain(REAL).H, 1),
        (lambda A: lo.vstack([A.with_domain(REAL)]).H @ lo.vstack([I]), 1),
        (lambda A: (I + A.gram).with_domain(REAL), 2),
        (lambda A: (A.H @ I).with_domain(REAL) ** 2, 1),
    ],
)
def test_costs_grow_as_the_number_of_parts(step, parts):
    op = Counted(np.ones(3, np.float32)).with_domain(REAL)
    for depth in range(1, 5):
        op = step(op)
        calls.clear()
        op(jnp.ones(3))
        assert len(calls) <= 2 * parts**depth  # once for each occurrence, and for the object itself


def test_costs_of_what_a_product_has_passed(monkeypatch):
    """What is evaluated as a part is not evaluated again for the adjoint that asks for it."""
    steps = []
    record = upstream.record
    monkeypatch.setattr(upstream, "record", lambda *step: (steps.append(step), record(*step)))
    op = Counted(np.ones(3, np.float32))
    for depth in range(1, 8):
        op = (2 * op).H @ (op + I)
        steps.clear()
        assert jax.eval_shape(op, like(REAL, 1)).shape == (3,)
        assert len(steps) <= 3 * 2**depth


def test_a_thousand_terms():
    """Costs of building are linear: parts are not looked at again."""
    terms = [Counted(np.full(3, 1 + i, np.float32)).with_domain(REAL) for i in range(300)]
    calls.clear()
    total, product = terms[0], terms[0]
    for term in terms[1:]:
        total, product = total + term, product @ term
    assert len(calls) <= len(terms)
    assert (total.codomain, product.codomain) == (REAL, REAL)
    assert len(total.terms) == len(product.factors) == 300
    assert (terms[0] ** 1000).exponent == 1000


def test_products_and_their_adjoints_know_both_sides():
    M = lo.Matrix(jnp.ones((6, 4))).with_domain(jnp.ones(4))
    C = lo.Diagonal(jnp.ones(6)) @ M
    for op in (C, 2 * C, C + C, C.H.H, lo.declare(C), C.conj(), C.T.T):
        assert (op.domain, op.codomain) == (S((4,), np.float32), S((6,), np.float32))
        assert (op.H.domain, op.H.codomain) == (S((6,), np.float32), S((4,), np.float32))
    assert lo.interop.to_scipy(C.H).shape == (4, 6)
    assert lo.todense((C.H @ C).H).shape == (4, 4)
    assert (Counted(np.ones(3, np.float32)) @ Counted(np.ones(3, np.float32)).with_domain(REAL)).H.codomain == REAL


def test_what_cannot_be_added_is_refused_when_it_is_built():
    P, Q = (lo.Matrix(jnp.ones((n, 4))).with_domain(jnp.ones(4)) for n in (3, 5))
    for build in (lambda: P + Q, lambda: P + lo.Matrix(jnp.ones((5, 4))), lambda: lo.hstack([P, Q]), lambda: P + P + Q):
        with pytest.raises(ValueError, match=r"their results differ: found f32\[5\], expected f32\[3\]"):
            build()
    with pytest.raises(ValueError, match=r"does not fit the domain of .*found f32\[3\], expected f32\[4\]"):
        Q @ P


def test_a_sum_that_only_the_product_around_it_can_measure():
    six = S((6,), np.float32)
    total = lo.Matrix(jnp.ones((3, 6))).with_domain(six) + A.H
    x = like(REAL, 1)
    close((total @ A)(x), jnp.ones((3, 6)) @ jnp.concatenate([x, x]) + 2 * x, scale=10)


def test_grams_are_positive_whatever_they_are_made_of():
    B = 2 * lo.Matrix(jnp.arange(20.0).reshape(4, 5))
    W = lo.declare(lo.Matrix(jnp.eye(4)), positive=True)
    for G in (B.H @ B, B @ B.H, B.H.gram, (-B).gram, (1j * B).gram, (B @ B.H) ** 2, B.gram ** 3, B.H @ W @ B, (W @ B).gram,
              3 * B.H @ B, (B.H @ B) @ (B.H @ B), lo.vstack([B, B]).gram):  # fmt: skip
        assert G.properties.positive, G
        G = jax.tree.unflatten(jax.tree.structure(G), jax.tree.leaves(G))  # as it comes out of jit
        assert G.properties.positive, G
    for G in (B.H @ -B, B @ B, B.H @ W, -(B.H @ B)):
        assert not G.properties.positive, G
    assert (lo.declare(lo.Matrix(-jnp.eye(4)), symmetric=True) ** 2).properties.positive


def test_what_comes_again_in_a_product_is_one_parameter():
    """Gradient steps, vmap and jit see it once, so that what was mirrored stays so."""
    m = np.random.default_rng(0).standard_normal((4, 3)).astype(np.float32)
    M, x = lo.Matrix(m), like(REAL, 1)
    W = lo.Matrix(np.diag(np.arange(4)).astype(np.float32))
    fixed = M.with_domain(REAL)
    for G in (M.H @ M, M.H @ W @ M, fixed.H @ W @ fixed, (W @ fixed).H @ W @ fixed, (M.H @ M) @ (M.H @ M), fixed.gram):
        leaves, structure = jax.tree.flatten(G)
        assert len(leaves) == len({id(leaf) for leaf in leaves})
        again = jax.tree.unflatten(structure, [2 * leaf for leaf in leaves])
        assert again.properties == G.properties
        assert jax.tree.structure(again) == structure
        assert (again.domain, repr(again)) == (G.domain, repr(G))
        close(again(x), jax.jit(lambda G, x: G(x))(again, x))
        close(again(x), lo.todense(again, REAL) @ x, scale=10)
        close(pickle.loads(pickle.dumps(again))(x), again(x))

    def loss(G):
        return jnp.sum(G(x) ** 2)

    gradient = jax.grad(loss)(M.H @ M)
    expected = jax.grad(lambda m: jnp.sum((m.T @ (m @ x)) ** 2))(jnp.asarray(m))
    close(gradient.factors[1].matrix, expected, scale=10)
    assert gradient.factors[0].op is gradient.factors[1]
    ms = jnp.stack([m, 2 * m])
    batch = jax.vmap(lambda m: lo.Matrix(m).gram)(ms)
    close(jax.vmap(lambda G: G(x))(batch), jnp.einsum("nji,njk,k->ni", ms, ms, x), scale=10)


def test_another_factor_is_no_longer_mirrored():
    M, x = lo.Matrix(np.eye(3, dtype=np.float32)), like(REAL, 1)
    changed = dataclasses.replace(M.H @ M, factors=(M.H, lo.Matrix(2 * np.eye(3, dtype=np.float32))))
    assert not changed.properties.symmetric
    close(changed(x), 2 * x)


def test_powers():
    m = np.random.default_rng(0).standard_normal((3, 3)).astype(np.float32)
    M, x = lo.Matrix(m), like(REAL, 1)
    for n in range(4):
        close((M**n)(x), np.linalg.matrix_power(m, n) @ x, scale=10)
        close((M**n).H(x), np.linalg.matrix_power(m.T, n) @ x, scale=10)
    assert repr(M**3).startswith("Matrix(matrix=f32[3,3], axes=(-1,)) ** 3")
    assert str(2 * (M + I) ** 2 @ M) == "2 (Matrix + I) ** 2 @ Matrix"
    assert (M**3).op is M
    turn = lo.Matrix((1j * m).astype(np.complex64))
    close((turn**2).with_domain(REAL).H(like(S((3,), np.complex64), 2)),
          jnp.real(np.linalg.matrix_power(1j * m, 2).conj().T @ like(S((3,), np.complex64), 2)), scale=10)  # fmt: skip


def test_copies_find_out_anew_what_follows_from_their_fields():
    op = 2 * lo.Matrix(jnp.eye(3)).with_domain(REAL)
    op(jnp.ones(3))
    for other in (copy.copy(op), copy.deepcopy(op), pickle.loads(pickle.dumps(op))):
        assert set(other.__dict__) == {"scalar", "op", "_statics"}
        close(other(jnp.ones(3)), 2 * jnp.ones(3))
    assert op.codomain == REAL


def test_shapes_follow_the_precision_at_hand():
    class Wide(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            return x.astype(np.float64)

        def infer_shape(self, x):
            return S(x.shape, np.float64)

    op = 1.0 * Wide().with_domain(REAL)
    for wide in (False, True, False):
        with jax.enable_x64(wide):
            assert op.codomain.dtype == op(jnp.ones(3, np.float32)).dtype == (np.float64 if wide else np.float32)


class Total(lo.LinearOperator):
    @lo.traced
    def apply(self, x):
        return jnp.sum(x)


class Product(lo.NonlinearOperator):
    @lo.traced
    def apply(self, x):
        return x[0] * x[1]


def test_composites_that_do_not_know_their_domain_see_what_was_passed():
    x = like(S((2, 3), np.float32), 1)
    close(lo.along_axis(Total(), 0).gram(x), jnp.broadcast_to(x.sum(0), (2, 3)), scale=10)
    scaled = lo.freeze(Product(), {1: x}, linear=True)
    close(scaled.gram(x), x**3)
    zero = lo.Zero((5,))
    close((zero.H @ zero)(x), jnp.zeros((2, 3), np.float32))
    close((A.H @ A.with_domain(REAL))(jnp.ones(3)), 2 * jnp.ones(3))
    mixed = (A.H @ A @ A.H @ A).with_domain(REAL)
    close(mixed.H(jnp.ones(3)), 4 * jnp.ones(3))


def test_a_real_operator_in_a_complex_product():
    for op in (
        2j * A,
        A + 1j * A,
        lo.Diagonal(1j * np.ones(6, np.complex64)) @ A,
        lo.hstack([A, 1j * A]) @ lo.vstack([I, I]),
    ):
        x = like(REAL, 1)
        expected = jax.tree.map(jnp.conj, jax.vjp(op, x)[1](jnp.conj(op(x)))[0])
        close(jnp.real(op.gram(x)), expected, scale=10)
        close(jnp.real(op.gram.with_domain(x)(x)), expected, scale=10)


class Cut(lo.LinearOperator):
    """Inputs of many lengths give one result."""

    @lo.traced
    def apply(self, x):
        return x[:2]

    def infer_shape(self, x):
        return S((2,), x.dtype)


def test_the_way_of_one_product_is_forgotten_in_the_next():
    """Also where parts are called eagerly, one by one, and JAX keeps what they were traced to."""
    G = Cut().H @ Cut()
    for n in (3, 4, 3):
        assert G.apply(jnp.ones(n)).shape == G(jnp.ones(n)).shape == (n,)


def test_exceptions_leave_nothing_behind():
    class Fails(lo.LinearOperator):
        apply = adjoint = lambda self, x: 1 / 0
        infer_shape = lambda self, x: x  # noqa: E731

    with pytest.raises(ZeroDivisionError, match="division by zero"):
        (Fails() @ A.H @ A)(jnp.ones(3))
    with pytest.raises(TypeError, match=r"Repeat\.H\(y\) needs to know"):
        (A.H @ I)(jnp.ones(6))
