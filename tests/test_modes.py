"""Operators with one mode of differentiation only: adjoint codes without a tangent code, and the other way round."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, like, normal, stack, tangent
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P

import linops_jax as lo


class Logistic(lo.NonlinearOperator):
    """The logistic map x -> rate x (1 - x), ``steps`` times."""

    rate: jax.Array
    steps: int = lo.static(default=4)

    def trajectory(self, x):
        states = [x]
        for _ in range(self.steps):
            states.append(self.rate * states[-1] * (1 - states[-1]))
        return states

    def apply(self, x):
        return self.trajectory(x)[-1]

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, np.result_type(x.dtype, self.rate.dtype))


class AdjointCode(Logistic):
    """Goes back through the trajectory; no tangent code, for x or for the rate."""

    jacobian_apply = None

    def backwards(self, x, dy):
        """Adjoint states, the last one first."""
        for state in reversed(self.trajectory(x)[:-1]):
            yield state, dy
            dy = np.conj(self.rate * (1 - 2 * state)) * dy
        yield None, dy

    def jacobian_adjoint(self, x, dy):
        return [dy for _, dy in self.backwards(x, dy)][-1]

    def parameter_vjp(self, x, dy):
        terms = [np.conj(state * (1 - state)) * dy for state, dy in self.backwards(x, dy) if state is not None]
        return {"rate": np.sum(terms)}


class TangentCode(Logistic):
    """Goes forward beside the trajectory; no adjoint code."""

    jacobian_adjoint = None

    def forwards(self, x, dx, drate):
        for state in self.trajectory(x)[:-1]:
            dx = self.rate * (1 - 2 * state) * dx + drate * state * (1 - state)
        return dx

    def jacobian_apply(self, x, dx):
        return self.forwards(x, dx, np.zeros_like(self.rate))

    def parameter_jvp(self, x, dself):
        return self.forwards(x, np.zeros_like(x), dself.rate)


class TwoInputs(lo.NonlinearOperator):
    """{"a", "b"} -> (a b^2, sum(a)), in reverse mode only."""

    jacobian_apply = None

    def apply(self, x):
        return x["a"] * x["b"] ** 2, np.sum(x["a"])

    def jacobian_adjoint(self, x, dy):
        a, b = np.conj(x["a"]), np.conj(x["b"])
        return {"a": b**2 * dy[0] + dy[1], "b": 2 * a * b * dy[0]}

    def infer_shape(self, x):
        return x["a"], jax.ShapeDtypeStruct((), x["a"].dtype)


def logistic(rate, x):
    for _ in range(4):
        x = rate * x * (1 - x)
    return x


def two_inputs(x):
    return x["a"] * x["b"] ** 2, jnp.sum(x["a"])


def scanned(f):
    return lambda rate, x: jax.lax.scan(lambda x, _: (f(rate, x),) * 2, x, None, length=3)


REAL = (jnp.float32(1.7), jnp.asarray(0.5 + 0.2 * normal((3,), np.float32, 1)))
COMPLEX = (jnp.asarray(0.9 + 0.3j), jnp.asarray(0.4 * normal((3,), np.complex64, 2)))
INPUTS = {"real": REAL, "complex": COMPLEX}

# What may stand around the operator, as functions of (rate, x); forward mode also has loops of unknown length.
AROUND = {
    "nothing": lambda f: f,
    "jit": lambda f: jax.jit(f),
    "scan": scanned,
    "checkpoint": lambda f: jax.checkpoint(lambda rate, x: jnp.sin(f(rate, jnp.sin(x)))),
    "checkpoint in scan": lambda f: scanned(jax.checkpoint(f)),
    "cond": lambda f: lambda rate, x: jax.lax.cond(jnp.sum(abs(x)) > 0, f, lambda rate, x: f(rate, x) + x, rate, x),
    "vmap over x": lambda f: lambda rate, x: jax.vmap(f, (None, -1), -1)(rate, jnp.stack([x, x / 2], -1)),
    "vmap over a field": lambda f: lambda rate, x: jax.vmap(f, (0, None), 1)(jnp.stack([rate, rate / 2, rate / 3]), x),
    "vmap nested": lambda f: (
        lambda rate, x: jax.vmap(jax.vmap(f, (None, 0)), (0, -1), 1)(
            jnp.stack([rate, rate / 2]), jnp.stack([jnp.stack([x, x / 2, x / 3])] * 2, -1)
        )
    ),
    "vmap of scan": lambda f: lambda rate, x: jax.vmap(scanned(f), (0, None))(jnp.stack([rate, rate / 2]), x),
    "scan of vmap": lambda f: scanned(lambda rate, x: jax.vmap(f, (None, 0))(rate, x[:, None])[:, 0]),
    "scan over operators": lambda f: (
        lambda rate, x: jax.lax.scan(lambda x, rate: (f(rate, x),) * 2, x, jnp.stack([rate, rate / 2]))
    ),
}
LOOPS = {
    "while_loop": lambda f: (
        lambda rate, x: jax.lax.while_loop(lambda s: s[0] < 3, lambda s: (s[0] + 1, f(rate, s[1])), (0, x))[1]
    ),
    "fori_loop": lambda f: lambda rate, x: jax.lax.fori_loop(0, jnp.int32(3), lambda _, x: f(rate, x), x),
}


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("around", AROUND)
def test_adjoint_code(around, inputs):
    pulled = lambda f: jax.grad(lambda *z: energy(AROUND[around](f)(*z)), (0, 1))(*inputs)  # noqa: E731
    found = pulled(lambda rate, x: AdjointCode(rate)(x))
    close(*jax.jit(lambda: (pulled(lambda rate, x: AdjointCode(rate)(x)), pulled(logistic)))(), 5)
    close(found, pulled(logistic), 5)


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
@pytest.mark.parametrize("around", AROUND | LOOPS)
def test_tangent_code(around, inputs):
    tangents = (like(inputs[0], 3), like(inputs[1], 4))
    pushed = lambda f: jax.jvp((AROUND | LOOPS)[around](f), inputs, tangents)  # noqa: E731
    found = pushed(lambda rate, x: TangentCode(rate)(x))
    close(*jax.jit(lambda: (pushed(lambda rate, x: TangentCode(rate)(x)), pushed(logistic)))(), 5)
    close(found, pushed(logistic), 5)


@pytest.mark.parametrize("inputs", INPUTS.values(), ids=INPUTS)
def test_whole_jacobians(inputs):
    rate, x = inputs
    options = {"holomorphic": inputs is COMPLEX}
    expected = jax.jacfwd(functools.partial(logistic, rate), **options)(x)
    close(jax.jacrev(AdjointCode(rate), **options)(x), expected)
    close(jax.jacfwd(TangentCode(rate), **options)(x), expected)
    close(jax.linearize(TangentCode(rate), x)[1](x), expected @ x)
    close(AdjointCode(rate).jacobian(x).H(x), expected.conj().T @ x)
    close(TangentCode(rate).jacobian(x)(x), expected @ x)


def test_batches_of_gradients_of_pytrees():
    x = {"a": normal((3,), np.complex64, 1), "b": normal((3,), np.complex64, 2)}
    xs = stack([like(x, 1), like(x, 2)])
    each = lambda f: jax.vmap(jax.grad(lambda x: energy(f(x))))(xs)  # noqa: E731
    some = lambda f: jax.vmap(jax.grad(lambda x: energy(f(x)[1:])), ({"a": 0, "b": None},))(  # noqa: E731
        {"a": xs["a"], "b": x["b"]}
    )
    close(each(TwoInputs()), each(two_inputs))
    close(jax.jit(lambda: some(TwoInputs()))(), some(two_inputs))


def test_in_algebra():
    """A product or sum has the modes that all of its parts have."""
    A, B = (lo.Matrix(jnp.asarray(normal((3, 3), np.float32, seed))) for seed in (1, 2))
    rate, x = REAL

    def expected(x):
        return A.matrix @ logistic(rate, B.matrix @ x) + x

    F, G = (A @ cls(rate) @ B + lo.Identity() for cls in (AdjointCode, TangentCode))
    close(jax.grad(lambda x: energy(F(x)))(x), jax.grad(lambda x: energy(expected(x)))(x), 5)
    close(F.jacobian(x).H(x), jax.vjp(expected, x)[1](x)[0], 5)
    close(jax.jvp(G, (x,), (x,)), jax.jvp(expected, (x,), (x,)), 5)
    with pytest.raises(NotImplementedError, match=r"AdjointCode has no jacobian_apply.*Define AdjointCode\.jac"):
        F.jacobian(x)(x)
    with pytest.raises(NotImplementedError, match=r"TangentCode has no jacobian_adjoint.*Define TangentCode\.jac"):
        G.jacobian(x).H(x)


@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_in_shard_map(axis_type):
    """A replicated rate and sharded inputs: its gradient is the sum over shards."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(axis_type,))
    rate, xs = REAL[0], jnp.asarray(0.5 + 0.2 * normal((8, 3), np.float32, 1))
    sharded = jax.device_put(xs, NamedSharding(mesh, P("i")))

    def total(f):
        local = lambda rate, xs: jax.lax.psum(jnp.sum(f(rate, xs) ** 2), "i")  # noqa: E731
        return jax.shard_map(local, mesh=mesh, in_specs=(P(), P("i")), out_specs=P())

    expected = lambda rate, xs: jnp.sum(logistic(rate, xs) ** 2)  # noqa: E731
    with jax.set_mesh(mesh):
        pulled = jax.jit(jax.grad(total(lambda rate, xs: AdjointCode(rate)(xs)), (0, 1)))(rate, sharded)
        pushed = jax.jit(lambda *z: jax.jvp(total(lambda rate, xs: TangentCode(rate)(xs)), z, z))(rate, sharded)
    close(jax.tree.map(np.asarray, pulled), jax.tree.map(np.asarray, jax.grad(expected, (0, 1))(rate, xs)), 5)
    close(jax.tree.map(np.asarray, pushed), jax.tree.map(np.asarray, jax.jvp(expected, (rate, xs), (rate, xs))), 5)


