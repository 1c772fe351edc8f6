"""Several CPU devices: shard_map with its checks on, sharded jit, and gradients of what is sharded and what is not."""

import contextlib
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, like, normal
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from operators import CASES, Dense, DenseWithParameters, M

import linops_jax as lo

pytestmark = pytest.mark.versions

NAMES = [
    *("dense complex", "conjugates", "parameters", "batched", "traced, host adjoint", "composite", "derived"),
    *(
        "derived pytrees",
        "half spectrum",
        "pytrees",
        "sine",
        "traced sine",
        "modulus",
        "paper",
        "indices",
        "reverse only",
    ),
]
AUTO = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Explicit,))
GRID = jax.make_mesh((2, 2), ("i", "j"), axis_types=(AxisType.Auto,) * 2)
HALF = jax.make_mesh((2, 2), ("i", "k"), axis_types=(AxisType.Auto,) * 2)


def batch(case):
    return like(case.x, 1, lead=(8,))


def split(op):
    """The operator's floating point fields, and a function that puts others in their place."""
    op = jax.tree.map(jnp.asarray, op)
    leaves, tree = jax.tree.flatten(op)
    chosen = [i for i, leaf in enumerate(leaves) if leaf.dtype.kind in "fc"]

    def join(values):
        new = dict(zip(chosen, values, strict=True))
        return jax.tree.unflatten(tree, [new.get(i, leaf) for i, leaf in enumerate(leaves)])

    return [leaves[i] for i in chosen], join


def problem(name):
    """(fields, xs) -> loss over the batch, sharded and plain; the fields count only where they can be differentiated."""
    case = CASES[name]
    fields, join = split(case.op)

    def local(fields, xs):
        return energy(jax.vmap(join(fields))(xs))

    def plain(fields, xs):
        return sum(energy(jax.vmap(functools.partial(case.twin, join(fields)))(part)) for part in parts(xs))

    return local, plain, fields, batch(case), (0, 1) if case.parameters and fields else (1,)


def parts(xs):
    return [jax.tree.map(lambda leaf, i=i: leaf[2 * i : 2 * i + 2], xs) for i in range(4)]


@pytest.mark.parametrize("name", NAMES)
def test_values_in_shard_map(name):
    case = CASES[name]
    xs = batch(case)
    found = jax.jit(jax.shard_map(jax.vmap(case.op), mesh=AUTO, in_specs=P("i"), out_specs=P("i")))(xs)
    close(found, jax.vmap(case.reference)(xs))


@pytest.mark.parametrize("name", NAMES)
def test_gradient_outside_of_shard_map(name):
    local, plain, fields, xs, which = problem(name)

    @functools.partial(jax.shard_map, mesh=AUTO, in_specs=(P(), P("i")), out_specs=P())
    def total(fields, xs):
        return jax.lax.psum(local(fields, xs), "i")

    found, expected = (jax.jit(jax.value_and_grad(f, which, allow_int=True))(fields, xs) for f in (total, plain))
    close(found[0], expected[0], 10)
    close(found[1], expected[1])


@pytest.mark.parametrize("name", NAMES)
def test_gradient_inside_of_shard_map(name):
    """Of the local loss: the gradient of a replicated input is summed over the devices by JAX."""
    local, plain, fields, xs, which = problem(name)

    @functools.partial(
        jax.shard_map, mesh=AUTO, in_specs=(P(), P("i")), out_specs=tuple(P("i") if i else P() for i in which)
    )
    def inside(fields, xs):
        return jax.grad(local, which, allow_int=True)(fields, xs)

    close(jax.jit(inside)(fields, xs), jax.jit(jax.grad(plain, which, allow_int=True))(fields, xs))


