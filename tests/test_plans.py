"""Plans: made once for each program, input shape and value of the fields that they depend on, and freed with the programs."""

import collections
import gc
import re
import threading
import time
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, left, normal
from jax.sharding import PartitionSpec as P

import linops_jax as lo

pytestmark = pytest.mark.versions

NO_WISDOM = "no wisdom file"
NO_LICENCE = "no licence"

made = collections.Counter()
plans = weakref.WeakSet()


class Table:
    """A plan: any object."""

    def __init__(self, values):
        self.values = values
        plans.add(self)


@pytest.fixture(autouse=True)
def start():
    jax.clear_caches()
    gc.collect()
    made.clear()
    plans.clear()


class Scaling(lo.LinearOperator):
    """Multiplication by powers of 1, 2, 3, ..., which the plan holds."""

    power: int = lo.static(default=1)

    def prepare(self, x):
        made[x.shape, np.dtype(x.dtype).name, self.power] += 1
        return Table(np.arange(1.0, x.shape[-1] + 1) ** self.power)

    def apply(self, x, *, plan):
        return plan.values * x

    def adjoint(self, y, *, out, plan):
        np.multiply(plan.values, y, out=out)

    def gram(self, x, *, plan):
        return plan.values**2 * x

    def inverse(self, y, *, plan):
        return y / plan.values

    def inverse_adjoint(self, x, *, out, plan):
        np.divide(x, plan.values, out=out)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Batched(Scaling, batched=True):
    """Gets whole batches; its plan is that of one element."""


class Weighted(lo.LinearOperator):
    """Multiplication by w^2, where the plan holds the squares."""

    w: jax.Array

    def prepare(self, x, *, w):
        made[tuple(w.ravel().tolist())] += 1
        return Table(w**2)

    def apply(self, x, *, plan):
        np.testing.assert_array_equal(plan.values, self.w**2)
        return plan.values * x

    def adjoint(self, y, *, out, plan):
        np.multiply(np.conj(plan.values), y, out=out)

    def parameter_jvp(self, x, dself, *, plan):
        np.testing.assert_array_equal(plan.values, self.w**2)
        return 2 * self.w * dself.w * x

    def parameter_vjp(self, x, dy, *, plan):
        return {"w": 2 * np.conj(self.w * x) * dy}

    def infer_shape(self, x):
        return S(x.shape, np.result_type(x.dtype, self.w.dtype))

    def infer_adjoint_shape(self, y):
        return y


X = jnp.asarray(normal((3,), np.float32))
W = jnp.asarray(normal((3,), np.float32, 1))
POWERS = jnp.arange(1.0, 4.0)


# ---- one plan for each program and shape --------------------------------------------------------------------------------


def test_all_hooks_and_programs_share_it():
    A = Scaling()
    for _ in range(2):
        close(A(X), POWERS * X)
        close(A.H(X), POWERS * X)
        close(A.gram(X), POWERS**2 * X)
        close(A.inv(X), X / POWERS)
        close(A.inv.H(X), X / POWERS)
    close(jax.jit(lambda x: A(A(x)))(X), POWERS**2 * X)
    close(jax.grad(lambda x: energy(A(x)))(X), jax.grad(lambda x: energy(POWERS * x))(X))
    assert made == {((3,), "float32", 1): 1}


def test_other_shapes_dtypes_and_static_fields_have_their_own():
    close(Scaling()(X), POWERS * X)
    close(Scaling(power=2)(X), POWERS**2 * X)
    close(Scaling()(jnp.ones(5)), jnp.arange(1.0, 6.0))
    close(Scaling()(jnp.ones(3, jnp.complex64)), POWERS.astype(jnp.complex64))
    assert set(made.values()) == {1}
    assert len(made) == 4


@pytest.mark.parametrize("cls", [Scaling, Batched])
def test_a_plan_does_not_see_the_batch(cls):
    A, xs = cls(), jnp.asarray(normal((2, 4, 3), np.float32))
    close(jax.vmap(jax.vmap(A))(xs), POWERS[None, None] * xs)
    close(jax.vmap(A.H)(xs[0]), POWERS[None] * xs[0])
    close(A(X), POWERS * X)
    assert made == {((3,), "float32", 1): 1}


def test_a_fixed_domain_says_the_shape():
    A = Scaling().with_domain(S((3,), np.float32))
    close(A.H(X), POWERS * X)
    close(A(np.ones(3, np.int32)), POWERS)
    assert made == {((3,), "float32", 1): 1}


