"""Every example of the documents that this project came from, as operators, in their order.

The first is the JAXbind paper, the second a tour of JAX, the third JAX's notebook on custom derivative rules. Expected
values are those of JAX's own rules (``jax.custom_jvp``, ``jax.custom_vjp``), or formulas.
"""

import bdb
import collections
import functools
import io
import pdb
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, normal
from jax import grad, jit, jvp, vjp, vmap

import linops_jax as lo


def value(x):
    return np.asarray(x, np.float32)


# ---- 1. JAXbind: bind any function to JAX -----------------------------------------------------------------------------


class Paper(lo.NonlinearOperator):
    """f(x1, x2) = x1 x2^2."""

    def apply(self, x, *, out):
        x1, x2 = x
        out[()] = x1 * x2**2

    def jacobian_apply(self, x, dx, *, out):
        (x1, x2), (dx1, dx2) = x, dx
        out[()] = x2**2 * dx1 + 2 * x1 * x2 * dx2

    def jacobian_adjoint(self, x, dy, *, out):
        x1, x2 = x
        out[0][()] = x2**2 * dy
        out[1][()] = 2 * x1 * x2 * dy

    def infer_shape(self, x):
        assert x[0].shape == x[1].shape
        return x[0]


INPUT = (jnp.full((4, 3), 4.0), jnp.full((4, 3), 2.0))


def test_paper_pushforward():
    found = jvp(Paper(), (INPUT,), ((jnp.full((4, 3), 1.0), jnp.full((4, 3), 1.0)),))
    close(found, (jnp.full((4, 3), 16.0), jnp.full((4, 3), 20.0)))


def test_paper_pullback():
    y, pullback = vjp(Paper(), INPUT)
    close(
        (y, pullback(jnp.full((4, 3), 6.0))),
        (jnp.full((4, 3), 16.0), ((jnp.full((4, 3), 24.0), jnp.full((4, 3), 96.0)),)),
    )


def test_paper_jit():
    close(jit(Paper())(INPUT), jnp.full((4, 3), 16.0))


def test_paper_batch():
    batch = tuple(jnp.asarray(normal((5, 4, 3), np.float32, seed)) for seed in (1, 2))
    close(vmap(Paper())(batch), batch[0] * batch[1] ** 2)


def test_paper_abstract_evaluation():
    assert jax.eval_shape(Paper(), INPUT) == S((4, 3), np.float32)
    with pytest.raises(AssertionError, match="shape"):
        Paper()((INPUT[0], INPUT[1][:2]))


class Power(lo.NonlinearOperator):
    """x^exponent: where the paper passes keyword arguments, operators have static fields."""

    exponent: int = lo.static()

    def apply(self, x):
        return x**self.exponent

    def jacobian_apply(self, x, dx):
        return self.exponent * x ** (self.exponent - 1) * dx

    def jacobian_adjoint(self, x, dy):
        return self.jacobian_apply(np.conj(x), dy)

    def hessian_apply(self, x, dx1, dx2):
        return self.exponent * (self.exponent - 1) * x ** (self.exponent - 2) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return self.hessian_apply(np.conj(x), np.conj(dx), dy)

    def infer_shape(self, x):
        return x


def test_paper_keyword_arguments():
    x = INPUT[0]
    for exponent in (2, 3):
        close(jit(vmap(Power(exponent=exponent)))(x), x**exponent)
        close(grad(lambda x, n=exponent: jnp.sum(Power(n)(x)))(x), exponent * x ** (exponent - 1))


def test_paper_higher_derivatives_of_a_linear_function():
    """They need nothing but the function and its adjoint."""

    class CumulativeSum(lo.LinearOperator):
        def apply(self, x, *, out):
            np.cumsum(x, out=out)

        def adjoint(self, y, *, out):
            out[...] = np.cumsum(y[::-1])[::-1]

        def infer_shape(self, x):
            return x

    x = jnp.asarray(normal((5,), np.complex64, 1))
    third = lambda A: jvp(lambda x: jvp(grad(lambda x: jnp.sum(abs(A(x)) ** 4)), (x,), (x,))[1], (x,), (x,))[1]  # noqa: E731
    close(third(CumulativeSum()), third(jnp.cumsum), 10)


# ---- 2. A bird's-eye view of JAX ----------------------------------------------------------------------------------------


def test_tour_function_and_derivative():
    """plot_func_and_deriv(lambda x: x**3)"""
    x = jnp.linspace(-2, 2, 9)
    close(vmap(Power(3))(x), x**3)
    close(vmap(grad(Power(3)))(x), 3 * x**2)


