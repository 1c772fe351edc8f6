"""Device hooks, on the CPU: with NumPy, and with PyTorch where it is installed. No GPU has run them."""

import contextlib
import gc
import sys
import types
import weakref
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import S, close, energy, normal
from jax import export
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from on_device import on_device
from operators import AntilinearWithParameters, BatchedMix, Dense, DenseWithParameters, Mix, SineWithHessian

import linops_jax as lo
from linops_jax._engine import lent, streams
from linops_jax.testing import CheckError, Checkup

pytestmark = pytest.mark.versions

R, C = np.float32, np.complex64
X = jnp.asarray(normal((3,), R, 1))
M = normal((4, 3), C, 2)


class Doubled(lo.LinearOperator):
    """2 d x, and what the hook has seen."""

    d: jax.Array
    seen: ClassVar[list] = []

    @lo.device
    def apply(self, x, *, out):
        self.seen.append((self.d.shape, x.shape, out.shape))
        np.multiply(self.d, 2 * np.asarray(x), out=np.asarray(out))

    adjoint = apply

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


# ---- every transformation ---------------------------------------------------------------------------------------------

OPERATORS = {
    "complex, parameters": (DenseWithParameters(M), normal((3,), C, 3)),
    "pytrees": (Mix(normal((2,), C, 4)), (normal((3,), C, 5), normal((2, 3), C, 6))),
    "real linear": (AntilinearWithParameters(M, normal((4, 3), C, 7)), normal((3,), C, 8)),
    "nonlinear": (SineWithHessian(normal((3,), R, 9), normal((3,), R, 10)), normal((3,), R, 11)),
    "batched": (BatchedMix(M, normal((4,), C, 12)), (normal((3,), C, 13), normal((4,), C, 14))),
}


@pytest.mark.parametrize("name", OPERATORS)
def test_every_transformation(name):
    op, x = jax.tree.map(jnp.asarray, OPERATORS[name])
    fields = name not in ("pytrees", "batched")  # have parameter hooks
    twin = lambda op, x: op.twin(x)  # noqa: E731

    def everything(function, op, x):
        found = {"value": function(op, x)}
        found["batch"] = jax.vmap(function, in_axes=(None, 0))(op, jax.tree.map(lambda a: jnp.stack([a, -a]), x))
        found["batch of fields"] = jax.vmap(function, in_axes=(0, None))(
            jax.tree.map(lambda a: jnp.stack([a, 2 * a]), op), x
        )
        found["tangent"] = jax.jvp(lambda x: function(op, x), (x,), (jax.tree.map(jnp.conj, x),))[1]
        argnums = (0, 1) if fields else (1,)
        found["gradient"] = jax.grad(lambda op, x: energy(function(op, x)), argnums)(op, x)
        if name == "nonlinear":
            found["second"] = jax.jvp(jax.grad(lambda x: energy(function(op, x))), (x,), (x**2,))[1]
        return jax.tree.leaves(found)

    device = on_device(op)
    assert {hook.kind for hook in type(device)._hooks.values()} <= {"device", "missing", "refused"}
    found = jax.jit(lambda op, x: everything(lambda op, x: op(x), op, x))(device, x)
    close(found, jax.jit(lambda op, x: everything(twin, op, x))(op, x), scale=30)


def test_the_harness():
    lo.check_operator(Doubled(X), X)
    wave = on_device(SineWithHessian(X, X))
    report = Checkup(wave, X).report()
    assert report.passed, report


def test_in_a_batch_it_is_called_for_each_element():
    Doubled.seen.clear()
    x = jnp.asarray(normal((5, 2, 3), R, 3))
    close(jax.jit(jax.vmap(jax.vmap(Doubled(X))))(x), 2 * X[None, None] * x)
    assert Doubled.seen == [((3,), (3,), (3,))] * 10


def test_loops_and_conditions():
    op = Doubled(X / 4)
    power = jax.jit(lambda x: jax.lax.fori_loop(0, 3, lambda _, x: op(x), x))
    close(power(X), (X / 2) ** 3 * X)
    close(jax.jit(lambda p, x: jax.lax.cond(p, op, lambda x: x, x))(True, X), X * X / 2)


def test_several_devices():
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jax.device_put(normal((8, 3), R, 4), NamedSharding(mesh, P("i")))
    op = on_device(Dense(M.real))
    close(jax.jit(jax.vmap(op))(x), x @ M.real.T)
    parts = jax.shard_map(lambda x: jax.vmap(op)(x), mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    close(jax.jit(parts)(x), x @ M.real.T)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(parts(x) ** 2)))(x)
    close(gradient, 2 * x @ M.real.T @ M.real, scale=5)


