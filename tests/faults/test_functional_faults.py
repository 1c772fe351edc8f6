"""The functional interface beyond one call: who owns the functions, other processes, threads, errors of compiled code."""

import functools
import gc
import threading
import time
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from functions import CASES, NATIVE, PLAIN, make_cubic, make_cubic_with_state, make_pair, make_trilinear
from helpers import energy
from jax import export
from jax.interpreters import ad

import linops_jax as lo
from linops_jax._trampoline_ext import count_targets

X = np.arange(4, dtype=np.float32)


def settle(done=lambda: True):
    """Waits until it is done: XLA destroys programs on its own threads, which leave our references to this one."""
    jax.clear_caches()
    for _ in range(20):
        gc.collect()
        if done():
            return True
        time.sleep(0.05)
    return False


class Plan:
    def __init__(self, factor):
        self.factor = factor


def linear_with(plan):
    def forward(out, args, kwargs_dump):
        np.multiply(args[0], plan.factor, out=out[0])

    def abstract(x, batch_axes):
        return ((x.shape, x.dtype, batch_axes[0][-1] if batch_axes else None),)

    return lo.get_linear_call(forward, forward, abstract, abstract, func_can_batch=True)


def nonlinear_with(plan):
    """plan.factor * x**2 / 2."""

    def abstract(x, *others):
        return ((x.shape, x.dtype),)

    def make(evaluate):
        return lambda out, args, kwargs_dump: np.copyto(out[0], plan.factor * evaluate(*args))

    square, times = make(lambda x: x**2 / 2), make(lambda x, dx: x * dx)
    twice = make(lambda x, dx, dy: dx * dy)
    return lo.get_nonlinear_call(square, (times, times), abstract, abstract, hessian=(twice, twice))


def linearized_with(plan):
    """plan.factor * x**2 / 2, whose state is the slope."""

    def abstract(x, *others):
        return ((x.shape, x.dtype),)

    def make(evaluate):
        return lambda out, args, kwargs_dump: np.copyto(out[0], evaluate(*args))

    def square_and_slope(out, args, kwargs_dump):
        out[0][...], out[1][...] = plan.factor * args[0] ** 2 / 2, plan.factor * args[0]

    square, times = make(lambda x: plan.factor * x**2 / 2), make(lambda x, slope, dx: slope * dx)
    twice = make(lambda x, slope, dx, dy: plan.factor * dx * dy)
    linearize = (square_and_slope, abstract)
    return lo.get_nonlinear_call(
        square, (times, times), abstract, abstract, hessian=(twice, twice), linearize=linearize
    )


RUNS = {
    "eager": lambda call: call(X),
    "jit": lambda call: jax.jit(call)(X),
    "gradient": lambda call: jax.grad(lambda x: energy(call(x)))(X),
    "second derivative": lambda call: jax.hessian(lambda x: energy(call(x)))(X),
    "vmap": lambda call: jax.vmap(call)(X[None]),
    "operator": lambda call: jax.jit(call.as_operator())(X),
}


@pytest.mark.parametrize("make", [linear_with, nonlinear_with, linearized_with])
@pytest.mark.parametrize("run", RUNS.values(), ids=RUNS)
def test_functions_go_with_the_last_program(make, run):
    plan = Plan(2)
    alive = weakref.ref(plan)
    result = jax.block_until_ready(run(make(plan)))
    del plan, result
    assert settle(lambda: alive() is None)


@pytest.mark.parametrize("batched", [False, True])
def test_a_compiled_program_owns_its_functions(batched):
    plan = Plan(3)
    alive = weakref.ref(plan)
    call = linear_with(plan)
    x = X[None] if batched else X
    lowered = jax.jit(jax.vmap(call) if batched else call).lower(x)
    del call, plan
    settle()
    compiled = lowered.compile()
    del lowered
    settle()
    noise = [linear_with(Plan(i))(X) for i in range(20)]  # takes the place of what was freed
    np.testing.assert_array_equal(compiled(x)[0], 3 * x)
    del compiled, noise
    assert settle(lambda: alive() is None)


def test_binding_the_same_functions_again_registers_nothing():
    def once():
        for case in CASES.values():
            jax.block_until_ready(case.make()(*case.arguments(), **case.keywords))

    jax.clear_caches()  # full caches of earlier tests would let go of a program and make it anew
    gc.collect()
    once()
    gc.collect()
    before = count_targets(), len(ad.primitive_jvps)
    for _ in range(50):
        once()
    gc.collect()
    assert (count_targets(), len(ad.primitive_jvps)) == before


# ---- other processes -------------------------------------------------------------------------------------------------