@pytest.mark.parametrize(
    "transform",
    [
        lambda A: lambda x: jax.lax.scan(lambda c, _: (A(c), None), x, None, length=3)[0],
        lambda A: lambda x: jax.lax.fori_loop(0, 3, lambda _, x: A(x), x),
        lambda A: lambda x: jax.lax.cond(True, lambda x: A(A(A(x))), lambda x: x, x),
        lambda A: jax.checkpoint(lambda x: (A**3)(x)),
        lambda A: A @ (2 * A + 0 * lo.Identity()) @ A * 0.5,
        lambda A: jax.shard_map(
            lambda x: A(A(A(x))),
            mesh=jax.make_mesh((2,), ("i",), (jax.sharding.AxisType.Explicit,)),
            in_specs=P(),
            out_specs=P(),
        ),
    ],
)
def test_in_transformations_and_composites(transform):
    close(jax.jit(transform(Scaling()))(X), POWERS**3 * X, scale=10)
    assert sum(made.values()) == 1


def test_derivatives_of_a_model_with_state_and_plan():
    class Cubes(lo.NonlinearOperator):
        """(t x)^3, where the plan holds t."""

        def prepare(self, x):
            made["plan"] += 1
            return np.arange(1.0, 4.0)

        def apply(self, x, *, plan):
            return (plan * x) ** 3

        def linearize(self, x, *, plan):
            made["linearize"] += 1
            return (plan * x) ** 3, 3 * plan**3 * x**2

        def jacobian_apply(self, x, dx, *, state, plan):
            np.testing.assert_allclose(state, 3 * plan**3 * x**2, rtol=1e-5)
            return state * dx

        def jacobian_adjoint(self, x, dy, *, plan, state, out):
            np.multiply(state, dy, out=out)

        def infer_shape(self, x):
            return x

        infer_state_shape = infer_shape

    F, twin = Cubes(), lambda x: (POWERS * x) ** 3
    value, grad = jax.value_and_grad(lambda x: energy(F(x)))(X)
    close(value, energy(twin(X)), scale=10)
    close(grad, jax.grad(lambda x: energy(twin(x)))(X), scale=10)
    assert made == {"plan": 1, "linearize": 1}
    close(jax.jvp(jax.jit(F), (X,), (W,))[1], jax.jvp(twin, (X,), (W,))[1], scale=10)
    assert made["plan"] == 1
    assert lo.check_operator(F, X).passed


def test_in_place_and_per_platform():
    class InPlace(Scaling):
        @lo.in_place
        def apply(self, x, *, out, plan):
            np.multiply(plan.values, x, out=out)

    def host(self, x, *, plan):
        return plan.values * x

    class Both(Scaling):
        apply = lo.per_platform(cpu=host, default=lo.traced(lambda self, x: x))

    for A in (InPlace(), Both()):
        close(jax.jit(A, donate_argnums=0)(X.copy()), POWERS * X)
        close(jax.jit(lambda x, A=A: jax.lax.fori_loop(0, 2, lambda _, x: A(x), x))(X), POWERS**2 * X)
        close(jax.linear_transpose(A, X)(X)[0], POWERS * X)
    assert made == {((3,), "float32", 1): 2}  # one for each class


# ---- plans for values of fields -----------------------------------------------------------------------------------------


def key(w):
    return tuple(np.asarray(w).ravel().tolist())


def test_values_of_fields_are_compared():
    for w in (W, 2 * W, W, 2 * W, jnp.array(W)):
        close(Weighted(w)(X), w**2 * X)
        close(Weighted(w).H(X), w**2 * X)
    assert made == {key(W): 1, key(2 * W): 1}


def test_they_are_compared_by_bytes():
    zero, nan = jnp.zeros(3), jnp.full(3, jnp.nan)
    for w, count in ((zero, 1), (-zero, 2), (zero, 2), (nan, 3), (nan, 3), (-zero, 3), (nan, 3)):
        Weighted(w)(X)
        assert sum(made.values()) == count


def test_the_last_few_are_kept():
    ws = [W * i for i in range(1, 9)]
    for w in ws + ws:
        close(Weighted(w)(X), w**2 * X, scale=10)
    assert set(made.values()) == {1}
    gc.collect()
    assert len(plans) == 8
    for w in (9 * W, 10 * W):
        Weighted(w)(X)
    gc.collect()
    assert len(plans) == 8
    close(Weighted(ws[-1])(X), ws[-1] ** 2 * X, scale=10)
    assert made[key(ws[-1])] == 1


