"""Second derivatives of foreign functions, against JAX's own of the same function, finite differences and SciPy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize
from helpers import S, between_reals, close, energy, is_inexact, like, normal, stack, tangent
from jax.scipy.sparse.linalg import cg
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P
from operators import Case, Gather, Modulus, Paper, Sine, SineWithHessian, result

import linops_jax as lo

# ---- operators ------------------------------------------------------------------------------------------------------


class PaperWithHessian(Paper):
    """f(x1, x2) = x1 x2^2."""

    def hessian_apply(self, x, d, e):
        return 2 * x[1] * (d[0] * e[1] + e[0] * d[1]) + 2 * x[0] * d[1] * e[1]

    def hessian_adjoint(self, x, dx, dy):
        x1, x2, d1, d2 = map(np.conj, (*x, *dx))
        return 2 * x2 * d2 * dy, 2 * (x2 * d1 + x1 * d2) * dy


class Coupled(lo.NonlinearOperator):
    """{"a", "b"} -> {"product": a b for each row of b, "sum": sum(a^3)}, into ``out``."""

    def apply(self, x, *, out):
        np.multiply(x["a"], x["b"], out=out["product"])
        out["sum"][...] = np.sum(x["a"] ** 3)

    def jacobian_apply(self, x, dx, *, out):
        out["product"][...] = dx["a"] * x["b"] + x["a"] * dx["b"]
        out["sum"][...] = np.sum(3 * x["a"] ** 2 * dx["a"])

    def jacobian_adjoint(self, x, dy, *, out):
        a, b = np.conj(x["a"]), np.conj(x["b"])
        out["a"][...] = np.sum(b * dy["product"], axis=0) + 3 * a**2 * dy["sum"]
        out["b"][...] = a * dy["product"]

    def hessian_apply(self, x, d, e, *, out):
        out["product"][...] = d["a"] * e["b"] + e["a"] * d["b"]
        out["sum"][...] = np.sum(6 * x["a"] * d["a"] * e["a"])

    def hessian_adjoint(self, x, dx, dy, *, out):
        da, db = np.conj(dx["a"]), np.conj(dx["b"])
        out["a"][...] = np.sum(db * dy["product"], axis=0) + 6 * np.conj(x["a"]) * da * dy["sum"]
        out["b"][...] = da * dy["product"]

    def infer_shape(self, x):
        return {"product": x["b"], "sum": S((), x["a"].dtype)}

    def twin(self, x):
        return {"product": x["a"][None] * x["b"], "sum": jnp.sum(x["a"] ** 3)}


class ModulusWithHessian(Modulus, real_linear=True):
    """|x|^2: not holomorphic."""

    def hessian_apply(self, x, d, e):
        return 2 * np.real(np.conj(d) * e)

    def hessian_adjoint(self, x, dx, dy):
        return 2 * dx * dy


class GatherOfSquares(Gather):
    """(index, values) -> values[index]^2."""

    def apply(self, x):
        return super().apply(x) ** 2

    def jacobian_apply(self, x, dx):
        return 2 * super().apply(x) * super().jacobian_apply(x, dx)

    def jacobian_adjoint(self, x, dy):
        return super().jacobian_adjoint(x, 2 * np.conj(super().apply(x)) * dy)

    def hessian_apply(self, x, d, e):
        return 2 * d[1][x[0]] * e[1][x[0]]

    def hessian_adjoint(self, x, dx, dy):
        return super().jacobian_adjoint(x, 2 * np.conj(dx[1][x[0]]) * dy)

    def twin(self, x):
        return super().twin(x) ** 2


class Intensity(lo.NonlinearOperator, batched=True):
    """x -> (matrix x)^2 along the last axis, any axes in front."""

    matrix: jax.Array

    def forward(self, x):
        return np.einsum("ij,...j->...i", self.matrix, x)

    def backward(self, y):
        return np.einsum("ij,...i->...j", self.matrix.conj(), y)

    def apply(self, x):
        return self.forward(x) ** 2

    def jacobian_apply(self, x, dx):
        return 2 * self.forward(x) * self.forward(dx)

    def jacobian_adjoint(self, x, dy):
        return self.backward(2 * np.conj(self.forward(x)) * dy)

    def hessian_apply(self, x, d, e):
        return 2 * self.forward(d) * self.forward(e)

    def hessian_adjoint(self, x, dx, dy):
        return self.backward(2 * np.conj(self.forward(dx)) * dy)

    def infer_shape(self, x):
        return result(self.matrix.shape[:1], self.matrix, x)

    def twin(self, x):
        return (self.matrix @ x) ** 2


class SineWithoutPush(Sine):
    """Without hessian_apply: nobody evaluates it in reverse mode."""

    def hessian_adjoint(self, x, dx, dy):
        return np.conj(-self.a * self.b**2 * np.sin(self.b * x) * dx) * dy


class SineWithTracedJacobian(lo.NonlinearOperator):
    """A host ``apply`` and the Jacobian in JAX, which says all further derivatives."""

    a: jax.Array
    b: jax.Array

    def apply(self, x):
        return self.a * np.sin(self.b * x)

    @lo.traced
    def jacobian_apply(self, x, dx):
        return self.a * self.b * jnp.cos(self.b * x) * dx

    @lo.traced
    def jacobian_adjoint(self, x, dy):
        return jnp.conj(self.a * self.b * jnp.cos(self.b * x)) * dy

    infer_shape = Sine.infer_shape
    twin = Sine.twin


C, R = np.complex128, np.float64
AMPLITUDE, FREQUENCY = normal((3,), C, 1), np.asarray(0.7 - 0.2j)
CASES = {
    "paper": Case(PaperWithHessian(), (normal((3,), C, 2), normal((3,), C, 3))),
    "complex and real": Case(PaperWithHessian(), (normal((3,), C, 2), normal((3,), R, 3))),
    "pytrees": Case(Coupled(), {"a": normal((3,), C, 4), "b": normal((2, 3), C, 5)}),
    "modulus": Case(ModulusWithHessian(), normal((3,), C, 6)),
    "indices": Case(GatherOfSquares(), (np.array([2, 0, 2, 1]), normal((3,), C, 7))),
    "batched": Case(Intensity(normal((4, 3), C, 8)), normal((3,), C, 9)),
    "complex of real": Case(Intensity(normal((4, 3), C, 8)), normal((3,), R, 9)),
    "without push": Case(SineWithoutPush(AMPLITUDE, FREQUENCY), normal((3,), C, 10)),
    "traced jacobian": Case(SineWithTracedJacobian(AMPLITUDE, FREQUENCY), normal((3,), C, 10)),
    "composite": Case(
        2j * lo.Matrix(normal((2, 4), C, 11)) @ Intensity(normal((4, 3), C, 8)) @ SineWithHessian(AMPLITUDE, FREQUENCY),
        normal((3,), C, 12),
        lambda op, x: 2j * (normal((2, 4), C, 11) @ (normal((4, 3), C, 8) @ (AMPLITUDE * jnp.sin(FREQUENCY * x))) ** 2),
    ),
}
CAN_PUSH = [name for name in CASES if name != "without push"]  # forward mode over forward mode


# ---- transformations: (function, input) -> pytree of results --------------------------------------------------------


def gradient(f):
    return jax.grad(lambda x: energy(f(x)), allow_int=True)


def product(f, x, v):
    """Hessian of the loss times v, forward over reverse."""
    return jax.jvp(gradient(f), (x,), (v,))[1]


def inner(v, g):
    return sum(jnp.sum((p * q).real) for p, q in zip(*map(jax.tree.leaves, (v, g)), strict=True) if is_inexact(p))


def reverse_over_forward(f, x):
    v = tangent(x, 7)
    return jax.grad(lambda x: jax.jvp(lambda x: energy(f(x)), (x,), (v,))[1], allow_int=True)(x)


def reverse_over_reverse(f, x):
    return jax.grad(lambda x: inner(like(x, 7), gradient(f)(x)), allow_int=True)(x)


def real(transform):
    """Of a real function of the real and imaginary parts."""

    def apply(f, x):
        g, vector = between_reals(f, x)
        return transform(lambda v: energy(g(v)))(vector)

    return apply


def of_each_output(f, x):
    """The other outputs have symbolic zeros as cotangents."""
    count = len(jax.tree.leaves(jax.eval_shape(f, x)))
    return [product(lambda x, i=i: jax.tree.leaves(f(x))[i], x, tangent(x, 7)) for i in range(count)]


def in_last_leaf(f, x):
    leaves, tree = jax.tree.flatten(x)
    return product(lambda last: f(jax.tree.unflatten(tree, [*leaves[:-1], last])), leaves[-1], like(leaves[-1], 7))


def floats(f, x):
    """``f`` as a function of the list of floating point arrays in x: those that vmap maps and carries hold."""
    leaves, tree = jax.tree.flatten(x)
    moving = [i for i, leaf in enumerate(leaves) if is_inexact(leaf)]

    def g(values):
        new = dict(zip(moving, values, strict=True))
        return f(jax.tree.unflatten(tree, [new.get(i, leaf) for i, leaf in enumerate(leaves)]))

    return g, [leaves[i] for i in moving]


def mapped(f, x):
    g, x = floats(f, x)
    xs, vs = stack([x, like(x, 1)], -1), stack([like(x, seed) for seed in (2, 3, 4)], 0)
    of = functools.partial(product, g)
    return {
        "directions": jax.vmap(of, (None, 0), -1)(x, vs),
        "points": jax.vmap(of, (-1, None))(xs, like(x, 5)),
        "both": jax.vmap(of, (-1, 0))(xs, jax.tree.map(lambda v: v[:2], vs)),
        "nested": jax.vmap(jax.vmap(of, (None, 0)), (-1, None), 1)(xs, vs),
        "of the batch": product(jax.vmap(g, (-1,), -1), xs, like(xs, 6)),
    }


def looped(f, x):
    g, x = floats(f, x)

    def step(x):
        d = product(g, x, like(x, 7))
        return jax.tree.map(lambda a, b: a - 0.1 * b / (1 + jnp.max(jnp.abs(b))), x, d)

    shrink = lambda k, x: jax.tree.map(lambda a: a / k.astype(a.dtype), x)  # noqa: E731

    def folded(x):
        """The operator in the body of a scan, its carry a nonlinear function of it."""

        def body(carry, k):
            y = g(jax.tree.map(lambda a: a * carry.astype(a.dtype), shrink(k, x)))
            return 1 + 0.1 * jnp.tanh(energy(y)), y

        return jax.lax.scan(body, jnp.ones(()), jnp.arange(1.0, 3.0))

    def chosen(flag):
        return lambda x: jax.lax.cond(flag, g, lambda x: jax.tree.map(lambda y: y[-1], folded(x)[1]), x)

    return {
        "scan of products": jax.lax.scan(lambda x, _: (step(x), None), x, None, length=2)[0],
        "while of products": jax.lax.while_loop(lambda s: s[0] < 2, lambda s: (s[0] + 1, step(s[1])), (0, x))[1],
        "product of scan": product(folded, x, like(x, 7)),
        "product of cond": [product(chosen(flag), x, like(x, 7)) for flag in (True, False)],
        "product of checkpoint": product(jax.checkpoint(lambda x: jax.tree.map(jnp.sin, g(x))), x, like(x, 7)),
        "checkpoint in scan": product(jax.checkpoint(folded), x, like(x, 8)),
    }


TRANSFORMATIONS = {
    "forward over reverse": lambda f, x: product(f, x, tangent(x, 7)),
    "reverse over forward": reverse_over_forward,
    "reverse over reverse": reverse_over_reverse,
    "hessian": real(jax.hessian),
    "jacrev of jacfwd": real(lambda g: jax.jacrev(jax.jacfwd(g))),
    "jacrev of jacrev": real(lambda g: jax.jacrev(jax.jacrev(g))),
    "jacfwd of jacfwd": real(lambda g: jax.jacfwd(jax.jacfwd(g))),
    "linearize": lambda f, x: jax.linearize(gradient(f), x)[1](tangent(x, 7)),
    "each output": of_each_output,
    "last leaf": in_last_leaf,
    "vmap": mapped,
    "loops": looped,
}


LOOPED = ["pytrees", "indices", "batched", "composite"]  # the others take the quick ones only


def applicable(name):
    left_out = {"loops"} if name not in LOOPED else set()
    if name not in CAN_PUSH:
        left_out.add("jacfwd of jacfwd")
    return [which for which in TRANSFORMATIONS if which not in left_out]


@functools.cache
def together(name, function):
    """All transformations as one program, which saves compilations."""
    return jax.jit(lambda x: {which: TRANSFORMATIONS[which](function, x) for which in applicable(name)})(CASES[name].x)


@pytest.mark.parametrize(("name", "which"), [(name, which) for name in CASES for which in applicable(name)])
def test_as_in_pure_jax(name, which):
    case = CASES[name]
    close(together(name, case.op.__call__)[which], together(name, case.reference)[which], 5)


@pytest.mark.parametrize("name", CASES)
def test_eagerly(name):
    case, x = CASES[name], like(CASES[name].x, 1)
    v = tangent(x, 2)
    close(product(case.op, x, v), product(case.reference, x, v), 5)
    with jax.disable_jit():
        close(reverse_over_reverse(case.op, x), reverse_over_reverse(case.reference, x), 5)


@pytest.mark.parametrize("name", CASES)
def test_compiled_ahead_of_time(name):
    case, x = CASES[name], like(CASES[name].x, 1)
    program = jax.jit(functools.partial(reverse_over_forward, case.op)).lower(jax.eval_shape(lambda x: x, x)).compile()
    close(program(x), reverse_over_forward(case.reference, x), 5)


@pytest.mark.parametrize("name", ["paper", "pytrees", "modulus", "indices", "batched", "without push"])
def test_central_differences_of_the_gradient_converge_with_order_two(name, x64):
    case = CASES[name]
    function, x = between_reals(case.op, like(case.x, 1))
    gradient = jax.jit(jax.grad(lambda v: energy(function(v))))
    v = like(x, 2)
    expected = jax.jvp(gradient, (x,), (v,))[1]
    steps = [1e-1, 5e-2, 2.5e-2, 1.25e-2]
    errors = [jnp.linalg.norm((gradient(x + h * v) - gradient(x - h * v)) / (2 * h) - expected) for h in steps]
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert np.all(np.abs(orders[-2:] - 2) < 0.1), (errors, orders)


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.complex64])
def test_dtypes(dtype):
    x, v = (jnp.asarray(normal((4,), dtype, seed)) for seed in (1, 2))
    loss = lambda x: jnp.sum(PaperWithHessian()((x, x)).real)  # noqa: E731
    found = jax.jvp(jax.grad(loss), (x,), (v,))[1]
    close(found, jax.jvp(jax.grad(lambda x: jnp.sum((x**3).real)), (x,), (v,))[1])


@pytest.mark.parametrize("name", [name for name in CASES if name != "indices"])
def test_the_jacobian_depends_on_its_point(name):
    """Derivatives of J(x) dx and of J(x)^H dy in x."""
    case, x = CASES[name], like(CASES[name].x, 1)
    dx, step = like(x, 2), like(x, 3)
    dy = like(case.op(x), 4)
    conj = lambda tree: jax.tree.map(jnp.conj, tree)  # noqa: E731
    if name in CAN_PUSH:
        found = jax.jvp(lambda x: case.op.jacobian(x)(dx), (x,), (step,))[1]
        close(found, jax.jvp(lambda x: jax.jvp(case.reference, (x,), (dx,))[1], (x,), (step,))[1], 5)
    found = jax.jvp(lambda x: case.op.jacobian(x).H(dy), (x,), (step,))[1]
    pulled = lambda x: conj(jax.vjp(case.reference, x)[1](conj(dy))[0])  # noqa: E731
    close(found, jax.jvp(pulled, (x,), (step,))[1], 5)


@pytest.mark.parametrize("name", CAN_PUSH)
def test_transposed_in_each_direction(name):
    """D2F(x)[dx, step] as a linear map of dx, and its counterpart in reverse mode as one of dy."""
    case = CASES[name]
    step = floats(case.reference, like(case.x, 3))[1]

    def transposes(f):
        f, x = floats(f, like(case.x, 1))
        y = jax.eval_shape(f, x)

        def pushed(dx):
            return jax.jvp(lambda x: jax.jvp(f, (x,), (dx,))[1], (x,), (step,))[1]

        def pulled(dy):
            return jax.jvp(lambda x: jax.vjp(f, x)[1](dy)[0], (x,), (step,))[1]

        return jax.linear_transpose(pushed, x)(like(y, 4)), jax.linear_transpose(pulled, y)(like(x, 5))

    close(transposes(case.op), transposes(case.reference), 5)
    close(jax.jit(lambda: transposes(case.op))(), transposes(case.reference), 5)


def test_holomorphic_hessian():
    x = jnp.asarray(normal((2, 3), np.complex64, 1))
    f = lambda x: jnp.sum(PaperWithHessian()((x[0], x[1])))  # noqa: E731
    for outer, inner in ((jax.jacfwd, jax.jacrev), (jax.jacrev, jax.jacfwd), (jax.jacrev, jax.jacrev)):
        found = outer(inner(f, holomorphic=True), holomorphic=True)(x)
        expected = np.zeros((2, 3, 2, 3), np.complex64)
        for k in range(3):
            expected[0, k, 1, k] = expected[1, k, 0, k] = 2 * x[1, k]
            expected[1, k, 1, k] = 2 * x[0, k]
        close(found, jnp.asarray(expected))


# ---- fields ---------------------------------------------------------------------------------------------------------


def test_batches_of_operators():
    """vmap over the fields, over the direction, and over both."""
    x, v = like(CASES["batched"].x, 1), like(CASES["batched"].x, 2)
    matrices = jnp.asarray(normal((2, 4, 3), np.complex64, 3))
    vs = like(x, 4, (3,))

    def found(matrix, v):
        return product(Intensity(matrix), x, v)

    def expected(matrix, v):
        return product(lambda x: (matrix @ x) ** 2, x, v)

    close(jax.vmap(found, (0, None))(matrices, v), jax.vmap(expected, (0, None))(matrices, v), 5)
    both = lambda f: jax.jit(jax.vmap(jax.vmap(f, (None, 0)), (0, None), -1))(matrices, vs)  # noqa: E731
    close(both(found), both(expected), 5)


def test_scan_over_operators():
    ops = stack([jax.tree.map(jnp.asarray, SineWithHessian(AMPLITUDE, FREQUENCY * k)) for k in (1, 2)])
    x, v = (jnp.asarray(normal((3,), np.complex64, seed)) for seed in (1, 2))
    found = jax.lax.scan(lambda v, op: (product(op, x, v),) * 2, v, ops)
    expected = jax.lax.scan(lambda v, op: (product(op.twin, x, v),) * 2, v, ops)
    close(found, expected, 5)


def test_operators_as_arguments():
    op = jax.tree.map(jnp.asarray, SineWithHessian(AMPLITUDE, FREQUENCY))
    x, v = (jnp.asarray(normal((3,), np.complex64, seed)) for seed in (1, 2))
    found = jax.jit(lambda op, x: (product(op, x, v), jax.grad(lambda op: energy(op(x)))(op)))(op, x)
    close(found, (product(op.twin, x, v), jax.grad(lambda op: energy(op.twin(x)))(op)), 5)


# ---- several devices ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["data", "points"])
def test_in_shard_map(how):
    """The Hessian of a sum over shards: a replicated point with sharded fields, and sharded points."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
    matrices = jnp.asarray(normal((8, 4, 3), np.complex64, 1))
    x = jnp.asarray(normal((3,) if how == "data" else (8, 3), np.complex64, 2))
    v = like(x, 3)

    def loss(call, matrices, x):
        return energy(jax.vmap(call, (0, None if how == "data" else 0))(matrices, x))

    def shards(call):
        spec = P() if how == "data" else P("i")
        local = lambda m, x: jax.lax.psum(loss(call, m, x), "i")  # noqa: E731
        return jax.shard_map(local, mesh=mesh, in_specs=(P("i"), spec), out_specs=P())

    def expected(x):
        points = [x] * 4 if how == "data" else jnp.split(x, 4)
        shares = zip(jnp.split(matrices, 4), points, strict=True)
        return sum(loss(lambda m, x: (m @ x) ** 2, *share) for share in shares)

    total = functools.partial(shards(lambda m, x: Intensity(m)(x)), matrices)
    push = lambda f: jax.jvp(jax.grad(f), (x,), (v,))[1]  # noqa: E731
    pull = lambda f: jax.grad(lambda x: inner(v, jax.grad(f)(x)))(x)  # noqa: E731
    close(jax.jit(lambda: push(total))(), push(expected), 10)
    close(jax.jit(lambda: pull(total))(), pull(expected), 10)


