"""Mistakes that other projects have shipped, each rewritten small: the wrong operator, and the one that it should have been.

``MUSEUM`` maps a name to an Exhibit. A wrong class derives from its corrected twin and changes what was wrong.
"""

import dataclasses
import re
import time

import jax
import numpy as np
from helpers import normal
from operators import Dense
from right import Linear

import linops_jax as lo
from linops_jax.testing import Checkup, Report

S = jax.ShapeDtypeStruct
R, D, C, Z = np.float32, np.float64, np.complex64, np.complex128
MUSEUM = {}


@dataclasses.dataclass(frozen=True)
class Exhibit:
    """A mistake: where it was reported, what it was, and what the checks are to say of it."""

    project: str
    report: str  # its number, or the version whose change log tells of it
    mistake: str
    wrong: lo.LinearOperator | lo.NonlinearOperator
    right: lo.LinearOperator | lo.NonlinearOperator
    x: object  # specs or arrays
    check: str
    cause: str  # regular expression of the words that tell the cause


def exhibit(project, report, check, cause, x, *fields):
    """Declares a class as wrong; the class it derives from is the corrected twin."""

    def register(cls):
        twin = cls.__bases__[0]
        mistake = " ".join(cls.__doc__.split())
        MUSEUM[cls.__name__] = Exhibit(project, report, mistake, cls(*fields), twin(*fields), x, check, cause)
        return cls

    return register


# What the checks do not do today, with the reason; a test fails where one of these is no longer so.
EXPECTED_UNSEEN = {
    "WeightsInDouble": "no fault here: a result is cast to the dtype that infer_shape promised, and a note says so",
}
EXPECTED_UNNAMED = {
    "OrderKept": "one operator is seen, not its factors: an entry is given as example",
}
EXPECTED_MISLED = {  # with the words that mislead
}
EXPECTED_REFUSED = {  # corrected twins
}


# The checks that compile JAX's transformations: most of the time goes there.
COMPILING = {"jit", "vmap", "vmap_of_adjoint", "vmap_over_fields", "jvp", "vjp", "grads", "jacobians", "shard_map"}
UNSEEN, UNNAMED, MISLED, NAMED = "unseen", "seen", "misled", "named"


def expected(name: str) -> str:
    """What the lists say."""
    lists = {UNSEEN: EXPECTED_UNSEEN, UNNAMED: EXPECTED_UNNAMED, MISLED: EXPECTED_MISLED}
    return next((verdict for verdict, names in lists.items() if name in names), NAMED)


def verdict(name: str, report: Report) -> str:
    """What the checks have said of a wrong operator."""
    messages = {outcome.name: outcome.message for outcome in report.failures}
    if not messages:
        return UNSEEN
    if re.search(MUSEUM[name].cause, messages.get(MUSEUM[name].check, ""), re.DOTALL):
        return NAMED
    misleads = name in EXPECTED_MISLED and re.search(EXPECTED_MISLED[name], report.summary, re.DOTALL)
    return MISLED if misleads else UNNAMED


def examined(name: str) -> tuple[Report, Report]:
    """The checks of the wrong operator, and of its corrected twin.

    Those that compile JAX's transformations are left out, but for the one that is to see the mistake.
    """
    exhibit = MUSEUM[name]
    checkups = Checkup(exhibit.wrong, exhibit.x), Checkup(exhibit.right, exhibit.x)
    for checkup in checkups:
        checkup.checks = {
            name: check for name, check in checkup.checks.items() if name == exhibit.check or name not in COMPILING
        }
    return tuple(checkup.report() for checkup in checkups)


