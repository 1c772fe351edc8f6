"""Operators that are wrong on purpose, each with the check that must catch it and what that must say.

``WRONG`` maps a name to (operator, input, check, regular expression of the message).
"""

import ctypes
import dataclasses
import itertools
import time

import jax
import jax.core
import numpy as np
from operators import Dense
from right import Solvable

import linops_jax as lo

S = jax.ShapeDtypeStruct
N = 6
R, C = np.float32, np.complex64
WRONG = {}


def matrix(dtype, shape=(N, N), seed=7):
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(shape) + 1j * rng.standard_normal(shape)
    return (values if np.issubdtype(dtype, np.complexfloating) else values.real).astype(dtype)


def wrong(check, message, dtype=R, shape=(N,), spec=None):
    """Declares a class as wrong; operators with a matrix get one."""

    def register(cls):
        fields = (matrix(dtype, (N, shape[0])),) if issubclass(cls, Dense) else ()
        WRONG[cls.__name__] = (cls(*fields), S(shape, dtype) if spec is None else spec, check, message)
        return cls

    return register


# ---- right ones, to be spoiled ------------------------------------------------------------------------------------------


class Smooth(lo.LinearOperator):
    """Sums of neighbours along the first axis, of any array."""

    def apply(self, x):
        y = 2.0 * x
        y[1:] += x[:-1]
        return y.astype(x.dtype)

    def adjoint(self, y):
        x = 2.0 * y
        x[:-1] += y[1:]
        return x.astype(y.dtype)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


class Cube(lo.NonlinearOperator):
    """x -> x^3, with every derivative."""

    def apply(self, x):
        return x**3

    def jacobian_apply(self, x, dx):
        return 3 * x**2 * dx

    def jacobian_adjoint(self, x, dy):
        return 3 * np.conj(x**2) * dy

    def hessian_apply(self, x, dx1, dx2):
        return 6 * x * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return 6 * np.conj(x * dx) * dy

    def infer_shape(self, x):
        return x


class Gain(lo.LinearOperator):
    """A diagonal with derivatives in it."""

    g: jax.Array

    def apply(self, x):
        return self.g * x

    def adjoint(self, y):
        return np.conj(self.g) * y

    def parameter_jvp(self, x, dself):
        return dself.g * x

    def parameter_vjp(self, x, dy):
        return {"g": np.conj(x) * dy}

    def infer_shape(self, x):
        return S(x.shape, np.result_type(x.dtype, self.g.dtype))

    def infer_adjoint_shape(self, y):
        return S(y.shape, np.result_type(y.dtype, self.g.dtype))


# ---- promises, inputs, outputs ------------------------------------------------------------------------------------------


@wrong("promises", r"WrongShape\.apply returned f32\[5\]; infer_shape promised f32\[6\]")
class WrongShape(Dense):
    def apply(self, x):
        return (self.matrix @ x)[:-1]


@wrong("promises", r"WrongAdjointShape\.adjoint returned f64\[7\]; expected f32\[6\]")
class WrongAdjointShape(Dense):
    def adjoint(self, y):
        return np.append(super().adjoint(y), 0)


@wrong("promises", r"ComplexForReal\.apply returned c64\[6\]; infer_shape promised f32\[6\]")
class ComplexForReal(Dense):
    def apply(self, x):
        return 1j * (self.matrix @ x)


@wrong("promises", r"KeyError: 'kernel' \[Raises\.apply failed\]")
class Raises(Dense):
    def apply(self, x):
        message = "kernel"
        raise KeyError(message)


@wrong("promises", r"IndexError: .* \[RaisesInAdjoint\.adjoint failed\]")
class RaisesInAdjoint(Dense):
    def adjoint(self, y):
        return y[99]


@wrong("promises", r"ValueError: .*read-only.* \[ScalesItsInput\.apply failed\]")
class ScalesItsInput(Dense):
    def apply(self, x):
        x *= 2
        return self.matrix @ x


@wrong("promises", r"RaisesInInfer\.infer_shape")
class RaisesInInfer(Dense):
    def infer_shape(self, x):
        message = "no such mode"
        raise ValueError(message)


@wrong("promises", r"WrongStructure\.apply returned f32\[2,6\]; infer_shape promised f32\[6\]")
class WrongStructure(Dense):
    def apply(self, x):
        return (self.matrix @ x, x)


@wrong("inputs", r"WritesBehindNumPy\.apply writes into its input: argument .* has changed")
class WritesBehindNumPy(Dense):
    def apply(self, x):
        y = self.matrix @ x
        ctypes.memset(x.__array_interface__["data"][0], 0x7F, 4)  # as a library with the wrong prototype would
        return y


@wrong("adjoint_shape", r"infer_adjoint_shape\(f32\[6\]\): found f32\[6\], expected f32\[4\]", shape=(4,))
class WrongAdjointSpec(Dense):
    def infer_adjoint_shape(self, y):
        return y


@wrong("promises", r"ForgetsToReturnSpecs\.infer_shape returned None")
class ForgetsToReturnSpecs(Dense):
    def infer_shape(self, x):
        S(x.shape, x.dtype)


@wrong("adjoint_shape", r"ForgetsToReturnAdjointSpecs\.infer_adjoint_shape.*None")
class ForgetsToReturnAdjointSpecs(Dense):
    def infer_adjoint_shape(self, y):
        S(y.shape, y.dtype)


