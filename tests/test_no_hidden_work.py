"""What is not done behind the user's back: copies, compilations, traces, and waiting for one hook before the next."""

import functools
import operator
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S

import linops_jax as lo

pytestmark = pytest.mark.versions

N = 1000


class Watched(lo.LinearOperator):
    """Twice the input; remembers where its arrays were."""

    adjoint = None
    seen: list = lo.static()

    def apply(self, x, *, out):
        self.seen.append((x.ctypes.data, out.ctypes.data))
        np.multiply(x, 2, out=out)

    def infer_shape(self, x):
        return x


class Log(list):
    """Compared by identity, as a static field wants it."""

    __hash__ = object.__hash__

    def __eq__(self, other):
        return self is other


@pytest.mark.parametrize("run", [lambda op, x: op(x), lambda op, x: jax.jit(lambda x: op(x))(x)], ids=["eager", "jit"])
def test_hooks_see_the_arrays_themselves(run):
    x, seen = jnp.arange(N, dtype=jnp.float32), Log()
    y = run(Watched(seen), x)
    assert list(seen) == [(x.unsafe_buffer_pointer(), y.unsafe_buffer_pointer())]


def test_a_batch_is_looped_over_where_it_lies():
    x, seen = jnp.arange(3 * N, dtype=jnp.float32).reshape(3, N), Log()
    y = jax.jit(jax.vmap(Watched(seen)))(x)
    steps = 4 * N * np.arange(3)
    assert [a for a, _ in seen] == list(x.unsafe_buffer_pointer() + steps)
    assert [b for _, b in seen] == list(y.unsafe_buffer_pointer() + steps)


def compilations(caplog, work):
    caplog.clear()
    with jax.log_compiles(), caplog.at_level("WARNING", logger="jax"):
        work()
    return sum("Compiling" in message for message in caplog.messages)


OPERATORS = {
    "field": lambda v: lo.Diagonal(jnp.full(8, v)),
    "composite": lambda v: v * lo.Diagonal(jnp.full(8, v)) @ lo.Matrix(jnp.full((8, 8), v)) + lo.Identity(),
    "adjoint": lambda v: lo.Matrix(jnp.full((8, 8), v)).H,
    "Jacobian": lambda v: lo.Affine(lo.Diagonal(jnp.full(8, v)), jnp.full(8, v)),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_new_values_of_fields_compile_nothing(name, caplog):
    make, x = OPERATORS[name], jnp.ones(8)
    run = jax.jit(lambda op, x: op(x))
    operators = [make(value) for value in (2.0, 3.0, 4.0)]  # 1 and -1 are known to leave norms as they are

    def use(op):
        run(op, x).block_until_ready()
        jax.block_until_ready(op(x))

    assert compilations(caplog, lambda: use(operators[0])) > 0
    assert compilations(caplog, lambda: [use(op) for op in operators[1:]]) == 0


def counting(traces):
    class Counting(lo.LinearOperator):
        @lo.traced
        def apply(self, x):
            traces.append("apply")
            return 2 * x

        @lo.traced
        def adjoint(self, y):
            traces.append("adjoint")
            return 2 * y

        def infer_shape(self, x):
            traces.append("infer_shape")
            return x

    return Counting()


def test_loops_are_traced_once():
    def traces(steps):
        found = []
        op = counting(found)
        loop = lambda x: jax.lax.scan(lambda v, _: (op(v), None), x, length=steps)[0]  # noqa: E731
        jax.block_until_ready(jax.jit(jax.grad(lambda x: jnp.sum(loop(x))))(jnp.ones(3)))
        return len(found)

    assert 0 < traces(2) == traces(200)


def test_work_to_compile_grows_as_the_number_of_operators():
    def traces(length):
        found = []
        parts = [counting(found) for _ in range(length)]
        chain = functools.reduce(operator.matmul, parts)
        jax.jit(jax.value_and_grad(lambda x: jnp.sum(chain(x)))).lower(S((3,), np.float32))
        return len(found)

    first, second, third = traces(5), traces(10), traces(20)
    assert third - second == 2 * (second - first) > 0


def test_independent_hooks_of_one_program_overlap():
    """Each waits, without the GIL, until another one is inside. XLA runs programs of a few small steps in a row."""
    barrier = threading.Barrier(2, timeout=30)

    class Meeting(lo.LinearOperator):
        factor: int = lo.static()
        adjoint = None

        def apply(self, x, *, out):
            barrier.wait()
            np.multiply(x, self.factor, out=out)

        def infer_shape(self, x):
            return x

    run = jax.jit(lambda x: [Meeting(factor)(x) for factor in range(1, 11)])
    x = jnp.ones(N)
    for _ in range(3):
        for factor, result in enumerate(jax.block_until_ready(run(x)), 1):
            np.testing.assert_array_equal(result, factor * x)
