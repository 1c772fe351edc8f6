"""lo.solve, inverses and norms in shard_map, on explicit meshes and on automatic ones, against one device."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, normal
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from operators import Dense

import linops_jax as lo

AUTO = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Explicit,))
OURS = ("cg", "cgls", "bicgstab", "direct")
pytestmark = pytest.mark.usefixtures("x64")
Y, W = np.arange(1.0, 9), np.arange(2.0, 10)
SLOPES = [-2 * Y**2 / W**3, 2 * Y / W**2]  # of the energy of y / w, in w and in y


class Host(lo.LinearOperator, positive=True):
    """w x, on NumPy arrays; one factor for all entries, or one for each."""

    w: jax.Array

    def apply(self, x):
        return self.w * x

    adjoint = apply

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape

    def parameter_jvp(self, x, dself):
        return dself.w * x

    def parameter_vjp(self, x, dy):
        return {"w": x * dy if self.w.shape == x.shape else np.sum(x * dy, keepdims=True)}


class Traced(lo.LinearOperator, positive=True):
    w: jax.Array

    @lo.traced
    def apply(self, x):
        return self.w * x

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


def energy_of(kind, **options):
    return lambda w, y: jnp.sum(lo.solve(kind(w), y, rtol=1e-12, **options).value ** 2)


def in_shard_map(function, *specs, mesh=AUTO):
    """The sum of a function's values on all devices."""
    local = jax.shard_map(lambda *a: function(*a)[None], mesh=mesh, in_specs=specs, out_specs=P("i"))
    return lambda *arguments: jnp.sum(local(*arguments))


def on(mesh, *arrays):
    return [jax.device_put(array, NamedSharding(mesh, P("i"))) for array in arrays]


@pytest.mark.parametrize("solver", OURS)
@pytest.mark.parametrize("kind", [Host, Traced])
def test_problems_of_each_device(kind, solver):
    loss = in_shard_map(energy_of(kind, solver=solver), P("i"), P("i"))
    close(list(jax.jit(jax.grad(loss, (0, 1)))(W, Y)), SLOPES, scale=1e3)
    shared = jax.grad(in_shard_map(energy_of(kind, solver=solver), P(), P("i")), (0, 1))
    eagerly = solver == "cg"  # one is enough: every operation is a program of its own
    found = (shared if eagerly else jax.jit(shared))(np.array([2.0]), Y)
    close(list(found), [np.array([-np.sum(Y**2) / 4]), Y / 2], scale=1e3)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("ambient", [False, True], ids=["no mesh around", "mesh around"])
@pytest.mark.parametrize("solver", OURS)
def test_one_problem_on_all_devices(solver, ambient, mesh):
    with jax.set_mesh(mesh) if ambient else contextlib.nullcontext():
        w, y = on(mesh, W, Y)
        found = lo.solve(Traced(w), y, solver=solver, rtol=1e-12)
        close(found.value, Y / W, scale=1e3)
        assert found.stats.converged
        slopes = jax.jit(jax.grad(energy_of(Traced, solver=solver), (0, 1)))(w, y)
        close(list(slopes), SLOPES, scale=1e3)
        if mesh is EXPLICIT:
            assert {str(jax.typeof(a)) for a in (found.value, *slopes)} == {"float64[8@i]"}


@pytest.mark.parametrize("options", ["damp", "x0", "history", "preconditioner", "regularizer"])
def test_options_on_explicit_meshes_and_in_shard_map(options):
    def solve(w, y):
        more = {
            "damp": {"damp": jnp.asarray(0.5)},
            "x0": {"x0": jnp.ones_like(y)},
            "history": {"history": True, "max_steps": 30},
            "preconditioner": {"solver": "cg", "preconditioner": Traced(1 / w)},
            "regularizer": {"damp": 0.5, "regularizer": Traced(w)},
        }[options]
        return lo.solve(Traced(w), y, rtol=1e-12, **more).value

    factor = {"damp": W / (W**2 + 0.25), "regularizer": 0.8 / W}.get(options, 1 / W)
    local = jax.shard_map(solve, mesh=AUTO, in_specs=P("i"), out_specs=P("i"))
    eagerly = options == "history"
    close((local if eagerly else jax.jit(local))(W, Y), factor * Y, scale=1e3)
    close(solve(*on(AUTO, W, Y)), factor * Y, scale=1e3)
    with jax.set_mesh(EXPLICIT):
        close(solve(*on(EXPLICIT, W, Y)), factor * Y, scale=1e3)
        close(jax.grad(lambda y, w: jnp.sum(solve(w, y)))(*on(EXPLICIT, Y, W)), factor, scale=1e3)


