"""Plans of C functions: handed over as an address, without Python once they are made."""

import collections
import ctypes
import gc
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import library
from helpers import close, left, normal

import linops_jax as lo

pytestmark = pytest.mark.newest

C = library("kernels.c")
X = jnp.asarray(normal((4,), np.float32))
POWERS = jnp.arange(1.0, 5.0)

NO_WISDOM = "no wisdom file"

made = collections.Counter()
plans = weakref.WeakSet()


@pytest.fixture(autouse=True)
def start():
    jax.clear_caches()
    gc.collect()
    made.clear()
    plans.clear()


class Table:
    def __init__(self, values):
        self.values = np.asarray(values, np.float64)
        plans.add(self)


def table_of(plan):
    return plan.values


class Scaling(lo.LinearOperator):
    """Multiplication by 1, 2, 3, ...: apply in C, adjoint in Python, with one plan."""

    apply = lo.native(C.multiply_by_plan, plan=table_of)

    def prepare(self, x):
        made[x.shape] += 1
        return Table(np.arange(1.0, x.shape[0] + 1))

    def adjoint(self, y, *, plan):
        return plan.values * y

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Weighted(lo.LinearOperator):
    """Multiplication by w^2, where the plan holds the squares."""

    w: jax.Array

    apply = adjoint = lo.native(C.multiply_by_plan, plan=table_of)

    def prepare(self, x, *, w):
        made[tuple(w.tolist())] += 1
        return Table(w.astype(np.float64) ** 2)

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


class Parallel(Weighted):
    apply = adjoint = lo.native(C.multiply_by_plan, plan=table_of, parallel=True)


BOTH = pytest.mark.parametrize("cls", [Weighted, Parallel])


def test_native_and_host_hooks_share_a_plan():
    A = Scaling()
    for _ in range(2):
        close(A(X), POWERS * X)
        close(A.H(X), POWERS * X)
    close(jax.vmap(A)(jnp.stack([X, 2 * X])), jnp.stack([POWERS * X, 2 * POWERS * X]))
    assert made == {(4,): 1}
    assert lo.check_operator(A, X).passed


@pytest.mark.parametrize(
    "make",
    [
        lambda values: values,
        lambda values: values.tobytes(),
        lambda values: (ctypes.c_double * 4)(*values),
        lambda values: ctypes.cast((ctypes.c_double * 4)(*values), ctypes.POINTER(ctypes.c_double)),
    ],
)
def test_types_of_plans(make):
    class Plain(Scaling):
        apply = adjoint = lo.native(C.multiply_by_plan, plan=True)

        def prepare(self, x):
            return make(np.arange(1.0, 5.0))

    for _ in range(3):
        close(Plain()(X), POWERS * X)
        close(Plain().H(X), POWERS * X)


def test_without_asking_there_is_none():
    class Asks(Scaling):
        apply = lo.native(C.has_no_plan)

    close(Asks()(X), X)
    close(Asks().H(X), POWERS * X)

    class None_(Scaling):
        apply = lo.native(C.has_no_plan, plan=True)

        def prepare(self, x):
            return None

    close(None_()(X), X)


@BOTH
def test_values_of_fields(cls):
    ws = jnp.stack([POWERS * i for i in range(1, 7)])
    for w in (ws[0], ws[1], ws[0]):
        close(cls(w)(X), w**2 * X)
        close(cls(w).H(X), w**2 * X)
    assert len(made) == 2
    close(jax.vmap(lambda w: cls(w)(X))(ws), ws**2 * X[None])
    close(jax.lax.scan(lambda _, w: (None, cls(w)(X)), None, ws)[1], ws**2 * X[None])
    xs = jnp.asarray(normal((40, 4), np.float32, 3))
    close(jax.vmap(cls(ws[0]))(xs), ws[:1] ** 2 * xs)
    assert set(made.values()) == {1}


@BOTH
def test_many_elements_with_many_values(cls):
    ws = jnp.asarray(normal((200, 4), np.float32, 5))
    close(jax.vmap(lambda w: cls(w)(X))(ws), ws**2 * X[None])
    gc.collect()
    assert len(plans) <= 9  # the last few, of Python and of the executable


def test_it_is_freed_with_its_programs():
    Scaling()(X)
    Weighted(POWERS)(X)
    assert len(plans) == 2
    assert left(plans) == 0


def test_threads():
    ws = [POWERS * i for i in range(1, 5)]
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


@BOTH
def test_one_that_raises_is_made_in_the_next_call(cls):
    class Late(cls):
        def prepare(self, x, *, w):
            made["tries"] += 1
            if made["tries"] <= 2:
                raise OSError(NO_WISDOM)
            return super().prepare(x, w=w)

    with pytest.raises(OSError, match="no wisdom file") as caught:
        Late(POWERS)(X)
    assert any("Late.prepare failed" in note for note in caught.value.__notes__)
    ws = jnp.stack([POWERS, 2 * POWERS])
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"Late\.prepare failed: OSError: no wisdom file \(.*, in prepare"
    ):
        jax.block_until_ready(jax.jit(jax.vmap(lambda w: Late(w)(X)))(ws[:1]))
    assert isinstance(lo.last_error(), OSError)
    close(jax.vmap(lambda w: Late(w)(X))(ws), ws**2 * X[None])


def test_jax_inside_is_refused():
    class CallsJax(Weighted):
        def prepare(self, x, *, w):
            return Table(jnp.square(w))

    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"CallsJax\.prepare failed.*JAX was called inside a host hook"
    ):
        jax.block_until_ready(jax.jit(CallsJax(POWERS))(X))


def test_it_is_made_with_denormal_numbers():
    """As for a host hook: programs flush them to zero."""

    class Small(Scaling):
        def prepare(self, x):
            assert np.float64(5e-324) * 1 > 0
            return Table(np.ones(4))

    close(Small()(X), X)


@pytest.mark.parametrize(
    "wrong", [np.ones((4, 2))[:, 0], np.ones((2, 2)).T, np.array([1, None] * 2, object), -1, 2**64]
)
def test_plans_that_are_no_data(wrong):
    class Wrong(Scaling):
        apply = lo.native(C.multiply_by_plan, plan=True)

        def prepare(self, x):
            return wrong

    message = r"Wrong\.apply, plan(: found .*expected numbers in C order| must be bytes, a NumPy array)"
    with pytest.raises(TypeError, match=message):
        Wrong()(X)


def test_a_plan_without_an_address():
    class Wrong(Scaling):
        apply = lo.native(C.multiply_by_plan, plan=True)

    with pytest.raises(TypeError, match=r"Wrong\.apply, plan must be bytes, a NumPy array, .* found Table"):
        Wrong()(X)


def no_prepare():
    class NoPrepare(lo.LinearOperator):
        adjoint = None
        apply = lo.native(C.multiply_by_plan, plan=True)

        def infer_shape(self, x): ...


@pytest.mark.parametrize(
    ("define", "message"),
    [
        (no_prepare, "NoPrepare.apply takes plan, but NoPrepare has no prepare. Define NoPrepare.prepare"),
        (
            lambda: lo.native(C.multiply_by_plan, plan="table"),
            "lo.native: plan must be True, or a function that",
        ),
        (lambda: lo.native(ffi="name", plan=True), "plan= is an option of function, not of ffi"),
        (lambda: lo.native(numba=table_of, plan=True), "plan= is an option of function, not of numba"),
    ],
)
def test_wrong_declarations(define, message):
    with pytest.raises(TypeError, match=message):
        define()
