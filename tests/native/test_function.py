"""C functions as hooks: every transformation, dtypes, batches, user data, threads, export, and their failures."""

import ctypes
import gc
import os
import threading
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import library
from helpers import S, close, energy, normal
from jax.sharding import PartitionSpec as P

import linops_jax as lo

pytestmark = pytest.mark.newest

C = library("kernels.c")


class RunningSum(lo.LinearOperator):
    """Running sums of d x, with every hook in C."""

    d: jax.Array

    apply = lo.native(C.running_sum)
    adjoint = lo.native(C.running_sum_adjoint)
    parameter_jvp = lo.native(C.running_sum)
    parameter_vjp = lo.native(C.running_sum_adjoint)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class ParallelSum(RunningSum):
    apply = lo.native(C.running_sum, parallel=True)
    adjoint = lo.native(C.running_sum_adjoint, parallel=True)


def twin(d, x):
    return jnp.cumsum(d * x)


D, X = jnp.asarray(normal((5,), np.float32)), jnp.asarray(normal((5,), np.float32, 1))
KINDS = pytest.mark.parametrize("cls", [RunningSum, ParallelSum])


@KINDS
@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_values_and_derivatives(cls, dtype):
    d, x = jnp.asarray(normal((5,), dtype)), jnp.asarray(normal((5,), dtype, 1))
    for transform in (
        lambda f: f,
        jax.jit,
        lambda f: jax.grad(lambda d, x: energy(f(d, x)), argnums=(0, 1)),
        lambda f: lambda d, x: jax.jvp(f, (d, x), (x, d)),
        lambda f: lambda d, x: jax.jit(jax.checkpoint(f))(d, x),
        lambda f: lambda d, x: jax.linear_transpose(lambda x: f(d, x), x)(x),
        lambda f: lambda d, x: jax.jvp(jax.grad(lambda x: energy(f(d, x))), (x,), (d,)),
        lambda f: lambda d, x: jax.lax.scan(lambda c, _: (f(d, c) * 0.5, c.sum()), x, None, length=3),
    ):
        close(transform(lambda d, x: cls(d)(x))(d, x), transform(twin)(d, x))


@KINDS
@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0), (1, 0)])
def test_batches(cls, axes):
    shape = {None: (5,), 0: (3, 5), 1: (5, 3)}
    d, x = (jnp.asarray(normal(shape[axis], np.float32, i)) for i, axis in enumerate(axes))
    for f in (lambda f: f, lambda f: jax.grad(lambda d, x: energy(f(d, x)), argnums=(0, 1))):
        found = jax.vmap(f(lambda d, x: cls(d)(x)), axes)(d, x)
        close(found, jax.vmap(f(twin), axes)(d, x))


@KINDS
def test_nested_batches(cls):
    d, x = jnp.asarray(normal((2, 5), np.float32)), jnp.asarray(normal((4, 3, 5), np.float32))

    def outer(f):
        return jax.vmap(jax.vmap(jax.vmap(f, (None, 0)), (None, 0)), (0, None))

    close(jax.jit(outer(lambda d, x: cls(d)(x)))(d, x), outer(twin)(d, x))
    assert jax.vmap(lambda x: cls(D)(x))(jnp.zeros((0, 5))).shape == (0, 5)


class Multiply(lo.LinearOperator, batched=True):
    d: jax.Array
    apply = adjoint = lo.native(C.multiply)

    def infer_shape(self, x):
        return x


class Shapes(lo.LinearOperator, batched=True):
    """What the function is told."""

    d: jax.Array
    adjoint = None
    apply = lo.native(C.describe)

    def infer_shape(self, x):
        return S((24,), np.int32)


def test_a_batched_function_gets_all_axes_but_those_of_fields():
    d, x = jnp.asarray(normal((3, 5), np.float32)), jnp.asarray(normal((2, 5), np.float32))
    close(jax.vmap(Multiply(D))(x), x * D[None])
    both = jax.vmap(jax.vmap(lambda d, x: Multiply(d)(x), (0, None)), (None, 0))(d, x)
    close(both, x[:, None] * d[None])
    close(jax.vmap(jax.vmap(lambda d, x: Multiply(d)(x), (None, 0)), (0, None))(d, x), d[:, None] * x[None])


