"""One linear and one nonlinear map by every kind of hook, on the device that is there.

Device hooks compute with NumPy or PyTorch on the CPU, and with CuPy or PyTorch on a GPU: with those that are installed.
"""

import contextlib
import importlib

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

PLATFORM = jax.default_backend()


class Library:
    """A library of arrays in the memory of the device, where ``multiply``, ``sin``, ``cos`` and ``conj`` are those of NumPy."""

    def __init__(self, name, asarray):
        self.name, self.asarray = name, asarray
        self.module = importlib.import_module(name)

    def __getattr__(self, name):
        return getattr(self.module, name)


CONVERSIONS = {"cpu": {"numpy": "asarray", "torch": "from_dlpack"}, "gpu": {"cupy": "asarray", "torch": "from_dlpack"}}


def libraries():
    """Those of this device that are installed; none on a TPU."""
    found = []
    for name, convert in CONVERSIONS.get(PLATFORM, {}).items():
        with contextlib.suppress(ImportError):
            found.append(Library(name, getattr(importlib.import_module(name), convert)))
    return found


def missing_library():
    """Why device hooks are not run here; empty if they are."""
    return "" if libraries() else f"no library for device hooks on this {PLATFORM}: install cupy or torch"


class Of(lo.LinearOperator):
    """d x."""

    d: jax.Array

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, jnp.result_type(self.d, x))

    def infer_adjoint_shape(self, y):
        return y


class HostWeights(Of):
    def apply(self, x, *, out):
        np.multiply(self.d, x, out=out)

    def adjoint(self, y, *, out):
        np.multiply(self.d.conj(), y, out=out)

    def parameter_jvp(self, x, dself):
        return dself.d * x

    def parameter_vjp(self, x, dy):
        return {"d": x.conj() * dy}


class TracedWeights(Of):
    @lo.traced
    def apply(self, x):
        return self.d * x


class HostSine(lo.NonlinearOperator):
    """d sin(x)."""

    d: jax.Array

    def apply(self, x):
        return self.d * np.sin(x)

    def jacobian_apply(self, x, dx):
        return self.d * np.cos(x) * dx

    def jacobian_adjoint(self, x, dy):
        return self.d.conj() * np.cos(x).conj() * dy

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(x.shape, jnp.result_type(self.d, x))


class TracedSine(lo.NonlinearOperator):
    d: jax.Array

    @lo.traced
    def apply(self, x):
        return self.d * jnp.sin(x)


def on_device(lib):
    """Both maps by device hooks with a library."""

    def arrays(*given):
        return map(lib.asarray, given)

    class DeviceWeights(Of):
        @lo.device
        def apply(self, x, *, out):
            d, x, out = arrays(self.d, x, out)
            lib.multiply(d, x, out=out)

        @lo.device
        def adjoint(self, y, *, out):
            d, y, out = arrays(self.d, y, out)
            lib.multiply(lib.conj(d), y, out=out)

        @lo.device
        def parameter_jvp(self, x, dself, *, out):
            d, x, out = arrays(dself.d, x, out)
            lib.multiply(d, x, out=out)

        @lo.device
        def parameter_vjp(self, x, dy, *, out):
            x, dy, dd = arrays(x, dy, out.d)
            lib.multiply(lib.conj(x), dy, out=dd)

    class DeviceSine(lo.NonlinearOperator):
        d: jax.Array

        @lo.device
        def apply(self, x, *, out):
            d, x, out = arrays(self.d, x, out)
            lib.multiply(d, lib.sin(x), out=out)

        @lo.device
        def jacobian_apply(self, x, dx, *, out):
            d, x, dx, out = arrays(self.d, x, dx, out)
            lib.multiply(d * lib.cos(x), dx, out=out)

        @lo.device
        def jacobian_adjoint(self, x, dy, *, out):
            d, x, dy, out = arrays(self.d, x, dy, out)
            lib.multiply(lib.conj(d * lib.cos(x)), dy, out=out)

        infer_shape = HostSine.infer_shape

    return DeviceWeights, DeviceSine


def native():
    """The linear map by a Numba kernel."""
    import numba

    @numba.njit
    def multiply(d, x, out):
        for i in range(out.size):
            out[i] = d[i] * x[i]

    @numba.njit
    def multiply_conjugate(d, y, out):
        for i in range(out.size):
            out[i] = np.conj(d[i]) * y[i]

    class NativeWeights(Of):
        apply = lo.native(numba=multiply)
        adjoint = lo.native(numba=multiply_conjugate)

    return NativeWeights


def linear():
    """Names and classes of the linear map."""
    found = {"host": HostWeights, "traced": TracedWeights, "native": native()}
    return found | {f"device, {lib.name}": on_device(lib)[0] for lib in libraries()}


def nonlinear():
    found = {"host": HostSine, "traced": TracedSine}
    return found | {f"device, {lib.name}": on_device(lib)[1] for lib in libraries()}
