"""``linearize``: one simulation for the value and all derivatives at a point. Every count is that of the hooks themselves."""

import collections
import dataclasses
import pickle

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, like, stack

import linops_jax as lo
from linops_jax._engine.batch import Batch
from linops_jax._engine.promises import Promises

pytestmark = pytest.mark.versions

calls = collections.Counter()


@pytest.fixture(autouse=True)
def _start_from_zero():
    calls.clear()


def simulations(function, *args):
    """How often a model was simulated, and what came out."""
    calls.clear()
    result = jax.block_until_ready(function(*args))
    return calls["apply"] + calls["linearize"], result


def wave(op, x):
    return op.weights * jnp.sin(op.matrix @ x)


class Wave(lo.NonlinearOperator):
    """w sin(B x). The state holds what its derivatives need, and a number that nobody differentiates."""

    matrix: jax.Array
    weights: jax.Array

    def infer_shape(self, x):
        return S(self.matrix.shape[:1], jnp.result_type(self.matrix.dtype, self.weights.dtype, x.dtype))

    def infer_state_shape(self, x):
        kind = jnp.result_type(self.matrix.dtype, x.dtype)
        return {"sin": S(self.matrix.shape[:1], kind), "cos": S(self.matrix.shape[:1], kind), "steps": S((), np.int32)}

    def apply(self, x):
        calls["apply"] += 1
        return self.weights * np.sin(self.matrix @ x)

    def linearize(self, x):
        calls["linearize"] += 1
        u = self.matrix @ x
        return self.weights * np.sin(u), {"sin": np.sin(u), "cos": np.cos(u), "steps": np.int32(7)}

    def jacobian_apply(self, x, dx, *, state):
        calls["jacobian_apply"] += 1
        assert state["steps"] == 7
        return self.weights * state["cos"] * (self.matrix @ dx)

    def jacobian_adjoint(self, x, dy, *, state):
        calls["jacobian_adjoint"] += 1
        return self.matrix.conj().T @ (np.conj(self.weights * state["cos"]) * dy)

    def hessian_apply(self, x, dx1, dx2, *, state):
        return -self.weights * state["sin"] * (self.matrix @ dx1) * (self.matrix @ dx2)

    def hessian_adjoint(self, x, dx, dy, *, state):
        return self.matrix.conj().T @ (np.conj(-self.weights * state["sin"] * (self.matrix @ dx)) * dy)

    def parameter_jvp(self, x, dself, *, state):
        return dself.weights * state["sin"] + self.weights * state["cos"] * (dself.matrix @ x)

    def parameter_vjp(self, x, dy, *, state):
        g = np.conj(self.weights * state["cos"]) * dy
        return {"weights": np.conj(state["sin"]) * dy, "matrix": np.outer(g, np.conj(x))}


class WaveInto(Wave):
    """The same with ``out``."""

    def linearize(self, x, *, out):
        y, state = out
        (y[...], found) = super().linearize(x)
        for name, value in found.items():
            state[name][...] = value

    def jacobian_apply(self, x, dx, *, out, state):
        out[...] = super().jacobian_apply(x, dx, state=state)

    def jacobian_adjoint(self, x, dy, *, state, out):
        out[...] = super().jacobian_adjoint(x, dy, state=state)


class OptionalWithout(Wave):
    """The state is optional for second derivatives and those in the fields."""

    def hessian_apply(self, x, dx1, dx2):
        return -self.weights * np.sin(self.matrix @ x) * (self.matrix @ dx1) * (self.matrix @ dx2)

    def hessian_adjoint(self, x, dx, dy):
        return self.matrix.conj().T @ (np.conj(-self.weights * np.sin(self.matrix @ x) * (self.matrix @ dx)) * dy)

    def parameter_jvp(self, x, dself):
        u = self.matrix @ x
        return dself.weights * np.sin(u) + self.weights * np.cos(u) * (dself.matrix @ x)

    def parameter_vjp(self, x, dy):
        u = self.matrix @ x
        return {
            "weights": np.conj(np.sin(u)) * dy,
            "matrix": np.outer(np.conj(self.weights * np.cos(u)) * dy, np.conj(x)),
        }