def test_one_inside_the_other():
    """A tangent code under forward mode, an adjoint code under reverse mode, in one program."""
    rate, x = REAL
    adjoint_of = lambda f: lambda x: jax.grad(lambda x: energy(f(x)))(x)  # noqa: E731
    pushed = lambda f, g: lambda x: adjoint_of(g)(jax.jvp(f, (x,), (x,))[1])  # noqa: E731
    found = jax.jit(pushed(TangentCode(rate), AdjointCode(rate)))(x)
    twin = functools.partial(logistic, rate)
    close(found, pushed(twin, twin)(x), 5)


# ---- the mode that is not there -------------------------------------------------------------------------------------

NO_TANGENT = r"AdjointCode has no jacobian_apply: forward mode and second .*Define AdjointCode\.jacobian_apply\."
NO_ADJOINT = r"TangentCode has no jacobian_adjoint: reverse-mode .*Define TangentCode\.jacobian_adjoint\."


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("around", AROUND)
def test_a_missing_tangent_code_is_named(around, jit):
    rate, x = REAL
    function = AROUND[around](lambda rate, x: AdjointCode(rate)(x))
    pushed = lambda x: jax.jvp(functools.partial(function, rate), (x,), (x,))  # noqa: E731
    with pytest.raises(NotImplementedError, match=NO_TANGENT):
        (jax.jit(pushed) if jit else pushed)(x)


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("around", AROUND)
def test_a_missing_adjoint_code_is_named(around, jit):
    rate, x = REAL
    function = AROUND[around](lambda rate, x: TangentCode(rate)(x))
    pulled = jax.grad(lambda x: energy(function(rate, x)))
    with pytest.raises(NotImplementedError, match=NO_ADJOINT):
        (jax.jit(pulled) if jit else pulled)(x)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda rate, x: jax.jacfwd(AdjointCode(rate))(x), NO_TANGENT),
        (lambda rate, x: jax.linearize(AdjointCode(rate), x)[1](x), NO_TANGENT),
        (lambda rate, x: AdjointCode(rate).jacobian(x)(x), "AdjointCode has no jacobian_apply.* Define AdjointCode"),
        (lambda rate, x: lo.dot_test(AdjointCode(rate).jacobian(x)), "AdjointCode has no jacobian_apply"),
        (
            lambda rate, x: jax.jvp(lambda rate: AdjointCode(rate)(x), (rate,), (rate,)),
            r"AdjointCode has no parameter_jvp: forward .*Define AdjointCode\.parameter_jvp",
        ),
        (lambda rate, x: jax.hessian(lambda x: energy(AdjointCode(rate)(x)))(x), "Define AdjointCode"),
        (lambda rate, x: jax.jacrev(TangentCode(rate))(x), NO_ADJOINT),
        (
            lambda rate, x: TangentCode(rate).jacobian(x).H(x),
            "TangentCode has no jacobian_adjoint.* Define TangentCode",
        ),
        (
            lambda rate, x: jax.grad(lambda rate: energy(TangentCode(rate)(x)))(rate),
            r"TangentCode has no parameter_vjp: reverse.*Define TangentCode\.parameter_vjp",
        ),
        (lambda rate, x: jax.vjp(TangentCode(rate), x)[1](x), NO_ADJOINT),
    ],
)
def test_what_is_missing_is_named(call, message):
    with pytest.raises(NotImplementedError, match=message):
        call(*REAL)