@pytest.mark.parametrize("name", ["dense complex", "traced", "sine", "paper", "batched", "reverse only"])
def test_gradient_of_a_replicated_input(name):
    """One x for all devices, used with what differs between them."""
    case = CASES[name]
    x, factors = like(case.x, 1), jnp.arange(1.0, 9.0)

    def local(f, x, factors):
        scaled = lambda t: jax.tree.map(lambda leaf: leaf * t if leaf.dtype.kind in "fc" else leaf, x)  # noqa: E731
        return sum(energy(f(scaled(t))) * t + energy(f(x)) for t in factors)

    expected = jax.jit(jax.grad(lambda x: local(case.reference, x, factors)))(x)
    for loss in (local, lambda f, x, t: jax.lax.psum(local(f, x, t), "i")):
        inside = lambda x, t, loss=loss: jax.grad(lambda x: loss(case.op, x, t))(x)  # noqa: E731
        mapped = jax.shard_map(inside, mesh=AUTO, in_specs=(P(), P("i")), out_specs=P())
        close(jax.jit(mapped)(x, factors), expected)


def test_closed_over_and_constant_operands():
    """Weights closed over, a NumPy input, and a sharded input added afterwards."""
    op, c = Dense(M), normal((3,), np.complex64, 3)
    m = jnp.asarray(M, jnp.complex64)
    xs = like(np.zeros((8, 3), complex), 1)

    def loss(xs):
        return jax.lax.psum(energy(jax.vmap(op)(xs) + op(c)[None]), "i")

    total = jax.shard_map(loss, mesh=AUTO, in_specs=P("i"), out_specs=P())
    plain = lambda xs: sum(energy(part @ m.T + (m @ c)[None]) for part in parts(xs))  # noqa: E731
    close(jax.grad(total)(xs), jax.jit(jax.grad(plain))(xs))


def test_second_derivative_inside_of_shard_map():
    op, xs, vs = CASES["sine with hessian"].op, like(np.zeros((8, 3), complex), 1), like(np.zeros((8, 3), complex), 2)
    twin = CASES["sine with hessian"].reference

    def product(f, x, v):
        return jax.vjp(jax.grad(lambda x: energy(f(x))), x)[1](v)[0]

    mapped = jax.shard_map(
        jax.vmap(functools.partial(product, op)), mesh=AUTO, in_specs=(P("i"), P("i")), out_specs=P("i")
    )
    close(jax.jit(mapped)(xs, vs), jax.vmap(functools.partial(product, twin))(xs, vs), 10)


@pytest.mark.parametrize("check", [True, False])
def test_two_mesh_axes(check):
    """Fields differ over one axis, inputs over the other."""
    matrices, xs = like(np.zeros((4, 4, 3), complex), 1), like(np.zeros((6, 3), complex), 2)

    @functools.partial(jax.shard_map, mesh=GRID, in_specs=(P("i"), P("j")), out_specs=P("i", "j"), check_vma=check)
    def products(matrices, xs):
        return jax.vmap(lambda m: jax.vmap(DenseWithParameters(m))(xs))(matrices)

    plain = lambda matrices, xs: jnp.einsum("aij,bj->abi", matrices, xs)  # noqa: E731
    close(jax.jit(products)(matrices, xs), plain(matrices, xs))
    found, expected = (
        jax.jit(jax.grad(lambda *z, f=f: energy(f(*z)), (0, 1)))(matrices, xs) for f in (products, plain)
    )
    close(found, expected)


def test_scan_and_collectives_in_shard_map():
    """Gradient descent on a row-sharded least-squares problem, the sum over rows by psum."""
    matrix, y = normal((8, 3), np.float32, 1), normal((8,), np.float32, 2)

    @functools.partial(jax.shard_map, mesh=AUTO, in_specs=(P("i"), P("i"), P()), out_specs=P())
    def descend(matrix, y, x):
        op = Dense(matrix)

        def step(x, _):
            return x - 0.02 * jax.lax.psum(op.H(op(x) - y), "i"), None

        return jax.lax.scan(step, x, None, length=20)[0]

    x = np.zeros(3, np.float64)
    for _ in range(20):
        x = x - 0.02 * matrix.T.astype(float) @ (matrix.astype(float) @ x - y)
    close(jax.jit(descend)(matrix, y, jnp.zeros(3)), x.astype(np.float32))


def local_to(mesh, tree, *spec):
    return jax.device_put(tree, NamedSharding(mesh, P(*spec)))