class TracedWave(Wave):
    """All hooks are JAX code, which is counted when it runs."""

    @lo.traced
    def apply(self, x):
        jax.debug.callback(lambda: calls.update(apply=1))
        return wave(self, x)

    @lo.traced
    def linearize(self, x):
        jax.debug.callback(lambda: calls.update(linearize=1))
        u = self.matrix @ x
        return self.weights * jnp.sin(u), {"sin": jnp.sin(u), "cos": jnp.cos(u), "steps": jnp.int32(7)}

    @lo.traced
    def jacobian_apply(self, x, dx, *, state):
        return self.weights * state["cos"] * (self.matrix @ dx)

    @lo.traced
    def jacobian_adjoint(self, x, dy, *, state):
        return self.matrix.conj().T @ ((self.weights * state["cos"]).conj() * dy)

    @lo.traced
    def hessian_apply(self, x, dx1, dx2, *, state):
        return -self.weights * state["sin"] * (self.matrix @ dx1) * (self.matrix @ dx2)

    @lo.traced
    def hessian_adjoint(self, x, dx, dy, *, state):
        return self.matrix.conj().T @ ((-self.weights * state["sin"] * (self.matrix @ dx)).conj() * dy)

    @lo.traced
    def parameter_jvp(self, x, dself, *, state):
        return dself.weights * state["sin"] + self.weights * state["cos"] * (dself.matrix @ x)

    @lo.traced
    def parameter_vjp(self, x, dy, *, state):
        g = (self.weights * state["cos"]).conj() * dy
        return {"weights": state["sin"].conj() * dy, "matrix": jnp.outer(g, x.conj())}


class ReverseOnly(Wave):
    jacobian_apply = None


KINDS = {"host": Wave, "out": WaveInto, "traced": TracedWave, "optional": OptionalWithout}


def operator(cls, dtype=np.float32):
    return cls(like(np.zeros((4, 3), dtype), 1), like(np.zeros(4, dtype), 2))


def point(dtype=np.float32, seed=3):
    return like(np.zeros(3, dtype), seed)


# ---- one simulation per point -----------------------------------------------------------------------------------------


ASKED = {
    "value": lambda f, x: f(x),
    "value, vmapped": lambda f, x: jax.vmap(f)(x[None]),
    "grad": lambda f, x: jax.grad(lambda x: energy(f(x)))(x),
    "value and grad": lambda f, x: jax.value_and_grad(lambda x: energy(f(x)))(x),
    "vjp": lambda f, x: (lambda y, pull: (y, pull(y)))(*jax.vjp(f, x)),
    "several pullbacks": lambda f, x: (lambda y, pull: [pull(k * y) for k in range(3)])(*jax.vjp(f, x)),
    "jvp": lambda f, x: jax.jvp(f, (x,), (2 * x,)),
    "linearize and 5 products": lambda f, x: (lambda y, push: [push(k * x) for k in range(5)])(*jax.linearize(f, x)),
    "jacfwd": lambda f, x: jax.jacfwd(f)(x),
    "jacrev": lambda f, x: jax.jacrev(f)(x),
    "vmap of grad": lambda f, x: jax.vmap(jax.grad(lambda x: energy(f(x))))(x[None]),
    "grad of jit": lambda f, x: jax.grad(lambda x: energy(jax.jit(f)(x)))(x),
    "scan": lambda f, x: jax.lax.scan(lambda total, x: (total + jax.grad(lambda x: energy(f(x)))(x), None), 0 * x, x[None])[0],
    "cond": lambda f, x: jax.lax.cond(True, jax.grad(lambda x: energy(f(x))), lambda x: x, x),
}  # fmt: skip


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("kind", KINDS)
def test_one_simulation(kind, asked, compiled):
    op, x = operator(KINDS[kind]), point()
    run = lambda f: (lambda x: ASKED[asked](f, x)) if not compiled else jax.jit(lambda x: ASKED[asked](f, x))  # noqa: E731
    _, found = simulations(run(op), x)
    close(found, run(lambda x: wave(op, x))(x), 10)
    jax.effects_barrier()
    assert calls["apply"] + calls["linearize"] == 1
    assert (calls["apply"] == 1) == asked.startswith("value") * ("grad" not in asked)


@pytest.mark.parametrize("asked", ["value and grad", "jvp", "jacrev", "vmap of grad"])
def test_complex(asked):
    op, x = operator(Wave, np.complex64), point(np.complex64)
    holomorphic = {"jacrev": lambda f, x: jax.jacrev(f, holomorphic=True)(x)}
    run = holomorphic.get(asked, ASKED[asked])
    count, found = simulations(lambda x: run(op, x), x)
    close(found, run(lambda x: wave(op, x), x), 10)
    assert count == 1


