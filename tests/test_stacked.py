"""Stacks of one operator with leading axes on its fields, against lists of operators; on meshes, with collectives and calls."""

import collections
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
N, SIZE = 8, 5


class Coil(lo.LinearOperator):
    """Running sums of s x, in NumPy."""

    s: jax.Array

    def apply(self, x):
        calls[len(x)] += 1
        return np.cumsum(self.s * x)

    def adjoint(self, y):
        return np.conj(self.s) * np.cumsum(y[::-1])[::-1]

    def parameter_jvp(self, x, dself):
        return np.cumsum(dself.s * x)

    def parameter_vjp(self, x, dy):
        return {"s": np.conj(x) * np.cumsum(dy[::-1])[::-1]}

    def infer_shape(self, x):
        return S(x.shape, np.result_type(self.s.dtype, x.dtype))

    def infer_adjoint_shape(self, y):
        return y


class Traced(Coil):
    @lo.traced
    def apply(self, x):
        return jnp.cumsum(self.s * x)

    @lo.traced
    def adjoint(self, y):
        return jnp.conj(self.s) * jnp.cumsum(y[::-1])[::-1]


class Batched(Coil, batched=True):
    def apply(self, x):
        return np.cumsum(self.s * x, -1)

    def adjoint(self, y):
        return np.conj(self.s) * np.cumsum(y[..., ::-1], -1)[..., ::-1]


class Pairs(lo.LinearOperator):
    """(a, b) to {"sum": s (a + b), "first": a}, in NumPy."""

    s: jax.Array

    def apply(self, x):
        return {"sum": self.s * (x[0] + x[1]), "first": x[0]}

    def adjoint(self, y):
        both = np.conj(self.s) * y["sum"]
        return both + y["first"], both

    def infer_shape(self, x):
        return {"sum": x[0], "first": x[0]}

    def infer_adjoint_shape(self, y):
        return y["sum"], y["sum"]


class Square(lo.NonlinearOperator):
    s: jax.Array

    def apply(self, x):
        return self.s * x**2

    def jacobian_apply(self, x, dx):
        return 2 * self.s * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * np.conj(self.s * x) * dy

    def infer_shape(self, x):
        return x


calls = collections.Counter()
COMBINE = {"vstack": lo.vstack, "hstack": lo.hstack, "block_diag": lo.block_diag}
EACH = pytest.mark.parametrize("name", COMBINE)


def of_list(name, ops):
    """The same by a list of operators, on stacked arrays."""
    listed = COMBINE[name](ops)

    def apply(x):
        y = listed(x if name == "vstack" else [jax.tree.map(lambda leaf, i=i: leaf[i], x) for i in range(len(ops))])
        return y if name == "hstack" else jax.tree.map(lambda *leaves: jnp.stack(leaves), *y)

    return apply


def parts(op):
    return [jax.tree.map(lambda leaf, i=i: leaf[i], op) for i in range(N)]


def input_of(name, dtype=np.float32, seed=1):
    return jnp.asarray(normal((SIZE,) if name == "vstack" else (N, SIZE), dtype, seed))


def stacked(cls, dtype=np.float32):
    return jax.vmap(cls)(jnp.asarray(normal((N, SIZE), dtype)))


def collectives(function, *arguments):
    text = jax.jit(function).lower(*arguments).compile().as_text()
    return dict(collections.Counter(re.findall(r"= \S+ (all-reduce|all-gather|all-to-all|collective-permute)\(", text)))


@EACH
@pytest.mark.parametrize("cls", [Coil, Traced, Batched, lo.Diagonal])
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_as_a_list_of_operators(name, cls, dtype):
    op, x = stacked(cls, dtype), input_of(name, dtype)
    A, twin = COMBINE[name](op), of_list(name, parts(op))
    y = twin(x)
    close(A(x), y, scale=10)
    (expected,) = jax.linear_transpose(twin, x)(jnp.conj(y))
    close(A.H(y), jnp.conj(expected), scale=20)
    close(A.with_domain(x).H(y), jnp.conj(expected), scale=20)
    close(lo.simplify(A.H)(y), jnp.conj(expected), scale=20)
    close(A.gram(x), jnp.conj(expected), scale=20)
    xs = jnp.stack([x, 2 * x])
    close(jax.vmap(A)(xs), jnp.stack([y, 2 * y]), scale=10)
    ours = lambda op, x: energy(COMBINE[name](op)(x))  # noqa: E731
    plain = lambda op, x: energy(of_list(name, parts(op))(x))  # noqa: E731
    close(jax.jit(jax.grad(ours, (0, 1)))(op, x), jax.grad(plain, (0, 1))(op, x), scale=50)


