"""Operators of real and complex parts that are wrong on purpose: what code for sums, multiples, stacks and Jacobians of
mixed parts can get wrong, written as operators of users. They join ``WRONG``."""

import jax
import numpy as np
from wrong import WRONG, C, N, R, S, matrix, wrong

import linops_jax as lo

REAL, COMPLEX = matrix(R), matrix(C, seed=8)
ON_REAL, ON_COMPLEX = S((N,), R), S((N,), C)


class FromReal(lo.LinearOperator):
    """1j A x + B x with real matrices, on real numbers."""

    def apply(self, x):
        return 1j * (REAL @ x) + COMPLEX.real @ x

    def adjoint(self, y):
        return (-1j * (REAL.T @ y) + COMPLEX.real.T @ y).real

    def infer_shape(self, x):
        return S(x.shape, C)

    def infer_adjoint_shape(self, y):
        return S(y.shape, R)


@wrong("adjoint", r"the adjoint ignores the imaginary part of its argument", spec=ON_REAL)
class RealPartBeforeTheFactor(FromReal):
    """A is given the real part of y, not that of -1j y."""

    def adjoint(self, y):
        return super().adjoint(y.real)


@wrong("adjoint", r"a conjugation is missing", spec=ON_REAL)
class FactorNotConjugated(FromReal):
    def adjoint(self, y):
        return (1j * (REAL.T @ y) + COMPLEX.real.T @ y).real


@wrong("adjoint", r"the adjoint is not linear", spec=ON_REAL)
class ModulusInPlaceOfRealPart(FromReal):
    """What is complex is made real the wrong way."""

    def adjoint(self, y):
        return np.abs(-1j * (REAL.T @ y) + COMPLEX.real.T @ y)


@wrong(
    "adjoint",
    r"the result of the adjoint must be conjugated|the argument of the adjoint must|conjugation",
    spec=ON_REAL,
)
class MultipleOfARealPart(FromReal):
    """(1 + 2j) A with a real matrix: the part is given y, and the factor is applied to what comes back."""

    def apply(self, x):
        return (1 + 2j) * (REAL @ x)

    def adjoint(self, y):
        return ((1 + 2j) * (REAL.T @ y)).real


class ToReal(lo.LinearOperator, real_linear=True):
    """Re (A z)."""

    def apply(self, x):
        return (COMPLEX @ x).real

    def adjoint(self, y):
        return COMPLEX.conj().T @ y

    def infer_shape(self, x):
        return S(x.shape, R)

    def infer_adjoint_shape(self, y):
        return S(y.shape, C)


@wrong("adjoint", r"the imaginary part of the adjoint's result is zero everywhere", spec=ON_COMPLEX)
class RealPartOnTheWayBackToo(ToReal, real_linear=True):
    def adjoint(self, y):
        return super().adjoint(y).real.astype(C)


@wrong("adjoint", r"a conjugation is missing", spec=ON_COMPLEX)
class MatrixInRealPartTransposed(ToReal, real_linear=True):
    def adjoint(self, y):
        return COMPLEX.T @ y


@wrong("gram", r"gram\(x\) and A\^H A x: they differ", spec=ON_COMPLEX)
class GramWithoutTheRealPart(ToReal, real_linear=True):
    """A^H A x in which the part's complex result was never brought to the real codomain."""

    def gram(self, x):
        return COMPLEX.conj().T @ (COMPLEX @ x)


@wrong("adjoint", r"the adjoint ignores the real part of its argument for \[0\]", spec=(ON_REAL, ON_COMPLEX))
class RowOfBlocks(lo.LinearOperator, real_linear=True):
    """A x + B z: to the real block goes another part of y."""

    def apply(self, x):
        return REAL @ x[0] + COMPLEX @ x[1]

    def adjoint(self, y):
        return REAL.T @ y.imag, COMPLEX.conj().T @ y

    def infer_shape(self, x):
        return x[1]

    def infer_adjoint_shape(self, y):
        return S(y.shape, R), y


@wrong("adjoint", r"a conjugation is missing", spec=ON_REAL)
class ColumnOfBlocks(lo.LinearOperator):
    """(A x, B x): the complex block is transposed."""

    def apply(self, x):
        return REAL @ x, COMPLEX @ x

    def adjoint(self, y):
        return REAL.T @ y[0] + (COMPLEX.T @ y[1]).real

    def infer_shape(self, x):
        return x, S(x.shape, C)

    def infer_adjoint_shape(self, y):
        return y[0]


@wrong("adjoint", r"a conjugation is missing", spec=S((N, N), R))
class Kronecker(FromReal):
    """A x B^T with a complex B."""

    def apply(self, x):
        return REAL @ x @ COMPLEX.T

    def adjoint(self, y):
        return (REAL.T @ y @ COMPLEX).real


class Shifted(lo.NonlinearOperator):
    """A x + b with a real matrix and a complex b."""

    b: jax.Array

    def apply(self, x):
        return (REAL @ x + self.b).astype(C)

    def jacobian_apply(self, x, dx):
        return REAL @ dx

    def jacobian_adjoint(self, x, dy):
        return REAL.T @ dy.real

    def infer_shape(self, x):
        return S(x.shape, C)


def wrong_shift(check, message):
    def register(cls):
        WRONG[cls.__name__] = cls(COMPLEX[0]), ON_REAL, check, message
        return cls

    return register


@wrong_shift("promises", r"JacobianOfAnotherDtype\.apply returned c64\[6\]; infer_shape promised f32\[6\]")
class JacobianOfAnotherDtype(Shifted):
    """What is promised is that of the matrix, not that of the sum."""

    def infer_shape(self, x):
        return x


@wrong_shift("jacobian_adjoint", r"A is the Jacobian: .*the adjoint is not linear")
class JacobianTakesTheModulus(Shifted):
    def jacobian_adjoint(self, x, dy):
        return REAL.T @ np.abs(dy)


@wrong_shift("jacobian", r"jacobian_apply is not the derivative of apply")
class JacobianTimesI(Shifted):
    def jacobian_apply(self, x, dx):
        return 1j * (REAL @ dx)


@wrong("jacobian_adjoint", r"A is the Jacobian: .*a conjugation is missing", spec=ON_COMPLEX)
class PowerConjugated(lo.NonlinearOperator, real_linear=True):
    """|A z|^2: the chain of a complex part and one that answers in real numbers."""

    def apply(self, x):
        return np.abs(COMPLEX @ x) ** 2

    def jacobian_apply(self, x, dx):
        return 2 * ((COMPLEX @ x).conj() * (COMPLEX @ dx)).real

    def jacobian_adjoint(self, x, dy):
        return 2 * COMPLEX.T @ ((COMPLEX @ x).conj() * dy)

    def infer_shape(self, x):
        return S(x.shape, R)