@pytest.mark.parametrize("kind", KINDS)
def test_fields(kind):
    op, x = operator(KINDS[kind]), point()
    objective = lambda f: lambda op, x: energy(f(op, x))  # noqa: E731
    for run in (lambda f: jax.value_and_grad(f, (0, 1)), lambda f: jax.jit(jax.value_and_grad(f, (0, 1)))):
        _, (value, gradient) = simulations(run(objective(lambda op, x: op(x))), op, x)
        jax.effects_barrier()
        assert calls["apply"] + calls["linearize"] == 1
        close((value, gradient), run(objective(wave))(op, x), 10)
    push = lambda f: jax.jvp(f, (op, x), (like(op, 5), like(x, 6)))  # noqa: E731
    close(push(lambda op, x: op(x)), push(wave), 10)


ORDERS = {
    "forward over forward": lambda f, x, dx: jax.jvp(lambda x: jax.jvp(f, (x,), (dx,))[1], (x,), (dx[::-1],)),
    "forward over reverse": lambda f, x, dx: jax.jvp(jax.grad(lambda x: energy(f(x))), (x,), (dx,)),
    "reverse over forward": lambda f, x, dx: jax.grad(lambda x: energy(jax.jvp(f, (x,), (dx,))[1]))(x),
    "reverse over reverse": lambda f, x, dx: jax.grad(lambda x: energy(jax.grad(lambda x: energy(f(x)))(x)))(x),
}


@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("kind", KINDS)
def test_second_derivatives(kind, order, compiled):
    op, x = operator(KINDS[kind]), point()
    run = lambda f: lambda x: ORDERS[order](f, x, like(x, 9))  # noqa: E731
    found, twin = (jax.jit(run(f)) if compiled else run(f) for f in (op, lambda x: wave(op, x)))
    close(found(x), twin(x), 30)


@pytest.mark.parametrize("kind", KINDS)
def test_reverse_over_reverse_in_scan(kind):
    op, x = operator(KINDS[kind]), point()
    square = lambda f: lambda x: f(x)[:3]  # noqa: E731

    def run(f):
        loop = lambda x: energy(jax.lax.scan(lambda x, _: (square(f)(x), None), x, None, length=3)[0])  # noqa: E731
        return jax.jit(jax.grad(lambda x: energy(jax.grad(loop)(x))))(x)

    close(run(op), run(lambda x: wave(op, x)), 300)


def test_traced_without_hessian_hooks():
    """The derivative of a Jacobian product in x is the total one: the state changes with x, too."""

    class NoHessian(lo.NonlinearOperator):
        matrix: jax.Array
        weights: jax.Array

        apply, linearize = TracedWave.apply, TracedWave.linearize
        jacobian_apply, jacobian_adjoint = TracedWave.jacobian_apply, TracedWave.jacobian_adjoint
        infer_state_shape = Wave.infer_state_shape

    op, x = operator(NoHessian), point()
    for order in ORDERS.values():
        close(order(op, x, like(x, 9)), order(lambda x: wave(op, x), x, like(x, 9)), 30)


# ---- where it stands --------------------------------------------------------------------------------------------------


def test_composites_and_vmap():
    op, x = operator(Wave), like(np.zeros((5, 3), np.float32), 3)
    composite = 2 * op @ lo.Diagonal(jnp.arange(1.0, 4.0)) + op
    twin = lambda x: 2 * wave(op, x * jnp.arange(1.0, 4.0)) + wave(op, x)  # noqa: E731
    count, found = simulations(jax.jit(jax.vmap(jax.value_and_grad(lambda x: energy(composite(x))))), x)
    close(found, jax.vmap(jax.value_and_grad(lambda x: energy(twin(x))))(x), 10)
    assert count == 10


def test_vmap_over_fields():
    ops, x = (
        stack([operator(Wave), jax.tree.map(lambda leaf: 2 * leaf, operator(Wave))]),
        point(),
    )
    run = lambda f: jax.jit(jax.vmap(jax.grad(lambda op, x: energy(f(op, x)), (0, 1)), (0, None)))(ops, x)  # noqa: E731
    close(run(lambda op, x: op(x)), run(wave), 10)


class Batched(Wave, batched=True):
    """Batch axes lead everywhere, in the state, too."""

    def apply(self, x):
        calls["apply"] += 1
        return self.weights * np.sin(x @ self.matrix.T)

    def linearize(self, x):
        calls["linearize"] += 1
        u = x @ self.matrix.T
        steps = np.full(u.shape[:-1], 7, np.int32)
        return self.weights * np.sin(u), {"sin": np.sin(u), "cos": np.cos(u), "steps": steps}

    def jacobian_apply(self, x, dx, *, state):
        return self.weights * state["cos"] * (dx @ self.matrix.T)

    def jacobian_adjoint(self, x, dy, *, state):
        assert state["steps"].ndim == state["cos"].ndim - 1
        return (np.conj(self.weights * state["cos"]) * dy) @ self.matrix.conj()


