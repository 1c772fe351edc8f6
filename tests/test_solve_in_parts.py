"""lo.solve, A.inv and lo.norm in shard_map, of operators that communicate: one problem, of which each device has a part."""

import collections
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, normal
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

import linops_jax as lo
from linops_jax import _compat

AUTO = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Explicit,))
TWO = jax.make_mesh((2, 2), ("i", "j"), axis_types=(AxisType.Auto,) * 2)
N = 16
pytestmark = pytest.mark.usefixtures("x64")
W, Y = np.array([3.0, 1.0]), normal((N,), np.float64, 1)


class Stencil(lo.LinearOperator):
    """w₀ x - w₁ (the neighbours of x), in NumPy. The result has two rows less."""

    w: jax.Array

    def apply(self, x):
        return self.w[0] * x[1:-1] - self.w[1] * (x[:-2] + x[2:])

    def adjoint(self, y):
        x = np.zeros((len(y) + 2, *y.shape[1:]), y.dtype)
        for start, factor in enumerate((-self.w[1], self.w[0], -self.w[1])):
            x[start : start + len(y)] += factor.conj() * y
        return x

    def infer_shape(self, x):
        return S((x.shape[0] - 2, *x.shape[1:]), np.result_type(x.dtype, self.w.dtype))

    def infer_adjoint_shape(self, y):
        return S((y.shape[0] + 2, *y.shape[1:]), y.dtype)

    def parameter_jvp(self, x, dself):
        return Stencil(dself.w).apply(x)

    def parameter_vjp(self, x, dy):
        return {"w": np.array([np.sum(dy * x[1:-1]), -np.sum(dy * (x[:-2] + x[2:]))], x.dtype)}


def on_part(w):
    return Stencil(w) @ lo.Halo(1, "i")


def matrix(w):
    return w[0] * jnp.eye(N) - w[1] * (jnp.eye(N, k=1) + jnp.eye(N, k=-1))


PARTS = P("i")


def in_parts(function, in_specs, out_specs=PARTS, mesh=AUTO):
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=in_specs, out_specs=out_specs))


def slopes(function, *arguments):
    """The derivatives of the energy of a function's result, in all arguments."""
    energy = lambda *a: jnp.sum(jnp.abs(function(*a)) ** 2)  # noqa: E731
    return jax.jit(jax.grad(energy, tuple(range(len(arguments)))))(*arguments)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("solver", ["cg", "cgls", "bicgstab"])
def test_halos(solver, mesh):
    solve = in_parts(lambda w, y: lo.solve(on_part(w), y, solver=solver, rtol=1e-13).value, (P(), P("i")), mesh=mesh)
    expected = slopes(lambda w, y: jnp.linalg.solve(matrix(w), y), W, Y)
    with jax.set_mesh(mesh):
        y = jax.device_put(Y, jax.NamedSharding(mesh, PARTS))
        close(solve(W, y), np.linalg.solve(matrix(W), Y), scale=1e3)
        close(slopes(solve, W, y), expected, scale=1e4)


