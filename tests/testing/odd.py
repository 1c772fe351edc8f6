"""Right operators of odd kinds, which no check may refuse: inputs of other scales, exact zeros that were given, operators
inside traced hooks, no numbers at all.

``ODD`` maps a name to (operator, input).
"""

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

S = jax.ShapeDtypeStruct
R, D, C, Z = np.float32, np.float64, np.complex64, np.complex128
ODD = {}


def odd(x, *fields):
    def register(cls):
        ODD[cls.__name__] = cls(*fields), x
        return cls

    return register


class Elementwise(lo.NonlinearOperator):
    def jacobian_apply(self, x, dx):
        return (self.slope(x) * dx).astype(x.dtype)

    def jacobian_adjoint(self, x, dy):
        return (self.slope(x) * dy).astype(x.dtype)

    def infer_shape(self, x):
        return x


@odd(np.array([1e-8, 2e-8, 5e-9]))
class TinyInput(Elementwise):
    def apply(self, x):
        return np.exp(x / 1e-8)

    def slope(self, x):
        return np.exp(x / 1e-8) / 1e-8


@odd(np.array([1500.0, 2000, 4500, 4500], R))
class TravelTimes(lo.NonlinearOperator):
    def apply(self, x):
        return np.cumsum(10 / x).astype(x.dtype)

    def jacobian_apply(self, x, dx):
        return np.cumsum(-10 / x**2 * dx).astype(x.dtype)

    def jacobian_adjoint(self, x, dy):
        return (-10 / x**2 * np.cumsum(dy[::-1])[::-1]).astype(x.dtype)

    def infer_shape(self, x):
        return x


@odd(S((6,), R))
class HugeNumbers(Elementwise):
    def apply(self, x):
        return (1e12 * np.exp(1e-3 * x)).astype(x.dtype)

    def slope(self, x):
        return 1e9 * np.exp(1e-3 * x)


@odd(np.zeros(4))
class Entropy(Elementwise):
    """x log x, of which the slope at zero is infinite."""

    def apply(self, x):
        return np.where(x > 0, x * np.log(np.maximum(x, 1e-300)), 0)

    def slope(self, x):
        return np.where(x > 0, 1 + np.log(np.maximum(x, 1e-300)), 0)


@odd(np.array([0.0, 1, 0, -1, 2]))
class RectifiedSquare(Elementwise):
    """The second derivative has a kink at the zeros that are given."""

    def apply(self, x):
        return np.maximum(x, 0) ** 2

    def slope(self, x):
        return 2 * np.maximum(x, 0)

    def hessian_apply(self, x, dx1, dx2):
        return 2 * (x > 0) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return 2 * (x > 0) * dx * dy


@odd(np.array([0.0, 1, 0, -1, 2]))
class RectifiedSquareInReverse(Elementwise):
    jacobian_apply = None

    def apply(self, x):
        return np.maximum(x, 0) ** 2

    def slope(self, x):
        return 2 * np.maximum(x, 0)

    def hessian_adjoint(self, x, dx, dy):
        return 2 * (x > 0) * dx * dy


@odd(np.zeros(6))
class Rectified(Elementwise):
    def apply(self, x):
        return np.maximum(x, 0)

    def slope(self, x):
        return x > 0


@odd(np.zeros(5))
class AbsoluteInReverse(Elementwise):
    jacobian_apply = None

    def apply(self, x):
        return np.abs(x)

    def slope(self, x):
        return np.sign(x)


@odd(S((4,), Z))
class Phase(lo.NonlinearOperator, real_linear=True):
    """x / |x|."""

    def apply(self, x):
        return x / np.where(x == 0, 1, np.abs(x))

    def jacobian_apply(self, x, dx):
        phase = self.apply(x)
        return 1j * phase * (phase.conj() * dx).imag / np.where(x == 0, np.inf, np.abs(x))

    jacobian_adjoint = jacobian_apply

    def infer_shape(self, x):
        return x


@odd(S((7,), np.float16))
class HalfPrecision(Elementwise):
    def apply(self, x):
        return np.tanh(x)

    def slope(self, x):
        return 1 - np.tanh(x) ** 2


@odd(S((), R))
class OneNumber(Elementwise):
    def apply(self, x):
        return np.sin(x)

    def slope(self, x):
        return np.cos(x)


@odd(S((0,), D))
class NoNumbers(OneNumber):
    pass


@odd((S((4,), D), np.array([0, 2, 1, 2])))
class Chosen(lo.NonlinearOperator):
    """Squares of the elements at indices, which are a part of the input."""

    def apply(self, x):
        return x[0][x[1]] ** 2

    def jacobian_apply(self, x, dx):
        return 2 * x[0][x[1]] * dx[0][x[1]]

    def jacobian_adjoint(self, x, dy):
        values = np.zeros_like(x[0])
        np.add.at(values, x[1], 2 * x[0][x[1]] * dy)
        return values, np.zeros_like(x[1])

    def infer_shape(self, x):
        return S(x[1].shape, x[0].dtype)


@odd({"a": S((3,), R), "b": (S((2, 2), C), S((), R))})
class Mixed(lo.NonlinearOperator, real_linear=True):
    """Products of arrays of a tree, real and complex."""

    def apply(self, x):
        a, (b, c) = x["a"], x["b"]
        return {"a": a * c, "b": (b * b, c * a.sum())}

    def jacobian_apply(self, x, dx):
        a, (b, c), da, (db, dc) = x["a"], x["b"], dx["a"], dx["b"]
        return {"a": da * c + a * dc, "b": (2 * b * db, dc * a.sum() + c * da.sum())}

    def jacobian_adjoint(self, x, dy):
        a, (b, c), ya, (yb, yc) = x["a"], x["b"], dy["a"], dy["b"]
        return {"a": ya * c + c * yc, "b": (2 * b.conj() * yb, (ya * a).sum() + a.sum() * yc)}

    def infer_shape(self, x):
        return x


class Cube(Elementwise):
    def apply(self, x):
        return x**3

    def slope(self, x):
        return 3 * x**2


class CubeInReverse(Cube):
    jacobian_apply = None


@odd(S((4,), D), Cube())
class WithoutHessianInside(lo.NonlinearOperator):
    inner: lo.NonlinearOperator

    @lo.traced
    def apply(self, x):
        return jnp.sin(self.inner(x))


@odd(S((4,), D), CubeInReverse())
class ReverseInside(WithoutHessianInside):
    pass


class ForwardOnly(lo.LinearOperator):
    adjoint = None

    def apply(self, x):
        return 2 * x

    def infer_shape(self, x):
        return x


@odd(S((4,), D), ForwardOnly())
class ForwardOnlyInside(lo.LinearOperator):
    inner: lo.LinearOperator

    @lo.traced
    def apply(self, x):
        return 2 * self.inner(x)


@odd(S((6,), D))
class ForwardOnlyPositive(lo.LinearOperator, positive=True):
    adjoint = None

    def apply(self, x):
        return 2 * x + 0.5 * np.roll(x, 1) + 0.5 * np.roll(x, -1)

    def infer_shape(self, x):
        return x


@odd(S((6,), Z))
class ForwardOnlySymmetricOverTheReals(lo.LinearOperator, symmetric=True, real_linear=True):
    adjoint = None

    def apply(self, x):
        return x + 0.5 * x.conj()

    def infer_shape(self, x):
        return x


@odd(S((6,), Z))
class ForwardOnlyUnitary(lo.LinearOperator, unitary=True):
    adjoint = None

    def apply(self, x):
        return 1j * np.roll(x, 1)

    def infer_shape(self, x):
        return x