SHOP = '''
import numpy as np
import linops_jax as lo

def scale(out, args, kwargs_dump):
    out[0][...] = lo.load_kwargs(kwargs_dump)["factor"] * args[0]

def scale_abstract(x, *, factor):
    return ((x.shape, x.dtype),)

def decoy(out, args, kwargs_dump):
    out[0][...] = -1000

def last(out, args, kwargs_dump):
    """Batch axes last in the output."""
    axes = lo.load_kwargs(kwargs_dump)["batch_axes"]
    out[0][...] = np.moveaxis(args[0], axes[0][0], -1) if axes and axes[0] else args[0]

def last_abstract(x, batch_axes):
    if not batch_axes or not batch_axes[0]:
        return ((x.shape, x.dtype, None),)
    shape = list(x.shape)
    return (((*shape[1:], shape[0]), x.dtype, len(shape) - 1),)

def product(out, args, kwargs_dump):
    out[0][...] = args[0] * args[1]

def product_abstract(x, y):
    return ((x.shape, x.dtype),)

def square(out, args, kwargs_dump):
    out[0][...] = args[0] * args[1] ** 2

def square_jvp(out, args, kwargs_dump):
    out[0][...] = args[0] * 2 * args[1] * args[2]

def square_abstract(p, x, *others):
    return ((x.shape, x.dtype),)

def square_and_slope(out, args, kwargs_dump):
    p, x = args
    out[0][...], out[1][...], out[2][...] = p * x**2, 2 * p * x, 7

def square_state(p, x):
    return ((x.shape, x.dtype), ((), np.int32))

def times_slope(out, args, kwargs_dump):
    p, x, slope, steps, tangent = args
    assert steps == 7
    out[0][...] = slope * tangent

scaled = lo.get_linear_call(scale, scale, scale_abstract, scale_abstract)
lasts = lo.get_linear_call(last, last, last_abstract, last_abstract, func_can_batch=True)
products = lo.get_linear_call(product, (product, product), product_abstract, (product_abstract, product_abstract))
squares = lo.get_nonlinear_call(
    square, (square_jvp, square_jvp), square_abstract, square_abstract, first_n_args_fixed=1
)
slopes = lo.get_nonlinear_call(
    square, (times_slope, times_slope), square_abstract, square_abstract, first_n_args_fixed=1,
    linearize=(square_and_slope, square_state),
)
'''

EXPORTER = """
import jax, jax.numpy as jnp, numpy as np
from jax import export
import linops_jax as lo
import shop

x = np.arange(4, dtype=np.float32)

def save(name, function, *arguments, vjp_order=0):
    exported = export.export(jax.jit(function), disabled_checks=lo.export_checks())(*arguments)
    with open(name, "wb") as file:
        file.write(exported.serialize(vjp_order=vjp_order))

save("scale", lambda x: shop.scaled(x, factor=3.0), x, vjp_order=1)
save("last", jax.vmap(shop.lasts), x[:, None] + x)
save("product", jax.grad(lambda x: jnp.sum(shop.products(x, x)[0])), x)
save("square", lambda p, x: jax.grad(lambda x: jnp.sum(shop.squares(p, x)[0]))(x), x, x)
save("slope", lambda p, x: jax.grad(lambda x: jnp.sum(shop.slopes(p, x)[0]))(x), x, x)
save("slopes", jax.vmap(lambda p, x: jax.jvp(lambda x: shop.slopes(p, x)[0], (x,), (x,)), (None, 0)), x, x[:, None] + x)
save("as an operator", lambda p, x: shop.slopes.as_operator(p).jacobian(x).H(x), x, x)
(batch,) = export.symbolic_shape("batch")
save("batch", jax.vmap(shop.lasts), jax.ShapeDtypeStruct((batch, 4), np.float32))
"""

LOADER = """
import jax, jax.numpy as jnp, numpy as np
from jax import export
import linops_jax as lo

def load(name):
    with open(name, "rb") as file:
        return export.deserialize(bytearray(file.read())).call

x = np.arange(4, dtype=np.float32)
same = np.testing.assert_array_equal
"""