def test_fields_are_batched_scanned_and_swept():
    ws = jnp.stack([W, 2 * W, 3 * W])
    expected = ws**2 * X[None]
    close(jax.vmap(lambda w: Weighted(w)(X))(ws), expected)
    close(jax.vmap(lambda w: jax.vmap(Weighted(w))(jnp.stack([X, X])))(ws), jnp.stack([expected, expected], 1))
    close(jax.lax.scan(lambda _, w: (None, Weighted(w)(X)), None, ws)[1], expected)
    close(jax.lax.map(lambda w: Weighted(w).H(X), ws), expected)
    assert made == dict.fromkeys(map(key, ws), 1)


def test_fields_stay_differentiable():
    loss = lambda w, x: energy(Weighted(w)(x))  # noqa: E731
    twin = lambda w, x: energy(w**2 * x)  # noqa: E731
    for mode in (jax.grad, jax.jacfwd):
        for wrap in (lambda f: f, jax.jit):
            close(wrap(mode(loss, (0, 1)))(W, X), mode(twin, (0, 1))(W, X), scale=10)
    assert made == {key(W): 1}


def test_pytrees_and_operators_in_fields():
    class Nested(lo.LinearOperator):
        tables: dict
        other: jax.Array
        inner: lo.LinearOperator

        def prepare(self, x, *, inner, tables):
            assert isinstance(self.other, jax.ShapeDtypeStruct)
            assert not inner.w.flags.writeable
            made["plan"] += 1
            return inner.w + tables["a"] * tables["b"][0]

        def apply(self, x, *, plan):
            return plan * x * self.other

        adjoint = None

        def infer_shape(self, x):
            return x

    def nested(a, b, other, w):
        return Nested({"a": a, "b": [b]}, other, Weighted(w))

    two = jnp.float32(2)
    for other in (W, 2 * W):  # its value is not asked for
        close(nested(W, two, other, X)(X), (X + 2 * W) * X * other)
    assert made["plan"] == 1
    close(nested(W, 2 * two, W, X)(X), (X + 4 * W) * X * W)
    close(nested(W, two, W, 2 * X)(X), (2 * X + 2 * W) * X * W)
    assert made["plan"] == 3


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.bool_, np.int32, np.complex64])
def test_fields_of_every_dtype(dtype):
    class Chosen(lo.LinearOperator):
        a: jax.Array

        def prepare(self, x, *, a):
            made["plan"] += 1
            return a.astype(np.float32).sum() if dtype != np.complex64 else a.real.sum()

        def apply(self, x, *, plan):
            return plan * x

        adjoint = None

        def infer_shape(self, x):
            return x

    a = jnp.array([1, 0, 2, 1]).astype(dtype)
    for values in (a, a[::-1], a):
        close(Chosen(values)(X), jnp.sum(a.real.astype(jnp.float32)) * X, scale=10)
    assert made["plan"] == 2
    close(Chosen(a[:0])(X), 0 * X)  # nothing to compare


# ---- whom it belongs to -------------------------------------------------------------------------------------------------


def test_it_is_freed_with_its_programs():
    program = jax.jit(Scaling()).lower(X).compile()
    program(X)
    Scaling()(X)
    jax.vmap(Weighted(W))(jnp.ones((2, 3)))
    assert len(plans) == 2
    assert left(plans, 1) == 1
    program(X)
    assert made[(3,), "float32", 1] == 1
    del program
    assert left(plans) == 0


def test_the_values_live_as_long_as_the_plan():
    class Points(lo.LinearOperator):
        points: jax.Array

        def prepare(self, x, *, points):
            return points  # as libraries do that keep a pointer to them

        def apply(self, x, *, plan):
            return plan[: x.size] * x

        adjoint = None

        def infer_shape(self, x):
            return x

    for i in range(20):
        points = jnp.full(1000, float(i))
        close(Points(points)(X), i * X)
        del points


