"""Several Python threads call operators at the same time."""

import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import linops_jax as lo

pytestmark = [pytest.mark.newest, pytest.mark.route]


class Slowish(lo.LinearOperator):
    """Lets other threads run in the middle of the hook."""

    factor: int = lo.static()

    def apply(self, x, *, out):
        np.multiply(x, self.factor, out=out)
        if x.flat[0] % 7 == 0:
            threading.Event().wait(0.0005)

    def adjoint(self, y):
        return self.factor * y

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Weighted(lo.LinearOperator):
    w: jax.Array

    def apply(self, x):
        return {"y": self.w * x}

    def adjoint(self, y):
        return np.conj(self.w) * y["y"]

    def infer_shape(self, x):
        return {"y": x}


SHARED = Slowish(3)
SHARED_JITTED = jax.jit(lambda x: SHARED(x) + 1)
SHARED_LOOP = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda i, v: SHARED(v), x))


def eager(x, n):
    return SHARED(x), 3 * x


def jitted(x, n):
    return SHARED_JITTED(x), 3 * x + 1


def loop(x, n):
    return SHARED_LOOP(x), 27 * x


def batch(x, n):
    return jax.vmap(SHARED)(x[None])[0], 3 * x


def gradient(x, n):
    return jax.grad(lambda x: jnp.vdot(SHARED(x), SHARED(x)) / 2)(x), 9 * x


def fields(x, n):
    return Weighted(jnp.full_like(x, n % 10))(x)["y"], n % 10 * x


def own(x, n):
    """A class of operators with a static value of its own: compiled in several threads at once."""
    return Slowish(n % 5)(x), n % 5 * x


def fresh(x, n):
    op = Slowish(n % 3)
    return jax.jit(lambda x: op(x))(x), n % 3 * x


def race(work, threads, calls):
    wrong = []
    start = threading.Barrier(threads)

    def run(thread):
        start.wait()
        for i in range(calls):
            n = 1000 * thread + i
            x = np.arange(n, n + 5).astype(np.float32)
            try:
                result, expected = work(x, n)
                if not np.array_equal(result, expected):
                    wrong.append((n, result, expected))
            except BaseException as error:
                wrong.append((n, error))

    workers = [threading.Thread(target=run, args=(i,)) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert not any(worker.is_alive() for worker in workers)
    assert not wrong, wrong[:3]


@pytest.mark.parametrize("work", [eager, jitted, loop, batch, gradient, fields, own])
def test_eight_threads(work):
    race(work, threads=8, calls=50)


def test_eight_threads_that_compile():
    race(fresh, threads=8, calls=5)


def test_eight_threads_do_different_things():
    kinds = [eager, jitted, loop, batch, gradient, fields, own, eager]
    race(lambda x, n: kinds[n // 1000](x, n), threads=8, calls=50)


def test_operators_made_and_dropped_in_several_threads(run_child):
    """Programs end in one thread while another starts them with the same key."""
    run_child(
        """
        import gc, threading
        import jax, jax.numpy as jnp, numpy as np
        import linops_jax as lo

        class Scale(lo.LinearOperator):
            factor: int = lo.static()
            adjoint = None
            def apply(self, x): return self.factor * x
            def infer_shape(self, x): return x

        class Plan:
            def __init__(self, factor): self.factor = factor

        class Planned(lo.LinearOperator):
            plan: Plan = lo.static()
            adjoint = None
            def apply(self, x): return self.plan.factor * x
            def infer_shape(self, x): return x

        x = np.arange(4, dtype=np.float32)
        wrong = []

        def work(thread):
            try:
                for i in range(25):
                    op = Scale(i % 3) if thread % 2 else Planned(Plan(i))
                    factor = i % 3 if thread % 2 else i
                    compiled = jax.jit(lambda x: op(x)).lower(x).compile()
                    if thread == 0 and i % 5 == 0:
                        jax.clear_caches()
                    for _ in range(3):
                        np.testing.assert_array_equal(compiled(x), factor * x)
                    del compiled, op
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not wrong, wrong
        """
    )


def test_eight_threads_call_and_create_operators_and_empty_the_caches(run_child):
    """JAX's compiled caches compare static values while other threads free them: no Python may run there."""
    run_child(
        """
        import dataclasses, random, sys, threading, time
        import jax, jax.numpy as jnp, numpy as np
        import linops_jax as lo

        class Handle: pass

        @dataclasses.dataclass(frozen=True)
        class Config:
            factor: object

        class Scaled(lo.LinearOperator):
            handle: object = lo.static()
            config: Config = lo.static()
            def apply(self, x): return x * np.float32(self.config.factor)
            def adjoint(self, y): return y * np.float32(self.config.factor)
            def infer_shape(self, x): return x

        sys.setswitchinterval(1e-5)
        x = jnp.ones(8)
        wrong, stop = [], time.monotonic() + 12

        def work(seed):
            rng = random.Random(seed)
            try:
                while time.monotonic() < stop:
                    factor = rng.randrange(4)
                    op = Scaled(Handle() if rng.random() < 0.3 else None, Config(rng.choice([int, float])(factor)))
                    np.testing.assert_array_equal(op(x), np.full(8, factor))
                    if rng.random() < 0.03:
                        jax.clear_caches()
            except BaseException as error:
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        assert not wrong, wrong
        """
    )


def test_eight_threads_get_one_object_for_each_value(run_child):
    run_child(
        """
        import sys, threading
        import numpy as np
        import linops_jax as lo
        from linops_jax._model.fields import Statics

        class Slow:
            def __init__(self, n): self.n = n
            def __hash__(self): return self.n % 2
            def __eq__(self, other):
                for _ in range(20): pass
                return self.n == other.n

        sys.setswitchinterval(1e-6)
        for _ in range(30):
            start, found = threading.Barrier(8), [[] for _ in range(8)]
            def work(mine):
                start.wait()
                mine += [Statics((Slow(n),)) for n in range(6)]
            threads = [threading.Thread(target=work, args=(mine,)) for mine in found]
            for thread in threads: thread.start()
            for thread in threads: thread.join()
            for same in zip(*found):
                assert len(set(map(id, same))) == 1
        """
    )


def test_several_devices_at_once(run_child):
    run_child(
        """
        import threading
        import jax, jax.numpy as jnp, numpy as np
        jax.config.update("jax_num_cpu_devices", 4)
        import linops_jax as lo

        class Twice(lo.LinearOperator):
            adjoint = None
            def apply(self, x):
                threading.Event().wait(0.001)
                return 2 * x
            def infer_shape(self, x): return x

        run = jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda i, v: Twice()(v), x))
        inputs = [jax.device_put(jnp.arange(4.0) + i, device) for i, device in enumerate(jax.devices())]
        for _ in range(5):
            results = [run(x) for x in inputs]
            for i, result in enumerate(results):
                np.testing.assert_array_equal(result, 2**20 * (np.arange(4) + i))
        """
    )
