"""One hook with several kinds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import library
from helpers import close
from jax import export

import linops_jax as lo

pytestmark = pytest.mark.newest

C = library("kernels.c")
X = jnp.arange(5, dtype=jnp.float32)
FOUR = np.array([4.0])


@lo.traced
def times_four(self, x):
    return 4 * x


class WithTraced(lo.LinearOperator):
    """The adjoint and the shape are derived from the traced one."""

    apply = lo.per_platform(cpu=lo.native(C.scale_by_user_data, user_data=FOUR), default=times_four)


class WithHost(lo.LinearOperator):
    apply = lo.per_platform(default=lambda self, x: 4 * x, cuda=times_four)
    adjoint = lo.per_platform(cpu=lo.native(C.scale_by_user_data, user_data=FOUR))

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


class HostAlone(lo.LinearOperator):
    adjoint = None
    apply = lo.per_platform(cpu=lambda self, x: 4 * x)
    infer_shape = WithHost.infer_shape


@pytest.mark.parametrize("cls", [WithTraced, WithHost])
def test_it_is_one_operator(cls):
    op = cls()
    lo.check_operator(op, X)
    close(jax.jit(jax.vmap(op))(jnp.stack([X, X])), 4 * jnp.stack([X, X]))
    close(jax.grad(lambda x: op(x).sum())(X), jnp.full(5, 4.0))


def text(op, platform):
    return jax.jit(op).trace(X).lower(lowering_platforms=(platform,)).as_text()


def test_each_platform_has_its_own():
    assert "linops_jax_native" in text(WithTraced(), "cpu")
    assert "custom_call" not in text(WithTraced(), "cuda")
    assert "custom_call" not in text(WithTraced(), "tpu")
    assert "linops_jax_host" in text(WithHost(), "cpu")
    assert "custom_call" not in text(WithHost(), "cuda")


def test_a_call_of_the_hook_itself_needs_traced_code():
    close(WithTraced().apply(X), 4 * X)
    with pytest.raises(
        TypeError, match=r"^HostAlone\.apply has different code for each .*, and none of it is traced, so it"
    ):
        HostAlone().apply(X)


def test_a_platform_without_implementation():
    with pytest.raises(
        NotImplementedError, match=r"WithHost\.adjoint has no implementation for cuda, only for cpu\. Add one"
    ):
        text(WithHost().H, "cuda")


def test_export_for_several_platforms():
    exported = export.export(jax.jit(WithTraced()), platforms=("cpu", "cuda"), disabled_checks=lo.export_checks())(X)
    close(export.deserialize(exported.serialize()).call(X), 4 * X)


# ---- every kind of hook, for platforms that are not here --------------------------------------------------------------

BY_NAME = {"cuda": "scale_cuda", "rocm": "scale_rocm", "tpu": "scale_tpu"}


@lo.device
def on_device(self, x, *, out):
    np.multiply(x, 4, out=np.asarray(out))


class Mixed(lo.LinearOperator):
    """Another kind of hook on each platform."""

    adjoint = None
    apply = lo.per_platform(cpu=lambda self, x: 4 * x, cuda=on_device, rocm=lo.native(ffi="scale_rocm"), tpu=times_four)
    infer_shape = WithHost.infer_shape


class ByName(Mixed):
    apply = lo.per_platform(
        **{platform: lo.native(ffi=name) for platform, name in BY_NAME.items()}, default=lambda self, x: 4 * x
    )


class OnDevice(Mixed):
    apply = lo.per_platform(default=on_device, tpu=times_four)


class NotOnTPU(Mixed):
    apply = lo.per_platform(default=on_device, cpu=lambda self, x: 4 * x)


@pytest.mark.parametrize(
    ("op", "platform", "found"),
    [
        (Mixed, "cpu", "linops_jax_host_of_a_batch"),
        (Mixed, "cuda", "xla_buffer_python_gpu_callback"),
        (Mixed, "rocm", "scale_rocm"),
        (Mixed, "tpu", ""),
        *((ByName, platform, name) for platform, name in BY_NAME.items()),
        (ByName, "cpu", "linops_jax_host_of_a_batch"),
        (OnDevice, "cpu", "xla_buffer_python_cpu_callback"),
        (OnDevice, "rocm", "xla_buffer_python_gpu_callback"),
        (OnDevice, "tpu", ""),
        (NotOnTPU, "cpu", "linops_jax_host_of_a_batch"),
        (NotOnTPU, "cuda", "xla_buffer_python_gpu_callback"),
    ],
)
def test_every_kind_on_every_platform(op, platform, found):
    """In a program with a batch, whose calls are those of the hook for this platform and no others."""
    batch = lambda x: jax.vmap(op())(jnp.stack([x, x]))  # noqa: E731
    program = text(batch, platform)
    calls = {part.split("(")[0].strip() for part in program.split("stablehlo.custom_call @")[1:]}
    assert calls == ({found} if found else set())


def test_a_kind_that_the_platform_does_not_have():
    with pytest.raises(
        NotImplementedError, match=r"NotOnTPU\.apply is a device hook, which cannot be lowered for tpu: .*traced"
    ):
        text(NotOnTPU(), "tpu")


def test_a_device_hook_runs_here():
    close(OnDevice()(X), 4 * X)
    close(Mixed()(X), 4 * X)


def test_what_is_no_hook_is_refused():
    with pytest.raises(TypeError, match=r"lo\.per_platform\(cuda=\.\.\.\) must be .*lo\.device\(f\) or .*, not int"):
        lo.per_platform(cuda=3)