def test_an_explicit_mesh():
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Explicit,))
    with jax.set_mesh(mesh):
        x = jax.device_put(normal((4,), R, 5), NamedSharding(mesh, P("i")))
        with pytest.raises(TypeError, match=r"Doubled\.apply is foreign code and needs the whole of x"):
            Doubled(jnp.ones(4))(x)
        whole = jax.sharding.reshard(x, P())
        close(np.asarray(Doubled(jnp.ones(4))(whole)), 2 * np.asarray(x))


class Remembering(lo.NonlinearOperator):
    """x^3, whose derivatives get x^2 as the state of ``linearize``."""

    def apply(self, x):
        return x**3

    @lo.device
    def linearize(self, x, *, out):
        value, state = out
        np.power(x, 2, out=np.asarray(state))
        np.multiply(x, state, out=np.asarray(value))

    @lo.device
    def jacobian_apply(self, x, dx, *, state, out):
        np.multiply(3 * np.asarray(state), dx, out=np.asarray(out))

    jacobian_adjoint = lo.device(lambda self, x, dy, *, state, out: self.jacobian_apply(x, dy, state=state, out=out))

    def infer_shape(self, x):
        return x

    infer_state_shape = infer_shape


def test_states():
    close(jax.grad(lambda x: jnp.sum(Remembering()(x)))(X), 3 * X**2)
    close(Remembering().jacobian(X)(X), 3 * X**3)


# ---- what a hook gets ---------------------------------------------------------------------------------------------------


def looking(look, dtype=None):
    """An operator whose hook looks at its arrays."""

    class Looking(lo.LinearOperator):
        adjoint = None

        @lo.device
        def apply(self, x, *, out):
            look(x, out)
            np.asarray(out)[...] = np.asarray(x)

        def infer_shape(self, x):
            return x

    return Looking()


def test_arrays_are_not_copied_and_inputs_are_read_only():
    found = {}

    def look(x, out):
        found["x"], found["out"] = np.asarray(x).ctypes.data, np.asarray(out).ctypes.data
        found["flags"] = np.asarray(x).flags.writeable, np.asarray(out).flags.writeable
        found["from_dlpack"] = np.from_dlpack(x).flags.writeable, np.from_dlpack(x).ctypes.data
        found["what"] = (x.shape, x.dtype, x.ndim, x.size, x.nbytes)
        found["device"], found["cuda"] = x.__dlpack_device__(), hasattr(x, "__cuda_array_interface__")
        found["copy"] = np.array(x, dtype=np.float64), repr(x)

    y = looking(look)(X)
    assert found["x"] == X.unsafe_buffer_pointer()
    assert found["out"] == y.unsafe_buffer_pointer()
    assert found["flags"] == (False, True)
    assert found["from_dlpack"] == (False, found["x"])
    assert found["what"] == ((3,), np.dtype(R), 1, 3, 12)
    assert (found["device"], found["cuda"]) == ((1, 0), False)
    np.testing.assert_array_equal(found["copy"][0], np.asarray(X, np.float64))
    assert found["copy"][1] == "DeviceArray(shape=(3,), dtype=float32)"


def test_writing_to_an_input_is_refused():
    def write(x, out):
        np.asarray(x)[0] = 1

    with pytest.raises(ValueError, match="read-only"):
        looking(write)(X)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "bool", "int8", "uint32", "complex64", "float8_e4m3fn"])
def test_dtypes(dtype):
    seen = []
    x = jnp.asarray([0, 1, 2]).astype(dtype)
    y = looking(lambda x, out: seen.append((x.dtype, np.asarray(x).dtype, out.nbytes)))(x)
    np.testing.assert_array_equal(np.asarray(y), np.asarray(x))
    assert seen == [(x.dtype, x.dtype, 3 * x.dtype.itemsize)]


def test_numbers_empty_arrays_and_64_bits(x64):
    op = looking(lambda x, out: None)
    for x in (jnp.asarray(2.0), jnp.zeros((0, 3)), jnp.ones((2, 1, 2), np.complex128)):
        close(op(x), x)
    close(Doubled(jnp.ones(3))(jnp.arange(3.0)), jnp.asarray([0.0, 2.0, 4.0]))