def types(tree):
    return [str(jax.typeof(leaf)) for leaf in jax.tree.leaves(tree)]


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("name", NAMES)
def test_sharded_jit(name, mesh):
    case, plain = CASES[name], batch(CASES[name])
    with jax.set_mesh(mesh):
        xs = local_to(mesh, plain, "i")
        value, gradient = (
            lambda f: jax.jit(jax.vmap(f))(xs),
            lambda f: jax.jit(jax.grad(lambda xs: energy(jax.vmap(f)(xs)), allow_int=True))(xs),
        )
        for program in (value, gradient):
            found, expected = program(case.op), program(case.reference)
            close(jax.device_get(found), jax.device_get(expected))
            assert types(found) == types(expected)


@pytest.mark.parametrize("specs", [((None, "i"), (None, "i")), (("i", None), (None,)), ((None, None), ("i", None))])
def test_sharded_along_an_axis_of_the_operator(specs):
    """XLA gathers what the hook needs whole; columns of x may be a batch."""
    matrix, xs = like(np.zeros((4, 8), complex), 1), like(np.zeros((8, 4), complex), 2)

    def product(matrix, xs):
        return jax.vmap(DenseWithParameters(matrix), -1, -1)(xs)

    with jax.set_mesh(AUTO):
        arguments = local_to(AUTO, matrix, *specs[0]), local_to(AUTO, xs, *specs[1])
        value = jax.jit(product)(*arguments)
        gradient = jax.jit(jax.grad(lambda *z: energy(product(*z)), (0, 1)))(*arguments)
    close(jax.device_get(value), jax.device_get(matrix @ xs))
    expected = jax.grad(lambda matrix, xs: energy(matrix @ xs), (0, 1))(matrix, xs)
    close(jax.device_get(gradient), jax.device_get(expected))


@pytest.mark.parametrize(("of_matrix", "of_x"), [((None, "i"), ()), (("i",), ()), ((), ("i",))])
def test_nothing_is_gathered_on_an_explicit_mesh_unless_somebody_says_so(of_matrix, of_x):
    matrix = local_to(EXPLICIT, like(np.zeros((4, 8), complex), 1), *of_matrix)
    x = local_to(EXPLICIT, like(np.zeros(8, complex), 2), *of_x)
    message = r"DenseWithParameters\.apply .* whole of .* sharded: found .*@i.*reshard.*shard_map"
    with jax.set_mesh(EXPLICIT):
        for run in (
            lambda m, x: DenseWithParameters(m)(x),
            jax.jit(lambda m, x: jax.vjp(DenseWithParameters(m), x)[0]),
        ):
            with pytest.raises(TypeError, match=message):
                run(matrix, x)
        m, v = jax.sharding.reshard((matrix, x), P())
        close(jax.device_get(DenseWithParameters(m)(v)), jax.device_get(m @ v))


@pytest.mark.parametrize("name", ["parameters", "sine", "traced", "derived"])
def test_shard_map_on_an_explicit_mesh(name):
    local, plain, fields, xs, _ = problem(name)
    with jax.set_mesh(EXPLICIT):
        total = jax.shard_map(lambda *z: jax.lax.psum(local(*z), "i"), in_specs=(P(), P("i")), out_specs=P())
        arguments = local_to(EXPLICIT, fields), local_to(EXPLICIT, xs, "i")
        found = jax.jit(jax.value_and_grad(total, (0, 1)))(*arguments)
    close(jax.device_get(found), jax.device_get(jax.jit(jax.value_and_grad(plain, (0, 1)))(fields, xs)), 10)


def test_on_another_device():
    x = jax.device_put(like(np.zeros(3, complex), 1), jax.devices()[2])
    y = Dense(M)(x)
    assert y.devices() == {jax.devices()[2]}
    close(jax.device_get(y), jax.device_get(jnp.asarray(M, x.dtype) @ x))


# ---- a sharded batch under plain jit ----------------------------------------------------------------------------------