def test_batched_hooks_simulate_a_batch_at_once():
    op, xs = operator(Batched), like(np.zeros((5, 3), np.float32), 3)
    count, found = simulations(jax.jit(jax.vmap(jax.value_and_grad(lambda x: energy(op(x))))), xs)
    close(found, jax.vmap(jax.value_and_grad(lambda x: energy(wave(op, x))))(xs), 10)
    assert count == 1
    jacobians = lambda f: jax.jit(jax.vmap(jax.jacrev(f)))(xs)  # noqa: E731
    close(jacobians(op), jacobians(lambda x: wave(op, x)), 10)


def test_checkpoint_simulates_again():
    op, x = operator(Wave), point()
    twice = lambda f: jax.grad(jax.checkpoint(lambda x: energy(f(x))))  # noqa: E731
    _, found = simulations(twice(op), x)
    close(found, twice(lambda x: wave(op, x))(x), 10)
    assert (calls["apply"], calls["linearize"]) == (1, 1)


def test_custom_root_and_while_call_apply_only():
    op, x = operator(Wave), point()
    loop = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: op(x)[:3], x))
    count, _ = simulations(loop, x)
    assert calls["linearize"] == 0
    assert count == 3


def test_without_jacobian_apply():
    op, x = operator(ReverseOnly), point()
    count, found = simulations(jax.value_and_grad(lambda x: energy(op(x))), x)
    assert count == 1
    close(found, jax.value_and_grad(lambda x: energy(wave(op, x)))(x), 10)
    with pytest.raises(NotImplementedError, match=r"ReverseOnly has no derivative in its input|has no jacobian_apply"):
        jax.jvp(op, (x,), (x,))


def test_nobody_reads_the_state():
    """A compiled program in which only the value is used simulates with ``apply``."""
    op, x = operator(Wave), point()
    _, found = simulations(jax.jit(lambda x: jax.jvp(op, (x,), (x,))[0]), x)
    close(found, wave(op, x))
    assert (calls["apply"], calls["linearize"]) == (1, 0)


def native_linearize(x, y, cube, square):
    for i in range(x.size):
        square[i] = 3 * x[i] * x[i]
        cube[i] = x[i]
        y[i] = x[i] * x[i] * x[i]


def native_apply(x, y):
    for i in range(x.size):
        y[i] = x[i] * x[i] * x[i]


def native_product(x, cube, square, dx, dy):
    """Native code is given the state behind the point."""
    for i in range(x.size):
        dy[i] = square[i] * dx[i] + 0 * cube[i]


def cube_operator(**kinds):
    """x^3, whose state is (x, 3 x^2); ``kinds`` replace native hooks."""
    numba = pytest.importorskip("numba")
    native = {
        "apply": lo.native(numba=numba.njit(native_apply)),
        "linearize": lo.native(numba=numba.njit(native_linearize)),
        "jacobian_apply": lo.native(numba=numba.njit(native_product)),
        "jacobian_adjoint": lo.native(numba=numba.njit(native_product)),
    }
    body = {"infer_shape": lambda self, x: x, "infer_state_shape": lambda self, x: (x, x)}
    return type(lo.NonlinearOperator)("Cube", (lo.NonlinearOperator,), {**body, **native, **kinds})()


def counted_linearize(self, x):
    calls["linearize"] += 1
    return x**3, (x, 3 * x**2)


@lo.traced
def traced_linearize(self, x):
    return x**3, (x, 3 * x**2)


@lo.traced
def traced_product(self, x, dx, *, state):
    return state[1] * dx


@pytest.mark.parametrize(
    "kinds",
    [
        {},
        {"linearize": counted_linearize},
        {"linearize": lo.per_platform(cpu=counted_linearize, default=traced_linearize)},
        {"jacobian_apply": traced_product, "jacobian_adjoint": traced_product},
        {"jacobian_adjoint": lo.per_platform(cpu=lambda self, x, dy, *, state: state[1] * dy, default=traced_product)},
    ],
    ids=["native", "host among native", "per platform", "traced among native", "product per platform"],
)
def test_native_and_mixed_kinds(kinds):
    op, x = cube_operator(**kinds), point()
    twin = lambda x: x**3  # noqa: E731
    for run in (
        lambda f: jax.value_and_grad(lambda x: energy(f(x)))(x),
        lambda f: jax.jit(jax.jacfwd(f))(x),
        lambda f: jax.jit(jax.vmap(jax.grad(lambda x: energy(f(x)))))(jnp.stack([x, 2 * x])),
    ):
        close(run(op), run(twin), 10)


