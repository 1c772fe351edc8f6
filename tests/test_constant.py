"""Constant fields: operands like others, whose derivative is zero by declaration."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, like, stack, tangent

import linops_jax as lo

pytestmark = pytest.mark.versions


def shape_of(op, x):
    return S(op.points.shape, jnp.result_type(op.weights.dtype, x.dtype))


class Host(lo.LinearOperator):
    """Weighted samples of a signal at the nearest positions to ``points``, whose derivative is zero or infinite."""

    points: jax.Array = lo.constant()
    weights: jax.Array

    def apply(self, x):
        return self.weights * x[self.at]

    def adjoint(self, y):
        result = np.zeros(6, np.result_type(y, self.weights))
        np.add.at(result, self.at, np.conj(self.weights) * y)
        return result

    @property
    def at(self):
        return np.asarray(self.points).astype(int)

    infer_shape = shape_of

    def infer_adjoint_shape(self, y):
        return S((6,), y.dtype)

    def parameter_jvp(self, x, dself):
        assert not dself.points.any()
        return dself.weights * x[self.at]

    def parameter_vjp(self, x, dy):
        """What it says of points is not looked at."""
        return dataclasses.replace(self, points=np.full(3, np.nan), weights=dy * np.conj(x[self.at]))


class HostDict(Host):
    def parameter_vjp(self, x, dy):
        return {"weights": dy * np.conj(x[self.at])}


class OnlyConstant(lo.LinearOperator):
    """No field can be differentiated, and no hook says how."""

    points: jax.Array = lo.constant()
    weights: jax.Array = lo.constant(kw_only=True)

    apply, adjoint, infer_shape, at = Host.apply, Host.adjoint, shape_of, Host.at
    infer_adjoint_shape = Host.infer_adjoint_shape


class Traced(lo.LinearOperator):
    """Linear interpolation, which JAX would differentiate in the points."""

    points: jax.Array = lo.constant()
    weights: jax.Array

    @lo.traced
    def apply(self, x):
        return self.weights * interpolated(self.points, x)


class TracedWithAdjoint(Traced):
    @lo.traced
    def adjoint(self, y):
        (x,) = jax.linear_transpose(lambda x: self.weights * interpolated(self.points, x), S((6,), y.dtype))(y.conj())
        return x.conj()

    def infer_adjoint_shape(self, y):
        return S((6,), y.dtype)


class Square(lo.NonlinearOperator):
    points: jax.Array = lo.constant()
    weights: jax.Array

    @lo.traced
    def apply(self, x):
        return (self.weights * interpolated(self.points, x)) ** 2


def interpolated(points, x):
    i = jnp.clip(jnp.floor(points).astype(int), 0, 4)
    t = points - i
    return (1 - t) * x[i] + t * x[i + 1]


def nearest(op, x):
    return op.weights * x[jax.lax.stop_gradient(op.points).astype(int)]


def linear(op, x):
    return op.weights * interpolated(jax.lax.stop_gradient(op.points), x)


def squared(op, x):
    return linear(op, x) ** 2


POINTS = jnp.array([0.5, 3.25, 2.75], jnp.float32)
CASES = {
    "host": (Host, nearest, np.float32),
    "host, complex": (Host, nearest, np.complex64),
    "host, dict": (HostDict, nearest, np.float32),
    "traced": (Traced, linear, np.complex64),
    "traced with an adjoint": (TracedWithAdjoint, linear, np.complex64),
    "nonlinear": (Square, squared, np.float32),
}


@dataclasses.dataclass
class Model:
    """The fields of an operator, as what its twin reads."""

    points: jax.Array
    weights: jax.Array


jax.tree_util.register_dataclass(Model, data_fields=["points", "weights"], meta_fields=[])


def both(name):
    """The operator and its twin as functions of fields and input, and values for these."""
    cls, twin, dtype = CASES[name]
    values = Model(POINTS, like(np.zeros(3, dtype), 1)), like(np.zeros(6, dtype), 2)
    return (lambda fields, x: cls(fields.points, fields.weights)(x)), twin, values


TRANSFORMATIONS = {
    "grad": lambda f, fields, x: jax.grad(lambda *a: energy(f(*a)), (0, 1))(fields, x),
    "jvp": lambda f, fields, x: jax.jvp(f, (fields, x), (tangent(fields, 3), tangent(x, 4))),
    "jvp in constants only": lambda f, fields, x: jax.jvp(
        lambda points: f(Model(points, fields.weights), x), (fields.points,), (jnp.ones(3, jnp.float32),)
    ),
    "linearize": lambda f, fields, x: jax.linearize(f, fields, x)[1](tangent(fields, 3), tangent(x, 4)),
    "jacrev": lambda f, fields, x: jax.jacrev(lambda points, x: energy(f(Model(points, fields.weights), x)))(
        fields.points, x
    ),
    "jacfwd of grad": lambda f, fields, x: jax.jacfwd(
        lambda p: jax.grad(lambda p, x: energy(f(Model(p, fields.weights), x)), 1)(p, x)
    )(fields.points),
    "vmap over both": lambda f, fields, x: jax.vmap(jax.grad(lambda *a: energy(f(*a)), (0, 1)), (0, None))(
        stack([fields, Model(fields.points[::-1], 2 * fields.weights)]), x
    ),
    "vmap over constants": lambda f, fields, x: jax.vmap(
        jax.grad(lambda points, weights: energy(f(Model(points, weights), x)), (0, 1)), (0, None)
    )(jnp.stack([fields.points, fields.points[::-1]]), fields.weights),
    "scan": lambda f, fields, x: jax.grad(
        lambda fields: jax.lax.scan(
            lambda total, p: (total + energy(f(Model(p, fields.weights), x)), None),
            0.0,
            jnp.stack([fields.points, fields.points[::-1]]),
        )[0]
    )(fields),
    "checkpoint": lambda f, fields, x: jax.grad(jax.checkpoint(lambda *a: energy(f(*a))), (0, 1))(fields, x),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("what", TRANSFORMATIONS)
@pytest.mark.parametrize("name", CASES)
def test_like_stop_gradient(name, what, compiled):
    found, twin, (fields, x) = both(name)

    def run(f):
        transformed = functools.partial(TRANSFORMATIONS[what], f)
        return (jax.jit(transformed) if compiled else transformed)(fields, x)

    close(run(found), run(twin), 10)


@pytest.mark.parametrize("name", ["traced", "nonlinear"])
def test_second_derivatives(name):
    found, twin, (fields, x) = both(name)
    fields = Model(fields.points, fields.weights.real)
    hessian = lambda f: jax.jit(jax.hessian(lambda fields: energy(f(fields, x.real))))(fields)  # noqa: E731
    close(hessian(found), hessian(twin), 10)


def test_without_hooks_for_fields():
    """Host hooks, all of whose fields are constant, in reverse and forward mode."""
    x = like(np.zeros(6, np.float32), 1)
    op = OnlyConstant(POINTS, weights=jnp.ones(3, jnp.float32))
    gradient = jax.grad(lambda op: energy(op(x)))(op)
    assert not any(map(np.any, jax.tree.leaves(gradient)))
    assert not np.any(jax.jvp(lambda op: op(x), (op,), (jax.tree.map(jnp.ones_like, op),))[1])


def test_custom_root_closes_over_it():
    """custom_root instantiates the tangents of all that it closes over."""
    op = OnlyConstant(POINTS, weights=jnp.ones(3, jnp.float32))

    def root(points):
        shifted = dataclasses.replace(op, points=points)
        at = lambda t: t - jnp.sum(shifted(jnp.ones(6, jnp.float32)))  # noqa: E731
        return jax.lax.custom_root(at, 0.0, lambda f, t: t - f(t), lambda g, y: y / g(1.0))

    assert jax.grad(root)(POINTS).tolist() == [0, 0, 0]


def test_solve():
    """The derivative of a solution in the weights is right, that in the points is zero."""
    A = Traced(jnp.array([0.5, 1.5, 2.5, 3.5, 4.5, 1.0, 3.0], jnp.float32), jnp.ones(7, jnp.float32))
    A = A.with_domain(S((6,), np.float32))
    y = like(np.zeros(7, np.float32), 1)
    objective = lambda A: energy(lo.solve(A, y, damp=0.1).value)  # noqa: E731
    found = jax.grad(objective)(A).op

    def twin(weights):
        matrix = jax.vmap(lambda e: weights * interpolated(A.op.points, e), out_axes=1)(jnp.eye(6))
        return energy(jnp.linalg.solve(matrix.T @ matrix + 0.01 * jnp.eye(6), matrix.T @ y))

    assert not np.any(found.points)
    np.testing.assert_allclose(found.weights, jax.grad(twin)(A.op.weights), rtol=2e-3, atol=1e-3)


class Holder(lo.LinearOperator):
    """Holds an operator, and a container of arrays, in constant fields."""

    inner: lo.LinearOperator = lo.constant()
    table: dict = lo.constant()
    gain: jax.Array

    @lo.traced
    def apply(self, x):
        return self.gain * self.inner(x) + self.table["a"] * x + self.table["b"][0] * x

    def infer_adjoint_shape(self, y):
        return y


def test_operators_and_containers():
    x = jnp.array([1.0, 2.0])
    op = Holder(lo.Diagonal(jnp.array([3.0, 4.0])), {"a": jnp.array(1.0), "b": (jnp.array(2.0),)}, jnp.array(5.0))
    for composite in (op, 2 * op @ lo.Identity(), (op + op.H) / 1):
        gradient = jax.grad(lambda op: jnp.sum(op(x)), allow_int=True)(composite)
        values = dict(jax.tree_util.tree_leaves_with_path(gradient))
        moved = {path[-1].name for path, leaf in values.items() if hasattr(path[-1], "name") and np.any(leaf)}
        assert moved - {"scalar"} == {"gain"}


def test_equinox_and_optax():
    """A model that holds an operator is differentiated in all inexact arrays."""
    eqx, optax = pytest.importorskip("equinox"), pytest.importorskip("optax")
    x = like(np.zeros(6, np.float32), 1)
    model = {"op": Host(POINTS, jnp.ones(3, jnp.float32)), "scale": jnp.array(2.0)}
    gradient = eqx.filter_jit(eqx.filter_grad(lambda m: energy(m["scale"] * m["op"](x))))(model)
    optimizer = optax.adam(0.1)
    updates, _ = optimizer.update(gradient, optimizer.init(model), model)
    moved = optax.apply_updates(model, updates)
    assert np.array_equal(moved["op"].points, POINTS)
    assert not np.array_equal(moved["op"].weights, model["op"].weights)


def test_a_sweep_compiles_once():
    traces = []

    @jax.jit
    def run(op, x):
        traces.append(1)
        return op(x)

    x = like(np.zeros(6, np.float32), 1)
    for shift in (0.0, 0.1, 0.2):
        op = Host(POINTS + shift, jnp.ones(3, jnp.float32))
        close(run(op, x), nearest(op, x))
    assert len(traces) == 1


def test_checks_see_the_other_fields():
    x = S((6,), np.float64)
    with jax.enable_x64(True):
        op = Host(POINTS, like(np.zeros(3, np.float64), 1))
        names = {outcome.name for outcome in lo.check_operator(op, x).outcomes if outcome.status == "passed"}
        assert {"parameter_jvp", "parameter_vjp"} <= names
        only = lo.check_operator(OnlyConstant(POINTS, weights=jnp.ones(3)), x)
        assert not {"parameter_jvp", "parameter_vjp"} & {outcome.name for outcome in only.outcomes}


def test_the_error_of_a_field_without_a_rule_names_it():
    x = like(np.zeros(3, np.float32), 1)

    class Gain(lo.LinearOperator, diagonal=True):
        gain: jax.Array

        def apply(self, x):
            return self.gain * x

        adjoint = apply

        def infer_shape(self, x):
            return x

    with pytest.raises(
        NotImplementedError, match=r"Gain\.gain is being differentiated.*declare the field with lo\.constant"
    ):
        jax.grad(lambda op: energy(op(x)))(Gain(jnp.ones(3, jnp.float32)))


class Weighted(lo.algebra.Combinator):
    """A combinator whose part is never differentiated, and its weights neither."""

    op: lo.LinearOperator = lo.constant()
    weights: jax.Array = lo.constant()
    gain: jax.Array

    def apply(self, x):
        return self.gain * self.weights * self.op(x)


def test_in_a_combinator():
    x = jnp.array([1.0, 2.0])
    op = Weighted(lo.Diagonal(jnp.array([3.0, 4.0])), jnp.array([5.0, 6.0]), jnp.array(7.0))
    gradient = jax.grad(lambda op: jnp.sum(op(x)))(op)
    assert not np.any(gradient.op.d)
    assert not np.any(gradient.weights)
    close(gradient.gain, jnp.array(15.0 + 48.0))