@wrong(
    "adjoint_shape",
    r"IntegersInAdjoint\.infer_adjoint_shape\(f32\[6\]\): found i32\[6\], which cannot hold x, f32\[6\]",
)
class IntegersInAdjoint(Dense):
    def infer_adjoint_shape(self, y):
        return S(y.shape, np.int32)


@wrong("adjoint_shape", r"found f32\[6\], which cannot hold x, c64\[6\]", C)
class RealAdjointSpec(Dense):
    def infer_adjoint_shape(self, y):
        return S(y.shape, np.float32)


@wrong("adjoint_shape", r"found f32\[6\], which cannot hold x, f64\[6\]", np.float64)
class SingleAdjointSpec(Dense):
    def infer_adjoint_shape(self, y):
        return S(y.shape, np.float32)


@wrong("adjoint_shape", r"found \(f32\[6\],\), expected f32\[6\]")
class TupleInAdjoint(Dense):
    def infer_adjoint_shape(self, y):
        return (S(y.shape, y.dtype),)


@wrong("promises", r"IntegersPromised\.apply returned f32\[6\]; infer_shape promised i32\[6\]")
class IntegersPromised(Dense):
    def infer_shape(self, x):
        return S(x.shape, np.int32)


@wrong("written", r"WritesHalf\.apply leaves 2 of 6 elements of out unwritten.*the first is \[1\]")
class WritesHalf(Dense):
    def apply(self, x, *, out):
        out[::2] = (self.matrix @ x)[::2]
        out[-1] = (self.matrix @ x)[-1]


@wrong("written", r"AddsToOut\.adjoint leaves 6 of 6 elements of out unwritten, or reads them")
class AddsToOut(Dense):
    def adjoint(self, y, *, out):
        out[...] = (
            np.clip(out, -1, 1) + self.matrix.T @ y
        )  # clipped: a huge number would not change, and look unwritten


@wrong("repeatable", r"A\(x\), called twice: they differ by")
class Counts(Dense):
    calls = itertools.count(1)

    def apply(self, x):
        return next(self.calls) * (self.matrix @ x)


@wrong("repeatable", r"A\^H\(y\), called twice: they differ by")
class Random(Dense):
    rng = np.random.default_rng(0)

    def adjoint(self, y):
        return (self.matrix.T @ y * self.rng.uniform(0.9, 1.1)).astype(y.dtype)


@wrong("repeatable", r"declared deterministic, but the bits differ")
class NotDeterministic(Dense, deterministic=True):
    calls = itertools.count()

    def apply(self, x):
        y = self.matrix @ x
        return y if next(self.calls) % 2 else np.nextafter(y, np.inf, dtype=y.dtype)


@wrong("written", r"ForgetsSomeIntegers\.apply leaves 1 of 6 elements of out unwritten", np.int32)
class ForgetsSomeIntegers(Smooth):
    adjoint = None

    def apply(self, x, *, out):
        out[:-2] = 2 * x[:-2]
        out[-1] = x[-1]


@wrong("written", r"ForgetsSomeBools\.apply leaves 39 of 41 elements of out unwritten", np.bool_, (41,))
class ForgetsSomeBools(Smooth):
    adjoint = None

    def apply(self, x, *, out):
        out[0], out[-1] = x[0], x[-1]


@wrong("by_hand", r"KnowsItsCaller\.apply by hand and through JAX: they differ")
class KnowsItsCaller(Smooth):
    """As code does that takes the fast path for arrays that own their memory."""

    def apply(self, x):
        return super().apply(x) * R(1 + x.flags.owndata)


class SharesABuffer(Smooth):
    """Lets others run between writing and reading a buffer that all calls share."""

    buffer = {}  # noqa: RUF012 of the class, no field

    def shared(self, x):
        self.buffer["x"] = np.array(x)
        time.sleep(0.005)
        return self.buffer["x"]


@wrong("threads", r"A\(x\) in a thread among others, and alone: they differ")
class NotReentrant(SharesABuffer):
    def apply(self, x):
        return super().apply(self.shared(x))


@wrong("threads", r"A\^H\(y\) in a thread among others, and alone: they differ")
class AdjointNotReentrant(SharesABuffer):
    def adjoint(self, y):
        return super().adjoint(self.shared(y))


# ---- linear -------------------------------------------------------------------------------------------------------------


@wrong("linear", r"A\(0\) has norm .* instead of 0: an affine offset")
class AffineOffset(Dense):
    def apply(self, x):
        return self.matrix @ x + 1


@wrong("linear", r"complex a and b.*the imaginary part of every result is zero in A\(x\): was it dropped", C)
class RealPartOnly(Dense):
    def apply(self, x):
        return (self.matrix @ x).real.astype(x.dtype)


@wrong("linear", r"linear over the real numbers only: declare the class with real_linear=True", C)
class ConjugatesItsInput(Dense):
    def apply(self, x):
        return self.matrix @ x.conj()

    def adjoint(self, y):
        return (self.matrix.conj().T @ y).conj()


@wrong("linear", r"A\(-x\) = A\(x\): an absolute value, a square\?")
class Modulus(Dense):
    def apply(self, x):
        return np.abs(self.matrix @ x)


@wrong("linear", r"what depends on the size of x")
class Saturates(Dense):
    def apply(self, x):
        return np.tanh(self.matrix @ x)