class Dot(lo.NonlinearOperator):
    """(a, b) -> a @ b, of vectors or matrices, linear in each."""

    def apply(self, x):
        return x[0] @ x[1]

    def jacobian_apply(self, x, dx):
        return dx[0] @ x[1] + x[0] @ dx[1]

    def jacobian_adjoint(self, x, dy):
        a, b = np.conj(x[0]), np.conj(x[1])
        return np.multiply.outer(dy, b), (np.multiply.outer(dy, a) if a.ndim == 1 else a.T @ dy)

    def infer_shape(self, x):
        return S(x[0].shape[:-1] + x[1].shape[1:], x[0].dtype)


MAT, BATCHED = normal((150, 100), np.float32, 1), normal((10, 100), np.float32, 2)


def dot(a, b):
    return Dot()((a, b))


@pytest.mark.parametrize(
    ("in_axes", "out_axes", "x", "expected"),
    [
        (0, 0, BATCHED, BATCHED @ MAT.T),
        (1, 0, BATCHED.T, BATCHED @ MAT.T),
        (1, 1, BATCHED.T, MAT @ BATCHED.T),
    ],
)
def test_tour_vmap_axes(in_axes, out_axes, x, expected):
    apply_matrix = functools.partial(dot, MAT)
    close(vmap(apply_matrix, in_axes, out_axes)(x), jnp.asarray(expected), 10)
    close(vmap(lo.Matrix(MAT), in_axes, out_axes)(x), jnp.asarray(expected), 10)


def test_tour_vmap_of_one_argument_of_two():
    close(vmap(dot, (None, 0))(MAT, BATCHED), jnp.asarray(BATCHED @ MAT.T), 10)


def test_tour_matrix_products_from_inner_products():
    """vv, mv = vmap(vv), mm = vmap(mv)"""
    mv = vmap(dot, (0, None), 0)
    mm = vmap(mv, (None, 1), 0)
    close(mv(MAT, BATCHED[0]), jnp.asarray(MAT @ BATCHED[0]), 10)
    close(mm(MAT, BATCHED.T), jnp.asarray(BATCHED @ MAT.T), 10)
    close(vmap(mv, (None, 0), 0)(MAT, BATCHED), jnp.asarray(BATCHED @ MAT.T), 10)
    pulled = lambda f: jit(grad(lambda a, b: jnp.sum(f(a, b) ** 2), (0, 1)))(MAT, BATCHED.T)  # noqa: E731
    close(pulled(mm), pulled(lambda a, b: (a @ b).T), 10)


@jax.tree_util.register_pytree_node_class
class Point:
    """The tour's own pytree."""

    def __init__(self, x, y, z):
        self.x, self.y, self.z = x, y, z

    def tree_flatten(self):
        return (self.x, self.y, self.z), None

    @classmethod
    def tree_unflatten(cls, aux_data, children):
        return cls(*children)


class Distance(lo.NonlinearOperator):
    """Of a Point from the origin."""

    def apply(self, x):
        return np.sqrt(x.x**2 + x.y**2 + x.z**2)

    def jacobian_apply(self, x, dx):
        return (x.x * dx.x + x.y * dx.y + x.z * dx.z) / self.apply(x)

    def jacobian_adjoint(self, x, dy):
        scale = dy / self.apply(x)
        return Point(scale * x.x, scale * x.y, scale * x.z)

    def infer_shape(self, x):
        return x.x


class Shift(lo.NonlinearOperator):
    """Distance from a Point: the operator itself is the pytree that is differentiated."""

    origin: Point

    def apply(self, x):
        return Distance().apply(jax.tree.map(np.subtract, x, self.origin))

    def parameter_jvp(self, x, dself):
        return Distance().jacobian_apply(
            jax.tree.map(np.subtract, x, self.origin), jax.tree.map(np.negative, dself.origin)
        )

    def parameter_vjp(self, x, dy):
        return Shift(Distance().jacobian_adjoint(jax.tree.map(np.subtract, x, self.origin), -dy))

    jacobian_apply = None
    jacobian_adjoint = None

    def infer_shape(self, x):
        return x.x


def test_tour_gradient_in_an_own_pytree():
    found = grad(Distance())(Point(1.0, 2.0, 3.0))
    close(found, jax.tree.map(lambda v: jnp.float32(v / np.sqrt(14)), Point(1.0, 2.0, 3.0)))