# ---- what it is for -------------------------------------------------------------------------------------------------


class Residuals(lo.NonlinearOperator):
    """Of Rosenbrock's function: (10 (x1 - x0^2), t - x0), with the target t as a field."""

    target: jax.Array

    def apply(self, x):
        return np.array([10 * (x[1] - x[0] ** 2), self.target - x[0]])

    def matrix(self, x):
        return np.array([[-20 * x[0], 10], [-1, 0]], x.dtype)

    def jacobian_apply(self, x, dx):
        return self.matrix(x) @ dx

    def jacobian_adjoint(self, x, dy):
        return self.matrix(x).T @ dy

    def hessian_apply(self, x, d, e):
        return np.array([-20 * d[0] * e[0], 0], x.dtype)

    def hessian_adjoint(self, x, dx, dy):
        return np.array([-20 * dx[0] * dy[0], 0], x.dtype)

    def infer_shape(self, x):
        return S((2,), x.dtype)


def half_square(F):
    return lambda x: 0.5 * jnp.sum(F(x) ** 2)


def gauss_newton(F, x, steps):
    def step(x, _):
        J = F.jacobian(x)
        return x - cg(J.H @ J, J.H(F(x)), tol=1e-12)[0], None

    return jax.lax.scan(step, x, None, length=steps)[0]