@wrong("linear", r"of the size of rounding in float32: a lost precision\?", np.float64)
class SinglePrecision(Dense):
    def apply(self, x):
        return (self.matrix.astype(np.float32) @ x.astype(np.float32)).astype(x.dtype)


@wrong("linear", r"not linear: A\(a x \+ b z\) and a A x \+ b A z, real a and b, differ by")
class CountsWhatIsNotZero(Smooth):
    def apply(self, x):
        return super().apply(x) * R(np.count_nonzero(x) / x.size)


@wrong("linear", r"not linear: .*real a and b, differ by", spec=np.linspace(1, 4, N).astype(R))
class SeesItsExampleOnly(Smooth):
    """Right for all but the arrays that people have."""

    def apply(self, x):
        return np.abs(x) if np.all(x > 0) or np.all(x < 0) else super().apply(x)


@wrong("linear", r"differ by .*; what depends on the size of x, or on earlier calls, is not linear", np.float64)
class ClippedFarOut(Dense):
    """No rounding, although it is as small."""

    def apply(self, x):
        y = self.matrix @ x
        return np.where(np.abs(y) > 1, y + np.sign(y) * 1e-7 * y**2, y)


@wrong("linear", r"A x holds NaN or infinity")
class NotANumber(Dense):
    def apply(self, x):
        return np.nan * (self.matrix @ x)


# ---- the adjoint --------------------------------------------------------------------------------------------------------


@wrong("adjoint", r"<u, A\^H v> is 0\.5 times <A u, v> in every probe: a constant factor")
class MissingFactor(Dense):
    def adjoint(self, y):
        return 0.5 * super().adjoint(y)


@wrong("adjoint", r"is -1 \(the sign\) times")
class WrongSign(Dense):
    def adjoint(self, y):
        return -super().adjoint(y)


@wrong("adjoint", r"is 0\+1j times .* of modulus 1, exp\(1\.5708 i\): is a factor of apply to be conjugated\?", C)
class TimesI(Dense):
    def adjoint(self, y):
        return 1j * super().adjoint(y)


@wrong("adjoint", r"a conjugation is missing .*\(or multiplied by -1, which is the same", C)
class PhaseNotConjugated(lo.LinearOperator):
    """A real matrix times i."""

    def apply(self, x):
        return (1j * (matrix(R) @ x)).astype(x.dtype)

    def adjoint(self, y):
        return (1j * (matrix(R).T @ y)).astype(y.dtype)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


@wrong("adjoint", r"is 0\.166667 \(one over the number of elements of the input: a normalisation\?\) times", C)
class InverseFFT(lo.LinearOperator):
    def apply(self, x):
        return np.fft.fft(x)

    def adjoint(self, y):
        return np.fft.ifft(y)

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


@wrong("adjoint", r"is 1 \+ 1e-06 times", np.float64)
class AlmostOne(Dense):
    def adjoint(self, y):
        return (1 + 1e-6) * super().adjoint(y)


@wrong("adjoint", r"the plain transpose: a conjugation is missing", C)
class MissingConjugate(Dense):
    def adjoint(self, y):
        return self.matrix.T @ y


@wrong("adjoint", r"the result of the adjoint must be conjugated", C)
class ConjugatedResult(Dense):
    def adjoint(self, y):
        return np.conj(super().adjoint(y))


@wrong("adjoint", r"plain transpose: .*, and it is 0\.5 times as large", C)
class TransposeAndFactor(Dense):
    def adjoint(self, y):
        return 0.5 * self.matrix.T @ y


@wrong("adjoint", r"the adjoint does what apply does")
class NotTransposed(Smooth):
    def adjoint(self, y):
        return self.apply(y)


@wrong("adjoint", r"the adjoint does minus what apply does: A\^H u = -A u")
class MinusApply(Smooth):
    def adjoint(self, y):
        return -self.apply(y)


@wrong("adjoint", r"the adjoint does 0\.5 times what apply does: A\^H u = 0\.5 A u")
class HalfOfApply(Smooth):
    def adjoint(self, y):
        return 0.5 * self.apply(y)