class RunningSum(lo.LinearOperator, batched=True):
    """Without array fields; notes the shapes it is called with."""

    shapes: list = lo.static()

    def apply(self, x):
        self.shapes.append(x.shape)
        return np.cumsum(x, -1, dtype=x.dtype)

    def adjoint(self, y):
        self.shapes.append(y.shape)
        return np.flip(np.cumsum(np.flip(y, -1), -1, dtype=y.dtype), -1)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class LoopedSum(RunningSum, batched=False):
    pass


class Shapes(list):
    __hash__ = object.__hash__


@pytest.mark.parametrize("cls", [RunningSum, LoopedSum])
@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT, GRID], ids=["auto", "explicit", "two axes"])
def test_each_device_computes_its_part_of_a_batch(cls, mesh):
    shapes = Shapes()
    op, x = cls(shapes), normal((8, 4, 5), np.float32)
    spec = P(*mesh.axis_names) if mesh is GRID else P("i")
    xs = jax.device_put(x, NamedSharding(mesh, spec))
    value = jax.jit(jax.vmap(jax.vmap(op)))
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(jax.vmap(jax.vmap(op))(x) ** 2)))
    expected = np.cumsum(x, -1)
    with jax.set_mesh(mesh):
        ys, gs = value(xs), gradient(xs)
        texts = [f.lower(xs).compile().as_text() for f in (value, gradient)]
    close(ys, jnp.asarray(expected))
    close(gs, jnp.asarray(2 * np.flip(np.cumsum(np.flip(expected, -1), -1), -1)))
    assert not any("all-gather" in text for text in texts)
    assert ys.sharding.is_equivalent_to(xs.sharding, 3)
    assert gs.sharding.is_equivalent_to(xs.sharding, 3)
    local = (4, 2, 5) if mesh is GRID else (2, 4, 5)
    assert set(shapes) == ({local} if cls is RunningSum else {(5,)})


class Weighted(RunningSum):
    """A field for all of the batch."""

    w: jax.Array

    def apply(self, x):
        return super().apply(self.w * x)

    def adjoint(self, y):
        return self.w * super().adjoint(y)

    def parameter_vjp(self, x, dy):
        return {"w": x * RunningSum.adjoint(self, dy)}


class LoopedWeighted(Weighted, batched=False):
    pass


def test_fields_of_a_batch():
    """Mapped fields are shared out with the batch."""
    w, x = normal((8, 3), np.float32), normal((8, 3), np.float32, 1)
    ws, xs = (jax.device_put(a, NamedSharding(AUTO, P("i"))) for a in (w, x))
    each = jax.jit(jax.vmap(lambda w, x: Dense(w[:, None] * jnp.ones((1, 3)))(x)))
    close(each(ws, xs), jnp.asarray(w * x.sum(-1, keepdims=True)))
    assert "all-gather" not in each.lower(ws, xs).compile().as_text()


@pytest.mark.parametrize("cls", [Weighted, LoopedWeighted])
@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT, GRID, HALF], ids=["auto", "explicit", "two axes", "one of two axes"])
def test_a_field_for_all_of_a_batch(cls, mesh):
    """It is not gathered, nor is the batch, and each device gets the field once."""
    shapes = Shapes()
    w, x = normal((5,), np.float32, 2), normal((8, 4, 5), np.float32)
    spec = P("i", "j") if mesh is GRID else P("i")
    xs, ws = jax.device_put(x, NamedSharding(mesh, spec)), jax.device_put(w, NamedSharding(mesh, P()))
    value = jax.jit(lambda w, x: jax.vmap(jax.vmap(cls(shapes, w)))(x))
    gradient = jax.jit(jax.grad(lambda w, x: jnp.sum(value(w, x) ** 2), argnums=(0, 1)))
    expected = np.cumsum(w * x, -1)
    pulled = 2 * np.flip(np.cumsum(np.flip(expected, -1), -1), -1)
    with jax.set_mesh(mesh):
        ys, (gw, gx) = value(ws, xs), gradient(ws, xs)
        texts = [f.lower(ws, xs).compile().as_text() for f in (value, gradient)]
    close(ys, jnp.asarray(expected))
    close(gw, jnp.asarray(np.sum(x * pulled, (0, 1))))
    close(gx, jnp.asarray(w * pulled))
    assert not any("all-gather" in text for text in texts)
    assert ys.sharding.is_equivalent_to(xs.sharding, 3)
    local = {AUTO: (2, 4, 5), EXPLICIT: (2, 4, 5), GRID: (4, 2, 5), HALF: (4, 4, 5)}[mesh]
    assert set(shapes) == ({local, (5,)} if cls is Weighted else {(5,)})