@pytest.mark.parametrize("dtype", [np.bool_, np.int8, np.float16, jnp.bfloat16, np.complex64])
def test_what_a_function_is_told(dtype):
    x = jnp.asarray(np.zeros((2, 3, 4), dtype))
    codes = {"bool": 1, "int8": 2, "float16": 10, "bfloat16": 16, "complex64": 15}
    size = np.dtype(dtype).itemsize
    found = np.asarray(Shapes(D)(x))
    expected = [1, 1, 2, 1, 11, 1, 5, 5, 4, codes[np.dtype(dtype).name], 3, 24, 2, 3, 4, 12 * size, 4 * size, size]
    np.testing.assert_array_equal(found[: len(expected)], expected)
    assert np.asarray(Shapes(jnp.float32(1))(jnp.zeros(())))[2:11].tolist() == [2, 1, 11, 0, 1, 11, 0, 1, 0]


class Swap(lo.LinearOperator):
    adjoint = None
    apply = lo.native(C.scale_dict)

    def infer_shape(self, x):
        return {"p": x[1], "q": x[0]}


def test_pytrees():
    close(Swap()((X, D[:3])), {"p": 2 * D[:3], "q": 3 * X})


def test_all_checks_pass():
    lo.check_operator(RunningSum(D), X)
    lo.check_operator(ParallelSum(D.astype(np.complex64)), X.astype(np.complex64))
    assert lo.dot_test(RunningSum(D), X).passed