def newton_cg(f, x, steps):
    """Newton's method with a line search; the Hessian is seen through products only."""

    def step(x, _):
        value, g = jax.value_and_grad(f)(x)
        d = -cg(lambda v: jax.jvp(jax.grad(f), (x,), (v,))[1], g, tol=1e-12)[0]
        sizes = 0.5 ** jnp.arange(12.0)
        values = jax.vmap(lambda t: f(x + t * d))(sizes)
        enough = values <= value + 1e-4 * sizes * jnp.vdot(g, d)
        return x + jnp.where(enough.any(), sizes[jnp.argmax(enough)], 0.0) * d, None

    return jax.lax.scan(step, x, None, length=steps)[0]


START = np.array([-1.2, 1.0])


def test_gauss_newton_as_scipy(x64):
    F, x = Residuals(np.asarray(0.8)), jnp.asarray(START)
    fitted = scipy.optimize.least_squares(F.apply, START, jac=F.matrix, xtol=1e-14, ftol=1e-14, gtol=1e-14)
    np.testing.assert_allclose(jax.jit(lambda x: gauss_newton(F, x, 5))(x), fitted.x, rtol=1e-9)
    J = F.matrix(START)
    np.testing.assert_allclose((F.jacobian(x).H @ F.jacobian(x))(x), J.T @ J @ START, rtol=1e-12)


