"""x -> -x in float32 by each library: the smallest operator, so that what is measured is the call."""

import ctypes
import functools
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import linops_jax as lo

from ._measure import Missing

Function = Callable[[Any], Any]  # a JAX array to a JAX array
OURS = "linops_jax"


def _spec(x: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(x.shape, x.dtype)


class Negation(lo.LinearOperator):
    """Negates into the output buffer."""

    def apply(self, x, *, out):
        np.multiply(x, -1, out=out)

    def adjoint(self, y, *, out):
        np.multiply(y, -1, out=out)

    def infer_shape(self, x):
        return x


class BatchedNegation(Negation, batched=True):
    """Negates a whole batch in one call."""


class ReturnedNegation(Negation):
    """Negates into a new array."""

    def apply(self, x):
        return np.multiply(x, -1)


class DeviceNegation(lo.LinearOperator):
    """Negates on the device, which here is the CPU."""

    @lo.device
    def apply(self, x, *, out):
        np.multiply(np.asarray(x), -1, out=np.asarray(out))

    @lo.device
    def adjoint(self, y, *, out):
        np.multiply(np.asarray(y), -1, out=np.asarray(out))

    def infer_shape(self, x):
        return x


class WeightedNegation(lo.LinearOperator):
    """Multiplies by an array field."""

    weights: jax.Array

    def apply(self, x, *, out):
        np.multiply(x, self.weights, out=out)

    def adjoint(self, y, *, out):
        np.multiply(y, self.weights, out=out)

    def infer_shape(self, x):
        return x


class PlannedNegation(lo.LinearOperator):
    """Multiplies by a plan, which is made for the values of an array field."""

    weights: jax.Array

    def prepare(self, x, *, weights):
        return weights

    def apply(self, x, *, out, plan):
        np.multiply(x, plan, out=out)

    def adjoint(self, y, *, out, plan):
        np.multiply(y, plan, out=out)

    def infer_shape(self, x):
        return x


def jaxbind(batched: bool = False) -> Function:
    from jaxbind import get_linear_call

    def negate(out, args, kwargs_dump):
        np.multiply(args[0], -1, out=out[0])

    def abstract(x, *, batch_axes=None):
        axes = batch_axes[0] if batch_axes else ()
        return ((x.shape, x.dtype, axes[-1] if axes else None),)

    call = get_linear_call(negate, negate, abstract, abstract, func_can_batch=batched)
    return lambda x: call(x)[0]


def jaxbind_weighted() -> Function:
    from jaxbind import get_linear_call

    def negate(out, args, kwargs_dump):
        np.multiply(args[1], args[0], out=out[0])

    def abstract(weights, x):
        return ((x.shape, x.dtype),)

    call = get_linear_call(negate, negate, abstract, abstract, first_n_args_fixed=1)
    return lambda x: call(_weights(x), x)[0]


def weighted() -> Function:
    return lambda x: WeightedNegation(_weights(x))(x)


def planned() -> Function:
    return lambda x: PlannedNegation(_weights(x))(x)


def _weights(x: Any) -> Any:
    return np.full(x.shape, -1, x.dtype)


def pure_callback(vmap_method: str = "sequential") -> Function:
    def negate(x):
        return np.multiply(x, -1)

    return lambda x: jax.pure_callback(negate, _spec(x), x, vmap_method=vmap_method)


def buffer_callback() -> Function:
    from jax.experimental.buffer_callback import buffer_callback

    def negate(context, out, x):
        np.multiply(np.asarray(x), -1, out=np.asarray(out))

    return lambda x: buffer_callback(negate, _spec(x))(x)


def handler() -> Function:
    name = _registered()
    return lambda x: jax.ffi.ffi_call(name, _spec(x))(x)


def native() -> Function:
    """The same handler as the hook of an operator."""

    class HandlerNegation(Negation):
        apply = lo.native(ffi=_registered())  # pyright: ignore[reportAttributeAccessIssue]

    return HandlerNegation()


def c_function() -> Function:
    """Its loop as a C function."""

    class FunctionNegation(Negation):
        apply = lo.native(_library().linops_jax_bench_function)  # pyright: ignore[reportAttributeAccessIssue]

    return FunctionNegation()


def same_loop() -> Function:
    """The loop of that handler, called from a hook in Python."""
    loop = _library().linops_jax_bench_loop
    loop.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]

    class LoopNegation(Negation):
        def apply(self, x, *, out):
            loop(x.ctypes.data, out.ctypes.data, x.size)

    return LoopNegation()


@functools.cache
def _registered() -> str:
    """The name of the handler written by hand."""
    symbol = _library().linops_jax_bench_negate
    jax.ffi.register_ffi_target("linops_jax_bench_negate", jax.ffi.pycapsule(symbol), platform="cpu")
    return "linops_jax_bench_negate"


@functools.cache
def _library() -> ctypes.CDLL:
    compiler = shutil.which(os.environ.get("CXX", "c++"))
    if compiler is None:
        msg = "no C++ compiler was found: set CXX"
        raise Missing(msg)
    with tempfile.TemporaryDirectory() as folder:
        library = Path(folder, "negate.so")
        flags = ["-O3", "-std=c++17", "-shared", "-fPIC", "-w", "-I", jax.ffi.include_dir(), "-I", lo.get_include()]
        source = Path(__file__).with_name("negate.cc")
        done = subprocess.run([compiler, *flags, str(source), "-o", str(library)], capture_output=True, text=True)
        if done.returncode:
            msg = f"{compiler} failed: {done.stderr.strip().splitlines()[-1:]}"
            raise Missing(msg)
        return ctypes.CDLL(str(library))


def by_xla() -> Function:
    return lambda x: -x


FUNCTIONS: dict[str, Callable[[], Function]] = {
    OURS: Negation,
    "FFI handler by hand": handler,
    "JAXbind": jaxbind,
    "pure_callback": pure_callback,
    "buffer_callback": buffer_callback,
}