def test_a_field_that_is_larger_than_the_batch():
    """Copies of it would cost more than the batch: XLA gathers."""
    xs = jax.device_put(normal((4, 3), np.float32), NamedSharding(AUTO, P("i")))
    matrix = jnp.asarray(normal((6, 3), np.float32, 1))
    run = jax.jit(jax.vmap(Dense(matrix)))
    close(run(xs), np.asarray(xs) @ matrix.T)
    assert "all-gather" in run.lower(xs).compile().as_text()


def test_a_field_that_is_mapped_by_one_of_two_vmaps():
    """XLA cannot share that out; the result is right."""
    w, x = normal((4, 5), np.float32, 2), normal((8, 4, 5), np.float32)
    xs = jax.device_put(x, NamedSharding(AUTO, P("i")))
    run = jax.jit(jax.vmap(jax.vmap(lambda w, x: Weighted(Shapes(), w)(x)), in_axes=(None, 0)))
    close(run(jnp.asarray(w), xs), jnp.asarray(np.cumsum(w * x, -1)))


def test_a_sharded_batch_of_empty_arrays_and_of_numbers():
    op = RunningSum(Shapes())
    for shape in ((8, 0), (8, 1)):
        xs = jax.device_put(normal(shape, np.float32), NamedSharding(AUTO, P("i")))
        close(jax.jit(jax.vmap(op))(xs), jnp.asarray(np.cumsum(np.asarray(xs), -1)))


# ---- operands that differ between devices, beside others that do not -------------------------------------------------


class Mixed(lo.LinearOperator):
    """(a, b) -> factor (a + b), by a hook of each kind."""

    factor: jax.Array

    def apply(self, x):
        return self.factor * (x[0] + x[1])

    def adjoint(self, y):
        return (np.conj(self.factor) * y,) * 2

    def parameter_jvp(self, x, dself):
        return dself.factor * (x[0] + x[1])

    def parameter_vjp(self, x, dy):
        return {"factor": np.sum(np.conj(x[0] + x[1]) * dy)}

    def infer_shape(self, x):
        return x[0]


class TracedMixed(lo.LinearOperator):
    """The same in JAX."""

    factor: jax.Array
    infer_shape = Mixed.infer_shape

    @lo.traced
    def apply(self, x):
        return self.factor * (x[0] + x[1])

    @lo.traced
    def adjoint(self, y):
        return (jnp.conj(self.factor) * y,) * 2


class DerivedMixed(TracedMixed):
    """Of which JAX derives the adjoint."""

    adjoint = lo.LinearOperator.adjoint


@pytest.mark.parametrize("cls", [Mixed, TracedMixed, DerivedMixed])
def test_tangents_differ_between_devices_where_values_do_not(cls):
    """One of three values is sharded, all tangents are."""
    values = (like(np.zeros(()), 1), like(np.zeros(8), 2), like(np.zeros(2), 3))
    tangents = (like(np.zeros(4), 4), like(np.zeros(8), 5), like(np.zeros(8), 6))

    def pushed(f):
        def local(s, a, b, ds, da, db):
            return jax.jvp(f, (s, a, b), (ds[0], da, db))

        specs = (P(), P("i"), P(), P("i"), P("i"), P("i"))
        return jax.jit(jax.shard_map(local, mesh=AUTO, in_specs=specs, out_specs=P("i")))(*values, *tangents)

    close(pushed(lambda s, a, b: cls(s)((a, b))), pushed(lambda s, a, b: s * (a + b)))


