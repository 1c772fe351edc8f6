"""JAX called inside a host hook: refused at once, where it would wait for the program that waits for the hook."""

import pytest

pytestmark = pytest.mark.newest

COMMON = """
import sys, time
import jax, jax.numpy as jnp, numpy as np
import linops_jax as lo

class Other(lo.LinearOperator):
    adjoint = None
    def apply(self, x): return 2 * x
    def infer_shape(self, x): return x

other, compiled = Other(), jax.jit(lambda x: jnp.sin(x) + 1)
compiled_other = jax.jit(lambda x: other(x) + 1)
x = jnp.arange(4.0)
for function in (jnp.cos, compiled, other, compiled_other, jax.vmap(other), jax.grad(lambda x: jnp.sum(x**2))):
    function(x)  # compiled before, the cached way
aot = compiled.lower(x).compile()

CALLS = {
    "jnp": jnp.cos,
    "fresh jnp": lambda x: jnp.cumsum(jnp.tan(x)),
    "jit": compiled,
    "fresh jit": lambda x: jax.jit(lambda x: x * 3)(x),
    "operator": other,
    "jitted operator": compiled_other,
    "fresh operator": lambda x: (other @ other + lo.Identity())(x),
    "vmap": jax.vmap(other),
    "grad": jax.grad(lambda x: jnp.sum(x**2)),
    "aot": aot,
    "random": lambda x: jax.random.normal(jax.random.key(0), x.shape),
}

class Caller(lo.LinearOperator):
    what: str = lo.static()
    adjoint = None
    def apply(self, x):
        global started
        started = time.perf_counter()
        return np.asarray(CALLS[self.what](x), np.float32)
    def infer_shape(self, x): return x

def eager(op):
    return op(x)

def jitted(op):
    return jax.jit(lambda x: op(x))(x)

def large(op):
    def program(m):
        for _ in range(3):
            m = m @ m / 600
        return op(m[0, :4]) + jnp.sum(m @ m)
    return jax.jit(program)(jnp.ones((600, 600)))

def loop(op):
    return jax.jit(lambda x: jax.lax.fori_loop(0, 5, lambda i, v: op(v), x))(x)
"""


@pytest.mark.parametrize("how", ["eager", "jitted", "large", "loop"])
def test_jax_inside_a_hook_is_an_error_and_does_not_hang(run_child, how):
    child = run_child(
        COMMON
        + """
run = globals()[sys.argv[1]]
for what in CALLS:
    try:
        jax.block_until_ready(run(Caller(what)))
    except Exception as error:
        seconds = time.perf_counter() - started
        text = "".join([str(error), *getattr(error, "__notes__", ())])
    else:
        raise AssertionError(f"{what}: no error")
    assert seconds < 10, (what, seconds)
    assert "Caller.apply" in text, (what, text)
    print("ok", what, "|", text.replace("\\n", " "), flush=True)
    np.testing.assert_array_equal(run(other), run(other))
np.testing.assert_array_equal(other(x), 2 * x)
np.testing.assert_allclose(compiled(x), np.sin(x) + 1, rtol=1e-6)
""",
        how,
        timeout=60,
    )
    lines = [line for line in child.stdout.splitlines() if line.startswith("ok")]
    assert len(lines) == 11
    for line in lines:
        assert "host hook" in line, line
        assert "NumPy" in line or "lo.traced" in line, line


def test_jax_inside_a_hook_while_more_programs_wait(run_child):
    """The main thread dispatches until XLA lets it wait: the case that hangs elsewhere."""
    run_child(
        COMMON
        + """
op = Caller("jit")
run = jax.jit(lambda m: op((m @ m / 600)[0, :4]) + jnp.sum(m))
m = jnp.ones((600, 600))
failures, results = 0, []
for _ in range(100):
    try:
        results.append(run(m))
    except Exception:
        failures += 1
for result in results:
    try:
        jax.block_until_ready(result)
    except Exception as error:
        assert "Caller.apply" in str(error)
        failures += 1
assert failures == 100, failures
np.testing.assert_array_equal(other(x), 2 * x)
""",
        timeout=60,
    )


