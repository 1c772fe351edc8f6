"""``linearize`` of the operators in JAX code: ``along_axis``, combinators of one's own, classes with a traced ``apply``.

Their Jacobians keep what their products need, so each part is simulated once at each of its points.
"""

import collections
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, like, stack, tangent

import linops_jax as lo

pytestmark = pytest.mark.versions

calls = collections.Counter()


def simulations(function, *args):
    """How often a model was simulated, and what came out."""
    calls.clear()
    result = jax.block_until_ready(function(*args))
    jax.effects_barrier()
    return calls["apply"] + calls["linearize"], result


class Cubes(lo.NonlinearOperator):
    """B (x^3), of one array; the state holds the square and a number that nobody differentiates."""

    matrix: jax.Array

    def infer_shape(self, x):
        return S(self.matrix.shape[:1], jnp.result_type(self.matrix.dtype, x.dtype))

    def infer_state_shape(self, x):
        return {"square": x, "steps": S((), np.int32)}

    def apply(self, x):
        calls["apply"] += 1
        return self.matrix @ x**3

    def linearize(self, x):
        calls["linearize"] += 1
        return self.matrix @ x**3, {"square": x**2, "steps": np.int32(7)}

    def jacobian_apply(self, x, dx, *, state):
        calls["products"] += 1
        assert state["steps"] == 7
        return self.matrix @ (3 * state["square"] * dx)

    def jacobian_adjoint(self, x, dy, *, state):
        calls["products"] += 1
        return np.conj(3 * state["square"]) * (self.matrix.conj().T @ dy)

    def hessian_apply(self, x, dx1, dx2):
        return self.matrix @ (6 * x * dx1 * dx2)

    def hessian_adjoint(self, x, dx, dy):
        return np.conj(6 * x * dx) * (self.matrix.conj().T @ dy)

    def parameter_jvp(self, x, dself):
        return dself.matrix @ x**3

    def parameter_vjp(self, x, dy):
        return {"matrix": np.outer(dy, np.conj(x**3))}


class Into(Cubes):
    """The same with ``out``."""

    def linearize(self, x, *, out):
        y, state = out
        y[...], found = super().linearize(x)
        for name, value in found.items():
            state[name][...] = value

    def jacobian_apply(self, x, dx, *, out, state):
        out[...] = super().jacobian_apply(x, dx, state=state)


class Traced(lo.NonlinearOperator):
    """JAX code, counted when it runs, once for each element of a batch."""

    matrix: jax.Array

    infer_shape, infer_state_shape = Cubes.infer_shape, Cubes.infer_state_shape

    @lo.traced
    def apply(self, x):
        jax.debug.callback(lambda _: calls.update(apply=1), jax.lax.stop_gradient(x[0]))
        return self.matrix @ x**3

    @lo.traced
    def linearize(self, x):
        jax.debug.callback(lambda _: calls.update(linearize=1), jax.lax.stop_gradient(x[0]))
        return self.matrix @ x**3, {"square": x**2, "steps": jnp.int32(7)}

    @lo.traced
    def jacobian_apply(self, x, dx, *, state):
        return self.matrix @ (3 * state["square"] * dx)

    @lo.traced
    def jacobian_adjoint(self, x, dy, *, state):
        return (3 * state["square"]).conj() * (self.matrix.conj().T @ dy)


class ReverseOnly(Cubes):
    jacobian_apply = None


KINDS = {"host": Cubes, "out": Into, "traced": Traced, "reverse only": ReverseOnly}


class Product(lo.algebra.NonlinearCombinator):
    """F_1(x) F_2(x) ..., element by element."""

    ops: list[lo.LinearOperator | lo.NonlinearOperator]

    def apply(self, x):
        y = self.ops[0](x)
        for op in self.ops[1:]:
            y = y * op(x)
        return y


class Steps(lo.algebra.NonlinearCombinator):
    """Three steps x + F(x) / 2 in a compiled loop."""

    op: lo.NonlinearOperator

    def apply(self, x):
        return jax.lax.scan(lambda x, _: (x + self.op(x) / 2, None), x, None, length=3)[0]


class TracedAround(lo.NonlinearOperator):
    """Not a combinator, but JAX code with an operator in a field."""

    parts: dict

    @lo.traced
    def apply(self, x):
        return jnp.sin(self.parts["op"](x["x"])) + x["y"]


def model(cls, dtype=np.float32, rows=3):
    return cls(like(np.zeros((rows, 3), dtype), 1))