def test_shard_map():
    """With an operand that all devices have, and with one of which each has its part."""
    devices = jax.devices()
    if len(devices) < 2:
        pytest.skip("needs two devices")
    mesh = jax.make_mesh((2,), ("i",), devices=devices[:2], axis_types=(jax.sharding.AxisType.Auto,))
    op, xs = operator(Wave), like(np.zeros((2, 3), np.float32), 3)
    for spec in (jax.P("i"), jax.P()):
        local = lambda f: lambda xs: jax.vmap(jax.grad(lambda x: energy(f(x))))(xs)  # noqa: E731
        run = lambda f: jax.jit(jax.shard_map(local(f), mesh=mesh, in_specs=spec, out_specs=spec))(xs)  # noqa: B023, E731
        close(run(op), local(lambda x: wave(op, x))(xs), 10)


def test_closed_over_arrays():
    """A traced hook may close over an array; how a state depends on one that is differentiated is an error."""

    def closing(scale):
        class Closing(lo.NonlinearOperator):
            @lo.traced
            def apply(self, x):
                return scale * x**2

            @lo.traced
            def linearize(self, x):
                return scale * x**2, 2 * scale * x

            def infer_state_shape(self, x):
                return x

            @lo.traced
            def jacobian_apply(self, x, dx, *, state):
                return state * dx

        return Closing()

    x = jnp.array([1.0, 2.0])
    gradient = lambda scale: jax.grad(lambda x: jnp.sum(closing(scale)(x)))(x)  # noqa: E731
    close(jax.jit(gradient)(3.0), 6 * x)
    close(jax.grad(lambda scale: jnp.sum(closing(scale)(x)))(3.0), jnp.sum(x**2))
    with pytest.raises(
        NotImplementedError, match=r"Closing\.linearize closes over an array that is being differentiated"
    ):
        jax.grad(lambda scale: jnp.sum(closing(scale).jacobian(x)(x)))(3.0)


class HostStateTracedProducts(lo.NonlinearOperator):
    """How the state changes with the field is known to nobody."""

    w: jax.Array

    def infer_shape(self, x):
        return x

    infer_state_shape = infer_shape

    def apply(self, x):
        return self.w * np.sin(x)

    def linearize(self, x):
        return self.w * np.sin(x), np.cos(x)

    @lo.traced
    def jacobian_apply(self, x, dx, *, state):
        return self.w * state * dx


@pytest.mark.parametrize("run", [jax.grad, lambda f: jax.jit(jax.grad(f)), lambda f: lambda w: jax.jvp(f, (w,), (w,))])
def test_products_that_cannot_be_differentiated_in_fields(run):
    x = jnp.ones(2)
    product = lambda w: jnp.sum(jax.jvp(HostStateTracedProducts(w), (x,), (x,))[1])  # noqa: E731
    with pytest.raises(
        NotImplementedError,
        match=r"its state comes from HostStateTracedProducts\.linearize, which JAX cannot|Products\.w is being differentiated",
    ):
        run(product)(x)


class OneTracedProduct(lo.NonlinearOperator):
    """Only the state says how the product changes with the field and with the point."""

    w: jax.Array

    @lo.traced
    def apply(self, x):
        return self.w * jnp.sin(x)

    @lo.traced
    def linearize(self, x):
        return self.w * jnp.sin(x), self.w * jnp.cos(x)

    def infer_state_shape(self, x):
        return x

    @lo.traced
    def jacobian_apply(self, x, dx, *, state):
        return state * dx


def test_a_product_alone_has_the_total_derivative():
    w, x, dx = jnp.array([2.0, 3.0]), jnp.array([0.3, 0.7]), jnp.array([1.0, 2.0])
    for function, twin in (
        (lambda w, x: OneTracedProduct(w).jacobian(x)(dx), lambda w, x: w * jnp.cos(x) * dx),
        (lambda w, x: OneTracedProduct(w).jacobian(x).H(dx), lambda w, x: w * jnp.cos(x) * dx),
        (
            lambda w, x: jax.grad(lambda x: energy(OneTracedProduct(w)(x)))(x),
            lambda w, x: jax.grad(lambda x: energy(w * jnp.sin(x)))(x),
        ),
    ):
        for run in (lambda f: jax.jacrev(f, (0, 1))(w, x), lambda f: jax.jacfwd(f, (0, 1))(w, x)):
            close(run(function), run(twin), 10)