@pytest.fixture
def exported(run_child, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    run_child(EXPORTER)
    return tmp_path


def test_programs_run_in_another_process(run_child, exported):
    run_child(
        LOADER
        + """
import shop
lo.get_linear_call(shop.decoy, None, shop.scale_abstract, None)(x, factor=3.0)
same(load("scale")(x)[0], 3 * x)
same(jax.grad(lambda x: jnp.sum(load("scale")(x)[0]))(x), np.full(4, 3))
same(load("last")(x[:, None] + x)[0], x[:, None] + x)
same(load("batch")(x[:3, None] + x)[0], x[:3, None] + x)
same(load("product")(x), 2 * x)
same(load("square")(x, x), 2 * x * x)
same(load("slope")(x, x), 2 * x * x)
xs = x[:, None] + x
same(load("slopes")(x, xs), (x * xs**2, 2 * x * xs * xs))
same(load("as an operator")(x, x), 2 * x**3)
"""
    )


def test_functions_that_are_not_there_are_named(run_child, exported):
    run_child(
        LOADER
        + """
import sys, types

def message(name, *arguments):
    program = jax.jit(load(name))
    try:
        jax.block_until_ready(program(*arguments))
    except Exception as error:
        return str(error)
    raise AssertionError(name)

for name, function in {"scale": "scale", "product": "product"}.items():
    text = message(name, x)
    assert f"calls the function {function} of module shop, which this process has not imported" in text, text
    assert "run `import shop` before running the program" in text, text
sys.modules["shop"] = types.ModuleType("shop")
assert "function scale of module shop, which no longer exists" in message("scale", x)
del sys.modules["shop"]
import shop
same(load("scale")(x)[0], 3 * x)
"""
    )


def test_the_persistent_cache(run_child, tmp_path):
    (tmp_path / "shop.py").write_text(SHOP)
    source = """
import jax, numpy as np
import shop
hits = []
jax.monitoring.register_event_listener(lambda event, **_: hits.append(event) if event.endswith("/cache_hits") else None)
x = np.arange(4, dtype=np.float32)
for function in (lambda x: shop.scaled(x, factor=3.0)[0], jax.vmap(shop.lasts)):
    hits.clear()
    jax.block_until_ready(jax.jit(function)(x[:, None] + x))
    print(len(hits))
"""
    settings = {
        "JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
        "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1",
    }
    assert run_child(source, **settings).stdout.split() == ["0", "0"]
    assert run_child(source, **settings).stdout.split() == ["1", "1"]


@pytest.mark.parametrize(
    ("call", "obstacle"),
    [
        (linear_with(Plan(1)), r"forward cannot be exported: another process could not find the function .*forward"),
        (
            functools.partial(CASES["pair"].make(), np.ones(3, np.float32), c=Plan(1)),
            r"LinearCall\.keywords, which holds",
        ),
        (
            lo.get_linear_call(functools.partial(print), None, lambda x: ((x.shape, x.dtype),), None),
            r"functools\.partial.*which is not a function with a name\. Make keywords plain values .* define the functions at",
        ),
    ],
)
def test_what_has_no_name_is_refused_at_export(call, obstacle):
    with pytest.raises(TypeError, match=obstacle):
        export.export(jax.jit(call), disabled_checks=lo.export_checks())(np.ones(2, np.float32))


# ---- threads and errors ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [PLAIN, NATIVE["back"]], ids=["looped", "native"])
def test_threads(form):
    makers = (make_pair, make_trilinear, make_cubic, make_cubic_with_state)
    pair, trilinear, cubic, with_state = (make(form) for make in makers)
    batches = {
        name: [jnp.stack([x] * 5) for x in CASES[name].arguments()] for name in ("pair", "trilinear", "nonlinear")
    }

    def results():
        yield jax.vmap(lambda x, y: pair(x, y, c=1.0))(*batches["pair"])
        yield jax.vmap(jax.grad(lambda *args: energy(trilinear(*args)), (1, 2, 3)))(*batches["trilinear"])
        for call in (cubic, with_state):
            yield jax.grad(lambda x, *rest: energy(jax.vmap(call)(x, *rest)))(*batches["nonlinear"])  # noqa: B023

    expected, failures = list(results()), []

    def work():
        try:
            for _ in range(20):
                jax.tree.map(np.testing.assert_array_equal, list(results()), expected)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures


class PlanError(Exception):
    pass


def test_errors_of_the_function_keep_their_type():
    def fails(out, args, kwargs_dump):
        message = "no plan for 4"
        raise PlanError(message)

    def abstract(x):
        return ((x.shape, x.dtype),)

    call = lo.get_nonlinear_call(fails, (fails, fails), abstract, abstract)
    for run in (call, jax.vmap(call)):
        with pytest.raises(PlanError, match="no plan for 4") as caught:
            run(X[None])
        assert any("test_functional_faults.fails" in note for note in caught.value.__notes__)
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match=r"test_functional_faults\.fails.*no plan for 4"):
        jax.block_until_ready(jax.jit(call)(X))
    assert isinstance(lo.last_error(), PlanError)


def test_errors_of_abstract_keep_their_type():
    def abstract(x):
        message = "no plan for 4"
        raise PlanError(message)

    call = lo.get_linear_call(lambda out, args, dump: None, None, abstract, None)
    with pytest.raises(PlanError, match="no plan for 4") as caught:
        jax.jit(call)(X)
    assert any("test_functional_faults.abstract failed" in note for note in caught.value.__notes__)