D = lo.Diagonal(np.arange(1, 4, dtype=np.float32) / 2)


def cubes(op):
    return lambda x: op.matrix @ x**3


def composites(op):
    """Operators around one that remembers, their twins in JAX, an input, and the number of points to simulate at."""
    f, x = cubes(op), like(np.zeros(3, op.matrix.dtype), 3)
    wide = like(np.zeros((2, 3, 4), op.matrix.dtype), 4)
    along = lambda f, axis: lambda x: jnp.apply_along_axis(f, axis, x)  # noqa: E731
    column = like(np.zeros((4, 3), op.matrix.dtype), 5)
    return {
        "along the last axis": (lo.along_axis(op, -1), along(f, -1), column, 4),
        "along an axis in the middle": (lo.along_axis(op, 1), along(f, 1), wide, 8),
        "of a composite": (lo.along_axis(2 * op @ op, 0), along(lambda x: 2 * f(f(x)), 0), column.T, 8),
        "in a composite": (lo.along_axis(op, -1) + lo.Identity(), lambda x: along(f, -1)(x) + x, column, 4),
        "after a composite": (op @ Product([op, lo.Identity()]), lambda x: f(f(x) * x), x, 2),
        "product": (Product([op, lo.Matrix(op.matrix), op @ D]), lambda x: f(x) * (op.matrix @ x) * f(D.d * x), x, 2),
        "nested": (Product([Product([op, op @ D]), lo.Identity()]), lambda x: f(x) * f(D.d * x) * x, x, 2),
        "loop": (Steps(op), lambda x: steps(f, x), x, 3),
        "along an axis, of a combinator": (
            lo.along_axis(Product([op, lo.Identity()]), 0),
            along(lambda x: f(x) * x, 0),
            column.T,
            4,
        ),
        "traced class": (
            TracedAround({"op": op}),
            lambda x: jnp.sin(f(x["x"])) + x["y"],
            {"x": x, "y": like(x, 9)},
            1,
        ),
    }


def steps(f, x):
    for _ in range(3):
        x = x + f(x) / 2
    return x


NAMES = list(composites(model(Cubes)))


SOME = ["along the last axis", "product", "loop"]


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize(
    ("kind", "name"), [("host", name) for name in NAMES] + [(kind, name) for kind in [*KINDS][1:] for name in SOME]
)
def test_a_jacobian_and_five_products_simulate_once_at_each_point(kind, name, compiled):
    op, twin, x, points = composites(model(KINDS[kind]))[name]
    y, pull = jax.vjp(twin, x)
    dxs, dys = [like(x, seed) for seed in (6, 7, 8)], [like(y, seed) for seed in (6, 7)]
    dxs = [] if kind == "reverse only" else dxs

    def products(x):
        J = op.jacobian(x)
        return [J(dx) for dx in dxs], [J.H(dy) for dy in dys]

    count, found = simulations(jax.jit(products) if compiled else products, x)
    close(found, ([jax.jvp(twin, (x,), (dx,))[1] for dx in dxs], [pull(dy)[0] for dy in dys]), 100)
    assert count == points


@pytest.mark.parametrize("name", NAMES)
def test_the_value_comes_with_the_jacobian(name):
    op, twin, x, points = composites(model(Cubes))[name]
    count, (y, J) = simulations(op.value_and_jacobian, x)
    assert count == points
    close(y, twin(x), 100)
    matrix = jax.jacfwd(twin)(x)
    if not isinstance(x, dict):
        close(lo.todense(J), matrix.reshape(y.size, x.size), 100)
    assert J.domain == jax.tree.map(lambda leaf: S(leaf.shape, leaf.dtype), x)
    count, found = simulations(lambda x: jax.jit(lambda x: op.value_and_jacobian(x)[0])(x), x)
    assert (count, calls["linearize"]) == (points, 0)  # nobody reads the state
    close(found, y)