def test_one_traced_mode_is_enough_beside_a_host_apply():
    """JAX transposes it, so that the class is not abstract."""
    op, x = HostStateTracedProducts(jnp.arange(1.0, 3.0)), jnp.array([0.3, 0.7])
    close(jax.jacrev(op)(x), jnp.diag(op.w * jnp.cos(x)))


def test_threads():
    from concurrent.futures import ThreadPoolExecutor

    op = operator(Wave)
    gradient = jax.jit(jax.value_and_grad(lambda x: energy(op(x))))
    points = [point(seed=seed) for seed in range(16)]
    expected = [gradient(x) for x in points]
    with ThreadPoolExecutor(4) as pool:
        for found, alone in zip(pool.map(gradient, points), expected, strict=True):
            close(found, alone)


# ---- F.jacobian, F.value_and_jacobian ---------------------------------------------------------------------------------


def test_jacobian_simulates_once():
    op, x = operator(Wave), point()

    def products(x):
        J = op.jacobian(x)
        return [J(k * x) for k in range(3)], [J.H(wave(op, k * x)) for k in range(3)]

    count, found = simulations(products, x)
    matrix = jax.jacfwd(lambda x: wave(op, x))(x)
    close(found, ([matrix @ (k * x) for k in range(3)], [matrix.T @ wave(op, k * x) for k in range(3)]), 10)
    assert count == 1
    count, _ = simulations(jax.jit(products), x)
    assert count == 1


def test_value_and_jacobian():
    op, x = operator(Wave), point()
    for run in (op.value_and_jacobian, jax.jit(op.value_and_jacobian)):
        count, (y, J) = simulations(run, x)
        assert count == 1
        close(y, wave(op, x))
        close(lo.todense(J), jax.jacfwd(lambda x: wave(op, x))(x), 10)
    composite = 2 * op @ lo.Diagonal(jnp.arange(1.0, 4.0))
    count, (y, J) = simulations(composite.value_and_jacobian, x)
    assert count == 1
    twin = lambda x: 2 * wave(op, x * jnp.arange(1.0, 4.0))  # noqa: E731
    close((y, lo.todense(J)), (twin(x), jax.jacfwd(twin)(x)), 10)


def test_value_and_jacobian_of_a_linear_operator():
    A, x = lo.Diagonal(jnp.arange(1.0, 4.0)), point()
    y, J = A.value_and_jacobian(x)
    close((y, J(x)), (A.d * x, A.d * x))
    assert J.domain == S((3,), np.float32)


class Head(lo.LinearOperator):
    """The first three numbers."""

    @lo.traced
    def apply(self, x):
        return x[:3]

    def infer_adjoint_shape(self, y):
        return S((4,), y.dtype)


def wave_of(op):
    return lambda x: wave(op, x)


def composites(op):
    """Operators around one that remembers, their twins, an input, and how many points there are to simulate at."""
    f, g, x = wave_of(op), lo.Diagonal(jnp.arange(1.0, 4.0)), point()
    times = jnp.arange(1.0, 4.0)
    head = Head()
    tuple_in = lambda h: lambda x: h(x[0], x[1])  # noqa: E731
    return {
        "sum": (op + 2 * op @ g, lambda x: f(x) + 2 * f(times * x), x, 2),
        "scaled": (-3 * op, lambda x: -3 * f(x), x, 1),
        "chain": (op @ head @ op, lambda x: f(f(x)[:3]), x, 2),
        "power": ((head @ op) ** 3, lambda x: f(f(f(x)[:3])[:3])[:3], x, 3),
        "domain": (op.with_domain(S((3,), np.float32)), f, x, 1),
        "vstack": (lo.vstack([op, 2 * op]), lambda x: [f(x), 2 * f(x)], x, 2),
        "hstack": (lo.hstack((op, op)), tuple_in(lambda x, z: f(x) + f(z)), (x, 2 * x), 2),
        "block_diag": (lo.block_diag((op, g)), tuple_in(lambda x, z: (f(x), times * z)), (x, 2 * x), 1),
        "block": (
            lo.block(((op, None), (op, op))),
            tuple_in(lambda x, z: (f(x), f(x) + f(z))),
            (x, 2 * x),
            3,
        ),
        "freeze": (
            lo.freeze(lo.hstack({"a": op, "b": op}), {"a": x}),
            lambda z: f(x) + f(z["b"]),
            {"b": 2 * x},
            2,
        ),
    }