def test_all_devices_say_the_same_of_one_problem():
    """They stop together: in a loop that one of them leaves, the others would wait for it for good."""
    y = np.where(np.arange(N) < N // 4, 1.0, 0.0)  # three devices have nothing to solve

    def solve(w, y):
        found = lo.solve(on_part(w), y, solver="cg", history=True, max_steps=30)
        return found.value, jax.tree.map(lambda a: a[None], found.stats)

    x, stats = in_parts(solve, (P(), P("i")))(W, y)
    alone = lo.solve(lo.Matrix(matrix(W)), y, solver="cg", history=True, max_steps=30)
    close(x, alone.value, scale=1e3)
    assert set(np.asarray(stats.steps)) == {int(alone.stats.steps)}
    assert np.all(stats.converged)
    steps = int(alone.stats.steps)
    np.testing.assert_allclose(stats.history[:, :steps], np.tile(alone.stats.history[:steps], (4, 1)), rtol=1e-6)
    np.testing.assert_allclose(stats.residual, float(alone.stats.residual), rtol=1e-3)


def never(*arguments):
    raise AssertionError


class Rows(lo.LinearOperator):
    """Some rows of a matrix, for an x that all devices share: the adjoint adds what they have."""

    rows: jax.Array

    @lo.traced
    def apply(self, x):
        return self.rows @ x

    @lo.traced
    def adjoint(self, y):
        return jax.lax.psum(self.rows.T @ y, "i")

    def infer_shape(self, x):
        return S(self.rows.shape[:1], x.dtype)

    def infer_adjoint_shape(self, y):
        return S(self.rows.shape[1:], y.dtype)


SHARED = r"acts on vectors that all of its devices share\. In shard_map each .* lo\.vstack\(A, mesh=mesh\)"


@pytest.mark.parametrize(
    "call",
    [
        lambda A, y: lo.solve(A, y).value,
        lambda A, y: lo.solve(A, y, damp=0.9).value,
        lambda A, y: lo.solve(A, y, solver="bicgstab").value,
        lambda A, y: lo.solve(lo.vstack([A, 0.9 * lo.Identity()]), [y, jnp.zeros(4)]).value,
        lambda A, y: lo.solve(A.H @ A + 0.81 * lo.Identity(), A.H(y), solver="cg").value,
        lambda A, y: (A.H @ A + 0.81 * lo.Identity()).with_domain(A.H(y)).inv(A.H(y)),
        lambda A, y: lo.norm(A, S((4,), np.float64)),
        lambda A, y: lo.norm(lo.vstack([A, 0.9 * lo.Identity()]), S((4,), np.float64)),
        lambda A, y: lo.norm(A.H @ A + 0.81 * lo.Identity(), S((4,), np.float64)),
    ],
)
def test_unknowns_that_all_devices_share_are_refused(call):
    m, y = normal((16, 4), np.float64, 1), normal((16,), np.float64, 2)
    with pytest.raises(NotImplementedError, match=SHARED):
        in_parts(lambda m, y: (call(Rows(m), y), never())[1], (PARTS, PARTS))(m, y)


def test_a_gradient_of_some_parts_of_a_solution():
    """The cotangents of the others are zeros that do not differ between devices."""

    def first(w, y):
        A = lo.block_diag({"a": on_part(w), "b": on_part(2 * w)})
        return lo.solve(A, {"a": y, "b": 3 * y}, rtol=1e-13).value["a"]

    found = slopes(in_parts(first, (P(), PARTS)), W, Y)
    close(found, slopes(lambda w, y: jnp.linalg.solve(matrix(w), y), W, Y), scale=1e5)


def test_tolerances_are_the_same_on_all_devices():
    """The first device to stop would let the others wait for good."""
    solve = in_parts(lambda r, y: lo.solve(on_part(jnp.asarray(W)), y, rtol=r[0]).value, (PARTS, PARTS))
    with pytest.raises(ValueError, match=r"rtol and atol must be the same on all devices along 'i'"):
        solve(np.array([1e-2, 1e-12, 1e-12, 1e-12]), Y)


def test_data_that_all_devices_share():
    m, y = normal((5, 16), np.complex128, 1), normal((5,), np.complex128, 2)

    def columns(m):
        return lo.Function(lambda x: jax.lax.psum(m @ x, "i"), S((4,), m.dtype))

    solve = in_parts(lambda m, y: lo.solve(columns(m), y, rtol=1e-13).value, (P(None, "i"), P()))
    close(solve(m, y), np.linalg.lstsq(m, y)[0], scale=1e3)
    close(slopes(solve, m, y), slopes(lambda m, y: jnp.linalg.pinv(m) @ y, m, y), scale=1e4)
    with pytest.raises(
        ValueError, match=r"y differs between the devices along 'i', but .* returns the same on all of them"
    ):
        in_parts(lambda m, y: lo.solve(columns(m), y).value, (P(None, "i"), P("i")))(m, normal((20,), m.dtype, 2))


@pytest.mark.parametrize("option", ["damp", "regularizer", "x0", "preconditioner", "vmap", "pytree", "real linear"])
def test_options(option):
    """Against the same problem on one device."""
    whole = lo.Matrix(matrix(W))
    second = lo.Matrix(matrix(np.array([2.0, 0.5])))
    x0 = normal((N,), np.float64, 3)

    def solve(A, other, y, x0):
        if option == "vmap":
            return jax.vmap(lambda y: lo.solve(A, y, rtol=1e-12).value, 1, 1)(jnp.stack([y, 2 * y], 1))
        if option == "pytree":
            both = lo.block_diag({"a": A, "b": other})
            return lo.solve(both, {"a": y, "b": 3 * y}, rtol=1e-12).value
        if option == "real linear":
            turned = lo.Function(lambda z: z + 0.5j * jnp.conj(z), y + 0j)
            return lo.solve(turned @ A, y + 1j * y, rtol=1e-12).value
        more = {
            "damp": {"damp": 0.7},
            "regularizer": {"damp": 0.7, "regularizer": other},
            "x0": {"x0": x0},
            "preconditioner": {"solver": "cg", "preconditioner": other},
        }
        return lo.solve(A, y, rtol=1e-12, **more[option]).value

    parts = lambda y, x0: solve(on_part(jnp.asarray(W)), on_part(jnp.array([2.0, 0.5])), y, x0)  # noqa: E731
    found = in_parts(parts, (P("i"), P("i")))(Y, x0)
    close(found, jax.jit(lambda y, x0: solve(whole, second, y, x0))(Y, x0), scale=1e4)


def test_derivatives_in_the_damping():
    solve = in_parts(lambda w, damp, y: lo.solve(on_part(w), y, damp=damp, rtol=1e-13).value, (P(), P(), P("i")))
    damp = jnp.asarray(0.7)

    def normal_equations(w, damp, y):
        m = matrix(w)
        return jnp.linalg.solve(m.T @ m + damp**2 * jnp.eye(N), m.T @ y)

    close(solve(W, damp, Y), normal_equations(W, damp, Y), scale=1e3)
    close(slopes(solve, W, damp, Y), slopes(normal_equations, W, damp, Y), scale=1e4)


def test_the_axes_of_a_shard_map_inside_of_a_program_are_its_own():
    outer = lambda x: jax.lax.ppermute(x, "i", [(0, 1), (1, 0)]) + jax.lax.axis_index("j")  # noqa: E731
    found = []

    def both(x):
        found.append(_compat.communicating_axes(jax.make_jaxpr(outer)(x).jaxpr))
        return outer(x)

    mapped = jax.shard_map(both, mesh=TWO, in_specs=P("i", "j"), out_specs=P("i", "j"))
    program = jax.make_jaxpr(mapped)(jnp.zeros((4, 4), int))
    assert found == [{"i"}]
    assert _compat.communicating_axes(program.jaxpr) == _compat.named_axes(program.jaxpr) == frozenset()


def test_one_axis_couples_the_other_does_not():
    """Along j each device has a problem of its own, with its own number of steps."""
    ys = np.stack([Y, np.eye(N)[0]], 1)
    scales = np.array([1.0, 1e3])

    def solve(scale, y):
        found = lo.solve(scale[0] * on_part(jnp.asarray(W)), y[:, 0], solver="cg", rtol=1e-12)
        return found.value[:, None], found.stats.steps[None]

    mapped = in_parts(solve, (P("j"), P("i", "j")), (P("i", "j"), P("j")), TWO)
    x, steps = mapped(scales, ys)
    close(x, np.linalg.solve(matrix(W), ys) / scales, scale=1e3)
    alone = [int(lo.solve(lo.Matrix(matrix(W)), y, solver="cg", rtol=1e-12).stats.steps) for y in ys.T]
    np.testing.assert_allclose(steps, alone, atol=1)


def test_inverses_and_norms():
    inverse = in_parts(lambda w, y: on_part(w).inv(y), (P(), P("i")))
    close(inverse(W, Y), np.linalg.solve(matrix(W), Y), scale=1e3)
    close(slopes(inverse, W, Y), slopes(lambda w, y: jnp.linalg.solve(matrix(w), y), W, Y), scale=1e4)

    norm = in_parts(lambda w, y: lo.norm(on_part(w), y, rtol=1e-9)[None], (P(), P("i")))
    value, slope = jax.value_and_grad(lambda w: norm(w, Y)[0])(W)
    expected = jax.value_and_grad(lambda w: jnp.linalg.norm(matrix(w), 2))(W)
    close((value, slope), expected, scale=1e5)


def test_the_norm_is_found_where_it_is_orthogonal_to_equal_parts():
    """A vector of equal parts is in the null space of x - (what the neighbour has)."""

    def difference(x):
        return x - jax.lax.ppermute(x, "i", [(k, (k + 1) % 4) for k in range(4)])

    norm = in_parts(lambda x: lo.norm(lo.Function(difference, x), rtol=1e-8)[None], P("i"))
    np.testing.assert_allclose(norm(np.zeros(N)), 2)


PER_STEP = {
    "cg": {"collective-permute": 2, "all-reduce": 2},
    "cgls": {"collective-permute": 4, "all-reduce": 2},
}


@pytest.mark.parametrize("where", ["in shard_map", "lo.sharded"])
@pytest.mark.parametrize("solver", PER_STEP)
def test_collectives_in_each_step(solver, where):
    """Those of the operator, and two sums: of p·A p, and of the new r·r (with r·z, in one)."""

    def solve(w, y):
        op = on_part(w) if where == "in shard_map" else lo.sharded(on_part(w), AUTO, P("i"), P("i"))
        return lo.solve(op, y, solver=solver).value

    y = jax.device_put(Y, jax.NamedSharding(AUTO, P("i")))
    function = in_parts(solve, (P(), P("i"))) if where == "in shard_map" else jax.jit(solve)
    text = function.lower(W, y).compile().as_text()
    computations = re.findall(r"\n(?:ENTRY )?%(\S+) \([^\n]*\{\n(.*?)\n\}", text, re.S)
    loops = set(re.findall(r"\bbody=%?([\w.\-]+)", text))
    counts = [
        collections.Counter(re.findall(r"(?:all-\S+|collective-\S+)(?=\()", body))
        for name, body in computations
        if name in loops
    ]
    assert [dict(count) for count in counts if count] == [PER_STEP[solver]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda A, y: lo.solve(A, y, solver="direct"),
            r"'direct' does not take an operator that communicates, here over 'i'",
        ),
        (
            lambda A, y: lo.solve(A, y, solver="lsmr"),
            r"'lsmr' does not take .*'cg', 'cgls', 'bicgstab' do; .*lo\.sharded",
        ),
        (
            lambda A, y: lo.todense(A, y),
            r"lo\.todense: .* communicates over 'i' in shard_map, so the part of one device",
        ),
        (lambda A, y: lo.tosparse(A, y), r"lo\.tosparse: .* communicates over 'i'"),
        (lambda A, y: lo.diagonal(A, y), r"lo\.diagonal: .* communicates over 'i'"),
        (lambda A, y: lo.trace(A, y, samples=2), r"lo\.trace: .* communicates over 'i'"),
        (lambda A, y: lo.condition_number(A, y), r"communicates over 'i'"),
    ],
)
def test_what_needs_the_whole_matrix(call, message):
    with pytest.raises(NotImplementedError, match=message):
        in_parts(lambda y: (call(on_part(jnp.asarray(W)), y), never())[1], P("i"))(Y)


