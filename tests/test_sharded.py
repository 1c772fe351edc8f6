"""Operators on the parts of a mesh, as operators on whole arrays; halos against dense matrices; collectives counted."""

import collections
import contextlib
import functools
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, normal
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import linops_jax as lo

pytestmark = pytest.mark.versions

AUTO = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Explicit,))
GRID = jax.make_mesh((2, 2), ("i", "j"), axis_types=(AxisType.Auto,) * 2)
MESHES = pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"], indirect=True)
MODES = {"zero": "constant", "periodic": "wrap", "edge": "edge", "reflect": "reflect"}
WIDTHS = [(3, 1, 1), (3, 0, 2), (3, 2, 0), (3, 4, 7), (3, 11, 1), (1, 2, 1), (2, 0, 0)]


@pytest.fixture
def mesh(request):
    """A mesh; JAX wants to know an explicit one for derivatives."""
    with jax.set_mesh(request.param) if request.param is EXPLICIT else contextlib.nullcontext():
        yield request.param


def dense(function, n):
    return np.stack([np.asarray(function(jnp.eye(n)[i])) for i in range(n)], axis=1)


def padded(v, rows, before, after, boundary):
    """What each of four devices should have."""
    whole = np.pad(v, (before, after), mode=MODES[boundary])
    return np.concatenate([whole[i * rows : (i + 1) * rows + before + after] for i in range(4)])


def collectives(function, *arguments):
    text = jax.jit(function).lower(*arguments).compile().as_text()
    names = "all-reduce|all-gather|all-to-all|collective-permute|reduce-scatter"
    return dict(collections.Counter(re.findall(rf"= \S+ ({names})\(", text)))


def on(mesh, x):
    return jax.device_put(x, NamedSharding(mesh, P("i")))


class Stencil(lo.LinearOperator):
    """Three weights on the inner points, in NumPy."""

    w: jax.Array

    def apply(self, x):
        return self.w[0] * x[:-2] + self.w[1] * x[1:-1] + self.w[2] * x[2:]

    def adjoint(self, y):
        z = np.zeros(len(y) + 2, y.dtype)
        for i in range(3):
            z[i : len(y) + i] += np.conj(self.w[i]) * y
        return z

    def parameter_jvp(self, x, dself):
        return dself.w[0] * x[:-2] + dself.w[1] * x[1:-1] + dself.w[2] * x[2:]

    def parameter_vjp(self, x, dy):
        return {"w": np.array([np.vdot(x[i : len(dy) + i], dy) for i in range(3)], self.w.dtype)}

    def infer_shape(self, x):
        return S((x.shape[0] - 2,), np.result_type(x.dtype, self.w.dtype))

    def infer_adjoint_shape(self, y):
        return S((y.shape[0] + 2,), y.dtype)


W = jnp.array([1.0, -2.0, 3.0])
X = jnp.asarray(normal((12,), np.float32))


def derivative(mesh, w=W, boundary="zero"):
    return lo.sharded(Stencil(w) @ lo.Halo(1, "i", boundary=boundary), mesh, P("i"), P("i"))


def twin(w, x, boundary="zero"):
    if boundary == "periodic":
        return w[0] * jnp.roll(x, 1) + w[1] * x + w[2] * jnp.roll(x, -1)
    return w[0] * jnp.pad(x, (1, 0))[:-1] + w[1] * x + w[2] * jnp.pad(x, (0, 1))[1:]


# ---- halos ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mesh", "rows", "before", "after"),
    [*((AUTO, *widths) for widths in WIDTHS), (EXPLICIT, 3, 0, 2), (EXPLICIT, 3, 4, 7)],
    indirect=["mesh"],
)
@pytest.mark.parametrize("boundary", MODES)
def test_halo_against_the_dense_matrix(mesh, boundary, rows, before, after):
    A = lo.sharded(lo.Halo((before, after), "i", boundary=boundary), mesh, P("i"), P("i"))
    n = 4 * rows
    expected = np.stack([padded(e, rows, before, after, boundary) for e in np.eye(n)], axis=1)
    np.testing.assert_array_equal(dense(jax.jit(A), n), expected)
    np.testing.assert_array_equal(dense(jax.jit(A.H), len(expected)), expected.T)


