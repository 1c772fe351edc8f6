"""Operators of every kind on small arrays, each with its twin: the same map in plain JAX, whose derivatives are JAX's own.

Vectors have three entries, so that all of them compose. Fields and inputs are real or complex at will.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from helpers import S, normal
from native import building

import linops_jax as lo

__all__ = ["normal"]
kernels = building.library("kernels.cpp", pathlib.Path(__file__).parent)


def result(shape, *arrays):
    return S(shape, jnp.result_type(*(array.dtype for array in arrays)))


def complex_of(spec):
    return result(spec.shape, spec, S((), np.complex64))


def times(m, x):
    """A matrix on the last axis."""
    return (m @ x[..., None])[..., 0]


def real_of(spec):
    return S(spec.shape, np.zeros((), spec.dtype).real.dtype)


# ---- linear, on the host --------------------------------------------------------------------------------------------


class Dense(lo.LinearOperator):
    m: jax.Array

    def apply(self, x):
        return self.m @ x

    def adjoint(self, y):
        return self.m.conj().T @ y

    def infer_shape(self, x):
        return result((3,), self.m, x)

    def infer_adjoint_shape(self, y):
        return result((3,), self.m, y)

    def twin(self, x):
        return self.m @ x


class DenseOut(lo.LinearOperator):
    """Fills ``out``; has no infer_adjoint_shape."""

    m: jax.Array

    def apply(self, x, *, out):
        np.matmul(self.m, x, out=out)

    def adjoint(self, y, *, out):
        z = self.m.conj().T @ y
        out[...] = z if np.iscomplexobj(out) else z.real

    def infer_shape(self, x):
        return result((3,), self.m, x)

    def twin(self, x):
        return self.m @ x


class DenseWithParameters(Dense):
    def parameter_jvp(self, x, dself):
        return dself.m @ x

    def parameter_vjp(self, x, dy):
        return type(self)(np.outer(dy, np.conj(x)))


class Damp(lo.LinearOperator):
    """Real factors, whatever the input."""

    d: jax.Array

    def apply(self, x):
        return self.d * x

    def adjoint(self, y, *, out):
        np.multiply(self.d, y, out=out)

    def parameter_jvp(self, x, dself):
        return dself.d * x

    def parameter_vjp(self, x, dy):
        return {"d": np.real(np.conj(x) * dy)}

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.d * x


class InPlace(lo.LinearOperator):
    """Runs in the memory of its input."""

    w: jax.Array

    @lo.in_place
    def apply(self, x, *, out):
        np.multiply(x, self.w, out=out)
        np.cumsum(out, axis=-1, out=out)

    @lo.in_place
    def adjoint(self, y, *, out):
        z = np.conj(self.w) * np.cumsum(y[..., ::-1], axis=-1)[..., ::-1]
        out[...] = z if np.iscomplexobj(out) else z.real

    def infer_shape(self, x):
        return result(x.shape, self.w, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return jnp.cumsum(self.w * x, -1)


class Batched(lo.LinearOperator, batched=True):
    m: jax.Array

    def apply(self, x):
        return times(self.m, x)

    def adjoint(self, y):
        return times(self.m.conj().T, y)

    def parameter_jvp(self, x, dself):
        return times(dself.m, x)

    def parameter_vjp(self, x, dy):
        return {"m": np.outer(dy, np.conj(x))}

    def infer_shape(self, x):
        assert x.shape == (3,), "infer_ hooks see unbatched specs"
        return result((3,), self.m, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.m @ x


class Roll(lo.LinearOperator):
    shift: int = lo.static(default=1)

    def apply(self, x, *, out):
        out[...] = np.roll(x, self.shift)

    def adjoint(self, y):
        return np.roll(y, -self.shift)

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return jnp.roll(x, self.shift)


class Symmetric(lo.LinearOperator, symmetric=True):
    """Has no adjoint of its own."""

    m: jax.Array

    def apply(self, x):
        return self.m @ x + np.conj(self.m).T @ x

    def infer_shape(self, x):
        return result((3,), self.m, x)

    def twin(self, x):
        return self.m @ x + self.m.conj().T @ x


class WithGram(Dense):
    def gram(self, x):
        return (self.m.conj().T @ self.m) @ x


class WithGramAndParameters(DenseWithParameters):
    def gram(self, x):
        return (self.m.conj().T @ self.m) @ x


# ---- linear over the reals ------------------------------------------------------------------------------------------


class RealPart(lo.LinearOperator, real_linear=True):
    def apply(self, x):
        return x.real

    def adjoint(self, y):
        return y

    def infer_shape(self, x):
        return real_of(x)

    def infer_adjoint_shape(self, y):
        return complex_of(y)

    def twin(self, x):
        return jnp.real(x)


class Turn(lo.LinearOperator):
    """Anything to complex."""

    def apply(self, x):
        return 2j * x

    def adjoint(self, y):
        return -2j * y

    def infer_shape(self, x):
        return complex_of(x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return (2j * x).astype(complex_of(x).dtype)


class Conj(lo.LinearOperator, real_linear=True):
    def apply(self, x):
        return np.conj(x)

    def adjoint(self, y):
        return np.conj(y)

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return jnp.conj(x)


class Antilinear(lo.LinearOperator, real_linear=True):
    a: jax.Array
    b: jax.Array

    def apply(self, x):
        return self.a @ x + self.b @ x.conj()

    def adjoint(self, y):
        return self.a.conj().T @ y + self.b.T @ y.conj()

    def parameter_jvp(self, x, dself):
        return dself.a @ x + dself.b @ x.conj()

    def parameter_vjp(self, x, dy):
        return {"a": np.outer(dy, x.conj()), "b": np.outer(dy, x)}

    def infer_shape(self, x):
        return result((3,), self.a, self.b, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.a @ x + self.b @ x.conj()


# ---- pytrees --------------------------------------------------------------------------------------------------------


class Mix(lo.LinearOperator):
    """(u, v) -> {"a": u + v, "b": w v}."""

    w: jax.Array

    def apply(self, x):
        u, v = x
        return {"a": u + v, "b": self.w * v}

    def adjoint(self, y):
        return y["a"], y["a"] + np.conj(self.w) * y["b"]

    def infer_shape(self, x):
        u, v = x
        return {"a": result(u.shape, u, v), "b": result(v.shape, self.w, v)}

    def infer_adjoint_shape(self, y):
        return y["a"], result((3,), self.w, y["a"], y["b"])

    def twin(self, x):
        u, v = x
        return {"a": u + v, "b": self.w * v}


class Merge(lo.LinearOperator):
    """{"a": u, "b": v} -> d u - v, in place of out."""

    d: jax.Array

    def apply(self, x, *, out):
        np.multiply(self.d, x["a"], out=out)
        np.subtract(out, x["b"], out=out)

    def adjoint(self, y):
        return {"a": np.conj(self.d) * y, "b": -y}

    def parameter_jvp(self, x, dself):
        return dself.d * x["a"]

    def parameter_vjp(self, x, dy):
        return {"d": np.conj(x["a"]) * dy}

    def infer_shape(self, x):
        return result((3,), self.d, x["a"], x["b"])

    def infer_adjoint_shape(self, y):
        return {"a": result((3,), self.d, y), "b": y}

    def twin(self, x):
        return self.d * x["a"] - x["b"]


class Twice(lo.LinearOperator):
    """x -> (x, 2 x), traced."""

    @lo.traced
    def apply(self, x):
        return x, 2 * x

    def infer_adjoint_shape(self, y):
        return result((3,), *y)

    def twin(self, x):
        return x, 2 * x


# ---- linear, traced -------------------------------------------------------------------------------------------------


class Traced(lo.LinearOperator):
    m: jax.Array

    @lo.traced
    def apply(self, x):
        return self.m @ x

    @lo.traced
    def adjoint(self, y):
        return self.m.conj().T @ y

    def infer_adjoint_shape(self, y):
        return result((3,), self.m, y)

    def twin(self, x):
        return self.m @ x


class Derived(lo.LinearOperator):
    m: jax.Array

    @lo.traced
    def apply(self, x):
        return self.m @ x

    def twin(self, x):
        return self.m @ x


class DerivedAnywhere(Derived):
    def infer_adjoint_shape(self, y):
        return result((3,), self.m, y)


class TracedWithHostAdjoint(lo.LinearOperator):
    m: jax.Array

    @lo.traced
    def apply(self, x):
        return self.m @ x

    def adjoint(self, y):
        return self.m.conj().T @ y

    def infer_adjoint_shape(self, y):
        return result((3,), self.m, y)

    def twin(self, x):
        return self.m @ x


class HostWithTracedAdjoint(lo.LinearOperator):
    d: jax.Array

    def apply(self, x):
        return self.d * x

    @lo.traced
    def adjoint(self, y):
        return jnp.conj(self.d) * y

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.d * x


class PerPlatform(lo.LinearOperator):
    d: jax.Array

    apply = lo.per_platform(cpu=lambda self, x: self.d * x, default=lo.traced(lambda self, x: self.d * x))
    adjoint = lo.per_platform(default=lambda self, y: np.conj(self.d) * y)

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.d * x


# ---- native ---------------------------------------------------------------------------------------------------------


class NativeSum(lo.LinearOperator):
    """Running sums of d x, by C functions."""

    d: jax.Array

    apply = lo.native(kernels.running_sum)
    adjoint = lo.native(kernels.running_sum_adjoint)
    parameter_jvp = lo.native(kernels.running_sum)
    parameter_vjp = lo.native(kernels.running_sum_adjoint)

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return jnp.cumsum(self.d * x)


class NativeSumOfThreads(NativeSum):
    apply = lo.native(kernels.running_sum, parallel=True)
    adjoint = lo.native(kernels.running_sum_adjoint, parallel=True)


class NativeSumOfBatches(NativeSum, batched=True):
    pass


class NativeSumInPlace(NativeSum):
    apply = lo.in_place(lo.native(kernels.running_sum))
    adjoint = lo.in_place(lo.native(kernels.running_sum_adjoint))


class NativeWithHostAdjoint(NativeSum):
    def adjoint(self, y):
        return np.conj(self.d) * np.cumsum(y[::-1])[::-1]


class Handler(lo.LinearOperator):
    """d x, by XLA FFI handlers."""

    d: jax.Array

    apply = lo.native(ffi=kernels.ScaleHandler)
    adjoint = lo.native(ffi=kernels.ScaleAdjointHandler)

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.d * x


class HandlerOfBatches(Handler, batched=True):
    pass


def scale_kernel(d, x, out):
    for i in range(x.size):
        out[i] = d[i] * x[i]


class Numba(Handler):
    """d x with a real d: what Numba compiles stores no complex numbers in real arrays."""

    apply = lo.native(numba=scale_kernel)
    adjoint = lo.native(numba=scale_kernel, parallel=True)


class NativeSquare(lo.NonlinearOperator):
    d: jax.Array

    apply = lo.native(kernels.square)
    jacobian_apply = lo.native(kernels.square_jacobian)
    jacobian_adjoint = lo.native(kernels.square_jacobian_adjoint)

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    def twin(self, x):
        return self.d * x * x


# ---- nonlinear ------------------------------------------------------------------------------------------------------


class Energy(lo.NonlinearOperator, real_linear=True):
    """|x|^2, complex to real."""

    def apply(self, x, *, out):
        np.copyto(out, x.real**2 + x.imag**2)

    def jacobian_apply(self, x, dx):
        return 2 * np.real(np.conj(x) * dx)

    def jacobian_adjoint(self, x, dy):
        return 2 * x * dy

    def infer_shape(self, x):
        return real_of(x)

    def twin(self, x):
        return jnp.real(x) ** 2 + jnp.imag(x) ** 2


class Square(lo.NonlinearOperator):
    def apply(self, x):
        return x**2

    def jacobian_apply(self, x, dx):
        return 2 * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * np.conj(x) * dy

    def infer_shape(self, x):
        return x

    def twin(self, x):
        return x * x


class Sine(lo.NonlinearOperator):
    """a sin(b x), with every hook."""

    a: jax.Array
    b: jax.Array

    def apply(self, x):
        return self.a * np.sin(self.b * x)

    def jacobian_apply(self, x, dx):
        return self.a * self.b * np.cos(self.b * x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(self.a * self.b * np.cos(self.b * x)) * dy

    def parameter_jvp(self, x, dself):
        return dself.a * np.sin(self.b * x) + self.a * np.cos(self.b * x) * x * dself.b

    def parameter_vjp(self, x, dy):
        return {"a": np.conj(np.sin(self.b * x)) * dy, "b": np.conj(self.a * np.cos(self.b * x) * x) * dy}

    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * np.sin(self.b * x) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return np.conj(-self.a * self.b**2 * np.sin(self.b * x) * dx) * dy

    def infer_shape(self, x):
        return result(x.shape, self.a, self.b, x)

    def twin(self, x):
        return self.a * jnp.sin(self.b * x)


class BatchedSquare(lo.NonlinearOperator, batched=True):
    d: jax.Array

    def apply(self, x):
        return self.d * x**2

    def jacobian_apply(self, x, dx):
        return 2 * self.d * x * dx

    def jacobian_adjoint(self, x, dy):
        return 2 * np.conj(self.d * x) * dy

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    def twin(self, x):
        return self.d * x * x


class Product(lo.NonlinearOperator):
    """(u, v) -> u v, the paper's kind of example."""

    def apply(self, x):
        u, v = x
        return u * v

    def jacobian_apply(self, x, dx):
        (u, v), (du, dv) = x, dx
        return u * dv + v * du

    def jacobian_adjoint(self, x, dy):
        u, v = x
        return np.conj(v) * dy, np.conj(u) * dy

    def infer_shape(self, x):
        return result((3,), *x)

    def twin(self, x):
        return x[0] * x[1]