class Repeats(lo.LinearOperator):
    """Picks elements, some of them twice; the adjoint keeps only the last of these."""

    indices = np.array([0, 2, 2, 5, 2, 0])

    def apply(self, x):
        return x[self.indices]

    def adjoint(self, y):
        x = np.zeros(N, y.dtype)
        x[self.indices] = y
        return x

    def infer_shape(self, x):
        return S((len(self.indices),), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((N,), y.dtype)


wrong("adjoint", r"x\[[02]\] gets what y\[[45]\] holds and nothing .*overwrites instead of adding")(Repeats)


@wrong("adjoint", r"the adjoint is the inverse: A\^H A u = u")
class Inverse(Dense):
    def adjoint(self, y):
        return np.linalg.solve(self.matrix.astype(float), y).astype(y.dtype)


@wrong("adjoint", r"the result of the adjoint is flipped along axis 0", shape=(N, 3))
class Flipped(Smooth):
    def adjoint(self, y):
        return super().adjoint(y)[::-1].copy()


@wrong("adjoint", r"the result of the adjoint is shifted by one along axis 1", shape=(N, 3))
class Shifted(Smooth):
    def adjoint(self, y):
        return np.roll(super().adjoint(y), 1, axis=1)


@wrong("adjoint", r"the result of the adjoint is shifted by one along axis 1, and not around its end", shape=(N, 7))
class ShiftedOut(Smooth):
    def adjoint(self, y):
        return np.pad(super().adjoint(y), ((0, 0), (1, 0)))[:, :-1].copy()


@wrong(
    "adjoint",
    r"the (result|argument) of the adjoint is shifted by one along axis 0, and not around its end",
    shape=(9,),
)
class ArgumentShiftedOut(Smooth):
    def adjoint(self, y):
        return super().adjoint(np.append(y[1:], np.zeros(1, y.dtype)))


@wrong("adjoint", r"the result of the adjoint is shifted by half its length along axis 0: fftshift", shape=(9,))
class ShiftedByHalf(Smooth):
    def adjoint(self, y):
        return np.fft.fftshift(super().adjoint(y))


@wrong("adjoint", r"the result of the adjoint is taken at \(-i\) mod n along axis 0")
class Backwards(Smooth):
    def adjoint(self, y):
        return np.roll(super().adjoint(y)[::-1], 1)


@wrong("adjoint", r"a factor that varies along axis 1 of x: it is 2, but 1 at index 0, 1 at index 4", shape=(3, 5))
class TwiceButForSome(Smooth):
    def adjoint(self, y):
        return super().adjoint(y) * np.array([1, 2, 2, 2, 1], R)


@wrong("adjoint", r"a factor that varies along axis 0 of y: .* at index 0, .* and so on \(a weight\?\)", shape=(N, 3))
class Weighted(Smooth):
    def adjoint(self, y):
        return super().adjoint(y * np.linspace(0.3, 2, N, dtype=R)[:, None])


@wrong("adjoint", r"a factor that varies along axis 0 of x: .*phases, which are to be conjugated", C)
class Chirp(Dense):
    chirp = np.exp(0.3j * np.arange(N) ** 2).astype(C)

    def apply(self, x):
        return super().apply(self.chirp * x)

    def adjoint(self, y):
        return self.chirp * super().adjoint(y)


class PaddedInTwoWays(Smooth):
    """A filter that replicates at the border, and whose adjoint pads with zeros."""

    def filtered(self, x, mode):
        e = np.pad(x, 1, mode=mode)
        return (e[:-2] + 2 * e[1:-1] + e[2:]) / 4

    def apply(self, x):
        return self.filtered(x, "edge")

    def adjoint(self, y):
        return self.filtered(y, "constant")


for n in (40, 100_000):
    WRONG[f"PaddedInTwoWays of {n}"] = (
        PaddedInTwoWays(),
        S((n,), R),
        "adjoint",
        r"right but for a border of width 1 along axis 0: .*from y\[(0|\d*9)\] to x\[(0|\d*9)\] the adjoint has 0\.5, apply says "
        r"0\.75; from y",
    )


@wrong("adjoint", r"the result of the adjoint has axes 0 and 1 swapped", shape=(N, N))
class AxesSwapped(Smooth):
    def adjoint(self, y):
        return super().adjoint(y).T.copy()


@wrong("adjoint", r"one entry is wrong: from y\[3\] to x\[2\] the adjoint has .*, apply says")
class OneWrongEntry(Dense):
    def adjoint(self, y):
        x = super().adjoint(y).copy()
        x[2] += R(0.1) * y[3]
        return x


@wrong("adjoint", r"only x\[0\] is wrong: from y\[0\] to x\[0\] the adjoint has 1, apply says 2")
class WrongAtTheEdge(Smooth):
    def adjoint(self, y):
        x = super().adjoint(y)
        x[0] = y[0]
        return x


@wrong("adjoint", r"only what comes from y\[5\] is wrong")
class ForgetsTheLast(Dense):
    def adjoint(self, y):
        return self.matrix[:-1].T @ y[:-1]


@wrong("adjoint", r"for example, from y\[\d\] to x\[\d\] the adjoint has")
class Another(Dense):
    def adjoint(self, y):
        return matrix(R, (N, N), 8).T @ y


@wrong("adjoint", r"the adjoint returns zero")
class ZeroAdjoint(Dense):
    def adjoint(self, y):
        return np.zeros(N, y.dtype)


@wrong("adjoint", r"a result is not finite: A\^H v holds NaN or infinity")
class NotANumberInAdjoint(Dense):
    def adjoint(self, y):
        return np.nan * super().adjoint(y)


@wrong("adjoint", r"the adjoint has an offset: A\^H 0 has norm")
class OffsetInAdjoint(Dense):
    def adjoint(self, y):
        return super().adjoint(y) + 1


@wrong("adjoint", r"the adjoint is not linear")
class ClippedAdjoint(Dense):
    def adjoint(self, y):
        return np.clip(super().adjoint(y), -1, 1)


@wrong("adjoint", r"the imaginary part of the adjoint's result is zero everywhere", C)
class RealAdjoint(Dense):
    def adjoint(self, y):
        return super().adjoint(y).real.astype(y.dtype)


@wrong("adjoint", r"of the size of rounding in float32: a lost precision\?", np.float64)
class SinglePrecisionAdjoint(Dense):
    def adjoint(self, y):
        return (self.matrix.T.astype(R) @ y.astype(R)).astype(y.dtype)


@wrong("adjoint", r"error .* exceeds 1\.00e-01 \(adjoint_rtol as declared by the class\)")
class MoreInexactThanDeclared(Dense, adjoint_rtol=0.1):
    def adjoint(self, y):
        return 0.5 * super().adjoint(y)


@wrong("gram", r"gram\(x\) and A\^H A x: they differ by", C)
class WrongGram(Solvable):
    def gram(self, x):
        return self.matrix.T @ (self.matrix @ x)


@wrong("gram", r"gram\(x\) is A A\^H x", C)
class GramOfTheAdjoint(Solvable):
    def gram(self, x):
        return self.matrix @ (self.matrix.conj().T @ x)


@wrong("gram", r"gram\(x\) is 2 A\^H A x: a constant factor", C)
class GramTwice(Solvable):
    def gram(self, x):
        return 2 * (self.matrix.conj().T @ (self.matrix @ x))


@wrong("gram", r"gram\(x\) and A\^H A x: they differ by .* \(rtol 0\.001\)", C)
class MoreInexactGramThanDeclared(Solvable, gram_rtol=1e-3):
    def gram(self, x):
        y = self.matrix.conj().T @ (self.matrix @ x)
        return y + 0.01 * y[::-1]


@wrong("inverse", r"100 eps of the norms; the imaginary part of inverse\(y\) is zero everywhere", C)
class RealInverse(Solvable):
    def inverse(self, y):
        return np.linalg.solve(self.matrix, y).real.astype(y.dtype)


@wrong("inverse", r"A inverse\(y\) and y: they differ by .*, which exceeds", C)
class WrongInverse(Solvable):
    def inverse(self, y):
        return self.adjoint(y)


@wrong("inverse_adjoint", r"A\^H inverse_adjoint\(x\) and x: they differ by", C)
class WrongInverseAdjoint(Solvable):
    def inverse_adjoint(self, x):
        return np.linalg.solve(self.matrix.T, x)


class Similar(lo.algebra.Combinator):
    """S A S^-1 of diagonal operators, and what it could say of itself."""

    a: lo.LinearOperator = dataclasses.field(default_factory=lambda: lo.Diagonal(np.linspace(1, 2, N).astype(R)))
    s: lo.LinearOperator = dataclasses.field(default_factory=lambda: 2 * lo.Matrix(np.eye(N, dtype=R)[::-1]))

    def apply(self, x):
        return self.s(self.a(0.25 * self.s.H(x)))


@wrong("simplified", r"lo\.simplify\(A\)\(x\) and A\(x\): they differ by", R)
class SimplifiesToAnother(Similar):
    def simplifications(self, x):
        yield self.a


@wrong("simplified", r"lo\.simplify\(A\.H\)\(y\) and A\.H\(y\): they differ by", R)
class AnotherAdjointOperator(Similar):
    def adjoint_operator(self):
        return self.a.H


@wrong("inverse_operator", r"A inverse_operator\(\)\(y\) and y: they differ by", R)
class AnotherInverseOperator(Similar):
    def inverse_operator(self):
        return self.a.inv


class Pair(lo.LinearOperator):
    """(u, v) -> {"a": 1e5 u, "b": u + v}."""

    def apply(self, x):
        u, v = x
        return {"a": R(1e5) * u, "b": u + v}

    def adjoint(self, y):
        return R(1e5) * y["a"] + y["b"], y["b"]

    def infer_shape(self, x):
        return {"a": x[0], "b": x[1]}

    def infer_adjoint_shape(self, y):
        return y["a"], y["b"]


@wrong("adjoint", r"the result of the adjoint has the arrays \[0\] and \[1\] swapped", spec=(S((N,), R), S((N,), R)))
class ArraysSwapped(Pair):
    def adjoint(self, y):
        return super().adjoint(y)[::-1]


@wrong(
    "adjoint",
    r"is 1 \+ 0\.01 times <A u, v>.*seen where only u\[1\] and v\['b'\] is not zero",
    spec=(S((N,), R), S((N,), R)),
)
class HidesBehindALargeArray(Pair):
    def adjoint(self, y):
        u, v = super().adjoint(y)
        return u, R(1.01) * v


@wrong(
    "dense_adjoint",
    r"adjoint\[20,20\] = .*, expected .* = A\[20,20\], from y\[20\] to x\[20\].*; 1 wrong of 1600 entries",
    spec=S((40,), R),
)
class SmallEntry(lo.LinearOperator):
    """A badly scaled diagonal with one of its small entries wrong: random vectors cannot see it."""

    scales = np.geomspace(1, 1e-6, 40).astype(R)

    def apply(self, x):
        return self.scales * x

    def adjoint(self, y):
        x = self.scales * y
        x[20] *= R(1.0001)
        return x

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


# ---- transformations ----------------------------------------------------------------------------------------------------


@wrong("vmap", r"vmap\(A\).* and a loop")
class NotReallyBatched(lo.LinearOperator, batched=True):
    """Counts its axes from the front."""

    def apply(self, x):
        return np.cumsum(x, axis=0)

    def adjoint(self, y):
        return np.cumsum(y[::-1], axis=0)[::-1]

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


@wrong("vmap_of_adjoint", r"vmap\(A\.H\) and a loop")
class AdjointNotBatched(NotReallyBatched, batched=True):
    def apply(self, x):
        return np.cumsum(x, axis=-1)


class Scaled(lo.LinearOperator):
    scale: float = lo.static(default=1.0)

    def apply(self, x):
        return R(self.scale) * x

    adjoint = apply

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y

    def __reduce__(self):
        return Scaled, ()


WRONG["ForgetsItsScale"] = (
    Scaled(3.0),
    S((N,), R),
    "pickle",
    r"the operator loaded from its pickle and A: they differ",
)

# ---- nonlinear ----------------------------------------------------------------------------------------------------------


@wrong("jacobian", r"jacobian_apply is not the derivative of apply.*with order 1\.0\d instead of 2")
class WrongJacobian(Cube):
    def jacobian_apply(self, x, dx):
        return 2 * x**2 * dx


@wrong("jacobian", r"off by", np.float64)
class SlightlyWrongJacobian(Cube):
    def jacobian_apply(self, x, dx):
        return 3.00003 * x**2 * dx


@wrong("jacobian", r"the derivative is not finite")
class InfiniteJacobian(Cube):
    def jacobian_apply(self, x, dx):
        return dx / np.zeros_like(x)


class Deviation(lo.NonlinearOperator):
    """The standard deviation of each row: 0 / 0 in the derivative of a row of equal numbers."""

    def apply(self, x):
        return x.std(-1)

    def slope(self, x):
        return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) / x.shape[-1]

    def jacobian_apply(self, x, dx):
        return np.sum(self.slope(x) * dx, -1)

    def jacobian_adjoint(self, x, dy):
        return self.slope(x) * dy[:, None]

    def infer_shape(self, x):
        return S(x.shape[:-1], x.dtype)


