"""Operators of every kind, each with a twin: the same map in pure JAX, whose derivatives are JAX's own.

A twin takes the operator for its fields, and the input. Fields are NumPy arrays in 64 bits: canonical types are up to
the library, with x64 on and off.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from helpers import S, normal

import linops_jax as lo


@dataclasses.dataclass(frozen=True)
class Case:
    op: Any
    twin: Callable[[Any, Any], Any]
    x: Any
    forward: bool = True  # derivatives in x
    reverse: bool = True
    second: bool = True
    parameters: str = ""  # "both", "reverse", or "" for none

    @property
    def linear(self):
        return isinstance(self.op, lo.LinearOperator)

    def reference(self, x):
        return self.twin(jax.tree.map(jnp.asarray, self.op), x)


def result(shape, *arrays):
    return S(shape, jnp.result_type(*(array.dtype for array in arrays)))


# ---- linear, host ---------------------------------------------------------------------------------------------------


class Dense(lo.LinearOperator):
    matrix: jax.Array

    def apply(self, x):
        return self.matrix @ x

    def adjoint(self, y):
        return self.matrix.conj().T @ y

    def infer_shape(self, x):
        return result(self.matrix.shape[:1], self.matrix, x)

    def infer_adjoint_shape(self, y):
        return result(self.matrix.shape[1:], self.matrix, y)


def dense(op, x):
    return op.matrix @ x


class DenseWithParameters(Dense):
    def parameter_jvp(self, x, dself):
        return dself.matrix @ x

    def parameter_vjp(self, x, dy):
        return type(self)(np.outer(dy, np.conj(x)))


class Cumulative(lo.LinearOperator):
    """Fills ``out``; has no infer_adjoint_shape."""

    axis: int = lo.static(default=-1)

    def apply(self, x, *, out):
        np.cumsum(x, axis=self.axis, out=out)

    def adjoint(self, y, *, out):
        out[...] = np.flip(np.cumsum(np.flip(y, self.axis), axis=self.axis), self.axis)

    def infer_shape(self, x):
        return x


class Mix(lo.LinearOperator):
    """(u, v) -> {"a": u + sum of v's rows, "b": w v}."""

    w: jax.Array

    def apply(self, x):
        u, v = x
        return {"a": u + v.sum(axis=0), "b": self.w[:, None] * v}

    def adjoint(self, y):
        return y["a"], y["a"] + np.conj(self.w)[:, None] * y["b"]

    def infer_shape(self, x):
        u, v = x
        return {"a": result(u.shape, u, v), "b": result(v.shape, self.w, v)}

    def infer_adjoint_shape(self, y):
        return y["a"], result(y["b"].shape, y["a"], y["b"])


class MixInPlace(Mix):
    def apply(self, x, *, out):
        u, v = x
        np.add(u, v.sum(axis=0), out=out["a"])
        np.multiply(self.w[:, None], v, out=out["b"])
        return out


def mix(op, x):
    u, v = x
    return {"a": u + v.sum(axis=0), "b": op.w[:, None] * v}


class Antilinear(lo.LinearOperator, real_linear=True):
    """x -> a x + b conj(x)."""

    a: jax.Array
    b: jax.Array

    def apply(self, x):
        return self.a @ x + self.b @ x.conj()

    def adjoint(self, y):
        return self.a.conj().T @ y + self.b.T @ y.conj()

    def infer_shape(self, x):
        return result(self.a.shape[:1], self.a, x)

    def infer_adjoint_shape(self, y):
        return result(self.a.shape[1:], self.a, y)


class AntilinearWithParameters(Antilinear, real_linear=True):
    def parameter_jvp(self, x, dself):
        return dself.a @ x + dself.b @ x.conj()

    def parameter_vjp(self, x, dy):
        return {"a": np.outer(dy, x.conj()), "b": np.outer(dy, x)}


class RealPart(lo.LinearOperator, real_linear=True):
    def apply(self, x):
        return x.real

    def adjoint(self, y):
        return y

    def infer_shape(self, x):
        return S(x.shape, jnp.finfo(x.dtype).dtype)

    def infer_adjoint_shape(self, y):
        return result(y.shape, y, S((), np.complex64))


class HalfSpectrum(lo.LinearOperator, real_linear=True):
    """rfft: from a real array to a complex one of another length. The adjoint hook returns complex."""

    def apply(self, x):
        return np.fft.rfft(x)

    def adjoint(self, y):
        n = 2 * (y.shape[-1] - 1)
        return n * np.fft.ifft(y, n)

    def infer_shape(self, x):
        return result((x.shape[0] // 2 + 1,), x, S((), np.complex64))


class BatchedMix(lo.LinearOperator, batched=True):
    """(a, b) -> matrix a + gain b, along the last axis, any axes in front. ``seen`` remembers the shapes of the inputs."""

    matrix: jax.Array
    gain: jax.Array
    seen = set()  # noqa: RUF012 of the class, no field

    def apply(self, x):
        a, b = x
        self.seen.add(("apply", a.shape, b.shape))
        return np.einsum("ij,...j->...i", self.matrix, a) + self.gain * b

    def adjoint(self, y):
        self.seen.add(("adjoint", y.shape))
        return np.einsum("ji,...j->...i", self.matrix.conj(), y), np.conj(self.gain) * y

    def infer_shape(self, x):
        a, b = x
        assert len(a.shape) == len(b.shape) == 1, "infer_ hooks see unbatched specs"
        return result(self.matrix.shape[:1], self.matrix, self.gain, a, b)

    def infer_adjoint_shape(self, y):
        return result(self.matrix.shape[1:], self.matrix, y), result(y.shape, self.gain, y)


def batched_mix(op, x):
    a, b = x
    return op.matrix @ a + op.gain * b


class Permuted(lo.LinearOperator):
    """x -> a sign(s) x[order]: only ``a`` has a derivative, and only in reverse mode."""

    a: jax.Array
    order: jax.Array
    s: jax.Array

    def apply(self, x):
        return self.a * np.sign(self.s) * x[self.order]

    def adjoint(self, y):
        x = np.empty_like(y)
        x[self.order] = self.a * np.sign(self.s) * y
        return x

    def parameter_vjp(self, x, dy):
        return {"a": np.real(np.conj(np.sign(self.s) * x[self.order]) * dy)}

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class ForwardOnly(lo.LinearOperator):
    adjoint = None

    def apply(self, x):
        return np.roll(x, 1) * 2

    def infer_shape(self, x):
        return x


# ---- linear, traced -------------------------------------------------------------------------------------------------


class TracedDense(lo.LinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return self.matrix @ x

    @lo.traced
    def adjoint(self, y):
        return self.matrix.conj().T @ y


class DerivedDense(lo.LinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return self.matrix @ x


class TracedWithHostAdjoint(lo.LinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return self.matrix @ x

    def adjoint(self, y):
        return self.matrix.conj().T @ y


class DerivedMix(lo.LinearOperator):
    w: jax.Array

    @lo.traced
    def apply(self, x):
        u, v = x
        return {"a": u + v.sum(axis=0), "b": self.w[:, None] * v}


# ---- nonlinear ------------------------------------------------------------------------------------------------------


class Paper(lo.NonlinearOperator):
    """The example of the JAXbind paper."""

    def apply(self, x):
        x1, x2 = x
        return x1 * x2**2

    def jacobian_apply(self, x, dx):
        (x1, x2), (dx1, dx2) = x, dx
        return x2**2 * dx1 + 2 * x1 * x2 * dx2

    def jacobian_adjoint(self, x, dy):
        x1, x2 = x
        return np.conj(x2**2) * dy, np.conj(2 * x1 * x2) * dy

    def infer_shape(self, x):
        return x[0]


class Gather(lo.NonlinearOperator):
    """(index, values) -> values[index]."""

    def apply(self, x):
        return x[1][x[0]]

    def jacobian_apply(self, x, dx):
        return dx[1][x[0]]

    def jacobian_adjoint(self, x, dy):
        dvalues = np.zeros_like(x[1])
        np.add.at(dvalues, x[0], dy)
        return None, dvalues

    def infer_shape(self, x):
        return S(x[0].shape, x[1].dtype)


class Modulus(lo.NonlinearOperator, real_linear=True):
    """|x|^2 of a complex array: not holomorphic."""

    def apply(self, x, *, out):
        np.copyto(out, np.abs(x) ** 2)

    def jacobian_apply(self, x, dx):
        return 2 * np.real(np.conj(x) * dx)

    def jacobian_adjoint(self, x, dy, *, out):
        np.multiply(2 * x, dy, out=out)

    def infer_shape(self, x):
        return S(x.shape, jnp.finfo(x.dtype).dtype)


class Sine(lo.NonlinearOperator):
    """a sin(b x), differentiable in its fields."""

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
        return type(self)(np.conj(np.sin(self.b * x)) * dy, np.sum(np.conj(self.a * np.cos(self.b * x) * x) * dy))

    def infer_shape(self, x):
        return result(x.shape, self.a, self.b, x)


class SineWithHessian(Sine):
    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * np.sin(self.b * x) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return np.conj(-self.a * self.b**2 * np.sin(self.b * x) * dx) * dy


def sine(op, x):
    return op.a * jnp.sin(op.b * x)


class ReverseOnly(lo.NonlinearOperator):
    jacobian_apply = None

    def apply(self, x):
        return np.exp(x)

    def jacobian_adjoint(self, x, dy):
        return np.conj(np.exp(x)) * dy

    def infer_shape(self, x):
        return x


class ForwardOnlyCube(lo.NonlinearOperator):
    jacobian_adjoint = None

    def apply(self, x):
        return x**3

    def jacobian_apply(self, x, dx):
        return 3 * x**2 * dx

    def infer_shape(self, x):
        return x


class TracedSine(lo.NonlinearOperator):
    a: jax.Array
    b: jax.Array

    @lo.traced
    def apply(self, x):
        return self.a * jnp.sin(self.b * x)


class TracedSineHostJacobian(lo.NonlinearOperator):
    a: jax.Array
    b: jax.Array

    @lo.traced
    def apply(self, x):
        return self.a * jnp.sin(self.b * x)

    def jacobian_apply(self, x, dx):
        return self.a * self.b * np.cos(self.b * x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(self.a * self.b * np.cos(self.b * x)) * dy


# ---- composite ------------------------------------------------------------------------------------------------------


def composite(op, x):
    a, m, n, r = jax.tree.leaves(op)
    return a * (r @ x) + m.conj().T @ (n @ (r @ x))


# ---- the zoo --------------------------------------------------------------------------------------------------------

C, R = np.complex128, np.float64
M, N = normal((4, 3), C, 1), normal((4, 3), C, 2)
REAL = normal((4, 3), R, 3)
X = normal((3,), C, 4)
XR = normal((3,), R, 5)
PAIR = (normal((3,), C, 6), normal((2, 3), C, 7))
W = normal((2,), C, 8)
A, B = normal((3,), C, 9), np.asarray(0.7 - 0.2j)

CASES = {
    "dense real": Case(Dense(REAL), dense, XR),
    "dense complex": Case(Dense(M), dense, X),
    "dense complex of real": Case(Dense(M), dense, XR),
    "dense real of complex": Case(Dense(REAL), dense, X),
    "fills out": Case(Cumulative(0), lambda op, x: jnp.cumsum(x, 0), normal((4, 2), R, 10)),
    "pytrees": Case(Mix(W), mix, PAIR),
    "pytrees in place": Case(MixInPlace(W), mix, PAIR),
    "conjugates": Case(AntilinearWithParameters(M, N), lambda op, x: op.a @ x + op.b @ x.conj(), X, parameters="both"),
    "real part": Case(RealPart(), lambda op, x: x.real, X),
    "half spectrum": Case(HalfSpectrum(), lambda op, x: jnp.fft.rfft(x), normal((6,), R, 11)),
    "batched": Case(BatchedMix(M, normal((4,), C, 12)), batched_mix, (X, normal((4,), C, 13))),
    "parameters": Case(DenseWithParameters(M), dense, X, parameters="both"),
    "parameters of real": Case(DenseWithParameters(M), dense, XR, parameters="both"),
    "parameters in reverse": Case(
        Permuted(A.real, np.array([2, 0, 1]), np.array([-1.0, 3.0, 2.0])),
        lambda op, x: op.a * jnp.sign(op.s) * x[op.order],
        X,
        parameters="reverse",
    ),
    "traced": Case(TracedDense(M), dense, X, parameters="both"),
    "derived": Case(DerivedDense(M), dense, X, parameters="both"),
    "derived pytrees": Case(DerivedMix(W), mix, PAIR, parameters="both"),
    "traced, host adjoint": Case(TracedWithHostAdjoint(M), dense, X, parameters="both"),
    "composite": Case(
        (0.5j * lo.Identity() + DenseWithParameters(M).H @ DenseWithParameters(N)) @ DenseWithParameters(REAL[:3]),
        composite,
        X,
        parameters="reverse",
    ),
    "forward only": Case(ForwardOnly(), lambda op, x: jnp.roll(x, 1) * 2, X, reverse=False, second=False),
    "paper": Case(Paper(), lambda op, x: x[0] * x[1] ** 2, (X, normal((3,), C, 14)), second=False),
    "indices": Case(Gather(), lambda op, x: x[1][x[0]], (np.array([2, 0, 2, 1]), X), second=False),
    "modulus": Case(Modulus(), lambda op, x: x.real**2 + x.imag**2, X, second=False),
    "sine": Case(Sine(A, B), sine, X, second=False, parameters="both"),
    "sine with hessian": Case(SineWithHessian(A, B), sine, X, parameters="both"),
    "traced sine": Case(TracedSine(A, B), sine, X, parameters="both"),
    "traced sine, host jacobian": Case(
        TracedSineHostJacobian(A.real, B.real), sine, XR, second=False, parameters="both"
    ),
    "reverse only": Case(ReverseOnly(), lambda op, x: jnp.exp(x), X, forward=False, second=False),
    "forward only cube": Case(ForwardOnlyCube(), lambda op, x: x**3, X, reverse=False, second=False),
}