@MESHES
def test_collectives_of_halos(mesh):
    for boundary in MODES:
        A = lo.sharded(lo.Halo(1, "i", boundary=boundary), mesh, P("i"), P("i"))
        assert collectives(A, on(mesh, X)) == {"collective-permute": 2}
        assert collectives(A.H, on(mesh, jnp.ones(20))) == {"collective-permute": 2}


def test_halo_of_complex_pictures_along_two_axes():
    halo = lo.Halo(1, "j", axis=-1, boundary="periodic") @ lo.Halo((1, 2), "i", boundary="reflect")
    A = lo.sharded(halo, GRID, P("i", "j"), P("i", "j"))
    x = jnp.asarray(normal((4, 6), np.complex64))
    whole = np.pad(np.pad(x, ((1, 2), (0, 0)), mode="reflect"), ((0, 0), (1, 1)), mode="wrap")
    expected = np.block([[whole[2 * i : 2 * i + 5, 3 * j : 3 * j + 5] for j in range(2)] for i in range(2)])
    np.testing.assert_array_equal(A(x), expected)
    y = jnp.asarray(normal(expected.shape, np.complex64, 1))
    close(jnp.vdot(A(x), y), jnp.vdot(x, A.H(y)), scale=10)
    close(jax.vmap(A)(jnp.stack([x, 2 * x])), jnp.stack([A(x), 2 * A(x)]))


@pytest.mark.parametrize("dtype", [np.int32, jnp.bfloat16, np.float32, np.complex64])
def test_halo_of_every_dtype(dtype):
    A = lo.sharded(lo.Halo(1, "i", boundary="edge"), AUTO, P("i"), P("i"))
    x = jnp.arange(8).astype(dtype)
    assert A(x).dtype == dtype
    np.testing.assert_array_equal(A(x).real.astype(np.float32), padded(np.arange(8), 2, 1, 1, "edge"))


def test_a_halo_in_a_shard_map_of_ones_own():
    A = lo.Halo(1, "i")
    for mesh in (AUTO, EXPLICIT):
        function = jax.jit(jax.shard_map(lambda x: A.H(A(x)), mesh=mesh, in_specs=P("i"), out_specs=P("i")))
        B = lo.sharded(A, mesh, P("i"), P("i"))
        close(np.asarray(function(on(mesh, X))), np.asarray(B.H(B(X))))


# ---- sharded operators ----------------------------------------------------------------------------------------------


@MESHES
@pytest.mark.parametrize("boundary", ["zero", "periodic"])
def test_a_host_hook_between_halos(mesh, boundary):
    A = derivative(mesh, boundary=boundary)
    expected = np.stack([twin(W, e, boundary) for e in jnp.eye(12)], axis=1)
    np.testing.assert_allclose(dense(A, 12), expected)
    np.testing.assert_allclose(dense(A.H, 12), expected.T)
    assert collectives(A, on(mesh, X)) == {"collective-permute": 2}
    assert collectives(A.H, on(mesh, X)) == {"collective-permute": 2}
    assert lo.dot_test(A, X).passed


@MESHES
def test_derivatives(mesh):
    loss = lambda f: lambda w, x: energy(jnp.sin(f(w, x)))  # noqa: E731
    ours, plain = loss(lambda w, x: derivative(mesh, w)(x)), loss(twin)
    x = on(mesh, X)
    for wrap in (lambda f: f, jax.jit):
        close(wrap(jax.grad(ours, (0, 1)))(W, x), jax.grad(plain, (0, 1))(W, X), scale=20)
    dx = jnp.asarray(normal((12,), np.float32, 3))
    second = lambda f: lambda w, x: jax.jvp(lambda x: jax.grad(f, (0, 1))(w, x), (x,), (dx,))[1]  # noqa: E731
    close(jax.jit(second(ours))(W, x), second(plain)(W, X), scale=50)
    close(jax.vmap(lambda x: derivative(mesh)(x))(jnp.stack([X, 2 * X])), jnp.stack([twin(W, X), 2 * twin(W, X)]))


@MESHES
def test_fields_that_are_split(mesh):
    d, x = jnp.arange(1.0, 9.0), jnp.arange(8.0)
    make = lambda d: lo.sharded(lo.Diagonal(d), mesh, P("i"), P("i"), field_specs=P("i"))  # noqa: E731
    close(np.asarray(make(d)(x)), np.asarray(d * x))
    found = jax.grad(lambda d: energy(make(d)(x)))(d)
    close(np.asarray(found), np.asarray(jax.grad(lambda d: energy(d * x))(d)))
    assert collectives(make(on(mesh, d)).H, on(mesh, x)) == {}