@EACH
def test_pytrees(name):
    op = jax.vmap(Pairs)(jnp.arange(1.0, N + 1))
    x = (input_of(name), input_of(name, seed=2))
    A, twin = COMBINE[name](op), of_list(name, parts(op))
    close(A(x), twin(x), scale=10)
    close(A.H(A(x)), jax.linear_transpose(twin, x)(twin(x))[0], scale=20)


@EACH
def test_nonlinear(name):
    op, x = stacked(Square), input_of(name)
    F, twin = COMBINE[name](op), of_list(name, parts(op))
    assert isinstance(F, lo.NonlinearOperator)
    close(F(x), twin(x), scale=10)
    J, dx = F.jacobian(x), 0.5 * x
    y, dy = jax.jvp(twin, (x,), (dx,))
    close(J(dx), dy, scale=10)
    close(J.H(y), jax.vjp(twin, x)[1](y)[0], scale=20)


def test_composites_of_leading_axes_and_domains():
    make = lambda s, a: (a * lo.Diagonal(s) @ Coil(s)).with_domain(S((SIZE,), np.float32))  # noqa: E731
    s, a = jnp.asarray(normal((N, SIZE), np.float32)), jnp.arange(1.0, N + 1)
    A = lo.vstack(jax.vmap(make)(s, a))
    x = input_of("vstack")
    close(A(x), jnp.stack([make(s[i], a[i])(x) for i in range(N)]), scale=10)
    assert A.domain == S((SIZE,), np.float32)
    assert A.codomain == S((N, SIZE), np.float32)
    assert lo.block_diag(jax.vmap(make)(s, a)).domain == S((N, SIZE), np.float32)
    assert lo.check_operator(A, x).passed
    B = lo.solve(A.gram + lo.Identity(), x, solver="cg").value
    M = lo.todense(A)
    np.testing.assert_allclose(B, np.linalg.solve(M.T @ M + np.eye(SIZE), x), rtol=1e-3, atol=1e-5)
    assert lo.dot_test(lo.hstack(jax.vmap(make)(s, a))).passed


def test_printing_and_properties():
    A = lo.vstack(stacked(lo.Diagonal))
    assert str(A) == "vstack(Diagonal, 8)"
    assert str(lo.simplify(A.with_domain(jnp.ones(SIZE)).H)) == "hstack(Diagonal.H, 8) : f32[8,5] -> f32[5]"
    assert isinstance(A, lo.algebra.Stacked)
    assert lo.block_diag(stacked(lo.Diagonal)).properties.diagonal
    assert not A.properties.diagonal


# ---- on meshes ------------------------------------------------------------------------------------------------------

# Collectives of the operator and of its adjoint.
EXPECTED = {"vstack": ({}, {"all-reduce": 1}), "hstack": ({"all-reduce": 1}, {}), "block_diag": ({}, {})}


@EACH
@pytest.mark.parametrize("cls", [Coil, Traced])
@pytest.mark.parametrize("how", ["auto", "explicit", "mesh"])
def test_on_a_mesh(name, cls, how):
    mesh = EXPLICIT if how == "explicit" else AUTO
    put = lambda x, *spec: jax.device_put(x, NamedSharding(mesh, P(*spec)))  # noqa: E731
    plain, x = stacked(cls), input_of(name)
    twin = of_list(name, parts(plain))
    y = twin(x)
    op = jax.tree.map(lambda leaf: put(leaf, "i"), plain)
    x, sharded_y = put(x, *(() if name == "vstack" else ("i",))), put(y, *(() if name == "hstack" else ("i",)))
    make = functools.partial(COMBINE[name], **({"mesh": mesh} if how == "mesh" else {}))
    with jax.set_mesh(mesh):
        forward, backward = lambda op, x: make(op)(x), lambda op, y: make(op).H(y)
        close(np.asarray(jax.jit(forward)(op, x)), np.asarray(y), scale=10)
        found = jax.jit(backward)(op, sharded_y)
        close(np.asarray(found), np.asarray(jax.linear_transpose(twin, input_of(name))(y)[0]), scale=20)
        assert (collectives(forward, op, x), collectives(backward, op, sharded_y)) == EXPECTED[name]
        loss = lambda op, x: energy(make(op)(x))  # noqa: E731
        grads = jax.jit(jax.grad(loss, (0, 1)))(op, x)
    expected = jax.grad(lambda op, x: energy(of_list(name, parts(op))(x)), (0, 1))(plain, input_of(name))
    close(jax.tree.map(np.asarray, grads), jax.tree.map(np.asarray, expected), scale=50)


