"""Hooks that JAX's own callback calls: on other platforms, of which only lowering can be tested here, and forced on the CPU."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from helpers import close, energy, normal
from jax import export
from jax.interpreters import mlir
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from operators import Dense, SineWithHessian, TracedSine

import linops_jax as lo
from linops_jax._engine import callback

pytestmark = pytest.mark.versions

ELSEWHERE = {"cuda": "python_gpu_callback", "rocm": "python_gpu_callback", "tpu": "stablehlo.recv"}
A, X = Dense(normal((4, 3), np.float32, 1)), normal((3,), np.float32, 2)
WAVE = SineWithHessian(X, X)


class Doubled(lo.LinearOperator):
    """In a batch it is called for each element, and the field, which has no batch axis, is not repeated."""

    seen: ClassVar[list] = []
    d: jax.Array

    def apply(self, x):
        self.seen.append((self.d.shape, x.shape))
        return 2 * self.d * x

    adjoint = apply

    def infer_shape(self, x):
        return x


class Broken(Doubled):
    def apply(self, x):
        message = "no licence"
        raise ValueError(message)


@pytest.fixture
def forced(monkeypatch):
    """JAX keeps what the last callback of a device raised, for whoever waits for effects next: not for another test."""
    monkeypatch.setenv(callback.ROUTE, "callback")
    yield
    fresh = jax.jit(lambda x: A(x))  # of a program that it has run already, JAX keeps nothing
    jax.block_until_ready([fresh(jax.device_put(X, device)) for device in jax.devices()])
    jax.effects_barrier()


# ---- other platforms ------------------------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch):
    """JAX makes callbacks for the backends of its process alone. Here the CPU stands in for all."""
    monkeypatch.setattr(mlir.ModuleContext, "get_backend", lambda self, optional=False: jax.devices("cpu")[0].client)


def lowered(function, platform, *arguments):
    again = lambda *arguments: function(*arguments)  # noqa: E731, unknown to JAX's caches
    return jax.jit(again).trace(*arguments).lower(lowering_platforms=(platform,)).as_text()


FUNCTIONS = {
    "a call": A,
    "an adjoint": lambda x: A.H(A(x)),
    "a batch": lambda x: jax.vmap(A)(jnp.stack([x, x])),
    "a gradient": jax.grad(lambda x: energy(WAVE(x))),
    "a Hessian": jax.jacfwd(jax.grad(lambda x: energy(WAVE(x)))),
    "a loop": lambda x: jax.lax.fori_loop(0, 3, lambda _, x: A.H(A(x)), x),
}


@pytest.mark.parametrize("platform", ELSEWHERE)
def test_host_hooks_are_lowered_for_every_platform(platform, elsewhere):
    for name, function in FUNCTIONS.items():
        assert ELSEWHERE[platform] in lowered(function, platform, X), name


def test_traced_hooks_need_no_callback(elsewhere):
    assert "callback" not in lowered(jax.grad(lambda x: energy(TracedSine(X, X)(x))), "cuda", X)


def test_each_platform_of_a_hook_has_its_own(elsewhere):
    class Two(Doubled):
        apply = lo.per_platform(cuda=lo.traced(lambda self, x: 2 * self.d * x), default=lambda self, x: 2 * self.d * x)

    assert "callback" not in lowered(Two(X), "cuda", X)
    assert ELSEWHERE["tpu"] in lowered(Two(X), "tpu", X)
    assert "linops_jax_host" in lowered(Two(X), "cpu", X)


def test_a_process_without_the_platform():
    with pytest.raises(
        NotImplementedError, match=r"Dense\.apply cannot be lowered for cuda here: the platform .*backend cpu"
    ):
        lowered(A, "cuda", X)


def test_a_process_without_the_cpu(elsewhere, monkeypatch):
    def local_devices(backend):
        raise RuntimeError(backend)

    monkeypatch.setattr(jax, "local_devices", local_devices)
    with pytest.raises(
        NotImplementedError, match=r"Dense\.apply runs on the host, .* for cuda only.*JAX_PLATFORMS=cuda,cpu"
    ):
        lowered(A, "cuda", X)


def test_programs_with_callbacks_are_not_exported(elsewhere):
    with pytest.raises(TypeError, match=r"Dense\.apply cannot be exported for cuda: JAX's callbacks.*lo\.per_platform"):
        export.export(jax.jit(A), platforms=["cuda"], disabled_checks=lo.export_checks())(X)


# ---- forced on the CPU ----------------------------------------------------------------------------------------------


def test_the_extension_loops_over_a_batch(forced):
    Doubled.seen.clear()
    x = normal((5, 2, 3), np.float32, 3)
    close(jax.jit(jax.vmap(jax.vmap(Doubled(X))))(x), 2 * X * x)
    assert Doubled.seen == [((3,), (3,))] * 10


def test_exceptions_are_those_of_the_hook(forced):
    with pytest.raises(ValueError, match=r"^no licence"):
        Broken(X)(X)
    with pytest.raises(
        jax.errors.JaxRuntimeError, match=r"Broken\.apply failed: ValueError: no licence \(.*test_callback"
    ):
        jax.block_until_ready(jax.jit(Broken(X))(X))
    assert repr(lo.last_error()) == "ValueError('no licence')"


def test_inputs_are_read_only_and_results_are_checked(forced):
    class Writes(Doubled):
        def apply(self, x):
            x[0] = 1
            return x

    class Short(Doubled):
        def apply(self, x):
            return x[1:]

    with pytest.raises(ValueError, match="read-only"):
        Writes(X)(X)
    with pytest.raises(ValueError, match=r"Short\.apply.*\(2,\).*\(3,\)"):
        Short(X)(X)


def test_jax_in_a_hook_is_refused(forced):
    class Inner(Doubled):
        def apply(self, x):
            return np.asarray(jnp.sin(x))

    with pytest.raises(RuntimeError, match="no_execution"):
        Inner(X)(X)


def test_arrays_on_several_devices(forced):
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jax.device_put(normal((8, 3), np.float32, 4), NamedSharding(mesh, P("i")))
    found = jax.jit(jax.vmap(A))(x)
    close(found[1], A.matrix @ x[1])
    parts = jax.shard_map(lambda x: jax.vmap(A)(x), mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    close(jax.jit(parts)(x), x @ A.matrix.T)
    close(jax.jit(jax.grad(lambda x: jnp.sum(parts(x) ** 2)))(x), 2 * x @ A.matrix.T @ A.matrix)


def test_arrays_of_64_bits(forced, x64):
    """Of 64 bits on this thread alone, of which JAX may take no notice on the threads of XLA."""
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x = normal((8, 3), np.float64, 5)
    parts = jax.shard_map(lambda x: jax.vmap(Doubled(x[0]))(x), mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    try:
        found = jax.block_until_ready(jax.jit(parts)(x))
    except jax.errors.JaxRuntimeError as error:
        assert "JAX has no float64 on this thread, in which the result of Doubled.apply is" in str(error)  # noqa: PT017
    else:
        close(found, jnp.asarray(2 * np.repeat(x[::2], 2, axis=0) * x))


def test_a_route_that_does_not_exist(monkeypatch):
    monkeypatch.setenv(callback.ROUTE, "host")
    with pytest.raises(ValueError, match=r"LINOPS_JAX_ROUTE is 'host'; expected one of 'trampoline', 'callback'"):
        jax.jit(Dense(np.ones((2, 3)))).lower(X)