class TracedSine(lo.NonlinearOperator):
    b: jax.Array

    @lo.traced
    def apply(self, x):
        return jnp.sin(self.b * x)

    def twin(self, x):
        return jnp.sin(self.b * x)


class TracedModulus(lo.NonlinearOperator, real_linear=True):
    @lo.traced
    def apply(self, x):
        return {"a": jnp.real(x) * jnp.imag(x), "b": x}

    def twin(self, x):
        return {"a": jnp.real(x) * jnp.imag(x), "b": x}


class TracedWithHostJacobian(lo.NonlinearOperator):
    @lo.traced
    def apply(self, x):
        return jnp.sin(x)

    def jacobian_apply(self, x, dx):
        return np.cos(x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(np.cos(x)) * dy

    def twin(self, x):
        return jnp.sin(x)


# ---- what can be drawn ----------------------------------------------------------------------------------------------

# kinds of input and result, how to make one: {m} a matrix, {v} a vector, of integers by chance; {f} a vector, {r} a real one
RECIPES = [
    ("vv", "Dense({m})"), ("vv", "DenseOut({m})"), ("vv", "DenseWithParameters({m})"), ("vv", "Damp({r})"),
    ("vv", "InPlace({v})"), ("vv", "Batched({m})"), ("vv", "Roll(2)"), ("vv", "Symmetric({m})"), ("vv", "WithGram({m})"),
    ("vv", "WithGramAndParameters({m})"), ("vv", "RealPart()"), ("vv", "Turn()"), ("vv", "Conj()"),
    ("vv", "Antilinear({m}, {m})"),
    ("vv", "Traced({m})"), ("vv", "Derived({m})"), ("vv", "DerivedAnywhere({m})"), ("vv", "TracedWithHostAdjoint({m})"),
    ("vv", "HostWithTracedAdjoint({v})"), ("vv", "PerPlatform({v})"), ("vt", "Twice()"), ("td", "Mix({v})"), ("dv", "Merge({v})"),
    ("vv", "lo.Diagonal({v})"), ("vv", "lo.Matrix({m})"), ("vv", "lo.FFT()"), ("vv", "lo.Identity()"), ("vv", "lo.Zero()"),
    ("vv", "NativeSum({v})"), ("vv", "NativeSumOfThreads({v})"), ("vv", "NativeSumOfBatches({v})"),
    ("vv", "NativeSumInPlace({v})"), ("vv", "NativeWithHostAdjoint({v})"), ("vv", "Handler({v})"),
    ("vv", "HandlerOfBatches({v})"), ("vv", "Numba({r})"), ("vv", "NativeSquare({v})"),
    ("vv", "Energy()"), ("vv", "Square()"), ("vv", "Sine({f}, {f})"), ("vv", "BatchedSquare({v})"), ("vv", "TracedSine({f})"),
    ("vd", "TracedModulus()"), ("vv", "TracedWithHostJacobian()"), ("tv", "Product()"),
]  # fmt: skip
WITHOUT_HALVES = {"FFT", "Numba"}  # neither XLA's FFT nor Numba knows such numbers

BUILT_IN = {
    "Diagonal": lambda op, x: op.d * x,
    "Matrix": lambda op, x: op.matrix @ x,
    "FFT": lambda op, x: jnp.fft.fft(x, norm="ortho"),
    "Identity": lambda op, x: x,
    "Zero": lambda op, x: jax.tree.map(jnp.zeros_like, x),
}


def twin_of(op, x):
    """What the operator should give, in plain JAX."""
    op = jax.tree.map(jnp.asarray, op)
    return BUILT_IN[type(op).__name__](op, x) if type(op).__name__ in BUILT_IN else op.twin(x)
