"""Ctrl-C: at once on the main thread, when the running hook returns on XLA's; and the next call works."""

import pytest

pytestmark = pytest.mark.newest

COMMON = """
import os, signal, sys, threading, time
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo

main = threading.main_thread()
calls = []

class Slow(lo.LinearOperator):
    seconds: float = lo.static()
    adjoint = None
    def apply(self, x):
        calls.append(threading.current_thread() is main)
        time.sleep(self.seconds)
        return np.sin(x)
    def infer_shape(self, x): return x

x = jnp.arange(4.0)

def large(op, steps):
    '''A program that runs on XLA's threads.'''
    @jax.jit
    def program(m):
        m = m @ m / 400
        return jax.lax.fori_loop(0, steps, lambda i, v: op(v) + (m[:4, :4] @ m[:4, :4])[0], m[0, :4])
    compiled = program.lower(jnp.ones((400, 400))).compile()
    return lambda: compiled(jnp.ones((400, 400)))

def interrupt_after(seconds):
    def kill():
        global sent
        sent = time.perf_counter()
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(seconds, kill).start()

def interrupted(run, within, expected=KeyboardInterrupt):
    try:
        try:
            run()
        except (ValueError, RuntimeError) as error:
            # compiled code: XLA's error is raised from C++, Python's own comes with the next line of Python
            assert "KeyboardInterrupt" in str(error)
            time.sleep(0)
    except expected:
        delay = time.perf_counter() - sent
        assert delay < within, delay
    else:
        raise AssertionError("no KeyboardInterrupt")

def interrupted_eagerly(run, within):
    try:
        run()
    except KeyboardInterrupt:
        delay = time.perf_counter() - sent
        assert delay < within, delay
    else:
        raise AssertionError("no KeyboardInterrupt")

def works():
    '''No interrupt is left over.'''
    for _ in range(20):
        np.testing.assert_allclose(Slow(0.0)(x), np.sin(x), rtol=1e-6)
        large_and_fast().block_until_ready()
    for _ in range(100_000):
        pass

large_and_fast = large(Slow(0.0), 3)
"""


def test_during_an_eager_hook(run_child):
    run_child(
        COMMON
        + """
for _ in range(2):
    interrupt_after(0.4)
    interrupted_eagerly(lambda: Slow(30)(x), 1.5)
    assert calls.pop() is True
    works()
interrupt_after(0.4)
interrupted(lambda: jax.jit(lambda x: Slow(30)(x))(x).block_until_ready(), 1.5)
works()

class AsLongAsItSays(Slow):
    def apply(self, x):
        time.sleep(float(x[0]))
        return x

jitted = jax.jit(lambda x: AsLongAsItSays(0.0)(x))
for _ in range(3):
    jitted(x)
interrupt_after(0.4)
interrupted(lambda: jitted(30 + x), 1.5)  # the fast path
works()
interrupt_after(0.4)
interrupted_eagerly(lambda: jax.vmap(Slow(0.1))(jnp.ones((100, 4))), 1.5)
works()
""",
        timeout=60,
    )


def test_the_interrupt_of_an_eager_hook_names_it(run_child):
    run_child(
        COMMON
        + """
interrupt_after(0.4)
interrupted_eagerly(lambda: Slow(30)(x), 1.5)
text = "".join([str(lo.last_error()), *lo.last_error().__notes__])
assert isinstance(lo.last_error(), KeyboardInterrupt)
assert "Slow.apply" in text, text
"""
    )


def test_during_a_loop_on_threads_of_xla(run_child):
    run_child(
        COMMON
        + """
run = large(Slow(0.005), 10_000)
for _ in range(2):
    interrupt_after(0.7)
    calls.clear()
    interrupted(lambda: run().block_until_ready(), 2)
    assert len(calls) > 10 and not any(calls)
    works()
""",
        timeout=60,
    )


def test_during_a_batch_on_threads_of_xla(run_child):
    run_child(
        COMMON
        + """
m = jnp.ones((400, 400))
program = jax.jit(lambda m: jax.vmap(jax.vmap(Slow(0.005)))(jnp.reshape(m @ m, (400, 100, 4))).sum())
compiled = program.lower(m).compile()
interrupt_after(0.7)
interrupted(lambda: compiled(m).block_until_ready(), 2)
assert not any(calls) and len(calls) > 10
works()
""",
        timeout=60,
    )