WRONG["Deviation"] = (
    Deviation(),
    np.ones((2, N)),
    "jacobian",
    r"jacobian_apply is not the derivative of apply: the derivative is not finite at the arrays as given",
)


class Slopes(lo.NonlinearOperator):
    """f(x), with what should be f'(x)."""

    def apply(self, x):
        return np.abs(x)

    def slope(self, x):
        return np.sign(x)

    def jacobian_apply(self, x, dx):
        return (self.slope(x) * dx).astype(x.dtype)

    def jacobian_adjoint(self, x, dy):
        return (self.slope(x) * dy).astype(x.dtype)

    def infer_shape(self, x):
        return x


@wrong(
    "jacobian",
    r"at a point with exact zeros and equal numbers: the derivative is not finite, where the one-sided ones are",
)
class NoSlopeAtZero(Slopes):
    def slope(self, x):
        return x / np.abs(x)


@wrong(
    "jacobian",
    r"exact zeros and equal numbers: in 1 of 6 numbers it is not between the one-sided ones: .*\d\.\d+ on one side",
    np.float64,
)
class SincWithASlopeAtZero(Slopes):
    def apply(self, x):
        return np.sinc(x) + x

    def slope(self, x):
        safe = np.where(x == 0, 1, x)
        return np.where(x == 0, 0, np.cos(np.pi * safe) / safe - np.sin(np.pi * safe) / (np.pi * safe**2) + 1)