def test_newton_cg_as_scipy(x64):
    F, x = Residuals(np.asarray(0.8)), jnp.asarray(START)
    f = half_square(F)
    found = jax.jit(lambda x: newton_cg(f, x, 30))(x)
    hessian_product = jax.jit(lambda x, v: jax.jvp(jax.grad(f), (x,), (v,))[1])
    fitted = scipy.optimize.minimize(
        lambda x: 0.5 * np.sum(F.apply(x) ** 2),
        START,
        jac=lambda x: F.jacobian_adjoint(x, F.apply(x)),
        hessp=hessian_product,
        method="Newton-CG",
        options={"xtol": 1e-12},
    )
    assert fitted.success, fitted.message
    np.testing.assert_allclose(fitted.x, [0.8, 0.64], rtol=1e-8)
    np.testing.assert_allclose(found, fitted.x, rtol=1e-8)


def test_newton_cg_for_a_batch_of_problems(x64):
    targets = jnp.array([0.5, 0.8, 1.1])
    found = jax.jit(jax.vmap(lambda t: newton_cg(half_square(Residuals(t)), jnp.asarray(START), 30)))(targets)
    np.testing.assert_allclose(found, jnp.stack([targets, targets**2], 1), rtol=1e-8)


def test_gauss_newton_differs_from_newton_by_the_curvature(x64):
    """H = J^T J + sum_i r_i D2 F_i, term by term."""
    F, x = Residuals(np.asarray(0.8)), jnp.asarray(START)
    J, r = F.matrix(START), F.apply(START)
    expected = J.T @ J + r[0] * np.array([[-20.0, 0], [0, 0]])
    np.testing.assert_allclose(jax.hessian(half_square(F))(x), expected, rtol=1e-12)