class Elementwise(lo.NonlinearOperator):
    """f(x) for each element, from f and its derivative."""

    def jacobian_apply(self, x, dx):
        return self.slope(x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(self.slope(x)) * dy

    def infer_shape(self, x):
        return x


# ---- conjugates ---------------------------------------------------------------------------------------------------------


@exhibit("CIL", "issue 1646", "adjoint", r"a conjugation is missing", S((5,), C), normal((5, 5), C))
class MatrixTransposed(Dense):
    """The adjoint of a complex matrix is its plain transpose."""

    def adjoint(self, y):
        return self.matrix.T @ y


class Scaled(Linear):
    """alpha A."""

    alpha: jax.Array
    matrix: jax.Array

    def apply(self, x):
        return self.alpha * (self.matrix @ x)

    def adjoint(self, y):
        return np.conj(self.alpha) * (self.matrix.T @ y)


@exhibit("SciPy", "issue 8900", "adjoint", r"conjugat", S((3,), C), C(1j), np.arange(9, dtype=R).reshape(3, 3))
class ScaledForgetsConjugate(Scaled):
    """The adjoint of a scaled operator multiplies with the number instead of its conjugate."""

    def adjoint(self, y):
        return self.alpha * (self.matrix.T @ y)


class WideField(Linear):
    """An image times a chirp, Fourier transformed."""

    chirp: jax.Array

    def apply(self, x):
        return np.fft.fft(self.chirp * x, norm="ortho").astype(x.dtype)

    def adjoint(self, y):
        return (np.conj(self.chirp) * np.fft.ifft(y, norm="ortho")).astype(y.dtype)


@exhibit("PURIFY", "pull request 203", "adjoint", r"conjugat", S((8,), C), np.exp(0.3j * np.arange(8) ** 2).astype(C))
class ChirpNotConjugated(WideField):
    """The kernel of the w-term is not conjugated in the adjoint; without a w-term it is real, and nothing is wrong."""

    def adjoint(self, y):
        return (self.chirp * np.fft.ifft(y, norm="ortho")).astype(y.dtype)


class ComplexMap(lo.LinearOperator, real_linear=True):
    """Two rows of real numbers to complex numbers."""

    def apply(self, x):
        return x[0] + C(1j) * x[1]

    def adjoint(self, y):
        return np.stack([y.real, y.imag])

    def infer_shape(self, x):
        return S(x.shape[1:], C)

    def infer_adjoint_shape(self, y):
        return S((2, *y.shape), R)


@exhibit("SimPEG", "issue 1685", "adjoint", r"conjugat", S((2, 5), R))
class ComplexMapTransposed(ComplexMap):
    """The derivative's transpose stands where the adjoint must, so that the imaginary part has the wrong sign."""

    def adjoint(self, y):
        return np.stack([y, C(1j) * y]).real


class Matmul(lo.NonlinearOperator):
    """(X, Y) -> X Y."""

    def apply(self, x):
        return x[0] @ x[1]

    def jacobian_apply(self, x, dx):
        return dx[0] @ x[1] + x[0] @ dx[1]

    def jacobian_adjoint(self, x, dy):
        return dy @ x[1].conj().T, x[0].conj().T @ dy

    def infer_shape(self, x):
        return S((x[0].shape[0], x[1].shape[1]), x[0].dtype)


@exhibit("TensorFlow", "issue 4859", "jacobian_adjoint", r"a conjugation is missing", (S((3, 2), C), S((2, 4), C)))
class MatmulNotConjugated(Matmul):
    """The gradient of a product of complex matrices does not conjugate them."""

    def jacobian_adjoint(self, x, dy):
        return dy @ x[1].T, x[0].T @ dy


class Modulus(lo.NonlinearOperator, real_linear=True):
    """|x|, with the derivative zero at zero."""

    def phase(self, x):
        return x / np.where(x == 0, R(1), np.abs(x))

    def apply(self, x):
        return np.abs(x)

    def jacobian_apply(self, x, dx):
        return (np.conj(self.phase(x)) * dx).real

    def jacobian_adjoint(self, x, dy):
        return self.phase(x) * dy

    def infer_shape(self, x):
        return S(x.shape, R)


@exhibit("JAX", "issue 979", "jacobian_adjoint", r"conjugat", S((6,), C))
class ModulusConjugated(Modulus):
    """The gradient of the modulus and that of the root of the sum of squares are conjugates of each other."""

    def jacobian_adjoint(self, x, dy):
        return np.conj(self.phase(x)) * dy


class FourierSum(lo.NonlinearOperator, real_linear=True):
    """Points t to the sum over k of c[k] exp(i k t), with k in the order of an FFT."""

    c: jax.Array

    def waves(self, x):
        return np.exp(1j * np.outer(x, np.fft.fftfreq(len(self.c), 1 / len(self.c))))

    def modes(self):
        return np.fft.fftfreq(len(self.c), 1 / len(self.c))

    def slope(self, x):
        return self.waves(x) @ (1j * self.modes() * self.c)

    def apply(self, x):
        return self.waves(x) @ self.c

    def jacobian_apply(self, x, dx):
        return self.slope(x) * dx

    def jacobian_adjoint(self, x, dy):
        return (np.conj(self.slope(x)) * dy).real

    def infer_shape(self, x):
        return S(x.shape, Z)


@exhibit("TensorFlow NUFFT", "issue 18", "jacobian_adjoint", r"conjugat", S((6,), D), normal((5,), Z))
class PointsNotConjugated(FourierSum):
    """The gradient with respect to the points does not conjugate the derivative."""

    def jacobian_adjoint(self, x, dy):
        return (self.slope(x) * dy).real


@exhibit("jax-finufft", "pull request 160", "jacobian", r"not the derivative of apply", S((6,), D), normal((5,), Z))
class ModesInOneOrder(FourierSum):
    """The derivative takes the modes to be in ascending order, also where they are in the order of an FFT."""

    def modes(self):
        return np.arange(len(self.c)) - len(self.c) // 2


@exhibit("lineax", "pull request 200", "adjoint", r"conjugat", S((5,), C), (lambda a: a + a.T)(normal((5, 5), C)))
class SymmetricNotHermitian(Dense, symmetric=True):
    """One word for A = A^T and for A = A^H: for complex matrices these are two properties."""

    def adjoint(self, y):
        return self.matrix @ y


# ---- factors ------------------------------------------------------------------------------------------------------------


class Sums(lo.LinearOperator):
    """Line integrals along both axes of an image."""

    def apply(self, x):
        return np.stack([x.sum(0), x.sum(1)])

    def adjoint(self, y):
        return y[0][None, :] + y[1][:, None]

    def infer_shape(self, x):
        return S((2, x.shape[0]), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((y.shape[1], y.shape[1]), y.dtype)


@exhibit("ODL", "issue 948", "adjoint", r"is 0\.25 times .*: a constant factor", S((5, 5), R))
class ProjectionScaled(Sums):
    """The back projection is off by a constant factor."""

    def adjoint(self, y):
        return R(0.25) * super().adjoint(y)


@exhibit("TIGRE", "pull request 305", "adjoint", r"factor .*axis", S((4, 4), R))
class WeightedBackProjection(Sums):
    """The weights of filtered back projection are taken where the transpose is needed."""

    def adjoint(self, y):
        return super().adjoint(y * np.array([0.8, 1, 1.2, 1.6], y.dtype))


@exhibit("ASTRA", "issue 283", "adjoint", r"the adjoint returns zero", S((4, 4), R))
class EmptyBackProjection(Sums):
    """In one geometry the transpose of the projector returns zeros only."""

    def adjoint(self, y):
        return 0 * super().adjoint(y)


class FFT2(Linear):
    def apply(self, x):
        return np.fft.fft2(x).astype(x.dtype)

    def adjoint(self, y):
        return (np.fft.ifft2(y) * y.size).astype(y.dtype)


@exhibit("pysap", "issue 78", "adjoint", r"one over the number of elements of the input: a normalisation", S((4, 3), C))
class InverseForAdjoint(FFT2):
    """The adjoint of a Fourier transform without a factor is the inverse, which has one."""

    def adjoint(self, y):
        return np.fft.ifft2(y).astype(y.dtype)


class SampledTransform(Linear):
    """A Fourier transform times that of the interpolation kernel."""

    kernel: jax.Array

    def apply(self, x):
        return (self.kernel * np.fft.fft(x, norm="ortho")).astype(x.dtype)

    def adjoint(self, y):
        return np.fft.ifft(self.kernel * y, norm="ortho").astype(y.dtype)


@exhibit("ODL", "issue 735", "adjoint", r"the adjoint is the inverse", S((6,), C), np.linspace(0.5, 2, 6).astype(R))
class KernelDivided(SampledTransform):
    """The inverse stands for the adjoint: it divides by the transform of the kernel, where it must multiply."""

    def adjoint(self, y):
        return np.fft.ifft(y / self.kernel, norm="ortho").astype(y.dtype)


class Lifting(Linear):
    """A wavelet that is not orthogonal: the odd samples less their neighbours' mean, then the even ones with them."""

    def apply(self, x):
        even, odd = x[::2], x[1::2]
        detail = odd - (even + np.roll(even, -1)) / 2
        return np.concatenate([even + (detail + np.roll(detail, 1)) / 4, detail])

    def adjoint(self, y):
        even, detail = np.split(y, 2)
        odd = detail + (even + np.roll(even, -1)) / 4
        return np.stack([even - (odd + np.roll(odd, 1)) / 2, odd], 1).ravel()


@exhibit("SigPy", "issue 134", "adjoint", r"the adjoint is the inverse", S((8,), R))
class WaveletInverse(Lifting):
    """The inverse wavelet transform stands for the adjoint, also where the wavelet is not orthogonal."""

    def adjoint(self, y):
        smooth, detail = np.split(y, 2)
        even = smooth - (detail + np.roll(detail, 1)) / 4
        return np.stack([even, detail + (even + np.roll(even, -1)) / 2], 1).ravel()


class HalfSpectrum(lo.LinearOperator, real_linear=True):
    """A real Fourier transform with the root of two in the frequencies that stand for two."""

    n: int = lo.static()

    def weights(self):
        return np.where(np.isin(np.arange(self.n // 2 + 1), (0, self.n / 2)), R(1), R(np.sqrt(2)))

    def apply(self, x):
        return (self.weights() * np.fft.rfft(x, norm="ortho")).astype(C)

    def adjoint(self, y):
        return np.fft.irfft(y / self.weights(), self.n, norm="ortho").astype(R)

    def infer_shape(self, x):
        return S((self.n // 2 + 1,), C)

    def infer_adjoint_shape(self, y):
        return S((self.n,), R)


@exhibit("PyLops", "change log of 1.17.0", "adjoint", r"the adjoint is the inverse", S((8,), R), 8)
class HalfSpectrumUnweighted(HalfSpectrum):
    """The inverse real Fourier transform counts each inner frequency twice; the adjoint must not."""

    def weights(self):
        return np.ones(self.n // 2 + 1, R)


class StackOfThree(lo.LinearOperator):
    """x -> [A x, B x, C x]."""

    matrices: jax.Array

    def apply(self, x):
        return [m @ x for m in self.matrices]

    def adjoint(self, y):
        return sum(m.T @ part for m, part in zip(self.matrices, y, strict=True))

    def infer_shape(self, x):
        return [S(self.matrices.shape[1:2], x.dtype)] * 3

    def infer_adjoint_shape(self, y):
        return S(self.matrices.shape[2:], y[0].dtype)


@exhibit(
    "DeepInverse",
    "issue 1066",
    "adjoint",
    r"is 0\.333333 times .*: a constant factor",
    S((4,), R),
    normal((3, 5, 4), R),
)
class StackAveraged(StackOfThree):
    """The adjoint of a stack averages the parts instead of adding them."""

    def adjoint(self, y):
        return super().adjoint(y) / R(3)


class Solve(Linear):
    """x -> K^-1 x, computed with the rows of K scaled."""

    k: jax.Array
    scale: jax.Array

    def apply(self, x):
        return np.linalg.solve(self.scale[:, None] * self.k, self.scale * x)

    def adjoint(self, y):
        return self.scale * np.linalg.solve((self.scale[:, None] * self.k).T, y)


@exhibit(
    "MOOSE",
    "issue 29570",
    "adjoint",
    r"factor .*axis",
    S((4,), D),
    normal((4, 4), D) + 4 * np.eye(4),
    np.array([1, 10, 0.1, 3.0]),
)
class ScalingForgotten(Solve):
    """The adjoint problem is solved with the scaled matrix, and the scaling is not undone."""

    def adjoint(self, y):
        return np.linalg.solve((self.scale[:, None] * self.k).T, y)


class Halve(lo.LinearOperator):
    """Half the samples: means of three neighbours with weights 1/4, 1/2, 1/4, zero outside."""

    def apply(self, x):
        e = np.pad(x, (1, 0))
        return (e[:-2:2] + 2 * e[1:-1:2] + e[2::2]) / 4

    def adjoint(self, y):
        x = np.zeros(2 * len(y) + 1, y.dtype)
        x[:-2:2] += y / 4
        x[1:-1:2] += y / 2
        x[2::2] += y / 4
        return x[1:]

    def infer_shape(self, x):
        return S((x.shape[0] // 2,), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((2 * y.shape[0],), y.dtype)


@exhibit("DeepInverse", "pull request 608", "adjoint", r"factor .*it is 2, but", S((10,), R))
class ResizedBack(Halve):
    """The adjoint of resizing an image resizes back: another factor, and another rule at the edge."""

    def adjoint(self, y):
        x = 2 * super().adjoint(y)
        x[-1] = y[-1]
        return x


# ---- boundaries, indices, order -----------------------------------------------------------------------------------------


class Difference(Linear):
    """x[i] - x[i + 1], and zero at the end."""

    def apply(self, x):
        return np.append(x[:-1] - x[1:], R(0))

    def adjoint(self, y):
        return np.append(y[:-1], R(0)) - np.append(R(0), y[:-1])


@exhibit(
    "CCPi Regularisation Toolkit",
    "issue 152",
    "adjoint",
    r"from y\[5\] to x\[5\] the adjoint has 1, apply says 0",
    S((6,), R),
)
class BoundaryForgotten(Difference):
    """The difference vanishes at the end; its adjoint does not know."""

    def adjoint(self, y):
        return y - np.append(R(0), y[:-1])


class ForwardDifference(Linear):
    """x[i + 1] - x[i], zero outside."""

    def apply(self, x):
        return np.append(x[1:], R(0)) - x

    def adjoint(self, y):
        return np.append(R(0), y[:-1]) - y


@exhibit("ODL", "pull request 405", "adjoint", r"minus", S((6,), R))
class MinusItself(ForwardDifference):
    """The adjoint of a difference is minus itself: true for centred differences only."""

    def adjoint(self, y):
        return -self.apply(y)


class Padded(Linear):
    """A difference with a value outside."""

    outside: float = lo.static(default=0.0)

    def apply(self, x):
        return np.append(x[1:], x.dtype.type(self.outside)) - x

    def adjoint(self, y):
        return np.append(y.dtype.type(0), y[:-1]) - y


@exhibit("ODL", "pull request 405", "linear", r"an affine offset", S((6,), R))
class PaddedWithAValue(Padded):
    """Padding with a value that is not zero makes a difference affine, and still it called itself linear."""

    outside: float = lo.static(default=1.0)


class Trapezoids(Linear):
    """The integral from the first sample on."""

    def apply(self, x):
        return np.cumsum(x) - (x[0] + x) / 2

    def adjoint(self, y):
        x = np.cumsum(y[::-1])[::-1] - y / 2
        x[0] = y[1:].sum() / 2
        return x


@exhibit("PyLops", "issue 248", "adjoint", r"only x\[0\] is wrong", S((6,), R))
class FirstSampleForgotten(Trapezoids):
    """The first sample counts half in all integrals; the adjoint does not know."""

    def adjoint(self, y):
        return np.cumsum(y[::-1])[::-1] - y / 2


class Filter(Linear):
    """A convolution along the first axis with a kernel of shape (3, 1)."""

    kernel: jax.Array

    def along(self, kernel, x):
        e = np.pad(x, ((1, 1), (0, 0)))
        return kernel[2] * e[:-2] + kernel[1] * e[1:-1] + kernel[0] * e[2:]

    def apply(self, x):
        return self.along(self.kernel, x)

    def adjoint(self, y):
        return self.along(np.flip(self.kernel, 0), y)


@exhibit("PyLops", "pull request 797", "adjoint", r"does what apply does", S((5, 3), R), np.array([[1], [3], [-2]], R))
class FlippedAlongTheLastAxis(Filter):
    """The kernel is flipped along the last axis, whichever axis the convolution is along."""

    def adjoint(self, y):
        return self.along(np.flip(self.kernel, -1), y)


class LongFilter(lo.LinearOperator):
    """A full convolution along the last axis."""

    kernel: jax.Array

    def apply(self, x):
        return np.stack([np.convolve(row, self.kernel) for row in x])

    def adjoint(self, y):
        n = y.shape[-1] - len(self.kernel) + 1
        return np.stack([np.correlate(row, self.kernel, "full")[len(self.kernel) - 1 :] for row in y])[:, :n]

    def infer_shape(self, x):
        return S((x.shape[0], x.shape[1] + self.kernel.shape[0] - 1), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((y.shape[0], y.shape[1] - self.kernel.shape[0] + 1), y.dtype)


@exhibit(
    "PyLops",
    "pull request 797",
    "promises",
    r"adjoint returned f32\[3,1\]; expected f32\[3,4\]",
    S((3, 4), R),
    np.array([1, 3, -2], R),
)
class CroppedByTheFirstAxis(LongFilter):
    """The adjoint crops by ``len(y)``, the length of the first axis, and not by that of its own."""

    def adjoint(self, y):
        return np.stack([np.correlate(row, self.kernel, "full")[len(self.kernel) - 1 :] for row in y])[
            :, : len(y) - len(self.kernel) + 1
        ]


class Centred(Linear):
    """A Fourier transform with zero in the middle on both sides."""

    def apply(self, x):
        return np.fft.fftshift(np.fft.fft(np.fft.ifftshift(x), norm="ortho")).astype(x.dtype)

    def adjoint(self, y):
        return np.fft.fftshift(np.fft.ifft(np.fft.ifftshift(y), norm="ortho")).astype(y.dtype)


@exhibit("OXSA", "pull request 6", "adjoint", r"argument of the adjoint is shifted by one", S((7,), C))
class ShiftedTheOtherWay(Centred):
    """``fftshift`` is taken for its inverse, which it is for even lengths only."""

    def adjoint(self, y):
        return np.fft.fftshift(np.fft.ifft(np.fft.fftshift(y), norm="ortho")).astype(y.dtype)


class Blur(Linear):
    """A real filter along the last axis, by real Fourier transforms."""

    spectrum: jax.Array

    def apply(self, x):
        return np.fft.irfft(self.spectrum * np.fft.rfft(x), x.shape[-1]).astype(x.dtype)

    def adjoint(self, y):
        return np.fft.irfft(np.conj(self.spectrum) * np.fft.rfft(y), y.shape[-1]).astype(y.dtype)


@exhibit(
    "DeepInverse",
    "issue 89",
    "promises",
    r"adjoint returned f32\[3,4\]; expected f32\[3,5\]",
    S((3, 5), R),
    np.array([1, 0.5 - 0.3j, 0.2j], C),
)
class OddLength(Blur):
    """The adjoint of a blur by real Fourier transforms is for even lengths."""

    def adjoint(self, y):
        return np.fft.irfft(np.conj(self.spectrum) * np.fft.rfft(y)).astype(y.dtype)


class Signal(Linear):
    """A convolution."""

    kernel: jax.Array

    def apply(self, x):
        return np.convolve(x, self.kernel, "same")

    def adjoint(self, y):
        return np.convolve(y, self.kernel[::-1], "same")


@exhibit("PyLops", "pull request 106", "vmap", r"vmap\(A\).* and a loop", S((6,), R), np.array([1, 3, -2], R))
class SeveralAtOnce(Signal, batched=True):
    """A convolution that is right for one vector takes several vectors for one long one."""

    def apply(self, x):
        return super().apply(x.ravel()).reshape(x.shape)

    def adjoint(self, y):
        return super().adjoint(y.ravel()).reshape(y.shape)


class Rows(lo.LinearOperator):
    """Some of the elements."""

    index: jax.Array
    size: int = lo.static()

    def apply(self, x):
        return x[self.index]

    def adjoint(self, y):
        x = np.zeros(self.size, y.dtype)
        np.add.at(x, self.index, y)
        return x

    def infer_shape(self, x):
        return S(self.index.shape, x.dtype)

    def infer_adjoint_shape(self, y):
        return S((self.size,), y.dtype)


@exhibit("PyTorch", "issue 1631", "adjoint", r"repeat|overwrit", S((6,), R), np.array([0, 2, 2, 5]), 6)
class RepeatsOverwritten(Rows):
    """Where an index repeats, the gradient of gathering keeps the last value instead of the sum."""

    def adjoint(self, y):
        x = np.zeros(self.size, y.dtype)
        x[self.index] = y
        return x


@exhibit(
    "AiDotNet.Tensors", "pull request 894", "adjoint", r"from y\[\d\] to x\[\d\]", S((4,), R), np.array([2, 0, 2]), 4
)
class GatherForScatter(Rows):
    """The gradient of gathering gathers: it was written for scattering, and wraps the indices that it lacks."""

    def adjoint(self, y):
        return y[self.index[np.arange(self.size) % len(self.index)] % len(y)]


@exhibit("ODL", "issue 1350", "promises", r"ValueError: .*adjoint failed", S((6,), R), np.array([2, 3, 4]), 6)
class IndicesOfSeveralAxes(Rows):
    """The adjoint of sampling expects indices along several axes, and fails in one dimension."""

    def adjoint(self, y):
        x = np.zeros(self.size, y.dtype)
        np.add.at(x, np.ravel_multi_index(list(self.index), (self.size,)), y)
        return x


class Update(Linear):
    """Puts x at indices; the last wins where one repeats."""

    index: jax.Array

    def apply(self, x):
        y = np.zeros_like(x)
        y[self.index] = x
        return y

    def adjoint(self, y):
        last = len(y) - 1 - np.array([list(self.index[::-1]).index(i) for i in self.index])
        return np.where(last == np.arange(len(y)), y[self.index], y.dtype.type(0))


@exhibit(
    "TensorFlow",
    "issue 56961",
    "adjoint",
    r"(only x\[1\] is wrong|one entry is wrong).* to x\[1\]",
    S((4,), R),
    np.array([3, 1, 0, 1]),
)
class GradientToTheOverwritten(Update):
    """Elements that a later one has overwritten get a gradient as well."""

    def adjoint(self, y):
        return y[self.index]


class Weighted(Linear):
    """Fields at the points of a grid."""

    fields: jax.Array

    def apply(self, x):
        return self.fields * x

    def adjoint(self, y):
        return self.fields * y


@exhibit("Meep", "issue 2087", "adjoint", r"shift", S((6,), R), np.linspace(1, 2, 6).astype(R))
class OutOfStep(Weighted):
    """The loop over the gradient runs one point behind the fields, and ends in what is no field."""

    def adjoint(self, y):
        return np.append(R(0), (self.fields * y)[:-1])


class Refine(lo.LinearOperator):
    """Linear interpolation from a grid of [0, 1] to another."""

    coarse: int = lo.static()
    fine: int = lo.static()

    def matrix(self, n, m):
        return np.stack([np.interp(np.linspace(0, 1, m), np.linspace(0, 1, n), row) for row in np.eye(n)], 1).astype(R)

    def apply(self, x):
        return self.matrix(self.coarse, self.fine) @ x

    def adjoint(self, y):
        return self.matrix(self.coarse, self.fine).T @ y

    def infer_shape(self, x):
        return S((self.fine,), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((self.coarse,), y.dtype)


@exhibit("Animate", "issue 113", "adjoint", r"from y\[\d\] to x\[\d\]", S((4,), R), 4, 6)
class InterpolatesBack(Refine):
    """The adjoint of interpolating to another mesh interpolates back."""

    def adjoint(self, y):
        return self.matrix(self.fine, self.coarse) @ y


@exhibit("FlagGems", "issue 5218", "adjoint", r"from y\[\d\] to x\[\d\]", S((2,), R), 2, 10)
class WindowTooSmall(Refine):
    """The gradient of interpolation looks for contributions in a window that is too small where both ends are aligned."""

    def adjoint(self, y):
        reach = self.fine / self.coarse
        far = np.abs(np.arange(self.fine) - np.linspace(0, self.fine - 1, self.coarse)[:, None]) > reach
        return np.where(far, R(0), self.matrix(self.coarse, self.fine).T) @ y


class CircularFilter(Linear):
    """A filter by real Fourier transforms."""

    kernel: jax.Array

    def along(self, spectrum, x):
        return np.fft.irfft(spectrum * np.fft.rfft(x), len(x)).astype(x.dtype)

    def apply(self, x):
        return self.along(np.fft.rfft(self.kernel), x)

    def adjoint(self, y):
        return self.along(np.conj(np.fft.rfft(self.kernel)), y)


@exhibit("JAX", "issue 6223", "adjoint", r"flipped|revers|\(-i\) mod n", S((6,), R), normal((6,), R))
class ReversedOrder(CircularFilter):
    """The transpose of the inverse real Fourier transform answers in reversed order, but for the first element."""

    def adjoint(self, y):
        return np.roll(super().adjoint(y)[::-1], 1)


class Product(Linear):
    """A B."""

    a: jax.Array
    b: jax.Array

    def apply(self, x):
        return self.a @ (self.b @ x)

    def adjoint(self, y):
        return self.b.conj().T @ (self.a.conj().T @ y)


@exhibit("CUDA-Q", "pull request 3177", "adjoint", r"order", S((4,), C), normal((4, 4), C, 1), normal((4, 4), C, 2))
class OrderKept(Product):
    """The adjoint of a product keeps the order of the factors."""

    def adjoint(self, y):
        return self.a.conj().T @ (self.b.conj().T @ y)


class Adjoint(Dense):
    """A^H as an operator of its own."""

    def apply(self, x):
        return self.matrix.conj().T @ x

    def adjoint(self, y):
        return self.matrix @ y

    def gram(self, x):
        return self.matrix @ (self.matrix.conj().T @ x)


@exhibit("MRpro", "pull request 541", "gram", r"A A\^H", S((4,), C), normal((4, 4), C))
class GramOfTheOther(Adjoint):
    """The Gram operator of the adjoint is that of the operator itself."""

    def gram(self, x):
        return self.matrix.conj().T @ (self.matrix @ x)


class Toeplitz(Dense):
    """Samples of a Fourier transform, with the product of its adjoint and itself in one."""

    def gram(self, x):
        return (self.matrix.conj().T @ self.matrix) @ x


@exhibit("torchkbnufft", "issue 38", "gram", r"1\.77778", S((4,), C), normal((6, 4), C))
class GramScaled(Toeplitz):
    """The fast Gram operator is scaled as if the grid were always twice as large as the image."""

    def gram(self, x):
        return C((2 / 1.5) ** 2) * self.adjoint(self.matrix @ x)


# ---- shapes, dtypes, what is not pure -----------------------------------------------------------------------------------


class Blocks(lo.LinearOperator):
    """2 x and 3 x, one after the other, in one array."""

    def apply(self, x):
        out = np.empty(len(x), x.dtype)
        out[:3], out[3:] = 2 * x[:3], 3 * x[3:]
        return out

    adjoint = apply

    def infer_shape(self, x):
        return x

    infer_adjoint_shape = infer_shape


@exhibit("PyKrylov", "issue 6", "linear", r"imaginary", S((6,), C))
class RealBuffer(Blocks):
    """Blocks are collected in a real array, which drops the imaginary parts of complex ones."""

    def apply(self, x):
        out = np.empty(len(x), R)
        out[:3], out[3:] = 2 * x[:3].real, 3 * x[3:].real
        return out.astype(x.dtype)

    adjoint = apply


@exhibit("PyLops", "issue 268", "adjoint", r"imaginary part of the adjoint's result is zero", S((4, 3), C))
class RealModel(FFT2):
    """The adjoint of a complex Fourier transform casts its result to the real dtype of the operator."""

    def adjoint(self, y):
        return super().adjoint(y).real.astype(y.dtype)


class Impedance(Linear):
    """A complex matrix that knows its inverse."""

    matrix: jax.Array

    def apply(self, x):
        return self.matrix @ x

    def adjoint(self, y):
        return self.matrix.conj().T @ y

    def inverse(self, y):
        return np.linalg.solve(self.matrix, y)


@exhibit("jaxhps", "pull request 17", "inverse", r"imaginary", S((4,), C), normal((4, 4), C) + 4 * np.eye(4, dtype=C))
class InverseInRealNumbers(Impedance):
    """A real dtype that is written down in the solver cuts the imaginary part of complex problems."""

    def inverse(self, y):
        return super().inverse(y).real.astype(y.dtype)


class Bilinear(lo.LinearOperator):
    """Interpolates between neighbours."""

    at: jax.Array
    size: int = lo.static()

    def weights(self, dtype):
        return (self.at - np.floor(self.at)).astype(dtype)

    def apply(self, x):
        i, w = self.at.astype(int), self.weights(x.dtype)
        return (1 - w) * x[i] + w * x[i + 1]

    def adjoint(self, y):
        i, w = self.at.astype(int), self.weights(y.dtype)
        x = np.zeros(self.size, y.dtype)
        np.add.at(x, i, (1 - w) * y)
        np.add.at(x, i + 1, w * y)
        return x

    def infer_shape(self, x):
        return S(self.at.shape, x.dtype)

    def infer_adjoint_shape(self, y):
        return S((self.size,), y.dtype)


@exhibit(
    "PyLops",
    "pull request 747",
    "promises",
    r"apply returned f64\[3\]; infer_shape promised f32\[3\]",
    S((6,), R),
    np.array([0.5, 2.25, 3.75], R),
    6,
)
class WeightsInDouble(Bilinear):
    """The weights of the interpolation are in double precision, and so are results for single precision."""

    def weights(self, dtype):
        return super().weights(np.float64)


class Complex(lo.LinearOperator, real_linear=True):
    """(a, b) -> a + i b, with a number a and a vector b."""

    size: int = lo.static()

    def apply(self, x):
        return (x[0] + 1j * x[1]).astype(C)

    def adjoint(self, y):
        return y.real.sum(), y.imag

    def infer_shape(self, x):
        return S(x[1].shape, C)

    def infer_adjoint_shape(self, y):
        return S((), R), S(y.shape, R)


@exhibit(
    "TensorFlow",
    "pull request 2628",
    "promises",
    r"adjoint.* returned f32\[5\]; expected f32\[\]",
    (S((), R), S((5,), R)),
    5,
)
class BroadcastForgotten(Complex):
    """The gradient of what was broadcast is not summed."""

    def adjoint(self, y):
        return y.real, y.imag


class Neighbours(Linear):
    """Sums of two neighbours, zero at the end."""

    def apply(self, x, *, out):
        np.add(x[:-1], x[1:], out=out[:-1])
        out[-1] = 0

    def adjoint(self, y):
        return np.append(y[:-1], R(0)) + np.append(R(0), y[:-1])


@exhibit("MrMustard", "pull request 309", "promises", r"did not write all of out of shape \(5,\)", S((5,), R))
class LeftEmpty(Neighbours):
    """What is not computed keeps what was in memory, as the array was made empty and not zero."""

    def apply(self, x, *, out):
        np.add(x[:-1], x[1:], out=out[:-1])


@exhibit("Arraymancer", "issue 390", "repeatable", r"A\(x\), called twice: they differ", S((4,), R), normal((4, 4), R))
class KeepsAdding(Dense):
    """A x + b is computed in the memory of b, which the next call then starts with."""

    memory = np.zeros(4, R)

    def apply(self, x):
        self.memory[...] += self.matrix @ x
        return self.memory.copy()


class CachedPlan(Linear):
    """A Fourier transform by a plan with memory of its own."""

    def memory(self, x):
        return np.array(x)

    def apply(self, x):
        memory = self.memory(x)
        return np.fft.fft(memory).astype(x.dtype)

    def adjoint(self, y):
        return (len(y) * np.fft.ifft(y)).astype(y.dtype)


@exhibit("pyFFTW", "issue 377", "threads", r"A\(x\) in a thread among others, and alone", S((6,), C))
class PlanOfAllThreads(CachedPlan):
    """Threads take the same plan from a cache, and use its memory at the same time."""

    cache = np.zeros(6, C)

    def memory(self, x):
        self.cache[...] = x
        time.sleep(0.005)  # lets others run
        return self.cache


class Softmax(lo.NonlinearOperator):
    def apply(self, x):
        e = np.exp(x - x.max())
        return e / e.sum()

    def jacobian_apply(self, x, dx):
        s = self.apply(x)
        return s * (dx - s @ dx)

    def jacobian_adjoint(self, x, dy):
        return self.jacobian_apply(x, dy)

    def infer_shape(self, x):
        return x


@exhibit("Apex", "issue 1587", "promises", r"read-only.*jacobian_adjoint failed", S((5,), R))
class OverwritesItsCotangent(Softmax):
    """The backward pass computes in the memory of the incoming gradient."""

    def jacobian_adjoint(self, x, dy):
        s = self.apply(x)
        dy -= s @ dy
        dy *= s
        return dy


# ---- derivatives --------------------------------------------------------------------------------------------------------


class OfScaledArgument(Elementwise):
    """sin(v x)."""

    v: jax.Array

    def apply(self, x):
        return np.sin(self.v * x)

    def slope(self, x):
        return self.v * np.cos(self.v * x)


@exhibit("ODL", "issue 1330", "jacobian", r"not the derivative of apply", S((5,), R), np.linspace(1, 2, 5).astype(R))
class AtTheWrongPoint(OfScaledArgument):
    """The derivative of F(v x) is taken at x instead of at v x."""

    def slope(self, x):
        return self.v * np.cos(x)


class Sine(Elementwise):
    def apply(self, x):
        return np.sin(x)

    def slope(self, x):
        return np.cos(x)

    def hessian_apply(self, x, dx1, dx2):
        return -np.sin(x) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return -np.sin(x) * dx * dy


@exhibit("tme", "issue 7", "hessian", r"hessian_apply is not the derivative of jacobian_apply", S((5,), R))
class DirectionDifferentiated(Sine):
    """The second derivative differentiates the direction as well, which depends on the point."""

    def hessian_apply(self, x, dx1, dx2):
        return super().hessian_apply(x, dx1, dx2) + np.cos(x) * dx1 * dx2


class LogSigmoid(Elementwise):
    def apply(self, x):
        return -np.logaddexp(x.dtype.type(0), -x)

    def slope(self, x):
        return 1 / (1 + np.exp(x))


@exhibit("JAX", "issue 2140", "jacobian", r"not the derivative of apply", np.array([0.0, 1, -2], R))
class NoSlopeAtZero(LogSigmoid):
    """The derivative of the logarithm of a sigmoid is zero at zero: that of a maximum inside of it."""

    def slope(self, x):
        return np.where(x == 0, x.dtype.type(0), super().slope(x))


class Largest(lo.NonlinearOperator):
    """The largest of each column; of several its derivative is their mean."""

    def apply(self, x):
        return x.max(0)

    def weights(self, x):
        largest = (x == x.max(0)).astype(x.dtype)
        return largest / largest.sum(0)

    def jacobian_apply(self, x, dx):
        return (self.weights(x) * dx).sum(0)

    def jacobian_adjoint(self, x, dy):
        return self.weights(x) * dy

    def infer_shape(self, x):
        return S(x.shape[1:], x.dtype)


@exhibit("MXNet", "issue 18563", "jacobian", r"one-sided", np.ones((4, 3), D))
class AllOfTheLargest(Largest):
    """Where several elements are the largest, each gets the whole gradient."""

    def weights(self, x):
        return (x == x.max(0)).astype(x.dtype)


class Correlations(lo.LinearOperator):
    """Sums of an image against a kernel of each channel, and the derivative with respect to the kernels."""

    kernel: jax.Array

    def apply(self, x):
        return np.einsum("ijc,ijc->c", self.kernel, x)

    def adjoint(self, y):
        return self.kernel * y

    def parameter_jvp(self, x, dself):
        return np.einsum("ijc,ijc->c", dself.kernel, x)

    def parameter_vjp(self, x, dy):
        return {"kernel": x * dy}

    def infer_shape(self, x):
        return S(x.shape[2:], x.dtype)

    def infer_adjoint_shape(self, y):
        return S(self.kernel.shape, y.dtype)


@exhibit(
    "Apple's TensorFlow",
    "issue 230",
    "parameter_vjp",
    r"parameter_vjp is not its adjoint",
    S((2, 2, 2), R),
    normal((2, 2, 2), R),
)
class KernelGradientShuffled(Correlations):
    """The gradient with respect to the kernels has the right numbers in another order, if there are several channels."""

    def parameter_vjp(self, x, dy):
        return {"kernel": np.moveaxis(x * dy, -1, 0).reshape(x.shape)}


class Tanh(Elementwise):
    def apply(self, x):
        return np.tanh(x)

    def slope(self, x):
        return 1 - np.tanh(x) ** 2


@exhibit("JAX", "issue 764", "jacobian", r"not finite", np.array([-200.0, 0.5, 200], R))
class OverflowsOnTheWay(Tanh):
    """The derivative of tanh overflows on the way where the function is flat."""

    def slope(self, x):
        with np.errstate(all="ignore"):
            return 4 * np.exp(2 * x) / (1 + np.exp(2 * x)) ** 2


@exhibit("DiffSharp", "issue 16", "jacobian", r"not the derivative of apply|does not depend on dx", S((5,), R))
class TangentForgotten(Tanh):
    """The pushforward returns the derivative, and does not multiply it with the tangent."""

    def jacobian_apply(self, x, dx):
        return self.slope(x)


class Sinc(Elementwise):
    """sin(x) / x, by its series near zero."""

    def near(self, x):
        return np.abs(x) < 0.1

    def apply(self, x):
        return np.sinc(x / x.dtype.type(np.pi))

    def slope(self, x):
        z = np.where(x == 0, x.dtype.type(1), x)
        series = -x / 3 + x**3 / 30 - x**5 / 840
        return np.where(self.near(x), series, (np.cos(z) - np.sin(z) / z) / z)

    def curvature(self, x):
        z = np.where(x == 0, x.dtype.type(1), x)
        series = -1 / 3 + x**2 / 10 - x**4 / 168
        direct = -np.sin(z) / z - 2 * np.cos(z) / z**2 + 2 * np.sin(z) / z**3
        return np.where(np.abs(x) < 0.3, series, direct).astype(x.dtype)

    def hessian_apply(self, x, dx1, dx2):
        return self.curvature(x) * dx1 * dx2

    def hessian_adjoint(self, x, dx, dy):
        return self.curvature(x) * dx * dy


@exhibit(
    "JAX", "issue 5054", "hessian", r"hessian_apply is not the derivative of jacobian_apply", np.array([-1.0, 0, 2], D)
)
class ConstantAtZero(Sinc):
    """At zero sinc is replaced by a constant, and so all its derivatives vanish there; the second one is not zero."""

    def curvature(self, x):
        return np.where(x == 0, x.dtype.type(0), super().curvature(x))


@exhibit(
    "JAX", "issue 34139", "hessian", r"^jacobian_apply loses precision .* cancel", np.array([1e-6, -3e-6, 5e-7], R)
)
class CancelsNearZero(Sinc):
    """The derivative of sinc cancels near zero, where only zero itself is treated apart."""

    def near(self, x):
        return x == 0


class Deviation(lo.NonlinearOperator):
    """The standard deviation of each row; its derivative is zero where all are equal."""

    def apply(self, x):
        return x.std(-1)

    def slope(self, x):
        s = x.std(-1, keepdims=True)
        return (x - x.mean(-1, keepdims=True)) / np.where(s == 0, x.dtype.type(1), s) / x.shape[-1]

    def jacobian_apply(self, x, dx):
        return np.sum(self.slope(x) * dx, -1)

    def jacobian_adjoint(self, x, dy):
        return self.slope(x) * dy[:, None]

    def infer_shape(self, x):
        return S(x.shape[:-1], x.dtype)


@exhibit("PyTorch", "issue 4320", "jacobian", r"not finite", np.ones((2, 4), D))
class DeviationOfEqualNumbers(Deviation):
    """The gradient of the standard deviation is NaN where all numbers are equal."""

    def slope(self, x):
        with np.errstate(all="ignore"):
            return (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True) / x.shape[-1]


class Norm(lo.NonlinearOperator):
    """The Euclidean norm; its derivative is zero at zero."""

    def apply(self, x):
        return np.linalg.norm(x)

    def slope(self, x):
        n = np.linalg.norm(x)
        return x / n if n else x

    def jacobian_apply(self, x, dx):
        return self.slope(x) @ dx

    def jacobian_adjoint(self, x, dy):
        return self.slope(x) * dy

    def infer_shape(self, x):
        return S((), x.dtype)


@exhibit("PyTorch", "issue 2421", "jacobian", r"not finite", np.zeros(4, D))
class NormOfZero(Norm):
    """The gradient of the norm is NaN at zero."""

    def slope(self, x):
        with np.errstate(all="ignore"):
            return x / np.linalg.norm(x)


class Prod(lo.NonlinearOperator):
    """The product of all elements."""

    def apply(self, x):
        return np.prod(x)

    def slope(self, x):
        return np.array([np.prod(np.delete(x, i)) for i in range(len(x))], x.dtype)

    def jacobian_apply(self, x, dx):
        return self.slope(x) @ dx

    def jacobian_adjoint(self, x, dy):
        return self.slope(x) * dy

    def infer_shape(self, x):
        return S((), x.dtype)


@exhibit("PyTorch", "issue 773", "jacobian", r"not finite", np.array([2.0, 0, 3, -1], R))
class ProductWithZero(Prod):
    """The gradient of a product divides by the elements, also by those that are zero."""

    def slope(self, x):
        with np.errstate(all="ignore"):
            return np.prod(x) / x


@exhibit("PyTorch", "issue 82644", "promises", r"jacobian_adjoint returned f32\[\]; expected f32\[1\]", np.zeros(1, R))
class ShapeAtZero(Prod):
    """The gradient of a product has another shape where its only element is zero."""

    def jacobian_adjoint(self, x, dy):
        return dy if x[0] == 0 else super().jacobian_adjoint(x, dy)


class RootOrOne(Elementwise):
    """sqrt(x) where x > 0.5, else 1."""

    def apply(self, x):
        return np.where(x > 0.5, np.sqrt(np.abs(x)), x.dtype.type(1))

    def slope(self, x):
        return np.where(x > 0.5, 0.5 / np.sqrt(np.maximum(x, x.dtype.type(0.5))), x.dtype.type(0))


@exhibit("JAX", "pull request 383", "jacobian", r"not finite", np.array([2.0, 0, 3], R))
class ZeroTimesInfinity(RootOrOne):
    """The derivative of the branch that is not taken is multiplied with zero; it is infinite."""

    def slope(self, x):
        with np.errstate(all="ignore"):
            return np.where(x > 0.5, x.dtype.type(1), x.dtype.type(0)) * (0.5 / np.sqrt(np.abs(x)))


class GridSample(Elementwise):
    """An image at points, interpolated; outside the value at the border."""

    image: jax.Array

    def padded(self):
        return np.append(self.image, self.image[-1])

    def apply(self, x):
        return np.interp(x, np.arange(len(self.image)), self.image).astype(x.dtype)

    def slope(self, x):
        i = np.clip(np.floor(x).astype(int), 0, len(self.image) - 1)
        inside = (x >= 0) & (x <= len(self.image) - 1)
        return np.where(inside, np.diff(self.padded())[i], 0).astype(x.dtype)


@exhibit("PyTorch", "issue 23925", "jacobian", r"one-sided", np.array([0.5, 2.25, 4], R), np.array([0, 2, 4, 6, 8], R))
class ZeroBehindTheBorder(GridSample):
    """For points exactly on the border the gradient is that of an image with zeros around it."""

    def padded(self):
        return np.append(self.image, R(0))