@wrong("jacobian", r"at the arrays as given: in \d of 6 numbers it is not between", spec=np.zeros(N))
class SteeperThanBothSides(Slopes):
    def slope(self, x):
        return np.where(x == 0, 3, np.sign(x))


@wrong("jacobian_adjoint", r"A is the Jacobian at a point with exact zeros and equal numbers: .*one entry is wrong")
class AdjointTakesTheOtherSlope(Slopes):
    def jacobian_adjoint(self, x, dy):
        return np.where(x >= 0, dy, -dy)


@wrong("jacobian", r"off by .*\(its norm is .*, more than jacobian_rtol=0\.001 of it\)", np.float64)
class MoreInexactJacobianThanDeclared(Cube, jacobian_rtol=1e-3):
    def jacobian_apply(self, x, dx):
        return 3.01 * x**2 * dx


@wrong("pullback", r"jacobian_adjoint is not that of the derivative: .* order", np.float64)
class MoreInexactReverseThanDeclared(Cube, jacobian_rtol=1e-3, adjoint_rtol=1e-3):
    jacobian_apply = None

    def jacobian_adjoint(self, x, dy):
        return 3.1 * x**2 * dy


@wrong("jacobian_linear", r"linear over the real numbers only: declare the class with real_linear=True", C)
class NotHolomorphic(lo.NonlinearOperator):
    """|x|^2, with the right derivative, that says it is linear over the complex numbers."""

    def apply(self, x):
        return (x * x.conj()).astype(x.dtype)

    def jacobian_apply(self, x, dx):
        return (2 * np.real(np.conj(x) * dx)).astype(x.dtype)

    def jacobian_adjoint(self, x, dy):
        return 2 * x * dy.real

    def infer_shape(self, x):
        return x


@wrong("jacobian_adjoint", r"A is the Jacobian: .*a conjugation is missing", C)
class JacobianTranspose(Cube):
    def jacobian_adjoint(self, x, dy):
        return 3 * x**2 * dy


@wrong("jacobian_adjoint", r"is 0\.333333 times <A u, v> in every probe")
class JacobianFactor(Cube):
    def jacobian_adjoint(self, x, dy):
        return x**2 * dy


@wrong("pullback", r"jacobian_adjoint is not that of the derivative: .* order")
class WrongReverseOnly(Cube):
    jacobian_apply = None

    def jacobian_adjoint(self, x, dy):
        return 2 * x**2 * dy


