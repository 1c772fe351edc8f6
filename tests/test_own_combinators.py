"""Combinators of one's own, by ``lo.algebra.Combinator``: against the matrices they must equal, of every kind of part."""

import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, like, normal
from operators import Dense

import linops_jax as lo

R, C = np.float32, np.complex64
PRODUCT, SUM = lo.algebra.Precedence.PRODUCT, lo.algebra.Precedence.SUM


class Anticommutator(lo.algebra.Combinator):
    """A B + B A."""

    a: lo.LinearOperator
    b: lo.LinearOperator
    precedence = SUM

    def apply(self, x):
        return jax.tree.map(jnp.add, self.a(self.b(x)), self.b(self.a(x)))

    def expression(self, show):
        a, b = show(self.a, PRODUCT), show(self.b, PRODUCT)
        return f"{a} @ {b} + {b} @ {a}"

    def adjoint_operator(self):
        return Anticommutator(self.b.H, self.a.H)

    def inputs_of_parts(self, x):
        return [x, x]

    def simplifications(self, x):
        yield 2 * self.a @ self.b if self.a is self.b else None


class Polynomial(lo.algebra.Combinator):
    """c[0] + c[1] A + c[2] A^2 + ..."""

    op: lo.LinearOperator
    coefficients: jax.Array

    def apply(self, x):
        total = jnp.zeros_like(x)
        for i in reversed(range(len(self.coefficients))):
            total = self.op(total) + self.coefficients[i] * x
        return total

    def infer_adjoint_shape(self, y):
        return y

    @property
    def domain(self):
        return self.op.domain


class Similar(lo.algebra.Combinator):
    """S A S^-1, which has an inverse where A has."""

    ops: dict[str, lo.LinearOperator]

    def apply(self, x):
        return self.ops["S"](self.ops["A"](self.ops["S"].inv(x)))

    def inverse_operator(self):
        return Similar({"A": self.ops["A"].inv, "S": self.ops["S"]})


class ByHand(lo.algebra.Combinator):
    """A^2, with an adjoint that its own author wrote."""

    op: lo.LinearOperator
    factor: float = lo.static(default=1.0)

    def apply(self, x):
        return self.op(self.op(x))

    def adjoint(self, y):
        return self.factor * self.op.H(self.op.H(y))

    def infer_adjoint_shape(self, y):
        return y


class Product(lo.algebra.NonlinearCombinator):
    """x -> F_1(x) F_2(x) ..., element by element."""

    ops: list[lo.LinearOperator | lo.NonlinearOperator]
    precedence = PRODUCT

    def apply(self, x):
        y = self.ops[0](x)
        for op in self.ops[1:]:
            y = y * op(x)
        return y

    def expression(self, show):
        return " · ".join(show(op, lo.algebra.Precedence.ATOM) for op in self.ops)


def dense(m, kind):
    return Dense(m) if kind == "host" else lo.Matrix(m)


CASES = [
    (kind, *dtypes) for kind in ("host", "traced") for dtypes in ((R, R, R), (C, C, C), (R, C, R), (C, R, R), (R, R, C))
]


@pytest.mark.parametrize(("kind", "of_a", "of_b", "of_x"), CASES)
def test_the_map_and_its_adjoint_are_those_of_the_matrix(kind, of_a, of_b, of_x):
    a, b = normal((3, 3), of_a), normal((3, 3), of_b, 1)
    op = Anticommutator(dense(a, kind), dense(b, kind))
    matrix, x, y = a @ b + b @ a, like(S((3,), of_x), 2), like(S((3,), np.result_type(of_a, of_b, of_x)), 3)
    close(op(x), jnp.asarray(matrix @ x), scale=5)
    close(op.T(y), jnp.asarray(matrix.T @ y), scale=5)
    close(op.with_domain(x).H(y), jnp.asarray(between_adjoint(matrix, y, of_x)), scale=5)
    expected = jnp.asarray(between_adjoint(matrix, matrix @ x, of_x)).astype(of_x)
    close((op.with_domain(x).gram)(x), expected, scale=10)
    gradient = jax.grad(lambda x: jnp.sum(jnp.abs(op(x)) ** 2))(x)
    close(gradient, 2 * expected.conj(), scale=20)
    close(jax.jvp(op, (x,), (x,))[1], op(x), scale=5)
    close(jax.vmap(op)(jnp.stack([x, 2 * x])), jnp.stack([op(x), op(2 * x)]), scale=5)
    close(jax.jit(lambda op, x: op(x))(op, x), op(x), scale=5)


def between_adjoint(matrix, y, dtype):
    """A^H y, its real part on a real domain."""
    back = matrix.conj().T @ y
    return back if np.issubdtype(dtype, np.complexfloating) else back.real