# ---- what is not there ----------------------------------------------------------------------------------------------


class OnlyPush(Sine):
    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * np.sin(self.b * x) * dx1 * dx2


REAL = (normal((3,), np.float32, 1), np.asarray(0.7, np.float32))
POINT = normal((3,), np.float32, 2)
ORDERS = {
    "fwd rev": lambda f: jax.jvp(jax.grad(f), (POINT,), (POINT,)),
    "rev fwd": lambda f: jax.grad(lambda x: jax.jvp(f, (x,), (POINT,))[1])(POINT),
    "rev rev": lambda f: jax.grad(lambda x: jnp.sum(jax.grad(f)(x)))(POINT),
    "fwd fwd": lambda f: jax.jacfwd(jax.jacfwd(f))(POINT),
}
NEITHER = r"Second derivatives of Sine are not available: .* Define Sine\.hessian_apply and Sine\.hessian_adjoint\."
WRAPPERS = {
    "plain": lambda f: f,
    "jit": jax.jit,
    "checkpoint": jax.checkpoint,
    "scan": lambda f: lambda x: jax.lax.scan(lambda c, _: (f(c), None), x, None, length=2)[0],
    "vmap": lambda f: lambda x: jax.vmap(jax.vmap(f))(x[None, None])[0, 0],
    "algebra": lambda f: 2.0 * lo.Identity() @ f + lo.Identity(),
}


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_missing_hessian_hooks_are_named(order, wrapper):
    f = WRAPPERS[wrapper](Sine(*REAL))
    with pytest.raises(NotImplementedError, match=NEITHER):
        ORDERS[order](lambda x: energy(f(x)))