@pytest.mark.parametrize("size", [SIZE, 1000])
@EACH
def test_each_device_calls_the_hook_for_its_elements(name, size):
    s = jax.device_put(jnp.ones((N, size)), NamedSharding(AUTO, P("i")))
    A = COMBINE[name](jax.vmap(Coil)(s), mesh=AUTO)
    x = jnp.ones(size if name == "vstack" else (N, size))
    y = jax.block_until_ready(jax.jit(lambda A, x: A(x))(A, x))
    calls.clear()
    jax.block_until_ready(jax.jit(lambda A, x: A(x))(A, x))
    assert calls == {size: N}  # two on each of four devices
    np.testing.assert_allclose(np.ravel(y)[size - 1], size * (N if name == "hstack" else 1))


# ---- bad input ------------------------------------------------------------------------------------------------------

TWO = jax.make_mesh((2, 2), ("i", "j"), axis_types=(AxisType.Auto,) * 2)


class TwoFields(lo.LinearOperator):
    a: jax.Array
    b: jax.Array
    adjoint = None

    def apply(self, x):
        return self.a * x + self.b * x

    def infer_shape(self, x):
        return x


class Powers(lo.LinearOperator):
    """Elements of a stack cannot differ in their degree."""

    a: jax.Array
    degree: int = lo.static()
    adjoint = None

    def apply(self, x):
        return self.a**self.degree * x

    def infer_shape(self, x):
        return x


@pytest.mark.parametrize(
    ("run", "error", "message"),
    [
        (
            lambda: lo.vstack(TwoFields(jnp.ones((3, 4)), jnp.ones(4))),
            ValueError,
            r"vstack\(TwoFields.*have a common leading axis.*found the shapes \(3, 4\), \(4,\)\. For a single.* vstack\(\[A\]\)",
        ),
        (
            lambda: lo.hstack(lo.Diagonal(jnp.float32(2))),
            ValueError,
            r"hstack\(.*found the shapes \(\)\. For a single operator",
        ),
        (
            lambda: lo.vstack(jax.vmap(Powers)(jnp.ones((3, 4)), jnp.arange(3))),
            TypeError,
            r"Powers\.degree is static but holds an array.*Tracer.*declare `degree` without lo\.static\(\)",
        ),
        (lambda: lo.block_diag(lo.FFT()), ValueError, r"block_diag\(FFT.*found the shapes of no fields"),
        (
            lambda: lo.hstack(stacked(Coil))(jnp.ones((3, SIZE))),
            ValueError,
            r"hstack\(Coil.*, 8\) cannot be applied to f32\[3,5\]: each array needs a leading axis of length 8",
        ),
        (
            lambda: lo.vstack([lo.Identity()], mesh=AUTO),
            TypeError,
            "vstack: mesh= is for one operator whose array fields",
        ),
        (
            lambda: lo.vstack(stacked(Coil), axis_name="i"),
            TypeError,
            "vstack: axis_name='i' is an axis of mesh=, which is missing",
        ),
        (
            lambda: lo.hstack([lo.Identity()], axis_name="i"),
            TypeError,
            "hstack: axis_name='i' is an axis of mesh=, which is miss",
        ),
        (
            lambda: lo.vstack(stacked(Coil), mesh=TWO),
            ValueError,
            "vstack: axis_name=None is not an axis of the mesh, which has 'i', 'j'. Name the axis over which",
        ),
        (
            lambda: lo.vstack(jax.vmap(Coil)(jnp.ones((6, 3))), mesh=AUTO)(jnp.ones(3)),
            ValueError,
            r"lo.sharded: the array.* is f32\[6,3\], whose axis 0 cannot be split evenly over 4 devices",
        ),
    ],
)
def test_bad_input(run, error, message):
    with pytest.raises(error, match=message):
        run()