@pytest.mark.parametrize(
    ("op", "x"),
    [
        (Anticommutator(Dense(normal((3, 3), C)), lo.Matrix(normal((3, 3), R, 1))), S((3,), R)),
        (Polynomial(Dense(normal((3, 3), R)), jnp.asarray([1.0, 2.0, 3.0])), S((3,), R)),
        (ByHand(Dense(normal((3, 3), C))), S((3,), C)),
        (Similar({"A": lo.Diagonal(jnp.asarray([1.0, 2.0])), "S": lo.Diagonal(jnp.asarray([2.0, 1.0]))}), S((2,), R)),
        (2 * Anticommutator(lo.Diagonal(jnp.ones(3)), Dense(normal((3, 3)))).H @ lo.Matrix(normal((3, 3))), S((3,), R)),
        (Product([Dense(normal((3, 3))), lo.Affine(lo.Matrix(normal((3, 3), R, 1)), jnp.ones(3))]), S((3,), R)),
    ],
    ids=["anticommutator", "polynomial", "by hand", "similar", "in a composite", "nonlinear"],
)
def test_every_check_passes(op, x):
    lo.check_operator(op, x)


def test_a_polynomial_is_differentiable_in_its_coefficients_and_batched_over_them():
    m, x = normal((3, 3), R), like(S((3,), R), 1)
    c = jnp.asarray([1.0, 0.5, 2.0])
    powers = jnp.stack([x, m @ x, m @ (m @ x)])
    jacobian = jax.jacobian(lambda c: Polynomial(Dense(m), c)(x))(c)
    close(jacobian, powers.T, scale=5)
    many = jax.vmap(lambda c: Polynomial(Dense(m), c)(x))(jnp.stack([c, 2 * c]))
    close(many, jnp.stack([c @ powers, 2 * c @ powers]), scale=5)
    fixed = Polynomial(Dense(m).with_domain(x), c)
    assert fixed.domain == S((3,), R)
    close(lo.todense(fixed), jnp.asarray(c[0] * np.eye(3) + c[1] * m + c[2] * m @ m), scale=5)


def test_it_prints_with_parentheses_where_they_are_needed():
    op = Anticommutator(lo.Diagonal(jnp.ones(3)), lo.Identity() + lo.Zero())
    assert str(op) == "Diagonal @ (I + 0) + (I + 0) @ Diagonal"
    assert str(2 * op.H) == "2 (Diagonal @ (I + 0) + (I + 0) @ Diagonal).H"
    assert repr(op).startswith("Diagonal(d=f32[3]) @ (Identity() + Zero(shape=None)) + ")
    assert str(Product([lo.Identity(), op])) == "I · (Diagonal @ (I + 0) + (I + 0) @ Diagonal)"
    assert str(Polynomial(lo.Identity(), jnp.ones(2))) == "Polynomial"  # says nothing of itself


def test_the_tree_shows_parts_and_their_shapes():
    view = str(lo.tree(Anticommutator(Dense(normal((3, 3), C)), lo.Matrix(normal((3, 3), R))).with_domain(S((3,), R))))
    assert "├── a = Dense(matrix=c64[3,3]) : f32[3] -> c64[3]" in view
    assert "└── b = Matrix(matrix=f32[3,3], axes=(-1,)) : f32[3] -> f32[3]" in view
    view = str(lo.tree(Similar({"A": lo.Identity(), "S": lo.Identity()}).with_domain(S((3,), R))))
    assert "ops['A'] = Identity  |  symmetric" in view  # whose inputs it does not say


def test_simplify_takes_its_parts_its_rules_and_its_adjoint():
    A, B = Dense(normal((3, 3), C)), Dense(normal((3, 3), C, 1))
    x = like(S((3,), C), 2)
    op = (lo.Identity() @ Anticommutator(A @ lo.Identity(), lo.Identity() @ A)).with_domain(x)
    assert isinstance(lo.simplify(op), lo.algebra.WithDomain)
    assert str(lo.simplify(op)) == "2 Dense @ Dense : c64[3] -> c64[3]"
    close(lo.simplify(op)(x), op(x), scale=5)
    back = lo.simplify(Anticommutator(A, B).with_domain(x).H)
    assert str(back) == "Dense.H @ Dense.H + Dense.H @ Dense.H : c64[3] -> c64[3]"
    close(back(x), Anticommutator(A, B).H(x), scale=5)


def test_the_inverse_is_the_one_it_says():
    m, d = normal((3, 3), R) + 3 * np.eye(3, dtype=R), jnp.asarray([1.0, 2.0, 4.0])
    op = Similar({"A": lo.Diagonal(d), "S": lo.Diagonal(d + 1)})
    x = like(S((3,), R), 1)
    assert isinstance(op.inv, Similar)
    close(op.inv(op(x)), x, scale=5)
    close((op**-2)(x), x / d**2, scale=5)
    close(Polynomial(Dense(m), jnp.asarray([0.0, 1.0])).inv(m @ x), x, scale=1000)  # by a solver


def test_an_adjoint_by_hand_is_used_in_every_mode():
    op = ByHand(Dense(normal((3, 3), R)), 7.0)
    x, y = like(S((3,), R), 1), like(S((3,), R), 2)
    right = ByHand(op.op)
    close(op.H(y), 7 * right.H(y), scale=5)
    close(jax.linear_transpose(op, x)(y)[0], 7 * right.H(y), scale=5)
    close(jax.grad(lambda x: jnp.vdot(y, op(x)))(x), 7 * right.H(y), scale=5)
    with pytest.raises(lo.testing.CheckError, match=r"adjoint"):
        lo.check_operator(op, x)