@pytest.mark.parametrize("sharded", [(0,), (1,), (0, 2), (1, 2)])
@pytest.mark.parametrize("cls", [Mixed, TracedMixed, DerivedMixed])
def test_gradients_of_what_differs_and_of_what_does_not(cls, sharded):
    """Of a value that is the same on all devices, the sum; in forward and reverse mode, and one over the other."""
    shapes = [(4,) if i == 0 else (8,) if i in sharded else (2,) for i in range(3)]
    values = [like(np.zeros(shape), i) for i, shape in enumerate(shapes)]
    specs = tuple(P("i") if i in sharded else P() for i in range(3))

    def total(f):
        local = lambda s, a, b: jax.lax.psum(energy(f(jnp.sum(s), a, b)), "i")  # noqa: E731
        return jax.shard_map(local, mesh=AUTO, in_specs=specs, out_specs=P())

    ours, plain = total(lambda s, a, b: cls(s)((a, b))), total(lambda s, a, b: s * (a + b))
    gradients = lambda f: jax.jit(jax.grad(f, (0, 1, 2)))(*values)  # noqa: E731
    close(gradients(ours), gradients(plain))
    directions = tuple(like(v, 7) for v in values)
    second = lambda f: jax.jit(lambda: jax.jvp(jax.grad(f, (0, 1, 2)), tuple(values), directions)[1])()  # noqa: E731
    if cls is not Mixed:
        close(second(ours), second(plain), 10)


# ---- traced hooks are JAX code ----------------------------------------------------------------------------------------


class Triple(lo.LinearOperator):
    """Three times the input; JAX derives the adjoint."""

    @lo.traced
    def apply(self, x):
        return 3 * x

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class OwnTriple(Triple):
    """With an adjoint of its own: such hooks are primitives."""

    @lo.traced
    def adjoint(self, y):
        return 3 * y


class Scaled(lo.LinearOperator):
    """factor x, with an adjoint of its own and a field."""

    factor: jax.Array
    infer_shape = Triple.infer_shape

    @lo.traced
    def apply(self, x):
        return self.factor * x

    @lo.traced
    def adjoint(self, y):
        return self.factor * y


class Shifted(lo.NonlinearOperator):
    """x -> sin(3 x), with a Jacobian of its own."""

    @lo.traced
    def apply(self, x):
        return jnp.sin(3 * x)

    @lo.traced
    def jacobian_apply(self, x, dx):
        return 3 * jnp.cos(3 * x) * dx

    @lo.traced
    def jacobian_adjoint(self, x, dy):
        return 3 * jnp.cos(3 * x) * dy


# Programs of an operator f and an array: twins of them are plain JAX.
PROGRAMS = {
    "value": lambda f: f,
    "gradient": lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 2)),
    "jvp": lambda f: lambda x: jax.jvp(f, (x,), (x,))[1],
    "batch": lambda f: jax.vmap(f),
    "gradients of a batch": lambda f: jax.vmap(jax.grad(lambda x: jnp.sum(f(x) ** 2))),
    "checkpoint in scan": lambda f: (
        lambda x: jax.grad(
            lambda x: jnp.sum(jax.lax.scan(jax.checkpoint(lambda v, _: (f(v), None)), x, None, length=2)[0])
        )(x)
    ),
    "hessian": lambda f: lambda x: jax.jvp(jax.grad(lambda x: jnp.sum(f(x) ** 2)), (x,), (x,))[1],
}