class Smooth(AdjointCode):
    """x -> exp(x), with the second derivative, but still no tangent code."""

    def apply(self, x):
        return np.exp(x)

    def jacobian_adjoint(self, x, dy):
        return np.exp(x) * dy

    def hessian_adjoint(self, x, dx, dy):
        return np.exp(x) * dx * dy


def test_second_derivatives_without_a_tangent_code():
    """Reverse over reverse works as far as the cotangent does not depend on x: then it is J that is asked for."""
    rate, x = REAL
    linear = lambda f: jax.jacrev(jax.grad(lambda x: jnp.sum(f(x))))(x)  # noqa: E731
    close(linear(Smooth(rate)), linear(jnp.exp))
    with pytest.raises(NotImplementedError, match=r"Smooth has no jacobian_apply: forward mode and second derivatives"):
        jax.jacrev(jax.grad(lambda x: energy(Smooth(rate)(x))))(x)


@pytest.mark.parametrize("cls", [AdjointCode, TangentCode])
def test_checks_take_what_is_there(cls):
    lo.check_operator(cls(REAL[0]), REAL[1])


class NeitherCode(Logistic):
    jacobian_apply = None
    jacobian_adjoint = None


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_an_operator_without_derivative_says_what_each_mode_needs(mode):
    rate, x = REAL
    close(NeitherCode(rate)(x), logistic(rate, x))
    lo.check_operator(NeitherCode(rate), x)
    message = (
        r"NeitherCode has no derivative in its input: .*\.jacobian_apply for forward .*\.jacobian_adjoint for reverse"
    )
    with pytest.raises(NotImplementedError, match=message):
        mode(NeitherCode(rate))(x)