@pytest.mark.parametrize("kind", ["host", "traced"])
@pytest.mark.parametrize("name", NAMES)
def test_derivatives_of_products(kind, name):
    """In the point, and in the fields where JAX knows how: a state is not constant."""
    cls, matrix = KINDS[kind], model(Cubes).matrix / 2
    _, _, x, _ = composites(cls(matrix))[name]
    dx, wanted = like(x, 6), (0, 1) if kind == "traced" else 1

    def of_operator(matrix, x):
        J = composites(cls(matrix))[name][0].jacobian(x)
        return energy(J(dx)) + energy(J.H(J(dx)))

    def of_twin(matrix, x):
        _, push = jax.linearize(composites(cls(matrix))[name][1], x)
        return energy(push(dx)) + energy(jax.linear_transpose(push, x)(push(dx))[0])

    expected = jax.grad(of_twin, wanted)(matrix, x)
    close(jax.grad(of_operator, wanted)(matrix, x), expected, 1000)
    close(jax.jit(jax.grad(of_operator, wanted))(matrix, x), expected, 1000)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [("along the last axis", np.complex64), ("product", np.complex64), ("loop", np.complex64), ("nested", np.float16)],
)
def test_dtypes(name, dtype):
    """A number of Python stays weakly typed inside of a combinator."""
    op, twin, x, points = composites(model(Cubes, dtype))[name]
    op, x = Product([0.1 * op, lo.Identity()]), x / 2
    times = lambda x: 0.1 * twin(x) * x  # noqa: E731
    count, (y, J) = simulations(op.value_and_jacobian, x)
    assert count == points
    expected, pull = jax.vjp(times, x)
    close(y, expected, 30)
    close(J(x), jax.jvp(times, (x,), (x,))[1], 100)
    close(J.H(y.conj()).conj(), pull(y)[0], 100)


def test_a_real_point_of_a_complex_domain():
    op = Product([model(Cubes, np.complex64), lo.Identity()])
    twin = lambda x: cubes(op.ops[0])(x) * x  # noqa: E731
    x, dx = like(np.zeros(3, np.float32), 3), like(np.zeros(3, np.float32), 4)
    for F in (op, op.with_domain(S((3,), np.complex64))):
        J = F.jacobian(x)
        y, expected = jax.jvp(twin, (x,), (dx,))
        close(J(dx), expected, 30)
        close(J.H(y), jax.vjp(twin, x)[1](y.conj())[0], 30)
    half = lo.along_axis(model(Cubes, np.complex64), 0).jacobian(jnp.ones((3, 2)))
    assert half.domain == S((3, 2), np.float32)
    assert half.H(half(jnp.ones((3, 2)))).dtype == np.float32


class Counted(lo.algebra.NonlinearCombinator):
    """Takes an integer, and gives one."""

    op: lo.NonlinearOperator

    def apply(self, x):
        return {"y": self.op(x["x"]) * x["n"], "n": x["n"] + 1}


def test_integers():
    op, x = Counted(model(Cubes)), {"x": like(np.zeros(3, np.float32), 3), "n": jnp.int32(3)}
    twin = lambda x: {"y": cubes(op.op)(x["x"]) * x["n"], "n": x["n"] + 1}  # noqa: E731
    count, J = simulations(op.jacobian, x)
    dx = {"x": x["x"][::-1], "n": jnp.int32(0)}
    expected = jax.jvp(twin, (x,), (tangent(x, 1) | {"x": dx["x"]},))[1]
    close(J(dx)["y"], expected["y"], 30)
    close(J(dx)["n"], jnp.int32(0))
    dy = {"y": x["x"], "n": jnp.int32(0)}
    (ct,) = jax.vjp(lambda v: twin({**x, "x": v})["y"], x["x"])[1](dy["y"])
    close(J.H(dy), {"x": ct, "n": jnp.int32(0)}, 30)
    assert count == 1


# ---- the Jacobian as a value ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*SOME, "traced class"])
def test_a_jacobian_travels(name):
    op, _, x, points = composites(model(Cubes))[name]
    J, dx = op.jacobian(x), like(x, 8)
    expected = J(dx)
    other = op.jacobian(like(x, 9))
    assert jax.tree.structure(J) == jax.tree.structure(other)  # so that a program serves both
    program = jax.jit(lambda J, dx: J(dx))
    close(program(J, dx), expected)
    program(other, dx)
    assert program._cache_size() == 1
    assert simulations(lambda: J(dx))[0] == 0
    close(pickle.loads(pickle.dumps(J))(dx), expected)
    close(jax.lax.scan(lambda J, _: (J, J(dx)), J, None, length=2)[1], stack([expected, expected]), 10)
    count, moved = simulations(lambda: dataclasses.replace(J, x=like(x, 9)))
    assert count == points
    close(moved(dx), other(dx))
    assert "jacobian" in str(J)