class Everywhere(lo.LinearOperator):
    """Each device makes two numbers of all three, with another factor: only the adjoint of the whole sums over devices."""

    @lo.traced
    def apply(self, x):
        return jnp.sum(x) * (1.0 + jax.lax.axis_index("i")) * jnp.array([1.0, 2.0])


class Total(lo.LinearOperator):
    @lo.traced
    def apply(self, x):
        return jax.lax.psum(x, "i")


@MESHES
def test_what_devices_have_in_common(mesh):
    A = lo.sharded(Everywhere(), mesh, P(), P("i")).with_domain(S((3,), np.float32))
    expected = np.outer(np.ravel([[i, 2 * i] for i in range(1, 5)]), np.ones(3))
    np.testing.assert_array_equal(dense(A, 3), expected)
    np.testing.assert_array_equal(dense(A.H, 8), expected.T)
    assert collectives(A, jnp.ones(3)) == {}
    assert collectives(A.H, on(mesh, jnp.ones(8))) == {"all-reduce": 1}
    split = NamedSharding(mesh, P("i"))
    B = lo.sharded(Total(), mesh, P("i"), P()).with_domain(S((8,), np.float32, sharding=split))
    expected = np.tile(np.eye(2), (1, 4))
    np.testing.assert_array_equal(dense(B, 8), expected)
    np.testing.assert_array_equal(dense(B.H, 2), expected.T)
    assert collectives(B, on(mesh, jnp.ones(8))) == {"all-reduce": 1}
    assert collectives(B.H, jnp.ones(2)) == {}


@MESHES
def test_pytrees_with_a_spec_for_each_part(mesh):
    A = lo.block_diag({"a": lo.Diagonal(jnp.array([2.0])), "b": 3 * lo.Identity()})
    B = lo.sharded(A, mesh, {"a": P(), "b": P("i")}, {"a": P(), "b": P("i")})
    x = {"a": jnp.ones(1), "b": jnp.arange(8.0)}
    close(jax.tree.map(np.asarray, B(x)), {"a": np.full(1, 2.0, np.float32), "b": 3 * np.arange(8.0, dtype=np.float32)})
    close(jax.tree.map(np.asarray, B.H(x)), jax.tree.map(np.asarray, B(x)))


class Bend(lo.NonlinearOperator):
    """x[i] x[i + 1] of inner points, in NumPy, with a state."""

    def apply(self, x):
        return x[:-1] * x[1:]

    def linearize(self, x):
        return x[:-1] * x[1:], np.copy(x)

    def jacobian_apply(self, x, dx, *, state):
        return dx[:-1] * state[1:] + state[:-1] * dx[1:]

    def jacobian_adjoint(self, x, dy, *, state):
        z = np.zeros_like(x)
        z[:-1] += dy * state[1:]
        z[1:] += state[:-1] * dy
        return z

    def infer_shape(self, x):
        return S((x.shape[0] - 1,), x.dtype)

    def infer_state_shape(self, x):
        return x


@MESHES
def test_nonlinear(mesh):
    F = lo.sharded(Bend() @ lo.Halo((0, 1), "i", boundary="periodic"), mesh, P("i"), P("i"))
    plain = lambda x: x * jnp.roll(x, -1)  # noqa: E731
    close(np.asarray(F(X)), np.asarray(plain(X)))
    close(
        np.asarray(jax.grad(lambda x: energy(F(x)))(X)), np.asarray(jax.grad(lambda x: energy(plain(x)))(X)), scale=10
    )
    J = F.jacobian(X)
    close(np.asarray(J(X)), np.asarray(jax.jvp(plain, (X,), (X,))[1]))
    close(np.asarray(J.H(X)), np.asarray(jax.vjp(plain, X)[1](X)[0]))


