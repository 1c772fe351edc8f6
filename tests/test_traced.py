"""Traced hooks with hooks of their own beside them are JAX code in every respect: what they close over, axes of vmap that
they name, variants per platform, export. Twins in plain JAX say what is right."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, like, normal
from jax import export
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import linops_jax as lo

AUTO = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
EXPLICIT = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Explicit,))
MATRIX, X = like(np.zeros((3, 3)), 1), like(np.zeros(3), 2)


def types(tree):
    return [str(jax.typeof(leaf)) for leaf in jax.tree.leaves(tree)]


def same(ours, plain, scale=10.0):
    """Of the same types on the mesh, and the same numbers."""
    close(jax.device_get(ours), jax.device_get(plain), scale)
    assert types(ours) == types(plain)


# ---- what hooks close over ------------------------------------------------------------------------------------------
# Each kind makes an operator of an array that its hooks close over, and a twin.


def linear(m):
    class Closes(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return m @ x

        @lo.traced
        def adjoint(self, y):
            return m.T @ y

    return Closes()


def per_platform(m):
    @lo.traced
    def of_cpu(self, x):
        return m @ x

    @lo.traced
    def of_others(self, x):
        return jnp.dot(m, x)

    @lo.traced
    def adjoint_of_all(self, y):
        return m.T @ y

    class Closes(lo.LinearOperator):
        apply = lo.per_platform(cuda=of_others, cpu=of_cpu)
        adjoint = lo.per_platform(default=adjoint_of_all)

    return Closes()


def host_adjoint(m):
    """Whose adjoint does not need the array."""

    class Closes(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            return x + 0 * jnp.sum(m)

        def adjoint(self, y):
            return y

    return Closes()


def forward_mode(m):
    class Closes(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return jnp.sin(m @ x)

        @lo.traced
        def jacobian_apply(self, x, dx):
            return jnp.cos(m @ x) * (m @ dx)

    return Closes()


def reverse_mode(m):
    class Closes(lo.NonlinearOperator):
        @lo.traced
        def apply(self, x):
            return jnp.sin(m @ x)

        @lo.traced
        def jacobian_adjoint(self, x, dy):
            return m.T @ (jnp.cos(m @ x) * dy)

    return Closes()


def parameters(m):
    class Closes(lo.LinearOperator):
        d: jax.Array

        @lo.traced
        def apply(self, x):
            return self.d * (m @ x)

        @lo.traced
        def adjoint(self, y):
            return m.T @ (self.d * y)

        @lo.traced
        def parameter_jvp(self, x, dself):
            return dself.d * (m @ x)

    return Closes(jnp.sum(m, 0))


CLOSING = {
    linear: lambda m: lambda x: m @ x,
    per_platform: lambda m: lambda x: m @ x,
    host_adjoint: lambda m: lambda x: x + 0 * jnp.sum(m),
    forward_mode: lambda m: lambda x: jnp.sin(m @ x),
    reverse_mode: lambda m: lambda x: jnp.sin(m @ x),
    parameters: lambda m: lambda x: jnp.sum(m, 0) * (m @ x),
}
# The input depends on the array as well: then JAX asks for adjoints when the trace of the array is over.
AROUND = {
    "gradient": lambda f: jax.grad(lambda m: energy(f(m)(jnp.sum(m, 1)))),
    "gradient, compiled": lambda f: jax.jit(jax.grad(lambda m: energy(f(m)(jnp.sum(m, 1))))),
    "jvp": lambda f: lambda m: jax.jvp(lambda m: f(m)(jnp.sum(m, 1)), (m,), (2 * m,)),
    "linearize": lambda f: lambda m: jax.linearize(lambda m: f(m)(jnp.sum(m, 1)), m)[1](m),
    "hessian": lambda f: jax.hessian(lambda m: energy(f(m)(jnp.sum(m, 1)))),
    "gradients of a batch": lambda f: (
        lambda m: jax.vmap(jax.grad(lambda m: energy(f(m)(jnp.sum(m, 1)))))(jnp.stack([m, 2 * m]))
    ),
    "gradient of a batch": lambda f: jax.grad(lambda m: energy(jax.vmap(f(m))(jnp.stack([m[0], m[0] * m[2]])))),
    "gradient of a gradient": lambda f: jax.grad(lambda m: energy(jax.grad(lambda x: energy(f(m)(x)))(m[0]))),
    "scan of checkpoints": lambda f: jax.grad(
        lambda m: energy(jax.lax.scan(jax.checkpoint(lambda v, _: (f(m)(v), None)), jnp.sum(m, 1), None, length=3)[0])
    ),
}


@pytest.mark.parametrize("around", AROUND)
@pytest.mark.parametrize("kind", CLOSING, ids=lambda kind: kind.__name__)
def test_hooks_close_over_what_their_input_depends_on(kind, around):
    same(AROUND[around](kind)(MATRIX), AROUND[around](CLOSING[kind])(MATRIX))


class Weighted(lo.LinearOperator):
    w: jax.Array

    @lo.traced
    def apply(self, x):
        return self.w * x

    adjoint = apply


@pytest.mark.parametrize(
    "around", [lambda f: f, jax.jit, lambda f: lambda m: jax.vmap(f)(jnp.stack([m, 2 * m]))], ids="abc"
)
@pytest.mark.parametrize(
    ("make", "twin"),
    [(linear, CLOSING[linear]), (lambda m: Weighted(m[0]), lambda m: lambda x: m[0] * x)],
    ids=["closed over", "field"],
)
def test_a_rule_of_ones_own_applies_hooks_of_tangents(make, twin, around):
    """There a hook is linear in its field, or in what it closes over."""

    def gradient(make):
        @jax.custom_jvp
        def product(m, x):
            return make(m)(x)

        @product.defjvp
        def _(primals, tangents):
            (m, x), (dm, dx) = primals, tangents
            return product(m, x), make(m)(dx) + make(dm)(x)

        return around(jax.grad(lambda m: energy(product(m, jnp.sum(m, 1)))))(MATRIX)

    same(gradient(make), gradient(twin))


def test_a_host_adjoint_that_closes_over_a_tracer_says_what_to_do():
    def make(m):
        class Closes(lo.LinearOperator):
            @lo.traced
            def apply(self, x):
                return m @ x

            def adjoint(self, y):
                return np.asarray(m).T @ y

        return Closes()

    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"(?s)Closes\.adjoint failed.*closes over an array .* a field of"
    ):
        jax.block_until_ready(jax.jit(jax.grad(lambda m: energy(make(m)(m[0]))))(MATRIX))


def test_a_tracer_in_one_of_two_hooks_says_what_to_do():
    def make(m):
        class Closes(lo.LinearOperator):
            @lo.traced
            def apply(self, x):
                return 2 * x

            @lo.traced
            def adjoint(self, y):
                return m * y

        return Closes()

    message = (
        r"Closes\.adjoint closes over an array that was being traced, .* a field of Closes, or close over it also in"
    )
    with pytest.raises(jax.errors.UnexpectedTracerError, match=message):
        jax.grad(lambda m: energy(make(m)(m * X)))(jnp.float32(2))


LOCAL = {
    "gradient, neither varies": (
        (P(), P()),
        P(),
        lambda f, m, x, t: jax.grad(lambda m, x: energy(f(m)(x)), (0, 1))(m, x),
    ),
    "gradient, array varies": (
        (P("i"), P()),
        (P("i"), P()),
        lambda f, m, x, t: jax.grad(lambda m, x: jax.lax.psum(energy(f(m)(x)), "i"), (0, 1))(m, x),
    ),
    "gradient, input varies": (
        (P(), P("i")),
        (P(), P("i")),
        lambda f, m, x, t: jax.grad(lambda m, x: jax.lax.psum(energy(f(m)(x)), "i"), (0, 1))(m, x),
    ),
    "jvp, tangent varies": ((P(), P()), P("i"), lambda f, m, x, t: jax.jvp(f(m), (x,), (t,))),
    "jvp, tangents vary": (
        (P("i"), P()),
        P("i"),
        lambda f, m, x, t: jax.jvp(lambda m, x: f(m)(x), (m, x), (t[:, None] * m, t)),
    ),
}


@pytest.mark.parametrize("local", LOCAL)
@pytest.mark.parametrize("kind", [linear, forward_mode, parameters], ids=lambda kind: kind.__name__)
def test_hooks_that_close_over_arrays_in_shard_map(kind, local):
    specs, out, program = LOCAL[local]

    def run(f):
        matrices = like(np.zeros((4, 3, 3) if specs[0] else (1, 3, 3)), 3)
        xs, ts = like(np.zeros((4, 3) if specs[1] else (1, 3)), 4), like(np.zeros((4, 3)), 5)
        body = lambda m, x, t: jax.tree.map(lambda leaf: leaf[None], program(f, m[0], x[0], t[0]))  # noqa: E731
        return jax.jit(jax.shard_map(body, mesh=AUTO, in_specs=(*specs, P("i")), out_specs=out))(matrices, xs, ts)

    same(run(kind), run(CLOSING[kind]))


def test_the_tangent_of_an_array_closed_over_must_vary_as_it_does():
    def local(m, x, t):
        return jax.jvp(lambda m: linear(m)(x), (m,), (t[0],))[1]

    with pytest.raises(NotImplementedError, match=r"Closes\.apply closes over an array that is the same .*pcast"):
        jax.shard_map(local, mesh=AUTO, in_specs=(P(), P(), P("i")), out_specs=P("i"))(MATRIX, X, jnp.ones((4, 3, 3)))


# ---- axes of vmap ---------------------------------------------------------------------------------------------------


class Centred(lo.LinearOperator):
    """weights (x - mean over the axis)."""

    weights: jax.Array

    @lo.traced
    def apply(self, x):
        return self.weights * (x - jax.lax.pmean(x, "i"))

    @lo.traced
    def adjoint(self, y):
        y = self.weights * y
        return y - jax.lax.pmean(y, "i")


class Numbered(lo.LinearOperator):
    """Multiplies by the index along the axis, from 1."""

    @lo.traced
    def apply(self, x):
        return (1.0 + jax.lax.axis_index("i")) * x

    adjoint = apply


class Modulated(lo.NonlinearOperator):
    @lo.traced
    def apply(self, x):
        return jnp.sin(jax.lax.psum(x, "i")) * x

    @lo.traced
    def jacobian_adjoint(self, x, dy):
        total = jax.lax.psum(x, "i")
        return jax.lax.psum(jnp.cos(total) * x * dy, "i") + jnp.sin(total) * dy


@lo.traced
def _summed(self, x):
    return 2 * jax.lax.psum(x, "i")


class PerPlatform(lo.LinearOperator):
    apply = lo.per_platform(cpu=_summed, default=_summed)


NAMING = {
    "linear": (Centred(X), lambda x: X * (x - jax.lax.pmean(x, "i"))),
    "index": (Numbered(), lambda x: (1.0 + jax.lax.axis_index("i")) * x),
    "nonlinear": (Modulated(), lambda x: jnp.sin(jax.lax.psum(x, "i")) * x),
    "per platform": (PerPlatform(), lambda x: 2 * jax.lax.psum(x, "i")),
    "closure": (
        lambda x: linear(jnp.diag(X) * x[0])(jax.lax.psum(x, "i")),
        lambda x: X * x[0] * jax.lax.psum(x, "i"),
    ),
}
over_i = functools.partial(jax.vmap, axis_name="i")
MAPPED = {
    "value": lambda f: over_i(f),
    "jvp": lambda f: lambda xs: jax.jvp(over_i(f), (xs,), (2 * xs,)),
    "vjp of each": lambda f: over_i(lambda x: jax.vjp(f, x)[1](x)[0]),
    "gradient": lambda f: jax.grad(lambda xs: energy(over_i(f)(xs))),
    "gradient, compiled": lambda f: jax.jit(jax.grad(lambda xs: energy(over_i(f)(xs)))),
    "hessian": lambda f: jax.hessian(lambda xs: energy(over_i(f)(xs))),
    "in another vmap": lambda f: lambda xs: jax.vmap(over_i(f))(jnp.stack([xs, 2 * xs])),
    "around another vmap": lambda f: lambda xs: over_i(jax.vmap(f, 1, 1))(jnp.stack([xs, 2 * xs], -1)),
    "one for all": lambda f: lambda xs: jax.vmap(lambda x, y: x * f(y), (0, None), axis_name="i")(xs, xs[0]),
    "scan of checkpoints": lambda f: jax.grad(
        lambda xs: energy(
            over_i(lambda x: jax.lax.scan(jax.checkpoint(lambda v, _: (f(v), None)), x, None, length=2)[0])(xs)
        )
    ),
}


@pytest.mark.parametrize("program", MAPPED)
@pytest.mark.parametrize("name", NAMING)
def test_hooks_name_an_axis_of_vmap(name, program):
    op, twin = NAMING[name]
    xs = like(np.zeros((4, 3)), 1)
    same(MAPPED[program](op)(xs), MAPPED[program](twin)(xs), 50)


def test_the_adjoint_of_a_hook_that_names_an_axis():
    xs = like(np.zeros((4, 3)), 1)
    twin = lambda x: X * (x - jax.lax.pmean(x, "i"))  # noqa: E731
    same(
        over_i(lambda y: Centred(X).with_domain(X).H(y))(xs), over_i(lambda y: jax.linear_transpose(twin, y)(y)[0])(xs)
    )


def test_an_eager_vmap_with_a_named_axis_compiles_once(caplog):
    run = lambda: over_i(lambda x: jax.vjp(Centred(X), x)[1](x)[0])(like(np.zeros((4, 3)), 1))  # noqa: E731
    run()
    with jax.log_compiles():
        run()
    assert "Compiling" not in caplog.text


# ---- platforms ------------------------------------------------------------------------------------------------------


@lo.traced
def _three(self, x):
    return 3 * x


class Triple(lo.LinearOperator):
    """Whose adjoint JAX derives."""

    apply = lo.per_platform(cpu=_three, default=_three)


class TripleOnHost(lo.LinearOperator):
    apply = lo.per_platform(cpu=lambda self, x: 3 * x, default=_three)


PROGRAMS = {
    "value": lambda f: f,
    "gradient": lambda f: jax.grad(lambda x: jnp.sum(f(x) ** 2)),
    "gradients of a batch": lambda f: jax.vmap(jax.grad(lambda x: jnp.sum(f(x) ** 2))),
    "hessian": lambda f: lambda x: jax.jvp(jax.grad(lambda x: jnp.sum(f(x) ** 2)), (x,), (x,))[1],
}


@pytest.mark.parametrize("spec", [P("i"), P(None, "i")], ids=str)
@pytest.mark.parametrize("program", PROGRAMS)
def test_traced_code_per_platform_keeps_explicit_shardings(program, spec):
    with jax.set_mesh(EXPLICIT):
        x = jax.device_put(normal((8, 4), np.float32), NamedSharding(EXPLICIT, spec))
        ours, plain = jax.jit(PROGRAMS[program](Triple())), jax.jit(PROGRAMS[program](lambda x: 3 * x))
        same(ours(x), plain(x))
        assert "all-gather" not in ours.lower(x).compile().as_text()


def test_foreign_code_per_platform_gathers_nothing():
    """The types are those of the traced code; where the foreign code is what runs, it says what it needs."""
    with jax.set_mesh(EXPLICIT):
        x = jax.device_put(normal((8, 4), np.float32), NamedSharding(EXPLICIT, P("i")))
        with pytest.raises(TypeError, match=r"TripleOnHost\.apply is foreign code and needs the whole of x"):
            TripleOnHost()(x)
        text = jax.jit(TripleOnHost()).trace(x).lower(lowering_platforms=("cuda",)).as_text()
        assert "custom_call" not in text
        same(jax.vmap(TripleOnHost())(x), 3 * x)


def test_collectives_per_platform():
    def run(f):
        local = lambda x: jax.jvp(jax.grad(lambda x: jnp.sum((x * f(x)) ** 2)), (x,), (x,))[1]  # noqa: E731
        return jax.jit(jax.shard_map(local, mesh=AUTO, in_specs=P("i"), out_specs=P("i")))(like(np.zeros((8, 3)), 1))

    same(run(PerPlatform()), run(lambda x: 2 * jax.lax.psum(x, "i")))


def test_variants_that_lie_elsewhere_on_the_mesh_are_refused():
    @lo.traced
    def kept(self, x):
        return jax.lax.psum(x, "i") + x

    class Differs(lo.LinearOperator):
        apply = lo.per_platform(cpu=_summed, default=kept)

    with pytest.raises(TypeError, match=r"Differs\.apply: the traced hooks of two platforms differ in where"):
        jax.shard_map(Differs(), mesh=AUTO, in_specs=P("i"), out_specs=P("i"))(jnp.ones(8))


# ---- where results lie ----------------------------------------------------------------------------------------------


class Scaled(lo.LinearOperator):
    """Its specs, written by hand, do not say where on a mesh."""

    w: jax.Array

    @lo.traced
    def apply(self, x):
        return self.w * x

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, x.dtype)

    def infer_adjoint_shape(self, y):
        return jax.ShapeDtypeStruct(y.shape, y.dtype)


class Columns(lo.LinearOperator):
    """The sum of the rows."""

    @lo.traced
    def apply(self, x):
        return jnp.sum(x, 0)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape[1:], x.dtype)


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("spec", [P(), P("i"), P(None, "i")], ids=str)
@pytest.mark.parametrize("make", [Scaled, lambda w: Columns() @ Scaled(w), lambda w: 2 * Scaled(w) ** 2], ids="abc")
def test_adjoints_lie_where_the_input_does(make, spec, mesh):
    with jax.set_mesh(mesh):
        place = NamedSharding(mesh, spec)
        x, w = (jax.device_put(normal((8, 4), np.float32, seed), place) for seed in (0, 1))
        A = make(w)
        expected = jax.linear_transpose(A, x)(A(x))[0]
        assert jax.typeof(expected).sharding.spec == jax.typeof(x).sharding.spec
        for f in (A.H @ A, lambda x: A.with_domain(x).H(A(x)), A.gram):
            same(f(x), expected)
            program = jax.jit(f).lower(x).compile().as_text()
            assert "all-gather" not in program
        if make is Scaled:
            same(A.H(x), A(x))


class AllSum(lo.LinearOperator):
    """The sum over the devices of what each of them has."""

    infer_shape, infer_adjoint_shape = Scaled.infer_shape, Scaled.infer_adjoint_shape

    @lo.traced
    def apply(self, x):
        return jax.lax.psum(x, "i")


def test_the_adjoint_of_a_sum_over_devices():
    """Each device has an input of its own, whether the domain says so or nobody does; vjp adds up for one that is not."""
    xs = like(np.zeros((4, 3)), 1)
    A, plain = AllSum(), lambda x: jax.lax.psum(x, "i")

    def run(f, x, spec):
        return jax.jit(jax.shard_map(f, mesh=AUTO, in_specs=spec, out_specs=spec))(x)

    expected = run(lambda x: jax.linear_transpose(plain, x)(plain(x))[0], xs, P("i"))
    for f in (lambda x: A.H(A(x)), lambda x: A.with_domain(x).H(A(x)), A.H @ A, lambda x: jax.vjp(A, x)[1](A(x))[0]):
        same(run(f, xs, P("i")), expected)
    pulled = lambda f: lambda x: jax.vjp(f, x)[1](f(x))[0]  # noqa: E731
    same(run(pulled(A), xs, P()), run(pulled(plain), xs, P()))


# ---- export ---------------------------------------------------------------------------------------------------------


def round_trip(f, *arguments):
    exported = export.export(jax.jit(f), disabled_checks=lo.export_checks())(*arguments)
    return export.deserialize(exported.serialize()).call(*arguments)


def test_export_of_hooks_that_close_over_arguments():
    program = lambda f: lambda m, x: jax.value_and_grad(lambda m, x: energy(f(m)(x)), (0, 1))(m, x)  # noqa: E731
    same(round_trip(program(linear), MATRIX, X), program(CLOSING[linear])(MATRIX, X))


@pytest.mark.parametrize("mesh", [AUTO, EXPLICIT], ids=["auto", "explicit"])
@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "shard_map"])
def test_export_of_sharded_programs(mesh, mapped):
    def loss(make):
        body = lambda w, x: jnp.sum(make(w)(x) ** 2)  # noqa: E731
        if not mapped:
            return body
        local = lambda w, x: jax.lax.psum(body(w, x), "i")  # noqa: E731
        return jax.shard_map(local, mesh=mesh, in_specs=(P("i"), P("i")), out_specs=P())

    def closing(w):
        class Closes(lo.LinearOperator):
            @lo.traced
            def apply(self, x):
                return w * x

            adjoint = apply

        return Closes()

    with jax.set_mesh(mesh):
        place = NamedSharding(mesh, P("i"))
        w, x = (jax.device_put(normal((8, 3), np.float32, seed), place) for seed in (0, 1))
        found = round_trip(jax.grad(loss(closing), (0, 1)), w, x)
        close(jax.device_get(found), jax.device_get(jax.grad(loss(lambda w: lambda x: w * x), (0, 1))(w, x)))
