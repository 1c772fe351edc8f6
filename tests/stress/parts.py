"""What random programs are made of: the operators of all tests and others, each with its twin in plain JAX.

Vectors have three entries, so that all of them compose. Fields and inputs are real or complex at will.
"""

import pathlib

import jax
import jax.numpy as jnp
import numpy as np
from native import building
from on_device import class_on_device
from operators import (
    Dense,
    DenseWithParameters,
    DerivedDense,
    SineWithHessian,
    TracedDense,
    TracedWithHostAdjoint,
    complex_of,
    result,
)

import linops_jax as lo

kernels = building.library("kernels.cpp", pathlib.Path(__file__).parent)


def times(m, x):
    """A matrix on the last axis."""
    return (m @ x[..., None])[..., 0]


# ---- linear, on the host --------------------------------------------------------------------------------------------


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
        return (self.matrix.conj().T @ self.matrix) @ x


class WithGramAndParameters(DenseWithParameters):
    gram = WithGram.gram


# ---- linear over the reals ------------------------------------------------------------------------------------------


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


class Traced(TracedDense):
    infer_adjoint_shape = Dense.infer_adjoint_shape


class Derived(DerivedDense):
    infer_adjoint_shape = Dense.infer_adjoint_shape


class HostAdjoint(TracedWithHostAdjoint):
    infer_adjoint_shape = Dense.infer_adjoint_shape


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


class Remembers(lo.NonlinearOperator):
    """One evaluation for the value and its derivatives, whose state holds a number that is not differentiated, too."""

    d: jax.Array

    def apply(self, x):
        return self.d * x**2

    def linearize(self, x):
        return self.d * x**2, {"slope": 2 * self.d * x, "point": np.copy(x), "count": np.int32(3)}

    def infer_state_shape(self, x):
        return {"slope": result(x.shape, self.d, x), "point": x, "count": jax.ShapeDtypeStruct((), np.int32)}

    def jacobian_apply(self, x, dx, *, state):
        assert np.all(state["count"] == 3)
        return state["slope"] * dx

    def jacobian_adjoint(self, x, dy, *, out, state):
        z = np.conj(state["slope"]) * dy
        out[...] = z if np.iscomplexobj(out) else z.real

    def hessian_apply(self, x, dx1, dx2):
        return 2 * self.d * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return 2 * np.conj(self.d * dx) * dy

    def parameter_jvp(self, x, dself, *, state):
        return dself.d * state["point"] ** 2

    def parameter_vjp(self, x, dy, *, state):
        z = np.conj(state["point"] ** 2) * dy
        return {"d": z if np.iscomplexobj(self.d) else z.real}

    def infer_shape(self, x):
        return result(x.shape, self.d, x)

    def twin(self, x):
        return self.d * x * x


class RemembersTraced(lo.NonlinearOperator):
    b: jax.Array

    @lo.traced
    def apply(self, x):
        return jnp.sin(self.b * x)

    @lo.traced
    def linearize(self, x):
        return jnp.sin(self.b * x), self.b * jnp.cos(self.b * x)

    def infer_state_shape(self, x):
        return result(x.shape, self.b, x)

    @lo.traced
    def jacobian_apply(self, x, dx, *, state):
        return state * dx

    @lo.traced
    def jacobian_adjoint(self, x, dy, *, state):
        return state.conj() * dy

    def twin(self, x):
        return jnp.sin(self.b * x)


class RemembersOne(lo.NonlinearOperator):
    """One product is written; only the state says how it changes with the field and the point."""

    b: jax.Array

    apply, linearize, infer_state_shape = (
        RemembersTraced.apply,
        RemembersTraced.linearize,
        RemembersTraced.infer_state_shape,
    )
    jacobian_apply, twin = RemembersTraced.jacobian_apply, RemembersTraced.twin