def test_tour_operators_are_pytrees():
    op = Shift(Point(*map(jnp.float32, (1.0, 2.0, 3.0))))
    x = Point(*map(jnp.float32, (2.0, 4.0, 5.0)))
    close(jit(grad(lambda op: op(x)))(op), Shift(Point(*(jnp.float32(-d / 3) for d in (1, 2, 2)))))
    ops = jax.tree.map(lambda leaf: leaf * jnp.arange(3.0), op)
    moved = [np.array([2, 4, 5]) - k * np.array([1, 2, 3]) for k in range(3)]
    close(vmap(lambda op: op(x))(ops), jnp.asarray(np.linalg.norm(moved, axis=1), jnp.float32))
    assert [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(lambda op: op, op))] == [(), (), ()]


class Logistic(lo.NonlinearOperator):
    """W -> sigmoid(inputs W + b), the tour's linear logistic model."""

    inputs: jax.Array
    b: jax.Array

    def apply(self, W):
        return 1 / (1 + np.exp(-(self.inputs @ W + self.b)))

    def slope(self, W):
        p = self.apply(W)
        return p * (1 - p)

    def jacobian_apply(self, W, dW):
        return self.slope(W) * (self.inputs @ dW)

    def jacobian_adjoint(self, W, dy):
        return self.inputs.T @ (self.slope(W) * dy)

    def infer_shape(self, W):
        return S(self.inputs.shape[:1], W.dtype)


PREDICT = Logistic(
    jnp.array([[0.52, 1.12, 0.77], [0.88, -1.08, 0.15], [0.52, 0.06, -1.39], [0.74, -2.49, 1.39]]), jnp.float32(0.3)
)
WEIGHTS = jnp.asarray(normal((3,), np.float32, 3))


def predict(W):
    return jax.nn.sigmoid(PREDICT.inputs @ W + PREDICT.b)


def test_tour_pushforward_of_a_logistic_model():
    v = jnp.asarray(normal((3,), np.float32, 4))
    close(jvp(PREDICT, (WEIGHTS,), (v,)), jvp(predict, (WEIGHTS,), (v,)))


def test_tour_loss_of_a_logistic_model():
    targets = jnp.array([True, True, False, True])

    def loss(f):
        return lambda W: -jnp.sum(jnp.log(f(W) * targets + (1 - f(W)) * ~targets))

    close(jit(jax.value_and_grad(loss(PREDICT)))(WEIGHTS), jax.value_and_grad(loss(predict))(WEIGHTS))


def test_tour_rows_of_the_jacobian():
    """One pullback per row, one by one and as a batch."""
    y, pullback = vjp(PREDICT, WEIGHTS)
    identity = jnp.eye(*y.shape, len(y))
    expected = jax.jacfwd(predict)(WEIGHTS)
    close(jnp.stack([pullback(row)[0] for row in identity]), expected)
    close(vmap(pullback)(identity)[0], expected)
    close(jax.jacrev(PREDICT)(WEIGHTS), expected)


# ---- 3. Custom derivative rules -----------------------------------------------------------------------------------------


class SineTimes(lo.NonlinearOperator):
    """(x, y) -> sin(x) y, the notebook's first example."""

    def apply(self, x):
        x, y = x
        return np.sin(x) * y

    def jacobian_apply(self, x, dx):
        (x, y), (dx, dy) = x, dx
        return np.cos(x) * dx * y + np.sin(x) * dy

    def jacobian_adjoint(self, x, dy):
        x, y = x
        return np.cos(x) * dy * y, np.sin(x) * dy

    def infer_shape(self, x):
        return x[0]


def test_rules_first_example():
    f = SineTimes()
    x = (jnp.float32(2), jnp.float32(3))
    close(f(x), 3 * jnp.sin(x[0]))
    close(jvp(f, (x,), ((1.0, 0.0),))[1], 3 * jnp.cos(x[0]))
    close(grad(f)(x), (3 * jnp.cos(x[0]), jnp.sin(x[0])))


class ReverseSineTimes(SineTimes):
    """With the rule of jax.custom_vjp: reverse mode only. There are no residuals, hooks get x."""

    jacobian_apply = None


def test_rules_first_example_in_reverse_mode():
    close(grad(ReverseSineTimes())((2.0, 3.0)), (jnp.float32(3 * np.cos(2)), jnp.float32(np.sin(2))))


class Log1pExpNaive(lo.NonlinearOperator):
    """log(1 + exp(x)), and its derivative as the chain rule has it."""

    def apply(self, x):
        with np.errstate(over="ignore"):
            return np.log(1 + np.exp(x))

    def slope(self, x):
        with np.errstate(over="ignore", invalid="ignore"):
            return 1 / (1 + np.exp(x)) * np.exp(x)

    def jacobian_apply(self, x, dx):
        return self.slope(x) * dx

    def jacobian_adjoint(self, x, dy):
        return self.slope(x) * dy

    def infer_shape(self, x):
        return x