def test_what_is_contagious_in_its_parts_is_in_it():
    class Real(lo.LinearOperator, real_linear=True, adjoint_rtol=1e-3):
        adjoint = None

        def apply(self, x):
            return x.real.astype(x.dtype)

        def infer_shape(self, x):
            return x

    op = Anticommutator(Real(), lo.Identity())
    assert (op.properties.real_linear, op.properties.adjoint_rtol) == (True, 1e-3)
    assert Product([Real(), lo.Identity()]).properties.real_linear

    class Symmetric(Polynomial, symmetric=True):
        pass

    assert Symmetric(lo.Identity(), jnp.ones(2)).properties.symmetric
    assert not Symmetric(Real(), jnp.ones(2)).properties.diagonal


def test_an_adjoint_on_its_own_knows_its_shape_by_its_parts_or_says_what_is_missing():
    class Free(lo.LinearOperator):
        def apply(self, x):
            return x

        def adjoint(self, y):
            return y

        def infer_shape(self, x):
            return x

    y = like(S((3,), R), 1)
    close(Anticommutator(Dense(normal((3, 3))), lo.Identity()).H(y), jnp.asarray(2 * normal((3, 3)).T.astype(R) @ y), 5)
    with pytest.raises(TypeError, match=r"Anticommutator\.H\(y\) needs to know the shape of its result"):
        Anticommutator(Free(), Free()).H(y)
    gram = Anticommutator(Free(), Free()).gram  # the way through the product says it
    close(gram(y), 4 * y)


def test_it_is_pickled_and_a_pytree():
    op = Anticommutator(Dense(normal((3, 3), R)), lo.Diagonal(jnp.ones(3)))
    x = like(S((3,), R), 1)
    close(pickle.loads(pickle.dumps(op))(x), op(x))
    close(jax.tree.map(lambda leaf: 2 * leaf, op)(x), 4 * op(x), scale=5)
    many = jax.vmap(lambda d: Anticommutator(op.a, lo.Diagonal(d)))(jnp.ones((2, 3)))
    close(jax.vmap(lambda op: op(x))(jax.tree.map(lambda leaf: jnp.stack([leaf, leaf]), op)), jnp.stack([op(x)] * 2))
    assert many.b.d.shape == (2, 3)


def test_a_host_part_raises_its_own_exception():
    class Fails(lo.LinearOperator):
        adjoint = None

        def apply(self, x):
            message = "on purpose"
            raise KeyError(message)

        def infer_shape(self, x):
            return x

    with pytest.raises(KeyError, match="on purpose"):
        Anticommutator(lo.Identity(), Fails())(jnp.ones(3))


def test_errors():
    class Wrong(lo.algebra.Combinator):
        op: lo.LinearOperator

        def apply(self, x):
            return self.op(x)

        def simplifications(self, x):
            yield "simpler"

        def inputs_of_parts(self, x):
            return [x, x]

    op = Wrong(lo.Identity())
    with pytest.raises(TypeError, match=r"Wrong\.simplifications: expected operators or None, found str 'simpler'"):
        lo.simplify(op)
    with pytest.raises(
        ValueError, match=r"Wrong\.inputs_of_parts: expected one entry for each of the 1 operators.*found 2"
    ):
        lo.simplify(op.with_domain(jnp.ones(3)))
    with pytest.raises(TypeError, match=r"Hosted\.apply: the hooks of a combinator are JAX code that calls its parts"):

        class Hosted(lo.algebra.Combinator):
            apply = lo.native(ffi="scale")

    with pytest.raises(TypeError, match=r"Named\.expression: operators use this name themselves"):

        class Named(lo.algebra.Combinator):
            expression: jax.Array

            def apply(self, x):
                return x

    class Nothing(lo.algebra.Combinator):
        op: lo.LinearOperator

    with pytest.raises(TypeError, match=r"Can't instantiate abstract class Nothing .*apply"):
        Nothing(lo.Identity())


class Slope(lo.algebra.Combinator):
    """The derivative of F at a point, by JAX."""

    op: lo.NonlinearOperator
    x: jax.Array
    nonlinear_parts = True

    def apply(self, dx):
        return jax.jvp(self.op, (self.x,), (dx,))[1]


def test_a_linear_combinator_has_linear_parts_unless_it_says_otherwise():
    m, x = normal((3, 3), R), like(S((3,), R), 1)
    F = Product([Dense(m), lo.Identity()])
    with pytest.raises(
        TypeError, match=r"Similar: expected linear operators, found the nonlinear .*`nonlinear_parts = "
    ):
        Similar({"A": F, "S": lo.Identity()})
    slope = Slope(F, x)
    close(slope(x), 2 * (m @ x) * x, scale=5)
    close(jax.tree.map(lambda leaf: leaf, slope)(x), slope(x))