def test_the_memory_of_a_gpu():
    """A buffer as a GPU would have it: NumPy is told that it cannot, other libraries get what JAX has."""
    interface = {"data": (16, False), "version": 2}
    buffer = types.SimpleNamespace(
        shape=(2,), dtype=np.dtype(R), __dlpack_device__=lambda: (2, 1), __dlpack__=lambda **options: options
    )
    buffer.__cuda_array_interface__ = interface
    array = lent.DeviceArray(buffer, "Blur.apply", False, True)
    with pytest.raises(TypeError, match=r"Blur\.apply: NumPy cannot read the memory of a GPU.*torch\.from_dlpack"):
        np.asarray(array)
    assert array.__cuda_array_interface__ is interface
    assert array.__dlpack__(stream=3, max_version=None) == {"stream": 3}
    assert lent.place_of(buffer) == (False, 1)


def test_plans():
    made = []

    class Planned(Doubled):
        def prepare(self, x):
            made.append(x.shape)
            return 2.0

        @lo.device
        def apply(self, x, *, out, plan, stream):
            assert stream is None
            np.multiply(x, np.float32(plan), out=np.asarray(out))

        adjoint = None

    run = jax.jit(jax.vmap(Planned(X)))
    for _ in range(2):
        close(run(jnp.stack([X, X])), 2 * jnp.stack([X, X]))
    assert made == [(3,)]

    class OfValues(Planned):
        def prepare(self, x, *, d):
            return d

    with pytest.raises(
        NotImplementedError, match=r"OfValues\.prepare asks for the values of d, which for OfValues\.apply"
    ):
        OfValues(X)(X)


def test_in_place():
    seen = []

    class Halved(lo.LinearOperator):
        adjoint = None

        @lo.in_place
        @lo.device
        def apply(self, x, *, out):
            seen.append(np.asarray(x).ctypes.data == np.asarray(out).ctypes.data)
            np.multiply(x, 0.5, out=np.asarray(out))

        def infer_shape(self, x):
            return x

    close(jax.jit(lambda x: jax.lax.fori_loop(0, 4, lambda _, v: Halved()(v), x))(X), X / 16)
    assert seen == [True] * 4


# ---- streams ------------------------------------------------------------------------------------------------------------


def test_the_stream_is_current_in_the_libraries_that_are_there(monkeypatch):
    entered = []

    def context(*what):
        @contextlib.contextmanager
        def manager():
            entered.append(("in", *what))
            yield
            entered.append(("out", *what))

        return manager()

    cuda = types.SimpleNamespace(
        is_available=lambda: True,
        stream=lambda stream: context("torch", *stream),
        ExternalStream=lambda stream, device: (stream, device),
    )
    monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
    cupy = types.SimpleNamespace(
        Device=lambda number: context("device", number), ExternalStream=lambda *stream: context("cupy", *stream)
    )
    monkeypatch.setitem(sys.modules, "cupy", types.SimpleNamespace(cuda=cupy))
    with streams.as_current(77, 1):
        assert entered == [("in", "torch", 77, 1), ("in", "device", 1), ("in", "cupy", 77, 1)]
    assert entered[3:] == [("out", "cupy", 77, 1), ("out", "device", 1), ("out", "torch", 77, 1)]
    cuda.is_available = lambda: False
    monkeypatch.delitem(sys.modules, "cupy")
    del entered[:]
    with streams.as_current(77, 1):
        assert entered == []


# ---- errors -------------------------------------------------------------------------------------------------------------


class Broken(Doubled):
    @lo.device
    def apply(self, x, *, out):
        message = "no licence"
        raise ValueError(message)


def test_exceptions_are_those_of_the_hook():
    with pytest.raises(ValueError, match=r"^no licence") as caught:
        Broken(X)(X)
    assert caught.value.__notes__ == ["Broken.apply failed"]
    for _ in range(2):
        with pytest.raises(
            jax.errors.JaxRuntimeError, match=r"Broken\.apply failed: ValueError: no licence \(.*test_device"
        ):
            jax.block_until_ready(jax.jit(lambda x: Broken(X)(x))(X))
    assert repr(lo.last_error()) == "ValueError('no licence')"
    close(Doubled(X)(X), 2 * X * X)


def test_jax_in_a_hook_is_refused():
    with pytest.raises(RuntimeError, match="no_execution"):
        looking(lambda x, out: jnp.sin(np.asarray(x)))(X)


def test_what_is_returned_is_refused():
    class Returns(Doubled):
        @lo.device
        def apply(self, x, *, out):
            return np.asarray(x)

    with pytest.raises(TypeError, match=r"Returns\.apply takes out=, so it must fill it and return None or out itself"):
        Returns(X)(X)