@pytest.mark.parametrize("spec", [P("i"), P(None, "i")], ids=str)
@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("op", "twin"),
    [
        (Triple(), lambda x: 3 * x),
        (OwnTriple(), lambda x: 3 * x),
        (Scaled(jnp.float32(3)), lambda x: 3 * x),
        (Shifted(), lambda x: jnp.sin(3 * x)),
    ],
    ids=["derived", "own adjoint", "field", "own Jacobian"],
)
def test_traced_hooks_keep_explicit_shardings(op, twin, program, spec):
    """The types are those of plain JAX, and nothing is gathered."""
    x = local_to(EXPLICIT, normal((8, 4), np.float32), *spec)
    ours, plain = jax.jit(PROGRAMS[program](op)), jax.jit(PROGRAMS[program](twin))
    with jax.set_mesh(EXPLICIT):
        found, expected = ours(x), plain(x)
        assert "all-gather" not in ours.lower(x).compile().as_text()
    close(jax.device_get(found), jax.device_get(expected))
    assert types(found) == types(expected)
    if program in ("value", "gradient", "batch"):  # without an ambient mesh: others JAX refuses
        close(jax.device_get(jax.jit(PROGRAMS[program](op))(x)), jax.device_get(expected))


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("own_adjoint", [False, True])
def test_shard_map_inside_of_a_traced_hook(own_adjoint, mesh):
    """No mesh is around: the hook brings its own."""
    local = jax.shard_map(lambda x: 2 * jnp.flip(x), mesh=mesh, in_specs=P("i"), out_specs=P("i"))

    class Flips(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return local(x)

        if own_adjoint:
            adjoint = apply

    x = jnp.asarray(normal((8,), np.float32))
    if mesh is EXPLICIT:
        x = local_to(mesh, x, "i")
    A = Flips().with_domain(x) if own_adjoint else lo.Function(local, x)
    expected = 2 * np.flip(np.reshape(x, (4, 2)), 1).ravel()
    for f in (A, jax.jit(A), A.H, jax.jit(A.H), jax.jit(lambda x: jax.vjp(A, x)[1](x)[0])):
        close(np.asarray(f(x)), expected)


class AllSum(lo.LinearOperator):
    """The sum over the devices: from what differs between them to what does not."""

    @lo.traced
    def apply(self, x):
        return jax.lax.psum(x, "i")

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)


class OwnAllSum(AllSum):
    @lo.traced
    def adjoint(self, y):
        return y


@pytest.mark.parametrize("program", ["value", "gradient", "jvp", "gradients of a batch", "hessian"])
@pytest.mark.parametrize("op", [AllSum(), OwnAllSum()], ids=["derived", "own adjoint"])
def test_collectives_in_traced_hooks(op, program):
    xs = like(np.zeros((8, 3)), 1)

    def run(f):
        local = lambda x: PROGRAMS[program](lambda x: x * f(x))(x)  # noqa: E731
        return jax.jit(jax.shard_map(local, mesh=AUTO, in_specs=P("i"), out_specs=P("i")))(xs)

    close(run(op), run(lambda x: jax.lax.psum(x, "i")))