class Log1pExp(Log1pExpNaive):
    """The stable rule: 1 - 1 / (1 + exp(x))."""

    def slope(self, x):
        with np.errstate(over="ignore"):
            return 1 - 1 / (1 + np.exp(x))


def test_rules_log1pexp():
    f = Log1pExp()
    assert np.isnan(grad(Log1pExpNaive())(100.0))
    assert grad(f)(100.0) == jvp(f, (100.0,), (1.0,))[1] == 1
    assert jit(grad(f))(100.0) == 1
    close(jit(f)(3.0), jnp.float32(np.log1p(np.exp(3.0))))
    close(jit(grad(f))(3.0), jax.nn.sigmoid(3.0))
    close(vmap(jit(grad(f)))(jnp.arange(3.0)), jax.nn.sigmoid(jnp.arange(3.0)))


class AtTheBoundary(lo.NonlinearOperator):
    """x / (1 + sqrt(x)) on x >= 0, with its one-sided derivative 1 at 0."""

    def apply(self, x):
        return x / (1 + np.sqrt(x))

    def slope(self, x):
        return (np.sqrt(x) + 2) / (2 * (np.sqrt(x) + 1) ** 2)

    def jacobian_apply(self, x, dx):
        return self.slope(x) * dx

    def jacobian_adjoint(self, x, dy):
        return self.slope(x) * dy

    def infer_shape(self, x):
        return x


def test_rules_convention_at_a_boundary():
    twin = lambda x: x / (1 + jnp.sqrt(x))  # noqa: E731
    assert np.isnan(grad(twin)(0.0))
    assert grad(AtTheBoundary())(0.0) == jvp(AtTheBoundary(), (0.0,), (1.0,))[1] == 1
    x = jnp.array([0.3, 1.0, 4.0])
    close(vmap(grad(AtTheBoundary()))(x), vmap(grad(twin))(x))


class ClipGradient(lo.NonlinearOperator):
    """The identity, whose gradient is clipped to [low, high]: a rule that is not the derivative."""

    low: jax.Array
    high: jax.Array

    def apply(self, x):
        return x

    def jacobian_apply(self, x, dx):
        return dx

    def jacobian_adjoint(self, x, dy):
        return np.clip(dy, self.low, self.high)

    def parameter_vjp(self, x, dy):
        return {}  # the bounds count as constants

    def infer_shape(self, x):
        return x


class DeclaredClipGradient(ClipGradient, adjoint_rtol=1.0):
    """Any rule that only shrinks the gradient is within a relative error of 1 (Cauchy and Schwarz)."""


@jax.custom_vjp
def clip_gradient(low, high, x):
    return x


clip_gradient.defvjp(lambda low, high, x: (x, (low, high)), lambda bounds, g: (None, None, jnp.clip(g, *bounds)))


def clipped_sine(low, high, x):
    return jnp.sin(DeclaredClipGradient(low, high)(x))


def test_rules_gradient_clipping():
    t = jnp.linspace(0, 10, 1000)
    bounds = (jnp.float32(-0.75), jnp.float32(0.75))
    twin = lambda low, high, x: jnp.sin(clip_gradient(low, high, x))  # noqa: E731
    close(clipped_sine(*bounds, t), jnp.sin(t))
    close(vmap(grad(functools.partial(clipped_sine, *bounds)))(t), jnp.clip(jnp.cos(t), *bounds))
    every = lambda f: jit(vmap(grad(f, (0, 1, 2)), (None, None, 0)))(*bounds, t)  # noqa: E731
    close(every(clipped_sine), every(twin))


def test_rules_gradient_clipping_is_declared():
    """Undeclared, the checks find it; declared, they pass; with wide bounds it is exact."""
    narrow, wide = (np.float32(-0.75), np.float32(0.75)), (np.float32(-1e3), np.float32(1e3))
    x = S((50,), np.float32)
    with pytest.raises(AssertionError, match=r"jacobian_adjoint: .*exceeds"):
        lo.check_operator(ClipGradient(*narrow), x)
    lo.check_operator(DeclaredClipGradient(*narrow), x)
    lo.check_operator(ClipGradient(*wide), x)


