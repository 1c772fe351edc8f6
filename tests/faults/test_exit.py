"""The interpreter exits while hooks run on XLA's threads: exit code 0, no message, no wait for what nobody asked for."""

import time

import pytest

pytestmark = pytest.mark.newest

COMMON = """
import sys, threading, time
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo

class Slow(lo.LinearOperator):
    seconds: float = lo.static()
    def apply(self, x):
        calls.append(threading.current_thread() is threading.main_thread())
        time.sleep(self.seconds)
        return np.sin(x) + 0 * x
    def adjoint(self, y): return y
    def infer_shape(self, x): return x
    def infer_adjoint_shape(self, y): return y

class Failing(Slow):
    def apply(self, x):
        time.sleep(self.seconds)
        raise ValueError("as always")

calls = []

def dispatch(op, steps):
    '''Starts a program on XLA's threads and does not wait for it.'''
    @jax.jit
    def program(m):
        m = m @ m / 400
        def step(i, v):
            return op(v) + (m[:4, :4] @ m[:4, :4])[0]
        return jax.lax.fori_loop(0, steps, step, m[0, :4])
    result = program.lower(jnp.ones((400, 400))).compile()(jnp.ones((400, 400)))
    assert not result.is_ready()
    time.sleep(0.3)
    return result
"""


def quiet(child):
    assert child.stderr == "", child.stderr


@pytest.mark.parametrize("repetition", range(5))
def test_exit_with_work_in_flight(run_child, repetition):
    start = time.perf_counter()
    child = run_child(COMMON + 'result = dispatch(Slow(0.02), 2000)\nassert calls and not any(calls)\nprint("end")')
    quiet(child)
    assert child.stdout == "end\n"
    assert time.perf_counter() - start < 25  # the loop would take 40 s


@pytest.mark.parametrize(
    ("ending", "code"),
    [
        ("dispatch(Slow(0.02), 2000)\nsys.exit()", 0),
        ("dispatch(Slow(0.02), 2000)\nsys.exit(3)", 3),
        ("result = [dispatch(Slow(0.001), 100_000) for _ in range(3)]", 0),
        ("def main():\n    result = dispatch(Slow(0.5), 100)\n    sys.exit(0)\nmain()", 0),
        ("result = dispatch(Slow(0.02), 2000)\njax.clear_caches()\ndel result", 0),
        ("result = dispatch(Slow(1.5), 20)", 0),
        ("result = dispatch(Failing(0.5), 20)", 0),
    ],
    ids=[
        "sys.exit",
        "exit code",
        "several programs",
        "main",
        "nobody holds the program",
        "long hook",
        "a hook that fails",
    ],
)
def test_ways_to_exit(run_child, ending, code):
    quiet(run_child(COMMON + ending, expect=code, timeout=60))


def test_exit_with_an_exception(run_child):
    child = run_child(COMMON + 'result = dispatch(Slow(0.02), 2000)\nraise RuntimeError("the end")', expect=1)
    assert child.stderr.rstrip().endswith("RuntimeError: the end")
    assert "terminate" not in child.stderr


def test_exit_with_an_exception_of_a_hook(run_child):
    child = run_child(COMMON + "result = dispatch(Slow(0.02), 60)\nFailing(0.0)(jnp.ones(3))", expect=1)
    assert "ValueError: as always" in child.stderr
    assert "Failing.apply failed" in child.stderr
    assert "Fatal" not in child.stderr
    assert "terminate" not in child.stderr


def test_exit_with_a_failed_program_that_nobody_looked_at(run_child):
    quiet(run_child(COMMON + "result = dispatch(Failing(0.0), 20)"))


def test_exit_while_a_python_thread_waits(run_child):
    """A thread that is no daemon: Python itself waits for it before anything is torn down."""
    child = run_child(
        COMMON
        + """
def work():
    result = dispatch(Slow(0.02), 20)
    result.block_until_ready()
    print("waited", flush=True)

threading.Thread(target=work).start()
"""
    )
    quiet(child)
    assert child.stdout == "waited\n"


def test_exit_from_an_atexit_function_that_calls_an_operator(run_child):
    child = run_child(
        COMMON
        + """
import atexit

def last():  # registered after us: runs before us
    print(float(Slow(0.0)(jnp.zeros(4))[0]), flush=True)

atexit.register(last)
result = dispatch(Slow(0.02), 60)
"""
    )
    quiet(child)
    assert child.stdout == "0.0\n"


def test_exit_of_an_idle_process_is_silent(run_child):
    quiet(run_child("import linops_jax"))
    quiet(
        run_child(
            COMMON
            + """
class Plan:
    def __del__(self):
        pass

class Many(lo.LinearOperator):
    value: object = lo.static()
    d: jax.Array
    def apply(self, x): return self.d * x
    def adjoint(self, y): return self.d * y
    def infer_shape(self, x): return x
    def infer_adjoint_shape(self, y): return y

kept = []
for value in (1, 1.0, "a", Plan(), ("a", Plan()), Plan):
    op = Many(value, jnp.ones(4))
    kept += [op, jax.jit(lambda x, op=op: op(x)), jax.jit(jax.grad(lambda op, x: jnp.sum(op.H(op(x))), 1))]
    for function in kept[-2:-1]:
        function(jnp.ones(4))
    kept[-1](op, jnp.ones(4))
    op(jnp.ones(4))
    try:
        Failing(0.0)(jnp.ones(4))
    except ValueError:
        pass
"""
        )
    )