@pytest.mark.parametrize("name", list(composites(operator(Wave))))
def test_value_and_jacobian_of_composites(name):
    """Each part is simulated once at each point; the Jacobian alone costs no more, and no value that nobody asked for."""
    op, twin, x, points = composites(operator(Wave))[name]
    count, (y, J) = simulations(op.value_and_jacobian, x)
    assert count == points
    close(y, twin(x), 30)
    dx = jax.tree.map(lambda leaf: leaf[::-1], x)
    close(J(dx), jax.jvp(twin, (x,), (dx,))[1], 30)
    count, again = simulations(op.jacobian, x)
    assert count == points
    close(again(dx), J(dx))


def test_a_jacobian_travels():
    op, x = operator(Wave), point()
    J, dx = op.jacobian(x), point(seed=8)
    expected = J(dx)
    close(jax.jit(lambda J, dx: J(dx))(J, dx), expected)
    assert simulations(lambda: J(dx))[0] == 0
    close(pickle.loads(pickle.dumps(J))(dx), expected)
    close(jax.lax.scan(lambda J, _: (J, J(dx)), J, None, length=2)[1][1], expected)
    close(
        jax.vmap(op.jacobian)(x[None])(dx[None]) if False else jax.vmap(lambda x: op.jacobian(x)(dx))(x[None])[0],
        expected,
    )
    moved = dataclasses.replace(J, x=2 * x)
    close(moved(dx), op.jacobian(2 * x)(dx))
    close(
        jax.grad(lambda x: energy(op.jacobian(x)(dx)))(x),
        jax.grad(lambda x: energy(jax.jvp(lambda x: wave(op, x), (x,), (dx,))[1]))(x),
        10,
    )


class Implicit(lo.NonlinearOperator):
    """u with 2 u + u^3 = x, whose state is the matrix of the equation: not every state is one."""

    def infer_shape(self, x):
        return x

    def infer_state_shape(self, x):
        return S((3, 3), x.dtype)

    def apply(self, x):
        calls["apply"] += 1
        return self.solution(x)

    def linearize(self, x):
        calls["linearize"] += 1
        u = self.solution(x)
        return u, self.slope(u)

    def solution(self, x):
        u = np.zeros_like(x)
        for _ in range(50):
            u = u - np.linalg.solve(self.slope(u), 2 * u + u**3 - x)
        return u

    def slope(self, u):
        return 2 * np.eye(3, dtype=u.dtype) + np.diag(3 * u**2)

    def jacobian_apply(self, x, dx, *, state):
        return np.linalg.solve(state, dx)

    def jacobian_adjoint(self, x, dy, *, state):
        return np.linalg.solve(state.T, dy)


@pytest.mark.parametrize("solver", ["levenberg_marquardt", "gauss_newton", "dogleg"])
def test_solve_asks_for_products_where_it_has_linearized_only(solver, monkeypatch):
    op, x = Implicit(), jnp.array([1.0, 2.0, 0.5])
    y = op(x)
    for few in (0, 32):
        monkeypatch.setattr("linops_jax.solvers._linear_model.FEW", few)
        solve = lambda x0: lo.solve(op, y, x0=x0, solver=solver, rtol=1e-5)  # noqa: E731
        count, solution = simulations(solve, 1.1 * x)
        np.testing.assert_allclose(solution.value, x, rtol=1e-3)
        assert (count, calls["apply"]) == (solution.stats.simulations, 0)
        assert solution.stats.simulations == solution.stats.steps
        np.testing.assert_allclose(jax.vmap(solve)(jnp.stack([1.1 * x, x])).value[0], solution.value, rtol=1e-3)


# ---- mistakes ---------------------------------------------------------------------------------------------------------


def declare(**hooks):
    """A class with the hooks of Wave, some of which are replaced or (None) left out."""
    names = ["infer_shape", "apply", "jacobian_apply", "jacobian_adjoint", "linearize", "infer_state_shape"]
    body = {name: vars(Wave)[name] for name in names} | hooks
    body = {name: value for name, value in body.items() if value is not ...}
    body["__annotations__"] = {"matrix": jax.Array, "weights": jax.Array}
    return type(lo.NonlinearOperator)("Model", (lo.NonlinearOperator,), body)