class WrongTangentCode(TangentCode):
    def jacobian_apply(self, x, dx):
        return 2 * super().jacobian_apply(x, dx)


class WrongAdjointCode(AdjointCode):
    def jacobian_adjoint(self, x, dy):
        return 2 * super().jacobian_adjoint(x, dy)


def test_a_wrong_code_is_found():
    with pytest.raises(AssertionError, match="jacobian_apply is not the derivative of apply"):
        lo.check_operator(WrongTangentCode(REAL[0]), REAL[1])
    with pytest.raises(AssertionError, match="jacobian_adjoint is not that of the derivative"):
        lo.check_operator(WrongAdjointCode(REAL[0]), REAL[1])


# ---- one rule by hand beside a traced apply -----------------------------------------------------------------------------


class Softplus(lo.NonlinearOperator):
    """log(1 + exp(x)): what JAX derives from this overflows, which the rule by hand avoids."""

    @lo.traced
    def apply(self, x):
        return jnp.log(1 + jnp.exp(x))


class PushedByHand(Softplus):
    @lo.traced
    def jacobian_apply(self, x, dx):
        return jax.nn.sigmoid(x) * dx


class PulledByHand(Softplus):
    @lo.traced
    def jacobian_adjoint(self, x, dy):
        return jax.nn.sigmoid(x) * dy


