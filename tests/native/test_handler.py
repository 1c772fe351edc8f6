"""Hand-written XLA FFI handlers as hooks."""

import collections
import uuid

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from building import library
from helpers import close, energy, normal
from jax import export
from jax.sharding import PartitionSpec as P

import linops_jax as lo

pytestmark = pytest.mark.newest

L = library("handlers.cpp")


class Scale(lo.LinearOperator):
    d: jax.Array
    factor: float = lo.static(default=2.0)
    negate: bool = lo.static(default=True)
    n: int = lo.static(default=3)
    sizes: tuple = lo.static(default=(4, 5))
    name: str = lo.static(default="blur")
    apply = lo.native(ffi=L.ScaleHandler)
    adjoint = lo.native(jax.ffi.pycapsule(L.ScaleHandler))

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Batched(Scale, batched=True):
    pass


def twin(d, x):
    return -2 * d * x


D, X = jnp.asarray(normal((5,), np.float32)), jnp.asarray(normal((5,), np.float32, 1))


def test_values_and_derivatives():
    close(Scale(D)(X), twin(D, X))
    close(jax.jit(jax.grad(lambda x: energy(Scale(D)(x))))(X), jax.grad(lambda x: energy(twin(D, x)))(X))
    lo.check_operator(Scale(D), X)


@pytest.mark.parametrize("axes", [(None, 0), (0, None), (0, 0), (1, 1)])
@pytest.mark.parametrize("cls", [Scale, Batched])
def test_batches(cls, axes):
    shape = {None: (5,), 0: (3, 5), 1: (5, 3)}
    d, x = (jnp.asarray(normal(shape[axis], np.float32, i)) for i, axis in enumerate(axes))
    for f in (lambda f: f, lambda f: jax.grad(lambda d, x: energy(f(d, x)), argnums=1)):
        close(jax.vmap(f(lambda d, x: cls(d)(x)), axes)(d, x), jax.vmap(f(twin), axes)(d, x))


@pytest.mark.parametrize("cls", [Scale, Batched])
def test_nested_batches(cls):
    d, x = jnp.asarray(normal((3, 5), np.float32)), jnp.asarray(normal((2, 5), np.float32))
    f = jax.vmap(jax.vmap(lambda d, x: cls(d)(x), (None, 0)), (0, None))
    close(jax.jit(f)(d, x), -2 * d[:, None] * x[None])


def test_shard_map():
    mesh = jax.make_mesh((4,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
    x = jnp.asarray(normal((4, 5), np.float32))
    run = jax.shard_map(jax.vmap(Scale(D)), mesh=mesh, in_specs=P("i"), out_specs=P("i"))
    close(jax.jit(run)(x), twin(D[None], x))


def test_the_handlers_own_error():
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match="these are not the attributes of a blur"):
        Scale(D, n=4)(X)


def test_the_handlers_own_error_in_a_batch():
    with pytest.raises(RuntimeError, match=r"^these are not the attributes of a blur") as caught:
        jax.vmap(Scale(D, n=4))(jnp.stack([X, X]))
    assert "Scale.apply failed" in caught.value.__notes__


class Named(lo.LinearOperator):
    """Registered by name, so that only XLA can loop."""

    apply = adjoint = lo.native(ffi="doubled_by_name", attributes={})

    def infer_shape(self, x):
        return x


def test_a_batch_of_a_named_handler():
    jax.ffi.register_ffi_target("doubled_by_name", jax.ffi.pycapsule(L.DoubleHandler), platform="cpu")
    x = jnp.asarray(normal((4, 3, 5), np.float32))
    close(jax.jit(jax.vmap(jax.vmap(Named(), 1, 1)))(x), 2 * x)
    assert "while" in jax.jit(jax.vmap(Named())).lower(x).as_text()
    assert "while" not in jax.jit(jax.vmap(Scale(D))).lower(x[0]).as_text()


def doubling(handler, **options):
    class Double(lo.LinearOperator):
        mode: object = lo.static(default=None)
        apply = adjoint = lo.native(ffi=handler, **options)

        def infer_shape(self, x):
            return x

        infer_adjoint_shape = infer_shape

    return Double


@pytest.mark.parametrize("value", [None, 1j, (1, 2.0), ("a",), 2**63, object()])
def test_a_static_field_that_is_no_attribute(value):
    with pytest.raises(TypeError, match=r"Double\.apply, attribute mode: .*(attributes=lambda op|64 bits)"):
        doubling(L.DoubleHandler)(value)(X)


Mode = collections.namedtuple("Mode", "factor negate n sizes")


class OwnAttributes(lo.LinearOperator):
    d: jax.Array
    mode: Mode = lo.static(default=Mode(np.float64(3), np.bool_(False), np.int64(3), (1, 5)))
    apply = adjoint = lo.native(ffi=L.ScaleHandler, attributes=lambda op: {**op.mode._asdict(), "name": "blur"})

    def infer_shape(self, x):
        return x


def test_attributes_of_ones_own():
    close(OwnAttributes(D)(X), 3 * D * X)


def test_a_dict_of_stages():
    close(doubling({"execute": L.DoubleHandler}, attributes={})()(X), 2 * X)
    close(doubling("DoubleHandler", library=L, attributes={})()(X), 2 * X)


def test_a_symbol_that_is_not_there():
    with pytest.raises(AttributeError, match="has no function 'Triple'"):
        lo.native(ffi="Triple", library=L)


def test_a_handler_of_another_api_version():
    op = doubling(L.FutureHandler, attributes={})()
    with pytest.raises(RuntimeError, match=r"Double\.apply: XLA refuses the FFI handler: .*version"):
        op(X)


def test_a_name_that_is_not_registered():
    op = doubling("no_such_handler", attributes={})()
    with pytest.raises((jax.errors.JaxRuntimeError, ValueError), match="no_such_handler"):
        op(X)


def test_export_by_name_only():
    name = f"double_{uuid.uuid4().hex}"
    jax.ffi.register_ffi_target(name, jax.ffi.pycapsule(L.DoubleHandler), platform="cpu")
    op = doubling(name, attributes={})()
    close(op(X), 2 * X)
    exported = export.export(jax.jit(op), disabled_checks=lo.export_checks())(X)
    close(export.deserialize(exported.serialize()).call(X), 2 * X)
    with pytest.raises(
        TypeError, match=r"Scale\.apply cannot be exported: another process could not find its FFI handler"
    ):
        export.export(jax.jit(Scale(D)), disabled_checks=lo.export_checks())(X)


def test_a_handler_for_another_platform_is_lowered_for_it():
    op = doubling("a_cuda_kernel", attributes={})
    text = jax.jit(op()).trace(X).lower(lowering_platforms=("cuda",)).as_text()
    assert "a_cuda_kernel" in text


def test_a_handler_for_the_cpu_is_not_called_elsewhere():
    with pytest.raises(
        NotImplementedError, match=r"Scale\.apply is an FFI handler for the CPU, not for cuda\. Give one for"
    ):
        jax.jit(Scale(D)).trace(X).lower(lowering_platforms=("cuda",))