class Update(lo.NonlinearOperator):
    """(a, x) -> (x + a / x) / 2, one step of Newton's method for sqrt(a)."""

    def apply(self, z):
        a, x = z
        return (x + a / x) / 2

    def jacobian_apply(self, z, dz):
        (a, x), (da, dx) = z, dz
        return da / (2 * x) + (1 - a / x**2) / 2 * dx

    def jacobian_adjoint(self, z, dy):
        a, x = z
        return dy / (2 * x), (1 - a / x**2) / 2 * dy

    def hessian_apply(self, z, d, e):
        a, x = z
        return a / x**3 * d[1] * e[1] - (d[0] * e[1] + e[0] * d[1]) / (2 * x**2)

    def hessian_adjoint(self, z, dz, dy):
        (a, x), (da, dx) = z, dz
        return -dx / (2 * x**2) * dy, (a / x**3 * dx - da / (2 * x**2)) * dy

    def infer_shape(self, z):
        return z[1]


class Contraction(Update):
    """(a, x) -> tanh(W x) / 2 + a, whose Jacobian at the fixed point is not zero."""

    W: jax.Array

    def apply(self, z):
        return np.tanh(self.W @ z[1]) / 2 + z[0]

    def slopes(self, x):
        t = np.tanh(self.W @ x)
        return (1 - t**2) / 2, -t * (1 - t**2)

    def jacobian_apply(self, z, dz):
        return self.slopes(z[1])[0] * (self.W @ dz[1]) + dz[0]

    def jacobian_adjoint(self, z, dy):
        return dy, self.W.T @ (self.slopes(z[1])[0] * dy)

    def hessian_apply(self, z, d, e):
        return self.slopes(z[1])[1] * (self.W @ d[1]) * (self.W @ e[1])

    def hessian_adjoint(self, z, dz, dy):
        return np.zeros_like(dy), self.W.T @ (self.slopes(z[1])[1] * (self.W @ dz[1]) * dy)


class FixedPoint(lo.NonlinearOperator):
    """(a, guess) -> the x with x = update(a, x), by iteration.

    With A and B the derivatives of the update in x and in a, dx = B da + A dx (implicit function theorem), once more
    for the second derivative. The linear equations are solved by iteration too. The guess does not count.
    """

    update: Update

    def iterate(self, step, x):
        previous = np.full_like(x, np.inf)
        while np.max(np.abs(x - previous)) > 4 * np.finfo(x.dtype).eps * np.max(np.abs(x)):
            previous, x = x, step(x)
        return x

    def solve(self, z, b):
        """(1 - A)^-1 b."""
        zero = np.zeros_like(z[0])
        return self.iterate(lambda u: b + self.update.jacobian_apply(z, (zero, u)), b)

    def solve_adjoint(self, z, b):
        """(1 - A^H)^-1 b, and what it is worth in a."""
        w = self.iterate(lambda u: b + self.update.jacobian_adjoint(z, u)[1], b)
        return w, self.update.jacobian_adjoint(z, w)[0]

    def solution(self, x):
        a, guess = x
        return a, self.iterate(lambda x: self.update.apply((a, x)), guess)

    def tangent(self, z, da):
        """The derivative of (a, x) in the direction da."""
        return da, self.solve(z, self.update.jacobian_apply(z, (da, np.zeros_like(z[1]))))

    def apply(self, x):
        return self.solution(x)[1]

    def jacobian_apply(self, x, dx):
        return self.tangent(self.solution(x), dx[0])[1]

    def jacobian_adjoint(self, x, dy):
        return self.solve_adjoint(self.solution(x), dy)[1], np.zeros_like(x[1])

    def hessian_apply(self, x, dx1, dx2):
        z = self.solution(x)
        return self.solve(z, self.update.hessian_apply(z, self.tangent(z, dx1[0]), self.tangent(z, dx2[0])))

    def hessian_adjoint(self, x, dx, dy):
        z = self.solution(x)
        w, _ = self.solve_adjoint(z, dy)
        in_a, in_x = self.update.hessian_adjoint(z, self.tangent(z, dx[0]), w)
        return in_a + self.solve_adjoint(z, in_x)[1], np.zeros_like(x[1])

    def infer_shape(self, x):
        return x[1]


def newton_sqrt(a):
    return FixedPoint(Update())((a, a))


def test_rules_fixed_point():
    close(newton_sqrt(2.0), jnp.float32(np.sqrt(2)))
    close(jit(vmap(newton_sqrt))(jnp.arange(1.0, 5.0)), jnp.sqrt(jnp.arange(1.0, 5.0)))


def test_rules_fixed_point_differentiated_twice():
    a = jnp.float32(2)
    close(grad(newton_sqrt)(a), grad(jnp.sqrt)(a))
    for outer in (grad, jax.jacfwd):
        for inner in (grad, jax.jacfwd):
            close(jit(outer(inner(newton_sqrt)))(a), grad(grad(jnp.sqrt))(a))
    close(vmap(grad(grad(newton_sqrt)))(jnp.arange(1.0, 5.0)), -0.25 * jnp.arange(1.0, 5.0) ** -1.5)