def test_vmap():
    op, twin, x, points = composites(model(Cubes))["product"]
    xs, dxs = like(x, 3, (5,)), like(x, 4, (5,))
    run = jax.vmap(lambda x, dx: (lambda J: (J(dx), J.H(dx)))(op.jacobian(x)))
    expected = jax.vmap(lambda x, dx: (jax.jvp(twin, (x,), (dx,))[1], jax.vjp(twin, x)[1](dx)[0]))(xs, dxs)
    for batch in (run, jax.jit(run)):
        count, found = simulations(batch, xs, dxs)
        close(found, expected, 30)
        assert count == 5 * points
    many = jax.vmap(op.jacobian)(xs)
    close(jax.vmap(lambda J, dx: J(dx))(many, dxs), expected[0], 30)
    ops = jax.tree.map(lambda leaf: jnp.stack([leaf, 2 * leaf]), op)
    found = jax.vmap(lambda op: op.jacobian(x)(dxs[0]))(ops)
    twice = jax.tree.map(lambda leaf: 2 * leaf, op)
    close(found, stack([op.jacobian(x)(dxs[0]), twice.jacobian(x)(dxs[0])]), 30)


def test_it_does_not_keep_what_is_there_already():
    """Neither the fields nor the point: an operator may be large."""
    op = Product([model(Cubes, rows=3), lo.Identity()])
    state = op.jacobian(jnp.ones(3)).state
    assert len(state) <= 4
    assert all(leaf.size <= 3 for leaf in state)
    along = lo.along_axis(model(Cubes), 0)
    assert all(leaf.shape[:1] == (5,) for leaf in along.jacobian(jnp.ones((3, 5))).state)  # one of each element


def test_a_part_without_linearize_keeps_nothing_and_is_evaluated_where_it_was():
    squares = lo.along_axis(Square(), 0)
    x = like(np.zeros((3, 2), np.float32), 3)
    count, J = simulations(squares.jacobian, x)
    assert (count, J.state) == (0, None)
    close(J(x), 2 * x**2)
    close(J.H(x), 2 * x**2)


class Square(lo.NonlinearOperator):
    def apply(self, x):
        calls["apply"] += 1
        return x**2

    def jacobian_apply(self, x, dx):
        return 2 * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * x * dy

    def infer_shape(self, x):
        return x


class ByHand(Product):
    """With a Jacobian by its own author, in which nothing is kept."""

    def jacobian_apply(self, x, dx):
        return 7 * jax.jvp(self.apply, (x,), (dx,))[1]

    def jacobian_adjoint(self, x, dy):
        return 7 * jax.vjp(self.apply, x)[1](dy)[0]


def test_a_jacobian_by_hand_is_used():
    op, x = ByHand([model(Cubes), lo.Identity()]), like(np.zeros(3, np.float32), 3)
    right = Product(op.ops).jacobian(x)
    close(op.jacobian(x)(x), 7 * right(x), 10)
    close(op.jacobian(x).H(x), 7 * right.H(x), 10)


@pytest.mark.parametrize("kind", ["host", "traced"])
@pytest.mark.parametrize("name", ["along the last axis", "product", "traced class"])
def test_every_check_passes(kind, name):
    op, _, x, _ = composites(model(KINDS[kind]))[name]
    lo.check_operator(op, jax.tree.map(lambda leaf: S(leaf.shape, leaf.dtype), x))


def test_on_several_devices():
    devices = jax.devices()[:2]
    mesh = jax.sharding.Mesh(np.array(devices), ("d",))
    P = jax.sharding.PartitionSpec
    op, twin, x, _ = composites(model(Cubes))["product"]
    dxs = like(x, 4, (2,))
    run = lambda x, dxs: (lambda J: (J(dxs[0])[None], J.H(dxs[0])[None]))(op.jacobian(x))  # noqa: E731
    found = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P(), P("d")), out_specs=P("d")))(x, dxs)
    close(found[0], stack([jax.jvp(twin, (x,), (dx,))[1] for dx in dxs]), 30)
    close(found[1], stack([jax.vjp(twin, x)[1](dx)[0] for dx in dxs]), 30)
    xs = like(x, 5, (2,))
    run = lambda xs, dx: op.jacobian(xs[0])(dx)[None]  # noqa: E731
    found = jax.jit(jax.shard_map(run, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d")))(xs, x)
    close(found, stack([jax.jvp(twin, (at,), (x,))[1] for at in xs]), 30)