def test_what_does_not_run_a_program_is_allowed(run_child):
    """Plain NumPy use of a JAX array that is there, specs, tracing, and the hooks of another operator."""
    run_child(
        COMMON
        + """
class Careful(lo.LinearOperator):
    adjoint = None
    def apply(self, v):
        jax.ShapeDtypeStruct(v.shape, v.dtype)
        jax.eval_shape(jnp.sin, v)
        return other.apply(v) + np.asarray(x)
    def infer_shape(self, x): return x

for run in (eager, jitted, large, loop):
    jax.block_until_ready(run(Careful()))
np.testing.assert_array_equal(eager(Careful()), 3 * np.arange(4))
""",
        timeout=60,
    )


def test_transfers_inside_a_hook_do_not_hang(run_child):
    run_child(
        COMMON
        + """
TRANSFERS = {
    "asarray": jnp.asarray,
    "device_put": jax.device_put,
    "zeros": lambda v: jnp.zeros(4),
    "ready": lambda v: jax.block_until_ready(x),
    "item": lambda v: v * float(x[1]),
}
CALLS.update(TRANSFERS)
for what in TRANSFERS:
    for run in (eager, jitted, large, loop):
        try:
            jax.block_until_ready(run(Caller(what)))
        except Exception as error:
            assert "Caller.apply" in "".join([str(error), *getattr(error, "__notes__", ())])
        assert time.perf_counter() - started < 1
""",
        timeout=60,
    )


def test_a_hook_leaves_no_trace_in_the_thread_that_called_it(run_child):
    run_child(
        COMMON
        + """
class Failing(lo.LinearOperator):
    adjoint = None
    def apply(self, v): raise ValueError("as always")
    def infer_shape(self, x): return x

for op in (Caller("jnp"), Failing(), other):
    for run in (eager, jitted, large):
        try:
            jax.block_until_ready(run(op))
        except Exception:
            pass
        assert jnp.cos(jnp.ones(())) < 1
        with jax.no_execution(True):
            try:
                jax.block_until_ready(jitted(other))
            except Exception:
                pass
            try:
                jnp.cos(x)
            except RuntimeError:
                pass
            else:
                raise AssertionError
        assert jnp.cos(jnp.ones(())) < 1
""",
        timeout=60,
    )


def test_large_arrays_brought_by_a_callback(run_child):
    """JAX's own ``pure_callback`` waits for itself here; and an exception on one device must not keep the others waiting."""
    run_child(
        """
        import jax, jax.numpy as jnp, numpy as np
        from jax.sharding import AxisType, NamedSharding, PartitionSpec as P
        import linops_jax as lo

        jax.config.update("jax_num_cpu_devices", 4)

        class Double(lo.LinearOperator):
            fails: bool = lo.static(default=False)

            def apply(self, x):
                if self.fails:
                    raise ValueError("no licence")
                return 2 * x

            adjoint = apply

            def infer_shape(self, x):
                return x

        def loop(op):
            return jax.jit(lambda x: jax.lax.fori_loop(0, 5, lambda _, x: jax.vmap(op)(x) * 0.5, x))

        mesh = jax.make_mesh((4,), ("i",), axis_types=(AxisType.Auto,))
        x = jax.device_put(jnp.ones((4, 200_000)), NamedSharding(mesh, P("i")))
        call, y = loop(Double()), x
        for _ in range(5):
            y = call(y)
        assert float(jnp.sum(y)) == 800_000
        y = jnp.ones(200_000)
        for _ in range(20):
            y = Double()(y) * 0.5
        assert float(jnp.sum(y)) == 200_000
        try:
            jax.block_until_ready(loop(Double(fails=True))(x))
        except jax.errors.JaxRuntimeError as error:
            assert "Double.apply failed: ValueError: no licence" in str(error)
        """,
        timeout=60,
        LINOPS_JAX_ROUTE="callback",
    )