# What a traced function closes over: arrays, tracers of jit, grad and vmap around it.
AROUND = {
    "eager": lambda f: f,
    "jit": jax.jit,
    "gradient": lambda f: jax.grad(lambda m: energy(f(m))),
    "gradient, compiled": lambda f: jax.jit(jax.grad(lambda m: energy(f(m)))),
    "jvp": lambda f: lambda m: jax.jvp(f, (m,), (m,)),
    "batch": lambda f: lambda m: jax.vmap(f)(jnp.stack([m, 2 * m])),
    "gradients of a batch": lambda f: lambda m: jax.vmap(jax.grad(lambda m: energy(f(m))))(jnp.stack([m, 2 * m])),
    "hessian": lambda f: jax.hessian(lambda m: energy(f(m))),
    "checkpoint in scan": lambda f: (
        lambda m: jax.grad(
            lambda m: energy(
                jax.lax.scan(jax.checkpoint(lambda v, _: (v + jnp.sum(f(m)), None)), m[0], None, length=2)[0]
            )
        )(m)
    ),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("inside", ["value", "adjoint", "normal", "gradient", "batch"])
def test_what_a_function_closes_over_is_an_operand(inside, around):
    x = like(np.zeros(3), 2)

    def run(function):
        def value(m):
            A = function(m)
            if inside == "gradient":
                return jax.grad(lambda x: energy(A(x)))(x)
            if inside == "batch":
                return jax.vmap(A)(jnp.stack([x, -x]))
            return {"value": A, "adjoint": A.H, "normal": A.H @ A}[inside](x)

        return AROUND[around](value)(like(np.zeros((3, 3)), 1))

    close(run(lambda m: lo.Function(lambda v: m @ v, x)), run(lo.Matrix), 5)


def test_tracers_that_are_closed_over_are_not_kept():
    """Not by JAX's caches, and not by ours; and no later program finds old ones."""
    with jax.checking_leaks():
        jax.jit(lambda m: lo.Function(lambda v: m * v, S((3,), np.float32))(m))(jnp.ones(3))
    for value in (1.0, 2.0, 3.0):
        found = jax.jit(lambda m: lo.Function(lambda v: m * v, S((3,), np.float32))(jnp.ones(3)))(jnp.full(3, value))
        close(found, jnp.full(3, value))


def test_an_adjoint_that_is_refused_is_refused_in_traced_code():
    class Forward(Triple):
        adjoint = None

    with pytest.raises(NotImplementedError, match="Forward has no adjoint: reverse-mode differentiation needs it"):
        jax.grad(lambda x: jnp.sum(Forward()(x)))(jnp.ones(3))


@pytest.mark.parametrize("cls", [Triple, OwnTriple])
def test_eager_calls_trace_a_hook_once(cls):
    traces = []

    class Counting(cls):
        @lo.traced
        def apply(self, x):
            traces.append(x)
            return 3 * x

    def work():
        jax.vmap(Counting())(jnp.ones((2, 3)))
        jax.vmap(jax.grad(lambda x: jnp.sum(Counting()(x))))(jnp.ones((2, 3)))

    work()
    first = len(traces)
    work()
    assert len(traces) == first


# ---- the checks, wherever the arrays are ------------------------------------------------------------------------------


class ForgetsSigns(Scaled):
    """Its adjoint is wrong."""

    @lo.traced
    def adjoint(self, y):
        return jnp.abs(self.factor) * y


@pytest.mark.parametrize("ambient", [True, False], ids=["set_mesh", "no set_mesh"])
@pytest.mark.parametrize("spec", [P(), P("i")], ids=["whole", "sharded"])
@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
def test_dot_test_on_a_mesh(mesh, spec, ambient):
    x = local_to(mesh, normal((8,), np.float32), *spec)
    factor = local_to(mesh, normal((8,), np.float32, 1), *spec)
    with jax.set_mesh(mesh) if ambient else contextlib.nullcontext():
        for op in (Scaled(factor), Triple(), lo.Function(lambda x: 2 * x, x), Triple() @ Scaled(factor)):
            assert lo.dot_test(op, x).passed
        assert not lo.dot_test(ForgetsSigns(factor), x).passed


@pytest.mark.parametrize(
    ("op", "place"),
    [
        *((OwnTriple(), place) for place in ("auto", "explicit", "explicit, sharded, no set_mesh")),
        *((op, "explicit, sharded") for op in (Triple(), Shifted())),
    ],
    ids=str,
)
def test_check_operator_on_a_mesh(op, place):
    mesh = AUTO if place == "auto" else EXPLICIT
    x = normal((8,), np.float32)
    with contextlib.nullcontext() if "no set_mesh" in place else jax.set_mesh(mesh):
        lo.check_operator(op, local_to(mesh, x, "i") if "sharded" in place else x)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
def test_check_operator_of_a_host_hook_under_a_mesh(mesh):
    """All devices of the mesh compute."""
    with jax.set_mesh(mesh):
        lo.check_operator(Dense(M), S((3,), np.complex64))


def test_the_check_of_shard_map_is_skipped_where_the_operator_opens_one():
    f = jax.shard_map(lambda x: 2 * x, mesh=AUTO, in_specs=P("i"), out_specs=P("i"))
    for ambient in (False, True):
        with jax.set_mesh(AUTO) if ambient else contextlib.nullcontext():
            report = lo.check_operator(lo.Function(f, S((8,), np.float32)))
        (outcome,) = (outcome for outcome in report.outcomes if outcome.name == "shard_map")
        assert "skipped: the operator opens a shard_map itself" in outcome.message


def test_a_domain_has_a_place_of_its_own_on_a_mesh():
    op = lo.Identity().with_domain(S((8,), np.float32))
    with jax.set_mesh(EXPLICIT):
        x = jax.device_put(jnp.ones(8), NamedSharding(EXPLICIT, P("i")))
        assert op._infer_shape(x).sharding.spec == P("i")
    assert op.codomain.sharding is None