def without_state(self, x, dx):
    return dx


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        ({"infer_state_shape": ...}, r"Model\.linearize needs Model\.infer_state_shape"),
        ({"linearize": ...}, r"Model\.jacobian_apply takes state, but Model has no linearize"),
        (
            {"linearize": ..., "infer_state_shape": ...},
            r"Model\.jacobian_apply takes state, but Model has no linearize",
        ),
        ({"jacobian_apply": without_state}, r"Model\.jacobian_apply must take a keyword-only state"),
        ({"jacobian_adjoint": without_state}, r"Model\.jacobian_adjoint must take a keyword-only state"),
        (
            {"parameter_jvp": vars(Wave)["parameter_jvp"], "parameter_vjp": without_state},
            r"Model\.parameter_jvp takes state and Model\.parameter_vjp does not",
        ),
        (
            {"jacobian_apply": lambda self, x, dx, state: dx},
            r"Model\.jacobian_apply takes state as a positional argument: write `def jacobian_apply\(self, x, dx, \*, state\)`",
        ),
        (
            {
                "jacobian_apply": lo.per_platform(
                    cpu=vars(Wave)["jacobian_apply"], default=lo.traced(lambda self, x, dx: dx)
                )
            },
            r"Model\.jacobian_apply: some variants of lo\.per_platform take state and some do not",
        ),
    ],
)
def test_declarations(hooks, message):
    with pytest.raises(TypeError, match=message):
        declare(**hooks)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (
            lambda self, x: self.matrix @ x,
            r"Model\.linearize returned f32\[4\]; infer_shape and infer_state_shape promised, of \(y, state\), the structure",
        ),
        (lambda self, x: (self.matrix @ x, {"cos": np.float32(0)}), r"Model\.linearize"),
        (
            lambda self, x: (self.matrix @ x, {"sin": np.zeros(4), "cos": np.zeros(4, complex), "steps": np.int32(1)}),
            r"Model\.linearize",
        ),
    ],
)
def test_a_state_that_was_not_promised(answer, message):
    op, x = operator(declare(linearize=answer)), point()
    with pytest.raises((TypeError, ValueError), match=message):
        jax.grad(lambda x: energy(op(x)))(x)


def test_a_state_that_is_none():
    with pytest.raises(TypeError, match=r"Model\.infer_state_shape returned None .*\(\(\) for no arrays\)"):
        operator(declare(infer_state_shape=lambda self, x: None)).jacobian(point())


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("jacobian_apply", "state", r"with state: .*, where infer_state_shape promises"),
        ("linearize", "result", r"with result: .*, where infer_shape, or infer_state_shape, promises"),
    ],
)
def test_a_program_that_calls_with_another_state(name, wrong, message):
    """Which hook says what the program should have called it with."""
    op, x = operator(Wave), point()
    y, state = op._infer_shape(x), op._infer_state_shape(x)
    hook = Wave._hooks[name]
    known = {"self": op, "x": x, "state": state, "dx": x, "result": (y, state) if name == "linearize" else y}
    specs = {key: jax.tree.map(lambda leaf: S(leaf.shape, leaf.dtype), value) for key, value in known.items()}
    specs[wrong] = jax.tree.map(lambda leaf: S(leaf.shape, np.float16), specs[wrong])
    arguments = [specs[argument] for argument in hook.rule.arguments]
    trees = tuple(map(jax.tree.structure, arguments))
    types = [tuple((leaf.dtype, leaf.shape) for leaf in jax.tree.leaves(tree)) for tree in (arguments, specs["result"])]
    promises = Promises(hook, trees, jax.tree.structure(specs["result"]))
    with pytest.raises(ValueError, match=message):
        promises.check(Batch.none(len(types[0])), *types)


def test_an_empty_state():
    class Empty(lo.NonlinearOperator):
        def infer_shape(self, x):
            return x

        def infer_state_shape(self, x):
            return ()

        def apply(self, x):
            return x**2

        def linearize(self, x):
            return x**2, ()

        def jacobian_apply(self, x, dx, *, state):
            return 2 * x * dx

        jacobian_adjoint = jacobian_apply

    op, x = Empty(), point()
    close(op.jacobian(x)(x), 2 * x**2)
    close(jax.grad(lambda x: jnp.sum(op(x)))(x), 2 * x)


def test_checks_compare_the_value_with_that_of_apply():
    def wrong(self, x):
        y, state = Wave.linearize(self, x)
        return 1.001 * y, state

    with jax.enable_x64(True):
        op = operator(declare(linearize=wrong), np.float64)
        with pytest.raises(AssertionError, match="linearize"):
            lo.check_operator(op, S((3,), np.float64))
        lo.check_operator(operator(Wave, np.float64), S((3,), np.float64))
        lo.check_operator(operator(TracedWave, np.float64), S((3,), np.float64))