def test_during_a_long_hook_on_threads_of_xla(run_child):
    run_child(
        COMMON
        + """
run = large(Slow(1.5), 100)
interrupt_after(0.5)
interrupted(lambda: run().block_until_ready(), 3)
works()
"""
    )


@pytest.mark.parametrize("pause", [0.0, 0.3])
def test_an_interrupt_that_was_handled_does_not_end_a_later_run(run_child, pause):
    run_child(
        COMMON
        + """
pause = float(sys.argv[1])
for _ in range(2):
    interrupt_after(0.2)
    interrupted(lambda: time.sleep(10), 1.5)
    time.sleep(pause)
    result = large(Slow(0.005), 100)()
    result.block_until_ready()
    works()
""",
        pause,
    )


def test_an_interrupt_between_dispatch_and_wait(run_child):
    """It belongs to the Python code that was interrupted; the program may go on or end, the process goes on."""
    run_child(
        COMMON
        + """
result = large(Slow(0.005), 200)()
interrupt_after(0.2)
interrupted(lambda: time.sleep(10), 1.5)
try:
    result.block_until_ready()
except (ValueError, RuntimeError) as error:
    assert "KeyboardInterrupt" in str(error)
works()
"""
    )


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_handler_of_the_user_is_called(run_child, when):
    run_child(
        COMMON
        + """
seen = []

def install():
    signal.signal(signal.SIGINT, lambda number, frame: seen.append(number))

if sys.argv[1] == "before":
    install()
large_and_fast().block_until_ready()
install()
run = large(Slow(0.005), 300)
interrupt_after(0.5)
try:
    run().block_until_ready()
except (ValueError, RuntimeError) as error:
    assert "KeyboardInterrupt" in str(error)
assert seen == [signal.SIGINT], seen
interrupt_after(0.2)
time.sleep(0.5)
assert len(seen) == 2
interrupt_after(0.2)
np.testing.assert_allclose(Slow(0.5)(x), np.sin(x), rtol=1e-6)
assert len(seen) == 3
signal.signal(signal.SIGINT, signal.default_int_handler)
interrupt_after(0.5)
interrupted(lambda: run().block_until_ready(), 2)
works()
""",
        when,
    )


def test_a_handler_that_raises_something_else(run_child):
    run_child(
        COMMON
        + """
class Stop(Exception):
    pass

def handler(number, frame):
    raise Stop

signal.signal(signal.SIGINT, handler)
for run in (lambda: Slow(3)(x), large(Slow(0.005), 10_000)):
    interrupt_after(0.7)
    interrupted(lambda: run().block_until_ready(), 2, Stop)
    works()
"""
    )


def test_an_ignored_interrupt(run_child):
    run_child(
        COMMON
        + """
signal.signal(signal.SIGINT, signal.SIG_IGN)
interrupt_after(0.3)
large(Slow(0.005), 150)().block_until_ready()
interrupt_after(0.3)
Slow(0.6)(x)
works()
"""
    )


def test_a_hook_that_raises_keyboard_interrupt_itself(run_child):
    run_child(
        COMMON
        + """
class Quitter(Slow):
    def apply(self, x):
        raise KeyboardInterrupt("of my own")

try:
    Quitter(0.0)(x)
except KeyboardInterrupt:
    pass
else:
    raise AssertionError
works()
"""
    )


@pytest.mark.parametrize(
    "call", ["large(Slow(0.005), 10_000)().block_until_ready()", "Slow(30)(x)"], ids=["compiled", "eager"]
)
def test_an_interrupt_that_nobody_catches_ends_the_script(run_child, call):
    child = run_child(f"{COMMON}\ninterrupt_after(0.5)\n{call}", expect=(1, -2), timeout=30)
    assert "KeyboardInterrupt" in child.stderr
    assert "Fatal" not in child.stderr
    assert "terminate" not in child.stderr