FAR = jnp.array([-1.0, 0.5, 90.0, 200.0])
MODES = {
    "jvp": lambda f: jax.jvp(f, (FAR,), (jnp.ones(4),))[1],
    "grad": lambda f: jax.grad(lambda x: f(x).sum())(FAR),
    "jit": lambda f: jax.jit(jax.grad(lambda x: f(x).sum()))(FAR),
    "vmap": lambda f: jax.vmap(jax.grad(f))(FAR),
    "linearize": lambda f: jax.linearize(f, FAR)[1](jnp.ones(4)),
    "jacfwd": lambda f: jnp.diag(jax.jacfwd(f)(FAR)),
    "jacrev": lambda f: jnp.diag(jax.jacrev(f)(FAR)),
    "Jacobian": lambda f: f.jacobian(FAR)(jnp.ones(4)),
    "adjoint of the Jacobian": lambda f: f.jacobian(FAR).H(jnp.ones(4)),
}


@pytest.mark.parametrize("cls", [PushedByHand, PulledByHand])
@pytest.mark.parametrize("mode", MODES)
def test_the_traced_rule_of_one_mode_serves_both(cls, mode):
    close(MODES[mode](cls()), jax.nn.sigmoid(FAR))


@pytest.mark.parametrize("cls", [PushedByHand, PulledByHand])
def test_second_derivatives_come_from_the_rule_as_well(cls):
    slope = jax.nn.sigmoid(FAR) * jax.nn.sigmoid(-FAR)
    for outer in (jax.jacfwd, jax.jacrev):
        close(jnp.diag(outer(jax.grad(lambda x: cls()(x).sum()))(FAR)), slope)


class Mixed(lo.NonlinearOperator):
    """{"z": complex, "t": real, "n": integer} -> (z^2 t n, Re z), with one rule; JAX does not see another in apply."""

    @lo.traced
    def apply(self, x):
        return jax.lax.stop_gradient((x["z"] ** 2 * x["t"] * x["n"], x["z"].real))


class MixedPushed(Mixed):
    @lo.traced
    def jacobian_apply(self, x, dx):
        z, t = x["z"], x["t"]
        return (2 * z * t * dx["z"] + z**2 * dx["t"]) * x["n"], dx["z"].real


class MixedPulled(Mixed):
    @lo.traced
    def jacobian_adjoint(self, x, dy):
        z, t, n = jnp.conj(x["z"]), x["t"], x["n"]
        return {"z": 2 * z * t * n * dy[0] + dy[1], "t": z**2 * n * dy[0], "n": None}


@pytest.mark.parametrize("cls", [MixedPushed, MixedPulled])
@pytest.mark.parametrize("jit", [False, True])
def test_one_rule_for_pytrees_of_mixed_types(cls, jit):
    x = {"z": jnp.asarray(normal((3,), np.complex64, 1)), "t": jnp.asarray(normal((3,), np.float32, 2))}
    x["n"] = jnp.arange(3)
    twin = lambda x: (x["z"] ** 2 * x["t"] * x["n"], x["z"].real)  # noqa: E731
    step = tangent(x, 3)
    pull = lambda f: jax.grad(lambda x: energy(f(x)), allow_int=True)(x)  # noqa: E731
    push = lambda f: jax.jvp(f, (x,), (step,))[1]  # noqa: E731
    xs = stack([x, like(x, 4)])
    each = lambda f: jax.vmap(jax.grad(lambda x: energy(f(x)), allow_int=True))(xs)  # noqa: E731
    for what in (pull, push, each):
        close((jax.jit(lambda what=what: what(cls())) if jit else lambda what=what: what(cls()))(), what(twin))


