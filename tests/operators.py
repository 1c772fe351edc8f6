"""Operators of every kind, each with a twin: the same map in pure JAX, whose derivatives are JAX's own.

Right operators for all tests: the random programs (stress/parts.py) and the checks (testing/right.py) add what only they need.
In ``CASES`` fields are NumPy arrays in 64 bits: canonical types are up to the library, with x64 on and off.
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
    x: Any
    twin: Callable[[Any, Any], Any] = lambda op, x: op.twin(x)  # of the operator, for its fields, and the input
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


def real_of(spec):
    return S(spec.shape, np.zeros((), spec.dtype).real.dtype)


def complex_of(spec):
    return result(spec.shape, spec, S((), np.complex64))


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

    def twin(self, x):
        return self.matrix @ x


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

    def twin(self, x):
        return jnp.cumsum(x, self.axis)


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

    def twin(self, x):
        u, v = x
        return {"a": u + v.sum(axis=0), "b": self.w[:, None] * v}


class MixInPlace(Mix):
    def apply(self, x, *, out):
        u, v = x
        np.add(u, v.sum(axis=0), out=out["a"])
        np.multiply(self.w[:, None], v, out=out["b"])
        return out


class Antilinear(lo.LinearOperator, real_linear=True):
    """x -> a x + b conj(x)."""

    a: jax.Array
    b: jax.Array

    def apply(self, x):
        return self.a @ x + self.b @ x.conj()

    def adjoint(self, y):
        return self.a.conj().T @ y + self.b.T @ y.conj()

    def infer_shape(self, x):
        return result(self.a.shape[:1], self.a, self.b, x)

    def infer_adjoint_shape(self, y):
        return result(self.a.shape[1:], self.a, self.b, y)

    def twin(self, x):
        return self.a @ x + self.b @ x.conj()


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
        return real_of(x)

    def infer_adjoint_shape(self, y):
        return complex_of(y)

    def twin(self, x):
        return jnp.real(x)


class HalfSpectrum(lo.LinearOperator, real_linear=True):
    """rfft: from a real array to a complex one of another length. The adjoint hook returns complex."""

    def apply(self, x):
        return np.fft.rfft(x)

    def adjoint(self, y):
        n = 2 * (y.shape[-1] - 1)
        return n * np.fft.ifft(y, n)

    def infer_shape(self, x):
        return result((x.shape[0] // 2 + 1,), x, S((), np.complex64))

    def twin(self, x):
        return jnp.fft.rfft(x)


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

    def twin(self, x):
        a, b = x
        return self.matrix @ a + self.gain * b


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

    def twin(self, x):
        return self.a * jnp.sign(self.s) * x[self.order]


class ForwardOnly(lo.LinearOperator):
    adjoint = None

    def apply(self, x):
        return np.roll(x, 1) * 2

    def infer_shape(self, x):
        return x

    def twin(self, x):
        return jnp.roll(x, 1) * 2


# ---- linear, traced -------------------------------------------------------------------------------------------------


class DerivedDense(lo.LinearOperator):
    matrix: jax.Array

    @lo.traced
    def apply(self, x):
        return self.matrix @ x

    twin = Dense.twin


class TracedDense(DerivedDense):
    @lo.traced
    def adjoint(self, y):
        return self.matrix.conj().T @ y


class TracedWithHostAdjoint(DerivedDense):
    adjoint = Dense.adjoint


class DerivedMix(lo.LinearOperator):
    w: jax.Array

    @lo.traced
    def apply(self, x):
        u, v = x
        return {"a": u + v.sum(axis=0), "b": self.w[:, None] * v}

    twin = Mix.twin


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
        return result(x[0].shape, *x)

    def twin(self, x):
        return x[0] * x[1] ** 2


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

    def twin(self, x):
        return x[1][x[0]]


class Modulus(lo.NonlinearOperator, real_linear=True):
    """|x|^2, complex to real: not holomorphic."""

    def apply(self, x, *, out):
        np.copyto(out, x.real**2 + x.imag**2)

    def jacobian_apply(self, x, dx):
        return 2 * np.real(np.conj(x) * dx)

    def jacobian_adjoint(self, x, dy, *, out):
        np.multiply(2 * x, dy, out=out)

    def infer_shape(self, x):
        return real_of(x)

    def twin(self, x):
        return jnp.real(x) ** 2 + jnp.imag(x) ** 2


class Sine(lo.NonlinearOperator):
    """a sin(b x), differentiable in its fields. One b for all of x, or one for each entry."""

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
        db = np.conj(self.a * np.cos(self.b * x) * x) * dy
        return type(self)(np.conj(np.sin(self.b * x)) * dy, db if self.b.ndim else db.sum())

    def infer_shape(self, x):
        return result(x.shape, self.a, self.b, x)

    def twin(self, x):
        return self.a * jnp.sin(self.b * x)


class SineWithHessian(Sine):
    def hessian_apply(self, x, dx1, dx2):
        return -self.a * self.b**2 * np.sin(self.b * x) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return np.conj(-self.a * self.b**2 * np.sin(self.b * x) * dx) * dy


class ReverseOnly(lo.NonlinearOperator):
    jacobian_apply = None

    def apply(self, x):
        return np.exp(x)

    def jacobian_adjoint(self, x, dy):
        return np.conj(np.exp(x)) * dy

    def infer_shape(self, x):
        return x

    def twin(self, x):
        return jnp.exp(x)


class ForwardOnlyCube(lo.NonlinearOperator):
    jacobian_adjoint = None

    def apply(self, x):
        return x**3

    def jacobian_apply(self, x, dx):
        return 3 * x**2 * dx

    def infer_shape(self, x):
        return x

    def twin(self, x):
        return x**3


class TracedSine(lo.NonlinearOperator):
    a: jax.Array
    b: jax.Array

    @lo.traced
    def apply(self, x):
        return self.a * jnp.sin(self.b * x)

    twin = Sine.twin


class TracedSineHostJacobian(TracedSine):
    jacobian_apply = Sine.jacobian_apply
    jacobian_adjoint = Sine.jacobian_adjoint


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
    "dense real": Case(Dense(REAL), XR),
    "dense complex": Case(Dense(M), X),
    "dense complex of real": Case(Dense(M), XR),
    "dense real of complex": Case(Dense(REAL), X),
    "fills out": Case(Cumulative(0), normal((4, 2), R, 10)),
    "pytrees": Case(Mix(W), PAIR),
    "pytrees in place": Case(MixInPlace(W), PAIR),
    "conjugates": Case(AntilinearWithParameters(M, N), X, parameters="both"),
    "real part": Case(RealPart(), X),
    "half spectrum": Case(HalfSpectrum(), normal((6,), R, 11)),
    "batched": Case(BatchedMix(M, normal((4,), C, 12)), (X, normal((4,), C, 13))),
    "parameters": Case(DenseWithParameters(M), X, parameters="both"),
    "parameters of real": Case(DenseWithParameters(M), XR, parameters="both"),
    "parameters in reverse": Case(
        Permuted(A.real, np.array([2, 0, 1]), np.array([-1.0, 3.0, 2.0])), X, parameters="reverse"
    ),
    "traced": Case(TracedDense(M), X, parameters="both"),
    "derived": Case(DerivedDense(M), X, parameters="both"),
    "derived pytrees": Case(DerivedMix(W), PAIR, parameters="both"),
    "traced, host adjoint": Case(TracedWithHostAdjoint(M), X, parameters="both"),
    "composite": Case(
        (0.5j * lo.Identity() + DenseWithParameters(M).H @ DenseWithParameters(N)) @ DenseWithParameters(REAL[:3]),
        X,
        composite,
        parameters="reverse",
    ),
    "forward only": Case(ForwardOnly(), X, reverse=False, second=False),
    "paper": Case(Paper(), (X, normal((3,), C, 14)), second=False),
    "indices": Case(Gather(), (np.array([2, 0, 2, 1]), X), second=False),
    "modulus": Case(Modulus(), X, second=False),
    "sine": Case(Sine(A, B), X, second=False, parameters="both"),
    "sine with hessian": Case(SineWithHessian(A, B), X, parameters="both"),
    "traced sine": Case(TracedSine(A, B), X, parameters="both"),
    "traced sine, host jacobian": Case(TracedSineHostJacobian(A.real, B.real), XR, second=False, parameters="both"),
    "reverse only": Case(ReverseOnly(), X, forward=False, second=False),
    "forward only cube": Case(ForwardOnlyCube(), X, reverse=False, second=False),
}