@pytest.mark.parametrize("order", ["rev fwd", "rev rev", "fwd rev"])
def test_a_missing_hessian_adjoint_is_named(order):
    with pytest.raises(
        NotImplementedError, match=r"OnlyPush has no hessian_adjoint: .*Define OnlyPush\.hessian_adjoint"
    ):
        ORDERS[order](lambda x: energy(OnlyPush(*REAL)(x)))


def test_a_missing_hessian_apply_is_named():
    with pytest.raises(
        NotImplementedError,
        match=r"SineWithoutPush has no hessian_apply: forward mode over forward .*Define SineWithoutPush\.hessian_apply",
    ):
        ORDERS["fwd fwd"](lambda x: energy(SineWithoutPush(*REAL)(x)))


@pytest.mark.parametrize("op", [Sine, SineWithHessian])
def test_mixed_derivatives_in_field_and_input_are_refused(op):
    op = op(*REAL)
    mixed = jax.grad(lambda a: jnp.sum(jax.grad(lambda x: energy(dataclasses.replace(op, a=a)(x)))(POINT)))
    with pytest.raises(
        NotImplementedError,
        match=r"\.a is being differentiated, but there is no hook for the derivative of \w+\.jacobian_a",
    ):
        mixed(op.a)


def test_gradients_in_the_fields_are_not_differentiated_in_x():
    op = SineWithHessian(*REAL)
    mixed = jax.jacrev(lambda x: jax.grad(lambda op: energy(op(x)))(op).a)
    with pytest.raises(NotImplementedError, match=r"parameter_vjp with respect to x have no hook.*lo\.traced"):
        mixed(POINT)