def test_rules_fixed_point_of_a_system(x64):
    """Against JAX's derivatives of the unrolled iteration."""
    W, a = jnp.asarray(0.5 * normal((3, 3), seed=1)), jnp.asarray(normal((3,), seed=2))
    loss = lambda x: jnp.sum(jnp.sin(x) * jnp.arange(1.0, 4.0))  # noqa: E731

    def found(a):
        return loss(FixedPoint(Contraction(W))((a, jnp.zeros(3))))

    def unrolled(a):
        return loss(jax.lax.scan(lambda x, _: (jnp.tanh(W @ x) / 2 + a, None), jnp.zeros(3), None, length=60)[0])

    np.testing.assert_allclose(grad(found)(a), grad(unrolled)(a), rtol=1e-12)
    for outer, inner in ((jax.jacfwd, grad), (jax.jacrev, grad), (jax.jacrev, jax.jacfwd), (jax.jacfwd, jax.jacfwd)):
        np.testing.assert_allclose(jit(outer(inner(found)))(a), jax.hessian(unrolled)(a), rtol=1e-11, atol=1e-13)


class NewtonSqrt(lo.NonlinearOperator):
    """The same, with a Jacobian in JAX that calls the operator: then every order follows."""

    def apply(self, a):
        return FixedPoint(Update()).apply((a, a))

    @lo.traced
    def jacobian_apply(self, a, da):
        return da / (2 * self(a))

    @lo.traced
    def jacobian_adjoint(self, a, dy):
        return dy / (2 * self(a))

    def infer_shape(self, a):
        return a


def test_rules_the_rule_calls_the_function():
    f, twin = NewtonSqrt(), jnp.sqrt
    for _ in range(4):
        f, twin = grad(f), grad(twin)
        close(jit(f)(2.0), twin(2.0))


# ---- 3.1 the basics of custom_jvp -------------------------------------------------------------------------------------


class Sine(lo.NonlinearOperator):
    """Writes down which hooks were called."""

    called = set()  # noqa: RUF012 of the class, no field

    def apply(self, x):
        self.called.add("apply")
        return np.sin(x)

    def jacobian_apply(self, x, dx):
        self.called.add("jacobian_apply")
        return np.cos(x) * dx

    def jacobian_adjoint(self, x, dy):
        self.called.add("jacobian_adjoint")
        return np.cos(x) * dy

    def hessian_apply(self, x, dx1, dx2):
        return -np.sin(x) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return -np.sin(x) * dx * dy

    def infer_shape(self, x):
        return x


def test_rules_basic_pushforward():
    x = jnp.float32(3)
    close(jvp(Sine(), (x,), (1.0,)), (jnp.sin(x), jnp.cos(x)))


def test_rules_basic_gradients():
    x = jnp.float32(3)
    close(grad(Sine())(x), jnp.cos(x))
    close(grad(grad(Sine()))(x), -jnp.sin(x))


class SquareTimes(lo.NonlinearOperator):
    """(x, y) -> x^2 y, with one rule for each argument."""

    rules = (lambda x, y: 2 * x * y, lambda x, y: x**2)

    def apply(self, x):
        return x[0] ** 2 * x[1]

    def jacobian_apply(self, x, dx):
        return sum(rule(*x) * d for rule, d in zip(self.rules, dx, strict=True) if rule is not None)

    def jacobian_adjoint(self, x, dy):
        return tuple(np.zeros_like(dy) if rule is None else rule(*x) * dy for rule in self.rules)

    def infer_shape(self, x):
        return x[0]


class ConstantInY(SquareTimes):
    """No rule for y: its derivative counts as zero."""

    rules = (SquareTimes.rules[0], None)


def test_rules_one_for_each_argument():
    x = (jnp.float32(2), jnp.float32(3))
    f = lambda x, y: SquareTimes()((x, y))  # noqa: E731
    close((grad(f, 0)(*x), grad(f, 1)(*x)), (jnp.float32(12), jnp.float32(4)))
    close(jvp(f, x, (1.0, 0.5))[1], jnp.float32(14))
    lo.check_operator(SquareTimes(), x)


def test_rules_none_for_an_argument():
    x = (jnp.float32(2), jnp.float32(3))
    f = lambda x, y: ConstantInY()((x, y))  # noqa: E731
    close((grad(f, 0)(*x), grad(f, 1)(*x)), (jnp.float32(12), jnp.float32(0)))