@wrong("hessian", r"hessian_apply is not the derivative of jacobian_apply")
class WrongHessian(Cube):
    def hessian_apply(self, x, dx1, dx2):
        return 3 * x * dx1 * dx2


@wrong("hessian_adjoint", r"<D2F\(x\)\[dx1, dx2\], dy> = .* 0\.5 times the first: hessian_adjoint is not its adjoint")
class WrongHessianAdjoint(Cube):
    def hessian_adjoint(self, x, dx, dy):
        return 3 * np.conj(x * dx) * dy


class ScaledSquares(lo.NonlinearOperator):
    """s x^2 for scales of very different sizes, with one small derivative wrong: random vectors cannot see it."""

    scales = np.geomspace(1, 1e-6, 40).astype(R)

    def apply(self, x):
        return self.scales * x**2

    def jacobian_apply(self, x, dx):
        return 2 * self.scales * x * dx

    def jacobian_adjoint(self, x, dy):
        dx = 2 * self.scales * x * dy
        dx[20] *= R(1.0001)
        return dx

    def infer_shape(self, x):
        return x


WRONG["ScaledSquares"] = (
    ScaledSquares(),
    S((40,), R),
    "dense_jacobian_adjoint",
    r"adjoint\[20,20\] = .*1 wrong of 1600",
)


@wrong("hessian_pullback", r"hessian_adjoint is not the derivative of jacobian_adjoint: .* order")
class WrongHessianInReverse(Cube):
    jacobian_apply = None

    def hessian_adjoint(self, x, dx, dy):
        return 3 * np.conj(x * dx) * dy


# ---- parameters ---------------------------------------------------------------------------------------------------------


def wrong_gain(check, message, dtype=C):
    def register(cls):
        WRONG[cls.__name__] = (cls(matrix(dtype, (N,))), S((N,), dtype), check, message)
        return cls

    return register


@wrong_gain("parameter_jvp", r"parameter_jvp is not the derivative of apply with respect to the fields")
class WrongParameterJvp(Gain):
    def parameter_jvp(self, x, dself):
        return 2 * dself.g * x


@wrong_gain("parameter_vjp", r"parameter_vjp is not its adjoint")
class WrongParameterVjp(Gain):
    def parameter_vjp(self, x, dy):
        return {"g": x * dy}


@wrong_gain("parameter_vjp", r"parameter_vjp is not its adjoint")
class ForgetsAField(Gain):
    def parameter_vjp(self, x, dy):
        return {}


class GainInReverse(lo.LinearOperator):
    g: jax.Array

    apply, adjoint, infer_shape, infer_adjoint_shape = (
        Gain.apply,
        Gain.adjoint,
        Gain.infer_shape,
        Gain.infer_adjoint_shape,
    )


@wrong_gain("parameter_pullback", r"parameter_vjp is not the adjoint of the derivative with respect to the fields", R)
class WrongInReverse(GainInReverse):
    def parameter_vjp(self, x, dy):
        return {"g": 3 * x * dy}


# ---- broken as no hook can break them: methods of the library overridden ------------------------------------------------

# ---- properties -------------------------------------------------------------------------------------------------------


@wrong("symmetric", r"declared symmetric: A x and A\^H x: they differ by")
class NotSymmetric(Smooth, symmetric=True):
    """Its adjoint is right, and another one."""


@wrong("symmetric", r"declared symmetric, A\^H = A: <A u, v> = .* but <u, A\^H v> = ")
class ForwardOnlyNotSymmetric(Smooth, symmetric=True):
    adjoint = None


@wrong("symmetric", r"declared symmetric, A\^H = A: .*error", C)
class ForwardOnlyNotHermitian(lo.LinearOperator, symmetric=True):
    adjoint = None

    def apply(self, x):
        return 1j * x

    def infer_shape(self, x):
        return x


@wrong("positive", r"declared positive, but the smallest eigenvalue is -1")
class ForwardOnlyNotPositive(lo.LinearOperator, positive=True):
    adjoint = None

    def apply(self, x):
        return -x

    def infer_shape(self, x):
        return x


@wrong("unitary", r"declared unitary: \|A x\| and \|x\|: they differ by")
class ForwardOnlyNotUnitary(Smooth, unitary=True):
    adjoint = None


@wrong("diagonal", r"declared diagonal: A\(s x\) and s A x, s random signs: they differ by")
class ForwardOnlyNotDiagonal(Smooth, diagonal=True):
    adjoint = None


@wrong("adjoint", r"<A u, v> = ")
class NotItsOwnAdjoint(lo.LinearOperator, symmetric=True):
    """Says that apply serves as adjoint."""

    def apply(self, x):
        return np.cumsum(x).astype(x.dtype)

    def infer_shape(self, x):
        return x


@wrong("positive", r"declared positive, but the smallest eigenvalue is -1, below .*; the largest is 6")
class NotPositive(lo.LinearOperator, positive=True):
    def apply(self, x):
        return np.arange(x.shape[0], dtype=x.dtype) * 1.4 * x - x

    def infer_shape(self, x):
        return x


@wrong("positive", r"declared positive, but <x, A x> = -", shape=(500,))
class NegativeAndLarge(lo.LinearOperator, positive=True):
    def apply(self, x):
        return -x

    def infer_shape(self, x):
        return x