def test_it_composes_and_is_solved():
    A = derivative(AUTO)
    B = (2 * A.H @ A + lo.Identity()).with_domain(X)
    M = np.stack([twin(W, e) for e in jnp.eye(12)], axis=1)
    close(B(X), jnp.asarray(2 * M.T @ (M @ np.asarray(X)) + np.asarray(X)), scale=10)
    found = lo.solve(B, X, solver="cg", rtol=1e-6)
    np.testing.assert_allclose(found.value, np.linalg.solve(2 * M.T @ M + np.eye(12), X), rtol=1e-3, atol=1e-5)
    assert lo.check_operator(A, X).passed


def test_domain_and_printing():
    A = lo.sharded(lo.Diagonal(jnp.arange(1.0, 4.0)).with_domain(S((3,), np.float32)), AUTO, P("i"), P("i"))
    assert A.domain == S((12,), np.float32)
    assert A.codomain == S((12,), np.float32)
    assert str(A) == "sharded(Diagonal, {i: 4}) : f32[12] -> f32[12]"
    assert isinstance(A, lo.algebra.Sharded)
    assert A.mesh == AUTO


# ---- bad input ------------------------------------------------------------------------------------------------------

SPLIT = functools.partial(lo.sharded, mesh=AUTO, in_specs=P("i"), out_specs=P("i"))


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (lambda: lo.Halo(-1, "i"), ValueError, r"Halo\.width is -1; expected a number of rows, or a pair"),
        (
            lambda: lo.Halo((1, 2, 3), "i"),
            ValueError,
            r"Halo\.width is \(1, 2, 3\); expected a number of rows, or a pair",
        ),
        (lambda: lo.Halo(1.5, "i"), ValueError, r"Halo\.width is 1\.5; expected a number of rows, or a pair"),
        (
            lambda: lo.Halo(1, "i", boundary="wrap"),
            ValueError,
            r"Halo\.boundary is 'wrap'; expected one of 'zero', 'periodic'",
        ),
        (
            lambda: lo.Halo(1, "i")(X),
            ValueError,
            r"Halo\.axis_name is 'i', and there is no such mesh axis here \(found none\)",
        ),
        (
            lambda: SPLIT(lo.Halo(1, "j"))(X),
            ValueError,
            r"axis_name is 'j', and there is no such mesh axis here \(found 'i'\)",
        ),
        (
            lambda: SPLIT(lo.Halo(13, "i"))(X),
            ValueError,
            r"Halo\.width \(13, 13\) is too wide: the whole array has 12 rows along",
        ),
        (
            lambda: SPLIT(lo.Halo(12, "i", boundary="reflect"))(X),
            ValueError,
            "whole array has 12 rows along axis 0, of which all but one can be reflected. Use a narrower one",
        ),
        (
            lambda: SPLIT(lo.Halo(1, "i", axis=1))(X),
            ValueError,
            r"Halo\.axis 1 is not an axis of an array of shape \(3,\)",
        ),
        (lambda: SPLIT(lo.Halo(1, "i"))((X, X)), TypeError, "Halo takes one array, found tuple"),
        (
            lambda: SPLIT(lo.Identity())(jnp.ones(10)),
            ValueError,
            r"f32\[10\], whose axis 0 cannot be split evenly over 4 devices",
        ),
        (
            lambda: lo.sharded(lo.Identity(), AUTO, P("i", None), P("i"))(X),
            ValueError,
            r"the array is f32\[12\], which has fewer axes than its spec P",
        ),
        (
            lambda: lo.sharded(lo.Identity(), AUTO, (P("i"), P()), P("i"))(X),
            ValueError,
            r"the specs .* do not fit the structure of f32\[12\]\. Give one spec for all arrays",
        ),
        (
            lambda: lo.sharded(lo.Identity(), AUTO, P("rows"), P("i")),
            ValueError,
            "lo.sharded: in_specs names the axis 'rows'; the mesh has 'i'",
        ),
        (
            lambda: lo.sharded(lo.Identity(), AUTO, "i", P("i")),
            TypeError,
            r"in_specs must be jax\.P\(\.\.\.\) or a pytree of them",
        ),
        (lambda: lo.sharded(lo.Identity(), ("i",), P("i"), P("i")), TypeError, "mesh must be a jax.sharding.Mesh"),
        (lambda: lo.sharded(jnp.ones(3), AUTO, P("i"), P("i")), TypeError, "sharded.*expects an operator|sharded"),
    ],
)
def test_bad_input(run, error, message):
    with pytest.raises(error, match=message):
        run()