def test_third_derivatives_are_refused_where_nothing_says_them():
    third = jax.grad(lambda x: jnp.sum(jax.jvp(jax.grad(lambda x: energy(PaperWithHessian()((x, x)))), (x,), (x,))[1]))
    with pytest.raises(NotImplementedError, match=r"Derivatives of PaperWithHessian\.hessian_a.* with respect to x"):
        third(POINT)


def test_a_traced_jacobian_says_all_orders():
    op = jax.tree.map(jnp.asarray, SineWithTracedJacobian(*REAL))
    summed = lambda f: lambda x: jnp.sum(f(x))  # noqa: E731
    f, twin = summed(op), summed(op.twin)
    for _ in range(4):
        f, twin = summed(jax.grad(f)), summed(jax.grad(twin))
    close(f(jnp.asarray(POINT)), twin(jnp.asarray(POINT)), 10)


class TracedPush(Sine):
    @lo.traced
    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * jnp.sin(self.b * x) * dx1 * dx2


class TracedPull(Sine):
    @lo.traced
    def hessian_adjoint(self, x, dx, dy):
        return jnp.conj(-self.a * self.b**2 * jnp.sin(self.b * x) * dx) * dy


@pytest.mark.parametrize("cls", [TracedPush, TracedPull])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_one_traced_hessian_hook_says_the_other(cls, order, dtype):
    fields = (jnp.asarray(normal((3,), dtype, 1)), jnp.asarray(0.7, dtype))
    op = cls(*fields)
    if dtype is np.float32:
        close(ORDERS[order](lambda x: energy(op(x))), ORDERS[order](lambda x: energy(op.twin(x))), 5)
    x, v = (jnp.asarray(normal((3,), dtype, seed)) for seed in (2, 3))
    close(product(op, x, v), product(op.twin, x, v), 5)


class SineWithHostHessian(SineWithTracedJacobian):
    """JAX could differentiate jacobian_adjoint: but then the hook by hand would not count."""

    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * np.sin(self.b * x) * dx1 * dx2


def test_a_host_hessian_hook_is_not_replaced_in_the_other_mode():
    op = SineWithHostHessian(*REAL)
    close(ORDERS["fwd fwd"](op), ORDERS["fwd fwd"](op.twin), 5)
    with pytest.raises(NotImplementedError, match=r"SineWithHostHessian has no hessian_adjoint: .*Define SineWithHost"):
        ORDERS["fwd rev"](lambda x: energy(op(x)))