def test_shard_map_must_check_what_varies():
    solve = jax.shard_map(
        lambda y: lo.solve(on_part(jnp.asarray(W)), y).value,
        mesh=AUTO,
        in_specs=P("i"),
        out_specs=P("i"),
        check_vma=False,
    )
    with pytest.raises(ValueError, match=r"lo\.solve: .* communicates over 'i', in a shard_map that does not check"):
        jax.jit(solve)(Y)


@pytest.mark.parametrize("call", [lambda A, y: lo.solve(A, y).value, lo.norm, lambda A, y: A.inv(y), lo.todense])
def test_named_axes_of_vmap_are_refused(call):
    class Coupled(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return 2 * x + jax.lax.psum(x, "b")

    with pytest.raises(NotImplementedError, match=r"communicates over 'b', a named axis of jax\.vmap, so each element"):
        jax.vmap(lambda y: call(Coupled().with_domain(y), y), axis_name="b")(normal((2, 3), np.float64))


def test_named_axes_of_vmap_that_are_no_text_are_refused():
    name = object()

    class Coupled(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return x + jax.lax.psum(x, name)

    class Cubic(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return x**3 + jax.lax.pmean(x, name)

    for solve in (lambda y: lo.solve(Coupled().with_domain(y), y).value, lambda y: lo.solve(Cubic(), y, x0=y).value):
        with pytest.raises(
            NotImplementedError, match=r"lo\.solve: .* communicates over <object .*>, a named axis of jax\.vmap"
        ):
            jax.vmap(solve, axis_name=name)(normal((2, 3), np.float64))


def test_named_axes_that_an_operator_does_not_use():
    solve = lambda y: lo.solve(lo.Diagonal(np.arange(1.0, 4)), y).value + jax.lax.psum(y, "b")  # noqa: E731
    y = normal((2, 3), np.float64)
    close(jax.vmap(solve, axis_name="b")(y), y / np.arange(1.0, 4) + y.sum(0))


def test_nonlinear_operators_are_refused_on_parts_and_solved_as_a_whole():
    class Cubic(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return x + 0.1 * x**3

    message = r"nonlinear operators do not take arrays that differ between the devices of a shard_map.*lo\.sharded"
    with pytest.raises(NotImplementedError, match=message):
        in_parts(lambda y: lo.solve(Cubic(), y, x0=y).value, P("i"))(Y)
    y = jax.device_put(Y, jax.NamedSharding(EXPLICIT, P("i")))
    with pytest.raises(NotImplementedError, match=message):
        lo.solve(Cubic(), y, x0=y)
    y = jax.device_put(Y, jax.NamedSharding(AUTO, P("i")))
    found = lo.solve(lo.sharded(Cubic(), AUTO, P("i"), P("i")), y, x0=y, rtol=1e-12).value
    close(found + 0.1 * found**3, Y, scale=1e6)