def called(function, *arguments):
    Sine.called.clear()
    jax.block_until_ready(function(*arguments))
    return set(Sine.called)


def test_rules_are_not_called_without_differentiation():
    f = Sine()
    assert called(f, 3.0) == {"apply"}
    assert called(vmap(f), jnp.arange(3.0)) == {"apply"}
    assert called(jit(f), 3.0) == {"apply"}


def test_rules_are_called_by_differentiation():
    """Which of them depends on the mode: forward or reverse."""
    assert called(lambda x: jvp(Sine(), (x,), (1.0,)), 3.0) == {"apply", "jacobian_apply"}
    assert called(grad(Sine()), 3.0) == {"apply", "jacobian_adjoint"}
    assert called(lambda x: vjp(Sine(), x)[0], 3.0) == {"apply"}
    pullback = vjp(Sine(), 3.0)[1]
    assert called(pullback, 1.0) == {"jacobian_adjoint"}


class Branches(lo.NonlinearOperator):
    """sin(x) for x > 0, else cos(x), with the notebook's made-up derivatives 2 and 3, in plain Python."""

    def apply(self, x):
        if x > 0:
            return np.sin(x)
        return np.cos(x)

    def jacobian_apply(self, x, dx):
        return 2 * dx if x > 0 else 3 * dx

    def jacobian_adjoint(self, x, dy):
        return self.jacobian_apply(x, dy)

    def infer_shape(self, x):
        return x


def test_rules_python_control_flow():
    assert grad(Branches())(1.0) == 2
    assert grad(Branches())(-1.0) == 3
    x = jnp.array([1.0, -1.0])
    close(
        jit(vmap(jax.value_and_grad(Branches())))(x),
        (jnp.array([np.sin(1), np.cos(1)], np.float32), jnp.array([2.0, 3.0])),
    )


# ---- 3.2 the basics of custom_vjp -------------------------------------------------------------------------------------


class ReverseSine(Sine):
    jacobian_apply = None


def test_rules_basic_pullback():
    f = ReverseSine()
    y, pullback = vjp(f, 3.0)
    close((y, pullback(1.0)[0]), (jnp.sin(jnp.float32(3)), jnp.cos(jnp.float32(3))))
    close(grad(f)(3.0), jnp.cos(jnp.float32(3)))


def test_rules_pullback_of_several_arguments():
    f = lambda x, y: ReverseSineTimes()((x, y))  # noqa: E731
    close(grad(f)(2.0, 3.0), jnp.float32(3 * np.cos(2)))


def test_rules_forward_mode_of_a_pullback_is_an_error():
    with pytest.raises(
        NotImplementedError, match=r"ReverseSine has no jacobian_apply: .*Define ReverseSine\.jacobian_a"
    ):
        jvp(ReverseSine(), (3.0,), (1.0,))


def test_rules_keyword_and_default_arguments():
    """Of operators: fields. Those of ``jit`` around them are JAX's."""
    f = jit(lambda x, *, exponent=2: Power(exponent)(x), static_argnames="exponent")
    close((f(3.0), f(3.0, exponent=3)), (jnp.float32(9), jnp.float32(27)))


class Debug(lo.NonlinearOperator):
    """The identity, which shows what comes back through it. A debugger keeps frames, so they hold copies only."""

    debugger: Callable[..., None] = lo.static()

    def apply(self, x):
        return x

    def jacobian_apply(self, x, dx):
        return dx

    def jacobian_adjoint(self, x, dy):
        x, dy = x.copy(), dy.copy()
        self.debugger(x, dy)
        return dy

    def infer_shape(self, x):
        return x


def debugged(commands):
    """d/dx sin(debug(x^2)) at 3, with a debugger that gets ``commands``; what it printed."""
    output = io.StringIO()

    def debugger(x, dy):
        pdb.Pdb(stdin=io.StringIO(commands), stdout=output, nosigint=True, readrc=False).set_trace()

    try:
        return grad(lambda x: jnp.sin(Debug(debugger)(x**2)))(3.0), output.getvalue()
    except bdb.BdbQuit as error:
        return error, output.getvalue()


def test_rules_debugger_in_the_backward_pass():
    """The notebook's session: p x, p dy."""
    found, printed = debugged("p float(x)\np round(float(dy), 6)\ncontinue\n")
    close(found, 6 * jnp.cos(jnp.float32(9)))
    assert "(Pdb) 9.0\n" in printed
    assert "(Pdb) -0.91113\n" in printed