@pytest.mark.parametrize("parallel", [False, True])
def test_a_sharded_batch_is_not_gathered(parallel):
    """Nor is the field for all of it."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(normal((8, 3, 5), np.float32))
    xs = jax.device_put(x, jax.sharding.NamedSharding(mesh, P("i")))
    op = (ParallelSum if parallel else RunningSum)(D)
    for function, expected in (
        (op, lambda x: twin(D, x)),
        (jax.grad(lambda x: energy(op(x))), jax.grad(lambda x: energy(twin(D, x)))),
    ):
        run = jax.jit(jax.vmap(jax.vmap(function)))
        assert "all-gather" not in run.lower(xs).compile().as_text()
        close(run(xs), jax.vmap(jax.vmap(expected))(x))


def test_shard_map_and_ahead_of_time():
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(normal((4, 5), np.float32))

    def loss(f):
        return lambda d, x: energy(jax.vmap(lambda x: f(d, x))(x))

    def sharded(d, x):
        return jax.lax.psum(loss(lambda d, x: RunningSum(d)(x))(d, x), "i")

    run = jax.shard_map(jax.grad(sharded), mesh=mesh, in_specs=(P(), P("i")), out_specs=P())
    each = jax.vmap(lambda row: jax.grad(loss(twin))(D, row[None]))(x)
    close(jax.jit(run)(D, x), each.sum(0))
    compiled = jax.jit(lambda d, x: RunningSum(d)(x)).lower(D, X).compile()
    jax.clear_caches()
    close(compiled(D, X), twin(D, X))


# ---- user data and owners ----------------------------------------------------------------------------------------------


class Settings(ctypes.Structure):
    _fields_ = [("factor", ctypes.c_double)]


def scaling(**options):
    class Scaling(lo.LinearOperator):
        factor: object = lo.static(default=2.5)
        apply = adjoint = lo.native(C.scale_by_user_data, **options)

        def infer_shape(self, x):
            return x

    return Scaling


@pytest.mark.parametrize(
    "data",
    [
        Settings(2.5),
        np.array([2.5]),
        bytes(np.float64(2.5)),
        ctypes.pointer(ctypes.c_double(2.5)),
        (ctypes.c_double * 1)(2.5),
        lambda op: Settings(op.factor),
        lambda op: np.float64(op.factor).tobytes(),
    ],
    ids=["structure", "array", "bytes", "pointer", "ctypes array", "of the operator", "bytes of the operator"],
)
def test_user_data(data):
    op = scaling(user_data=data)
    gc.collect()
    close(op()(X), 2.5 * X)


def test_user_data_of_static_fields_lives_as_long_as_a_program():
    kept = []

    def make(op):
        kept.append(weakref.ref(data := Settings(op.factor)))
        return data

    op = scaling(user_data=make)
    compiled = jax.jit(lambda x: op(3.0)(x)).lower(X).compile()
    jax.clear_caches()
    gc.collect()
    assert kept[-1]() is not None
    close(compiled(X), 3.0 * X)
    del compiled
    gc.collect()
    jax.clear_caches()
    gc.collect()
    assert kept[-1]() is None


def test_an_address_with_its_owner():
    class Owner:
        function = staticmethod(C.multiply)

    owner = Owner()
    address = ctypes.cast(owner.function, ctypes.c_void_p).value
    native = lo.native(address, owner=owner)
    reference = weakref.ref(owner)
    del owner
    gc.collect()
    assert reference() is not None
    assert native.address == address


# ---- threads -----------------------------------------------------------------------------------------------------------


def test_the_gil_is_free_during_a_call():
    flag = ctypes.c_int64(0)
    op = scaling()
    op = type("Waiting", (op,), {"apply": lo.native(C.wait_for_flag, user_data=ctypes.pointer(flag))})()
    timer = threading.Timer(0.2, lambda: setattr(flag, "value", 1))
    timer.start()
    close(op(X), X)
    timer.join()


@pytest.mark.parametrize("parallel", [False, True])
def test_the_checks_count_calls_of_native_hooks(parallel):
    counter = ctypes.c_int64(0)
    native = lo.native(C.counted_identity, user_data=ctypes.pointer(counter), parallel=parallel)

    class Counts(lo.LinearOperator):
        apply = adjoint = native

        def infer_shape(self, x):
            return x

    report = lo.check_operator(Counts(), S((3,), np.float32))
    assert sum(outcome.simulations for outcome in report.outcomes) == counter.value > 20


@pytest.mark.skipif((os.cpu_count() or 1) < 2, reason="one core")
def test_parallel_evaluates_a_batch_on_several_threads():
    counter = ctypes.c_int64(0)
    native = lo.native(C.meet, user_data=ctypes.pointer(counter), parallel=True)
    op = type("Meeting", (scaling(),), {"apply": native})()
    x = jnp.asarray(normal((8, 5), np.float32))
    close(jax.vmap(op)(x), x)


def test_an_error_in_a_parallel_batch():
    op = type("Half", (scaling(),), {"apply": lo.native(C.fail_for_negative, parallel=True)})()
    x = jnp.ones((100, 3))
    close(jax.vmap(op)(x), x)
    with pytest.raises(RuntimeError, match="negative"):
        jax.vmap(op)(x.at[77].set(-1))


# ---- failures ----------------------------------------------------------------------------------------------------------


def failing(function, **options):
    return type("Grid", (scaling(),), {"apply": lo.native(function, **options)})()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("fail_with_text", "^the grid is ä mess"),
        ("fail_silently", "returned 7 without an error text"),
        ("fail_at_length", r"^x{511}\b"),
        ("write_nothing", r"Grid\.apply did not write all of output of shape \(5,\), which infer_shape promised"),
        ("write_half", r"Grid\.apply did not write all of output of shape \(5,\)"),
        ("scale_by_user_data", "^no user data"),
        ("from_the_future", "compiled for a newer interface than this linops_jax has: update it"),
    ],
)
def test_failures_reach_the_caller(name, message):
    op = failing(getattr(C, name))
    with pytest.raises(RuntimeError, match=message) as caught:
        op(X)
    assert "Grid.apply failed" in caught.value.__notes__
    assert lo.last_error() is caught.value
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match=r"Grid\.apply"):
        jax.block_until_ready(jax.jit(op)(X))


def test_a_declared_dtype():
    op = failing(C.multiply, dtypes=["float64", "complex64"])
    with pytest.raises(
        TypeError, match=r"Grid\.apply is native and takes arrays of float64, complex64; found an array of float32"
    ):
        op(X)


def test_a_cpp_exception_is_an_error():
    op = failing(library("handlers.cpp").throws)
    with pytest.raises(RuntimeError, match="it threw a C\\+\\+ exception: out of cheese"):
        op(X)


@KINDS
def test_by_the_callback_of_jax(cls, monkeypatch):
    """As on platforms on which XLA cannot call the extension."""
    monkeypatch.setenv("LINOPS_JAX_ROUTE", "callback")
    x = jnp.stack([X, 2 * X, 3 * X])
    found = jax.jit(jax.value_and_grad(lambda d, x: energy(jax.vmap(cls(d))(x)), argnums=(0, 1)))
    expected = jax.value_and_grad(lambda d, x: energy(jax.vmap(lambda x: twin(d, x))(x)), argnums=(0, 1))
    close(found(D, x), expected(D, x))
    assert "python_cpu_callback" in found.lower(D, x).as_text()
    with pytest.raises(RuntimeError, match="out of cheese"):
        failing(library("handlers.cpp").throws)(X)


def test_nothing_is_left_behind():
    from linops_jax._engine import trampoline

    jax.clear_caches()
    gc.collect()
    before = trampoline._ext.count_targets()
    for factor in range(20):
        scaling(user_data=lambda op: Settings(op.factor))(float(factor))(X)
    jax.clear_caches()
    gc.collect()
    assert trampoline._ext.count_targets() == before