def test_kept_arrays():
    kept = []
    with pytest.raises(RuntimeError, match=r"Looking\.apply kept a reference to one of its arrays after it returned"):
        looking(lambda x, out: kept.append(np.asarray(x)[1:]))(X)
    np.testing.assert_array_equal(kept[0], X[1:])  # a copy now
    with pytest.raises(RuntimeError, match=r"Looking\.apply kept a reference"):
        looking(lambda x, out: kept.append(np.from_dlpack(x)))(X)
    looking(lambda x, out: kept.append(x))(X)
    with pytest.raises(RuntimeError, match=r"Looking\.apply has returned, and with it went the memory of this array"):
        np.asarray(kept[-1])
    assert repr(kept[-1]) == "DeviceArray of Looking.apply, which has returned"


def test_a_cycle_is_no_offence():
    def look(x, out):
        cycle = [np.asarray(x)]
        cycle.append(cycle)

    close(looking(look)(X), X)


class Partly(lo.LinearOperator):
    """Leaves the last element unwritten."""

    adjoint = None

    @lo.device
    def apply(self, x, *, out):
        np.asarray(out)[:-1] = np.asarray(x)[:-1]

    def infer_shape(self, x):
        return x


def test_unwritten_results_are_found_by_the_checks():
    outcome = Checkup(Partly(), X).outcome("written")
    assert outcome.status == "failed"
    assert "Partly.apply leaves 1 of 3 elements of out unwritten" in outcome.message
    with lo.checking(), pytest.raises(CheckError, match=r"Partly\(\) was called, and a hook leaves its out unwritten"):
        Partly()(X)


def test_what_a_class_may_say():
    with pytest.raises(
        TypeError, match=r"Short\.apply is a device hook without out: .*`def apply\(self, x, \*, out\)`"
    ):

        class Short(lo.LinearOperator):
            @lo.device
            def apply(self, x):
                return x

    with pytest.raises(TypeError, match=r"Shape\.infer_shape is called while JAX traces, .* not a device hook"):

        class Shape(Doubled):
            @lo.device
            def infer_shape(self, x, *, out):
                return x

    with pytest.raises(TypeError, match=r"Positional\.apply takes stream as a positional argument"):

        class Positional(Doubled):
            @lo.device
            def apply(self, x, stream, *, out): ...

    with pytest.raises(TypeError, match=r"^lo\.device marks a plain method, not int\.$"):
        lo.device(3)


# ---- platforms ------------------------------------------------------------------------------------------------------------


def lowered(function, *platforms):
    again = lambda x: function(x)  # noqa: E731, unknown to JAX's caches
    return jax.jit(again).trace(X).lower(lowering_platforms=platforms).as_text()


@pytest.mark.parametrize("platform", ["cuda", "rocm"])
def test_device_hooks_are_lowered_for_gpus(platform):
    wave = on_device(SineWithHessian(X, X))
    functions = [
        Doubled(X),
        Doubled(X).H,
        lambda x: jax.vmap(Doubled(X))(jnp.stack([x, x])),
        jax.grad(lambda x: energy(wave(x))),
        jax.jacfwd(jax.grad(lambda x: energy(wave(x)))),
    ]
    for function in functions:
        text = lowered(function, platform)
        assert "xla_buffer_python_gpu_callback" in text
        assert "linops_jax" not in text


def test_a_tpu_is_refused():
    with pytest.raises(
        NotImplementedError,
        match=r"Doubled\.apply is a device hook, which cannot be lowered for tpu: .*lo\.per_platform",
    ):
        lowered(Doubled(X), "tpu")


def test_device_hooks_are_not_exported():
    with pytest.raises(
        TypeError, match=r"Doubled\.apply cannot be exported for cpu: it is a device hook, .*per_platform"
    ):
        export.export(jax.jit(Doubled(X)), disabled_checks=lo.export_checks())(X)


# ---- who owns what --------------------------------------------------------------------------------------------------------


class Handle:
    """A live object, as a plan of another library is."""


class Holding(lo.LinearOperator):
    handle: Handle = lo.static()
    adjoint = None

    @lo.device
    def apply(self, x, *, out):
        assert isinstance(self.handle, Handle)
        np.asarray(out)[...] = x

    def infer_shape(self, x):
        return x


def test_a_program_owns_what_it_calls():
    handles = [Handle()]
    gone = weakref.ref(handles[0])

    def build():
        op = Holding(handles.pop())
        return jax.jit(lambda x: op(x)).lower(S((3,), R))

    program = build()
    jax.clear_caches()
    gc.collect()
    assert gone() is not None
    run = program.compile()
    del program
    close(run(X), X)
    del run
    jax.clear_caches()
    gc.collect()
    assert gone() is None