class Weighted(lo.LinearOperator):
    """Factors that may be differentiated, and some that never are."""

    d: jax.Array
    c: jax.Array = lo.constant()

    def apply(self, x):
        return self.d * self.c * x

    def adjoint(self, y):
        return np.conj(self.d * self.c) * y

    def parameter_jvp(self, x, dself):
        return dself.d * self.c * x

    def parameter_vjp(self, x, dy):
        z = np.conj(self.c * x) * dy
        return {"d": z if np.iscomplexobj(self.d) else z.real, "c": np.full_like(self.c, 7)}

    def infer_shape(self, x):
        return result(x.shape, self.d, self.c, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.d * jax.lax.stop_gradient(self.c) * x


class Planned(lo.LinearOperator):
    """A plan for the values of one field, and the shape of another."""

    d: jax.Array
    c: jax.Array

    def prepare(self, x, *, d):
        return {"d": d.copy(), "ones": np.ones(self.c.shape + x.shape[1:])}

    def apply(self, x, *, plan):
        return plan["d"] * self.c * x * plan["ones"].astype(x.real.dtype)

    def adjoint(self, y, *, out, plan):
        z = np.conj(plan["d"] * self.c) * y
        out[...] = z if np.iscomplexobj(out) else z.real

    def parameter_jvp(self, x, dself, *, plan):
        return (dself.d * self.c + plan["d"] * dself.c) * x

    def parameter_vjp(self, x, dy, *, plan):
        changes = {"d": np.conj(self.c * x) * dy, "c": np.conj(plan["d"] * x) * dy}
        return {name: z if np.iscomplexobj(getattr(self, name)) else z.real for name, z in changes.items()}

    def infer_shape(self, x):
        return result(x.shape, self.d, self.c, x)

    infer_adjoint_shape = infer_shape

    def twin(self, x):
        return self.d * self.c * x


class RemembersPlanned(Remembers):
    """State and plan."""

    def prepare(self, x, *, d):
        return 2 * d

    def linearize(self, x, *, plan):
        return self.d * x**2, {"slope": plan * x, "point": np.copy(x), "count": np.int32(3)}


# ---- device hooks ---------------------------------------------------------------------------------------------------

DenseOnDevice, BatchedOnDevice = class_on_device(DenseWithParameters), class_on_device(Batched)
ConjOnDevice, MixOnDevice, SineOnDevice = class_on_device(Conj), class_on_device(Mix), class_on_device(SineWithHessian)


# ---- functionals ----------------------------------------------------------------------------------------------------


class Inner(lo.LinearOperator):
    """The inner product with d."""

    d: jax.Array

    def apply(self, x):
        return np.asarray(np.vdot(self.d, x))

    def adjoint(self, y, *, out):
        z = self.d * y
        out[...] = z if np.iscomplexobj(out) else z.real

    def infer_shape(self, x):
        return result((), self.d, x)

    def infer_adjoint_shape(self, y):
        return result((3,), self.d, y)

    def twin(self, x):
        return jnp.vdot(self.d, x)


class Spread(lo.LinearOperator):
    """Multiples of d, traced."""

    d: jax.Array

    @lo.traced
    def apply(self, x):
        return self.d * x

    def infer_adjoint_shape(self, y):
        return result((), self.d, y)

    def twin(self, x):
        return self.d * x


class HostEnergy(lo.Functional):
    """Half the squared norm, by NumPy."""

    smooth = 1.0

    def apply(self, x):
        return np.asarray(np.sum(np.abs(x) ** 2) / 2)

    def jacobian_apply(self, x, dx):
        return np.asarray(np.sum(np.real(np.conj(x) * dx)))

    def jacobian_adjoint(self, x, dy):
        return x * dy

    def prox(self, x, step, *, out):
        np.divide(x, 1 + step, out=out)

    def prox_jacobian(self, x, step, dx):
        return dx / (1 + step)

    def infer_shape(self, x):
        is_inexact = jnp.issubdtype(x.dtype, np.inexact)
        return jax.ShapeDtypeStruct((), jnp.finfo(x.dtype).dtype if is_inexact else np.float32)

    def twin(self, x):
        return jnp.real(jnp.vdot(x, x)) / 2


class Prox(lo.NonlinearOperator, real_linear=True):
    """The prox of a functional, whose step is 0.3."""

    f: lo.Functional

    @lo.traced
    def apply(self, x):
        return self.f.prox(inexact(x), 0.3)

    def twin(self, x):
        return PROXES[type(self.f).__name__](self.f, inexact(x))


def inexact(x):
    return x if jnp.issubdtype(x.dtype, np.inexact) else x.astype(np.float32)


def of(y, x):
    """Data for x."""
    return (y if jnp.iscomplexobj(x) else jnp.real(y)).astype(x.dtype)


def squares(x):
    return jnp.real(x) ** 2 + jnp.imag(x) ** 2


PROXES = {
    "SquaredL2": lambda f, x: (x + 0.3 * of(f.y, x)) / (1 + 0.3),
    "L1": lambda f, x: x * jnp.maximum(1 - 0.3 / jnp.abs(x), 0),
    "L2": lambda f, x: x * jnp.maximum(1 - 0.3 / jnp.sqrt(jnp.sum(squares(x))), 0),
    "HostEnergy": lambda f, x: x / (1 + 0.3),
}


# ---- combinators of one's own ---------------------------------------------------------------------------------------


class Times(lo.algebra.NonlinearCombinator):
    """F(x) G(x), element by element."""

    ops: list

    def apply(self, x):
        return jax.tree.map(jnp.multiply, *(op(x) for op in self.ops))


# ---- what can be drawn ----------------------------------------------------------------------------------------------

# kinds of input and result, how to make one: {m} a matrix, {v} a vector, of integers by chance; {f} a vector, {r} a real one
RECIPES = [
    ("vv", "Dense({m})"), ("vv", "DenseOut({m})"), ("vv", "DenseWithParameters({m})"), ("vv", "Damp({r})"),
    ("vv", "InPlace({v})"), ("vv", "Batched({m})"), ("vv", "Roll(2)"), ("vv", "Symmetric({m})"), ("vv", "WithGram({m})"),
    ("vv", "WithGramAndParameters({m})"), ("vv", "RealPart()"), ("vv", "Turn()"), ("vv", "Conj()"),
    ("vv", "AntilinearWithParameters({m}, {m})"),
    ("vv", "Traced({m})"), ("vv", "DerivedDense({m})"), ("vv", "Derived({m})"), ("vv", "HostAdjoint({m})"),
    ("vv", "HostWithTracedAdjoint({v})"), ("vv", "PerPlatform({v})"), ("vt", "Twice()"), ("td", "Mix({v})"), ("dv", "Merge({v})"),
    ("vv", "lo.Diagonal({v})"), ("vv", "lo.Matrix({m})"), ("vv", "lo.FFT()"), ("vv", "lo.Identity()"), ("vv", "lo.Zero()"),
    ("vv", "NativeSum({v})"), ("vv", "NativeSumOfThreads({v})"), ("vv", "NativeSumOfBatches({v})"),
    ("vv", "NativeSumInPlace({v})"), ("vv", "NativeWithHostAdjoint({v})"), ("vv", "Handler({v})"),
    ("vv", "HandlerOfBatches({v})"), ("vv", "Numba({r})"), ("vv", "NativeSquare({v})"),
    ("vv", "Modulus()"), ("vv", "Square()"), ("vv", "SineWithHessian({f}, {f})"), ("vv", "BatchedSquare({v})"),
    ("vv", "TracedSine({f})"),
    ("vd", "TracedModulus()"), ("vv", "TracedWithHostJacobian()"), ("tv", "Paper()"),
    ("vv", "Remembers({v})"), ("vv", "RemembersTraced({f})"), ("vv", "RemembersOne({f})"), ("vv", "Weighted({v}, {v})"),
    ("vv", "Planned({v}, {v})"), ("vv", "RemembersPlanned({v})"),
    ("vv", "DenseOnDevice({m})"), ("vv", "BatchedOnDevice({m})"), ("vv", "ConjOnDevice()"), ("td", "MixOnDevice({v})"),
    ("vv", "SineOnDevice({f}, {f})"),
    ("vs", "Inner({v})"), ("sv", "Spread({v})"), ("vs", "lo.SquaredL2({f})"), ("vs", "lo.L1()"), ("vs", "lo.L2()"),
    ("vs", "HostEnergy()"), ("vv", "Prox(lo.SquaredL2({f}))"), ("vv", "Prox(lo.L1())"), ("vv", "Prox(lo.L2())"),
    ("vv", "Prox(HostEnergy())"),
]  # fmt: skip
WITHOUT_HALVES = {"FFT", "Numba"}  # neither XLA's FFT nor Numba knows such numbers

BUILT_IN = {
    "Diagonal": lambda op, x: op.d * x,
    "Matrix": lambda op, x: op.matrix @ x,
    "FFT": lambda op, x: jnp.fft.fft(x, norm="ortho"),
    "Identity": lambda op, x: x,
    "Zero": lambda op, x: jax.tree.map(jnp.zeros_like, x),
    "SquaredL2": lambda op, x: jnp.sum(squares(inexact(x) - of(op.y, inexact(x)))) / 2,
    "L1": lambda op, x: jnp.sum(jnp.abs(inexact(x))),
    "L2": lambda op, x: jnp.sqrt(jnp.sum(squares(inexact(x)))),
}


def twin_of(op, x):
    """What the operator should give, in plain JAX."""
    op = jax.tree.map(jnp.asarray, op)
    return BUILT_IN[type(op).__name__](op, x) if type(op).__name__ in BUILT_IN else op.twin(x)