def test_a_matrix_of_which_each_device_has_some_rows():
    m, y = normal((8, 3), np.float64, 1), normal((8,), np.float64, 2)
    for mesh in (AUTO, EXPLICIT):
        rows, target = on(mesh, m, y)
        op = lo.Function(lambda x, rows=rows: rows @ x, S((3,), np.float64))
        with jax.set_mesh(mesh):
            for solver in ("cgls", "direct"):
                close(lo.solve(op, target, solver=solver, rtol=1e-12).value, np.linalg.lstsq(m, y)[0], scale=1e3)


@pytest.mark.parametrize("solver", ["lsmr", "gmres"])
def test_what_lineax_does_not_take(solver):
    message = r"of lineax does not take arrays that differ between the devices.*\"cg\", \"cgls\" and \"bicgstab\" do"
    with pytest.raises(NotImplementedError, match=message):
        jax.jit(in_shard_map(energy_of(Traced, solver=solver), P("i"), P("i")))(W, Y)
    with pytest.raises(NotImplementedError, match=message):
        lo.solve(Traced(*on(EXPLICIT, W)), *on(EXPLICIT, Y), solver=solver)
    close(lo.solve(Traced(*on(AUTO, W)), *on(AUTO, Y), solver=solver, rtol=1e-12).value, Y / W, scale=1e3)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
def test_inverses(mesh):
    w, y = on(mesh, W, Y)
    inverse = Traced(w).with_domain(y).inv
    for apply in (inverse, inverse.H, jax.jit(inverse), lambda y: jax.linear_transpose(inverse, y)(y)[0]):
        close(apply(y), Y / W, scale=1e3)
    with jax.set_mesh(mesh):
        slopes = jax.grad(lambda w, y: jnp.sum(Traced(w).with_domain(y).inv(y) ** 2), (0, 1))(w, y)
    close(list(slopes), SLOPES, scale=1e3)


def test_inverses_in_shard_map():
    slopes = jax.grad(in_shard_map(lambda w, y: jnp.sum(Traced(w).with_domain(y).inv(y) ** 2), P("i"), P("i")), (0, 1))
    close(list(slopes(W, Y)), SLOPES, scale=1e3)


@pytest.mark.parametrize("n", [8, 1024])
def test_norms(n):
    """Of a matrix, and by iterations."""
    w = np.arange(1.0, n + 1)
    for mesh in (AUTO, EXPLICIT):
        (placed,) = on(mesh, w)
        with jax.set_mesh(mesh):
            value, slope = jax.value_and_grad(lambda w, like=placed: lo.norm(Traced(w), like, rtol=1e-8))(placed)
        np.testing.assert_allclose(value, n)
        np.testing.assert_allclose(slope, w == n, atol=1e-5)
    norms = in_shard_map(lambda w: lo.norm(Traced(w), w, rtol=1e-8), P("i"))
    value, slope = jax.value_and_grad(norms)(w)
    np.testing.assert_allclose(value, n * 10 / 4)
    np.testing.assert_allclose(slope, w % (n // 4) == 0, atol=1e-4)
    assert lo.norm(Host(w), w) == pytest.approx(n)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("solver", ["cg", "cgls", "bicgstab"])
def test_solves_gather_nothing(solver, mesh):
    w, y = on(mesh, np.arange(1.0, 1025), np.ones(1024))
    with jax.set_mesh(mesh):
        program = jax.jit(jax.grad(energy_of(Traced, solver=solver), (0, 1))).lower(w, y).compile().as_text()
    assert "all-reduce" in program
    assert "all-gather" not in program


def test_norms_gather_nothing():
    (w,) = on(AUTO, np.arange(1.0, 1025))
    program = jax.jit(lambda w: lo.norm(Traced(w), w)).lower(w).compile().as_text()
    assert "all-reduce" in program
    assert "all-gather" not in program


def test_measures_on_explicit_meshes():
    (w,) = on(EXPLICIT, W)
    close(lo.todense(Traced(w), w), np.diag(W))
    close(lo.diagonal(Traced(w), w), W)
    close(lo.trace(Dense(np.diag(W)), S((8,), np.float64)), np.asarray(44.0))
    np.testing.assert_allclose(lo.trace(Traced(w), w), 44)
    np.testing.assert_allclose(lo.condition_number(Traced(w), w), 4.5)