def test_rules_quitting_the_debugger():
    error, _ = debugged("q\n")
    assert isinstance(error, bdb.BdbQuit)
    assert any("Debug.jacobian_adjoint" in note for note in error.__notes__)


def test_rules_print_in_the_backward_pass(capfd):
    found = jit(grad(lambda x: jnp.sin(Debug(functools.partial(print, "x and dy:", flush=True))(x**2))))(3.0)
    close(found, 6 * jnp.cos(jnp.float32(9)))
    assert "x and dy: 9.0 -0.91113" in capfd.readouterr().out


# ---- 3.3 pytrees and arguments without derivative -----------------------------------------------------------------------

Pair = collections.namedtuple("Pair", ["x", "y"])


class Contrived(lo.NonlinearOperator):
    """Pair -> {"a": x^2, "b": (sin(x), cos(y))}."""

    def apply(self, pt):
        return {"a": pt.x**2, "b": (np.sin(pt.x), np.cos(pt.y))}

    def jacobian_apply(self, pt, d):
        return {"a": 2 * pt.x * d.x, "b": (np.cos(pt.x) * d.x, -np.sin(pt.y) * d.y)}

    def jacobian_adjoint(self, pt, g):
        a, (b0, b1) = g["a"], g["b"]
        return Pair(2 * pt.x * a + np.cos(pt.x) * b0, -np.sin(pt.y) * b1)

    def infer_shape(self, pt):
        return {"a": pt.x, "b": (pt.x, pt.y)}


class ReverseContrived(Contrived):
    jacobian_apply = None


def contrived(pt):
    return {"a": pt.x**2, "b": (jnp.sin(pt.x), jnp.cos(pt.y))}


PAIR = Pair(jnp.float32(1), jnp.float32(2))


@pytest.mark.parametrize("f", [Contrived(), ReverseContrived()])
def test_rules_pytrees(f):
    fun = lambda f: lambda pt: f(pt)["a"] + f(pt)["b"][0]  # noqa: E731
    close(f(PAIR), contrived(PAIR))
    close(grad(fun(f))(PAIR), grad(fun(contrived))(PAIR))
    close(vjp(f, PAIR)[1](contrived(PAIR)), vjp(contrived, PAIR)[1](contrived(PAIR)))


def test_rules_pytrees_in_forward_mode():
    tangents = Pair(jnp.float32(0.5), jnp.float32(-1))
    close(jvp(Contrived(), (PAIR,), (tangents,)), jvp(contrived, (PAIR,), (tangents,)))


class App(lo.NonlinearOperator):
    """f(x) for a function f: not an array, so a static field. Its derivative is made up, as in the notebook."""

    f: Callable = lo.static()
    slope: float = lo.static(default=2.0)

    def apply(self, x):
        return self.f(x)

    def jacobian_apply(self, x, dx):
        return self.slope * dx

    def jacobian_adjoint(self, x, dy):
        return self.slope * dy

    def infer_shape(self, x):
        return x


class App2(App):
    """f(g(x)). The order of the fields does not change the hooks' arguments."""

    g: Callable = lo.static(default=np.negative)

    def apply(self, x):
        return self.f(self.g(x))


class ReverseApp(App):
    jacobian_apply = None


def cube(x):
    return x**3


def test_rules_function_as_argument():
    app = lambda f, x: App(f)(x)  # noqa: E731
    assert app(cube, 3.0) == 27
    assert grad(app, 1)(cube, 3.0) == 2
    assert jvp(App(lambda x: x + 1), (3.0,), (1.0,)) == (4, 2)


def test_rules_functions_around_an_argument():
    app2 = App2(cube, slope=3.0, g=lambda y: 5 * y)
    assert app2(3.0) == 3375
    assert grad(app2)(3.0) == 3


def test_rules_function_as_argument_in_reverse_mode():
    app = ReverseApp(np.square, slope=5.0)
    assert app(4.0) == 16
    assert jit(grad(app))(4.0) == 5


def test_rules_arrays_need_no_such_declaration():
    """Integer arrays are inputs or array fields like others, and have no derivative."""

    class Take(lo.LinearOperator):
        index: jax.Array

        def apply(self, x):
            return x[self.index]

        def adjoint(self, y):
            x = np.zeros(3, y.dtype)
            np.add.at(x, self.index, y)
            return x

        def infer_shape(self, x):
            return S(self.index.shape, x.dtype)

    x = jnp.arange(1.0, 4.0)
    gradient = jit(grad(lambda x, index: jnp.sum(Take(index)(x) ** 2)))
    close(gradient(x, jnp.array([0, 2, 2])), jnp.array([2.0, 0.0, 12.0]))