class Scaled(lo.NonlinearOperator):
    """scale x^2, of which JAX is to know one rule only."""

    scale: jax.Array

    @lo.traced
    def apply(self, x):
        return jax.lax.stop_gradient(self.scale * x**2)


class ScaledPushed(Scaled):
    jacobian_apply = lo.traced(lambda self, x, dx: 2 * self.scale * x * dx)
    parameter_jvp = lo.traced(lambda self, x, dself: dself.scale * x**2)


class ScaledPulled(Scaled):
    jacobian_adjoint = lo.traced(lambda self, x, dy: 2 * self.scale * x * dy)
    parameter_vjp = lo.traced(lambda self, x, dy: {"scale": jnp.sum(x**2 * dy)})


@pytest.mark.parametrize("cls", [ScaledPushed, ScaledPulled])
@pytest.mark.parametrize("axis_type", [AxisType.Auto, AxisType.Explicit])
def test_one_rule_in_shard_map(cls, axis_type):
    """A replicated field and sharded inputs."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(axis_type,))
    scale, xs = jnp.float32(1.5), jnp.asarray(normal((8,), np.float32, 1))

    def total(f):
        local = lambda scale, x: jax.lax.psum(jnp.sum(f(scale, x) ** 2), "i")  # noqa: E731
        return jax.shard_map(local, mesh=mesh, in_specs=(P(), P("i")), out_specs=P())

    twin = lambda scale, x: jnp.sum((scale * x**2) ** 2)  # noqa: E731
    with jax.set_mesh(mesh):
        sharded = jax.device_put(xs, NamedSharding(mesh, P("i")))
        f = total(lambda scale, x: cls(scale)(x))
        pulled = jax.jit(jax.grad(f, (0, 1)))(scale, sharded)
        pushed = jax.jit(lambda *z: jax.jvp(f, z, z))(scale, sharded)
    numpy = lambda tree: jax.tree.map(np.asarray, tree)  # noqa: E731
    close(numpy(pulled), numpy(jax.grad(twin, (0, 1))(scale, xs)), 5)
    close(numpy(pushed), numpy(jax.jvp(twin, (scale, xs), (scale, xs))), 5)


class HostPushed(Softplus):
    def jacobian_apply(self, x, dx):
        return dx / (1 + np.exp(-x))


class HostPulled(Softplus):
    def jacobian_adjoint(self, x, dy):
        return dy / (1 + np.exp(-x))


@pytest.mark.parametrize("jit", [False, True])
def test_a_host_rule_of_one_mode_is_never_replaced_in_the_other(jit):
    wrap = jax.jit if jit else lambda f: f
    pushed = lambda f: wrap(lambda x: jax.jvp(f, (x,), (x,))[1])(FAR)  # noqa: E731
    pulled = lambda f: wrap(jax.grad(lambda x: f(x).sum()))(FAR)  # noqa: E731
    close(pushed(HostPushed()), jax.nn.sigmoid(FAR) * FAR)
    close(pulled(HostPulled()), jax.nn.sigmoid(FAR))
    with pytest.raises(
        NotImplementedError,
        match=r"HostPushed has no jacobian_adjoint: .*JAX transposes traced hooks only.*Define HostPushed\.jacobian_adj",
    ):
        pulled(HostPushed())
    with pytest.raises(
        NotImplementedError,
        match=r"HostPulled has no jacobian_apply: .*HostPulled\.jacobian_adjoint is not traced\. Define HostPulled\.jacobian_ap",
    ):
        pushed(HostPulled())


@pytest.mark.parametrize("cls", [PushedByHand, PulledByHand, HostPushed, HostPulled, MixedPushed])
def test_checks_know_operators_with_one_rule(cls):
    x = {"z": jnp.ones(3, complex), "t": jnp.ones(3), "n": jnp.arange(3)} if cls is MixedPushed else FAR[:2]
    lo.check_operator(cls(), x)


class TracedNeither(Softplus):
    jacobian_apply = None
    jacobian_adjoint = None


@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_a_rule_that_is_none_on_purpose_is_not_derived(mode):
    with pytest.raises(NotImplementedError, match=r"TracedNeither has no derivative in its input"):
        mode(TracedNeither())(FAR)


# ---- None is a zero cotangent ---------------------------------------------------------------------------------------------


class First(lo.NonlinearOperator):
    """{"a", "b": {"c", "d"}} -> a^2: nothing depends on b. ``answer`` says how the adjoint says so."""

    answer: str = lo.static(default="leaves")

    def apply(self, x):
        return x["a"] ** 2

    def jacobian_apply(self, x, dx):
        return 2 * x["a"] * dx["a"]

    def jacobian_adjoint(self, x, dy):
        a = 2 * np.conj(x["a"]) * dy if isinstance(dy, np.ndarray) else 2 * jnp.conj(x["a"]) * dy
        return {
            "leaves": {"a": a, "b": {"c": None, "d": None}},
            "subtree": {"a": a, "b": None},
            "nothing": None,
        }[self.answer]

    def infer_shape(self, x):
        return x["a"]


class TracedFirst(First):
    apply = lo.traced(lambda self, x: x["a"] ** 2)
    jacobian_apply = lo.traced(lambda self, x, dx: 2 * x["a"] * dx["a"])
    jacobian_adjoint = lo.traced(lambda self, x, dy: First.jacobian_adjoint(self, x, dy))


class BatchedFirst(First, batched=True):
    pass


@pytest.mark.parametrize("cls", [First, TracedFirst, BatchedFirst])
@pytest.mark.parametrize("answer", ["leaves", "subtree", "nothing"])
def test_none_from_a_reverse_hook_is_zero(cls, answer):
    x = {"a": normal((3,), np.complex64, 1), "b": {"c": normal((2,), np.float32, 2), "d": normal((), np.float32, 3)}}
    x, xs = like(x, 1), stack([like(x, 1), like(x, 2)])
    twin = (lambda x: 0 * x["a"]) if answer == "nothing" else (lambda x: x["a"] ** 2)
    gradient = lambda f: jax.grad(lambda x: jnp.sum(f(x)).real)  # noqa: E731
    close(gradient(cls(answer))(x), gradient(twin)(x))
    close(jax.jit(gradient(cls(answer)))(x), gradient(twin)(x))
    close(jax.jit(jax.vmap(gradient(cls(answer))))(xs), jax.vmap(gradient(twin))(xs))


class Sum(lo.LinearOperator):
    """(a, b) -> a; b is not looked at."""

    def apply(self, x):
        return x[0]

    def adjoint(self, y):
        return y, None

    def infer_shape(self, x):
        return x[0]

    def infer_adjoint_shape(self, y):
        return y, y


class TracedSum(Sum):
    apply, adjoint = lo.traced(lambda self, x: x[0]), lo.traced(lambda self, y: (y, None))


@pytest.mark.parametrize("cls", [Sum, TracedSum])
def test_none_from_a_linear_adjoint_is_zero(cls):
    y = jnp.asarray(normal((3,), np.float32, 1))
    close(cls().H(y), (y, jnp.zeros_like(y)))
    close(jax.grad(lambda x: energy(cls()(x)))((y, y)), (jax.grad(energy)(y), jnp.zeros_like(y)))
    lo.check_operator(cls(), (y, y))


def test_none_stands_for_arrays_only_where_there_are_some():
    class Odd(First):
        def jacobian_adjoint(self, x, dy):
            return {"a": None}

    with pytest.raises(TypeError, match=r"Odd\.jacobian_adjoint returned .*expected the structure"):
        jax.grad(lambda x: jnp.sum(Odd()(x)))({"a": jnp.ones(3), "b": {"c": jnp.ones(2), "d": jnp.ones(())}})