def test_threads_make_one():
    class Slow(Scaling):
        def prepare(self, x):
            time.sleep(0.05)
            return super().prepare(x)

    A, results, ready = Slow(), [], threading.Barrier(8)

    def run():
        ready.wait()
        results.append(A(X))

    threads = [threading.Thread(target=run) for _ in range(8)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert len(results) == 8
    for result in results:
        close(result, POWERS * X)
    assert sum(made.values()) == 1


def test_threads_with_different_values():
    ws = [W * i for i in range(1, 5)]
    program = jax.jit(lambda w, x: Weighted(w)(x))
    wrong = []

    def run(w):
        for _ in range(50):
            if not np.allclose(program(w, X), w**2 * X):
                wrong.append(w)

    threads = [threading.Thread(target=run, args=(w,)) for w in ws]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    assert not wrong
    assert set(made.values()) == {1}


def test_other_values_do_not_wait():
    class Waits(Weighted):
        def prepare(self, x, *, w):
            if w[0] < 0:
                entered.set()
                assert go_on.wait(20)
            return super().prepare(x, w=w)

    entered, go_on = threading.Event(), threading.Event()
    w = jnp.abs(W)
    close(Waits(w)(X), w**2 * X)
    thread = threading.Thread(target=lambda: jax.block_until_ready(Waits(-w)(X)))
    thread.start()
    assert entered.wait(20)
    close(Waits(w)(X), w**2 * X)  # kept
    close(Waits(2 * w)(X), 4 * w**2 * X)  # made
    assert not go_on.is_set()
    go_on.set()
    thread.join()


def test_the_dtype_is_that_of_the_program():
    with jax.enable_x64(True):
        x = jnp.ones(3)
        programs = [jax.jit(f).lower(x).compile() for f in (Scaling(), Scaling().H)]
    for program in programs:  # without 64 bits
        np.testing.assert_array_equal(program(x), np.arange(1.0, 4.0))
    assert made == {((3,), "float64", 1): 1}


def test_by_hand():
    A, x = Weighted(np.asarray(W)), np.asarray(X)
    np.testing.assert_allclose(A.apply(x, plan=A.prepare(S((3,), np.float32), w=A.w)), A.w**2 * x)
    A = Scaling(power=2)
    np.testing.assert_allclose(A.apply(x, plan=A.prepare(x)), POWERS**2 * x)


def test_None_is_a_plan():
    class Nothing(Scaling):
        def prepare(self, x):
            made["None"] += 1

        def apply(self, x, *, plan):
            assert plan is None
            return x

    close(Nothing()(X), X)
    close(Nothing()(X), X)
    assert made["None"] == 1


# ---- what fails ---------------------------------------------------------------------------------------------------------


def test_one_that_raises_is_made_in_the_next_call():
    class Late(Scaling):
        def prepare(self, x):
            made["tries"] += 1
            if made["tries"] < 3:
                raise OSError(NO_WISDOM)
            return super().prepare(x)

    with pytest.raises(OSError, match="no wisdom file") as caught:
        Late()(X)
    assert any("Late.prepare failed" in note for note in caught.value.__notes__)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"Late\.prepare failed: OSError: no wisdom file \(.*, in prepare"
    ):
        jax.block_until_ready(jax.jit(Late())(X))
    assert isinstance(lo.last_error(), OSError)
    close(Late()(X), POWERS * X)
    assert made["tries"] == 3


def test_it_is_freed_when_one_has_failed():
    class Fails(Weighted):
        def prepare(self, x, *, w):
            if w[0] == 0:
                raise OSError(NO_WISDOM)
            return super().prepare(x, w=w)

    for w in (W, 2 * W):
        Fails(w)(X)
    with pytest.raises(OSError, match="no wisdom file"):
        Fails(0 * W)(X)
    assert len(plans) == 2
    assert left(plans) == 0


@pytest.mark.parametrize(
    "use", [lambda w: w * 2, lambda w: 2 - w, np.sum, np.asarray, lambda w: w[0], lambda w: np.ones(3) @ w]
)
def test_to_use_a_field_that_is_not_named(use):
    class Unnamed(Weighted):
        def prepare(self, x):
            return use(self.w)

    with pytest.raises(
        TypeError, match=r"prepare gets the values of the array fields that it names.*`def prepare\(self, x, \*, field"
    ):
        Unnamed(W)(X)


@pytest.mark.parametrize("call", [lambda x: jnp.sum(x), lambda x: Scaling()(x)])
def test_jax_inside_is_refused(call):
    class CallsJax(Scaling):
        def prepare(self, x):
            return call(jnp.ones(3))

    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"CallsJax\.prepare failed.*JAX was called inside a host hook"
    ):
        jax.block_until_ready(jax.jit(CallsJax())(X))