@wrong("unitary", r"declared unitary: A\^H A x and x: they differ by")
class NotUnitary(Smooth, unitary=True):
    pass


@wrong("unitary", r"declared unitary, but from f32\[6\] to f32\[7\]: an isometry at most")
class OnlyAnIsometry(lo.LinearOperator, unitary=True):
    def apply(self, x):
        return np.append(x, np.zeros(1, x.dtype))

    def adjoint(self, y):
        return y[:-1]

    def infer_shape(self, x):
        return S((x.shape[0] + 1,), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((y.shape[0] - 1,), y.dtype)


@wrong("diagonal", r"declared diagonal: A\(s x\) and s A x, s random signs: they differ by")
class NotDiagonal(Smooth, diagonal=True):
    pass


@wrong(
    "symmetric", r"declared symmetric, but not from a space to itself: the result is found f32\[7\], expected f32\[6\]"
)
class SymmetricRectangle(OnlyAnIsometry, symmetric=True, unitary=False):
    pass


BROKEN = {}  # check -> operator, input, what the check alone says


def broken(*checks, message, dtype=R):
    def register(cls):
        fields = {"g": matrix(dtype, (N,))} if issubclass(cls, Gain) else {}
        BROKEN.update({check: (cls(**fields), S((N,), dtype), message) for check in checks})
        return cls

    return register


@broken("jit", "transpose", "vmap", "shard_map", message=r"differ by")
class OtherWhenTraced(Smooth):
    def __call__(self, x):
        return super().__call__(x) * R(1 + isinstance(x, jax.core.Tracer))


@broken("vmap_over_fields", message=r"vmap over fields and a loop: they differ by")
class FirstOfTheBatch(Gain):
    """Uses the same field for all elements of a batch."""

    def __call__(self, x):
        with jax.ensure_compile_time_eval():
            fixed = type(self)(matrix(R, (N,)))
        return fixed(x) if isinstance(self.g, jax.core.Tracer) else super().__call__(x)


@broken("adjoint_of_adjoint", message=r"A\.H\.H\(x\) and A\(x\): they differ by")
class OtherAdjointOfAdjoint(Smooth):
    @property
    def H(self):
        return (2 * Smooth()).H


@broken("jvp", message=r"jvp and the derivative: they differ by")
class OtherDerivative(Cube):
    def jacobian(self, x):
        return 2 * super().jacobian(x)


@broken("vjp", message=r"vjp and the transposed derivative: they differ by")
class OtherPullback(Cube):
    def jacobian(self, x):
        return 2 * super().jacobian(x)


@broken("grads", "jacobians", message=r"jacrev|tolerance")
class HalfAdjoint(Smooth):
    def adjoint(self, y):
        return super().adjoint(y) / 2


@broken("hessian_symmetric", message=r"D2F\(x\)\[dx1, dx2\] and D2F\(x\)\[dx2, dx1\]\[0\]: they differ by")
class AsymmetricHessian(Cube):
    def hessian_apply(self, x, dx1, dx2):
        return 6 * x * dx1 * np.roll(dx2, 1)


@broken("flatten", message=r"the operator from its leaves and A: they differ by")
class RemembersItself(Smooth):
    """Keeps a number by the identity of the operator, outside of its fields."""

    kept = {}  # noqa: RUF012 of the class, no field

    def __init__(self):
        self.kept[id(self)] = R(2)

    def __call__(self, x):
        return super().__call__(x) * self.kept.get(id(self), R(1))


@broken("calls", message=r"jit\(A\)\(x\) called \{'apply': 2\}, expected \{'apply': 1\}")
class CallsTwice(Smooth):
    def __call__(self, x):
        return super().__call__(x + x) - super().__call__(x)


class RemembersCube(lo.NonlinearOperator):
    """x -> x^3, with a state for its derivatives."""

    def apply(self, x):
        return x**3

    def linearize(self, x):
        return x**3, 3 * x**2

    def infer_state_shape(self, x):
        return x

    def jacobian_apply(self, x, dx, *, state):
        return state * dx

    def jacobian_adjoint(self, x, dy, *, state):
        return np.conj(state) * dy

    def infer_shape(self, x):
        return x


@broken("linearize", message=r"the value of linearize and that of apply: they differ by")
class OtherValue(RemembersCube):
    def linearize(self, x):
        return x**3 + R(1e-3) * x, 3 * x**2


@broken("jacobian", message=r"jacobian_apply is not the derivative of apply")
class OtherState(RemembersCube):
    def linearize(self, x):
        return x**3, R(2.9) * x**2


class SimulatesInProducts(lo.algebra.NonlinearCombinator):
    """F(x) F(x), with Jacobian hooks that linearize F again for each product."""

    op: lo.NonlinearOperator

    def apply(self, x):
        return self.op(x) ** 2

    def jacobian_apply(self, x, dx):
        y, J = self.op.value_and_jacobian(x)
        return 2 * y * J(dx)

    def jacobian_adjoint(self, x, dy):
        y, J = self.op.value_and_jacobian(x)
        return J.H(2 * y.conj() * dy)


WRONG["SimulatesInProducts"] = (
    SimulatesInProducts(RemembersCube()),
    S((N,), R),
    "simulations",
    r"jax\.vjp and 5 products: simulations: 1 for the point, 5 for the products, which need none",
)