def test_one_that_needs_itself_says_so():
    from linops_jax._engine.plans import Plans

    class Recursive(Scaling):
        def prepare(self, x):
            return found()

    found = Plans(Recursive(), S((3,), np.float32))
    with pytest.raises(
        RuntimeError, match=r"Recursive\.prepare needs the plan that it makes\. Let it not call its own op"
    ):
        found()


def no_prepare():
    class NoPrepare(lo.LinearOperator):
        adjoint = None

        def apply(self, x, *, plan): ...
        def infer_shape(self, x): ...


def unused():
    class Unused(lo.LinearOperator):
        adjoint = None

        def prepare(self, x): ...
        def apply(self, x): ...
        def infer_shape(self, x): ...


def positional():
    class Positional(lo.LinearOperator):
        adjoint = None

        def prepare(self, x): ...
        def apply(self, x, plan): ...
        def infer_shape(self, x): ...


def traced():
    class Traced(lo.LinearOperator):
        def prepare(self, x): ...
        @lo.traced
        def apply(self, x, *, plan): ...


def traced_prepare():
    class TracedPrepare(Scaling):
        @lo.traced
        def prepare(self, x): ...


def static_prepare():
    class StaticPrepare(Scaling):
        @staticmethod
        def prepare(x): ...


def coroutine():
    class Coroutine(Scaling):
        async def prepare(self, x): ...


def other_arguments():
    class OtherArguments(Scaling):
        def prepare(self, x, size): ...


def no_field():
    class NoField(Weighted):
        def prepare(self, x, *, points): ...


def static_field():
    class StaticField(Scaling):
        def prepare(self, x, *, power): ...


def symmetric():
    class Symmetric(lo.LinearOperator, symmetric=True):
        def apply(self, x, *, plan): ...
        def infer_shape(self, x): ...


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (no_prepare, "NoPrepare.apply takes plan, but NoPrepare has no prepare. Define NoPrepare.prepare(self, x), which"),
        (symmetric, "Symmetric.apply takes plan, but Symmetric has no prepare"),
        (unused, "Unused.prepare is of no use: no host or native hook of Unused takes the plan. Write `def apply(self, x, *, "),
        (positional, "Positional.apply takes plan as a positional argument: write `def apply(self, x, *, plan)`"),
        (traced, "Traced.apply is traced and takes plan: XLA cannot hold a Python object. Drop plan, and keep"),
        (traced_prepare, "TracedPrepare.prepare must be a plain method `def prepare(self, x)`, or `def prepare(self, x, *, fi"),
        (static_prepare, "StaticPrepare.prepare must be a plain method `def prepare(self, x)`, or.*, not staticmethod"),
        (coroutine, "Coroutine.prepare must be a plain method `def prepare(self, x)`, or.*, not a coroutine or generator"),
        (other_arguments, r"OtherArguments.prepare(self, x, size) is not: missing a required argument: 'size'"),
        (no_field, "NoField.prepare takes the keyword-only argument points, which is not an array field of NoField. The arr"),
        (static_field, "StaticField.prepare takes the keyword-only argument power, which is not .* power is static"),
    ],
)  # fmt: skip
def test_wrong_classes(define, message):
    with pytest.raises(TypeError, match=re.escape(message).replace(r"\.\*", ".*")):
        define()


def test_a_base_class_may_leave_the_hooks_to_others():
    class Base(lo.LinearOperator):
        def prepare(self, x):
            return 3.0

        def infer_shape(self, x):
            return x

    class Concrete(Base):
        adjoint = None

        def apply(self, x, *, plan):
            return plan * x

    close(Concrete()(X), 3 * X)


def test_checks_pass_and_see_a_hook_that_changes_the_plan():
    assert lo.check_operator(Scaling(), X).passed
    assert lo.check_operator(Weighted(W), X).passed

    class Changes(Scaling):
        def apply(self, x, *, plan):
            plan.values *= 1.5
            return plan.values * x

    with pytest.raises(lo.testing.CheckError, match="Changes"):
        lo.check_operator(Changes(), X)


def test_the_checks_name_a_prepare_that_raises():
    class Raises(Scaling):
        def prepare(self, x):
            raise ValueError(NO_LICENCE)

    with pytest.raises(lo.testing.CheckError, match=r"no licence.*Raises.prepare failed"):
        lo.check_operator(Raises(), X)
