"""A family of operators that are right: every dtype, sizes 1 to 100,000, badly scaled ones, ones in which numbers cancel.

``FAMILY`` maps a name to a function that makes (operator, spec of its input).
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from helpers import S, normal
from operators import Antilinear, Dense, RealPart

import linops_jax as lo

DTYPES = (np.float32, np.float64, np.complex64, np.complex128)
FAMILY = {}


def member(*sizes, dtypes=DTYPES):
    """Declares ``make(size, dtype) -> (operator, spec)`` for all sizes and dtypes."""

    def declare(make):
        for size in sizes:
            large = np.prod(size) > 500
            for dtype in (dtypes[len(FAMILY) % len(dtypes)],) if large else dtypes:  # large ones take turns
                name = (
                    f"{make.__name__}-{size}-{np.dtype(dtype).name}".replace(" ", "").replace("(", "").replace(")", "")
                )
                FAMILY[name] = functools.partial(make, size, dtype)
        return make

    return declare


class Linear(lo.LinearOperator):
    """The same shape and dtype on both sides."""

    def infer_shape(self, x):
        return x

    def infer_adjoint_shape(self, y):
        return y


@member((1, 1), (2, 2), (7, 3), (10, 30), (100, 100))
def dense(shape, dtype):
    return Dense(normal(shape, dtype)), S((shape[1],), dtype)


class Solvable(Dense):
    """With every optional hook."""

    def gram(self, x):
        return self.matrix.conj().T @ (self.matrix @ x)

    def inverse(self, y):
        return np.linalg.solve(self.matrix, y)

    def inverse_adjoint(self, x):
        return np.linalg.solve(self.matrix.conj().T, x)


@member((1, 1), (3, 3), (40, 40))
def solvable(shape, dtype):
    return Solvable(normal(shape, dtype)), S((shape[1],), dtype)


@member((8, 8), (50, 40))
def badly_scaled_dense(shape, dtype):
    rows, columns = np.geomspace(1e-9, 1e9, shape[0]), np.geomspace(1e6, 1e-6, shape[1])
    return Dense((rows[:, None] * normal(shape, dtype) * columns).astype(dtype)), S((shape[1],), dtype)


@member((60, 60))
def hilbert_matrix(shape, dtype):
    i, j = np.indices(shape)
    return Dense((1 / (i + j + 1)).astype(dtype)), S((shape[1],), dtype)


class HostDiagonal(Linear):
    d: jax.Array

    def apply(self, x, *, out):
        np.multiply(self.d, x, out=out)

    def adjoint(self, y, *, out):
        np.multiply(self.d.conj(), y, out=out)


@member(1, 2, 3, 10, 100, 1000)
def diagonal(n, dtype):
    return HostDiagonal(normal((n,), dtype)), S((n,), dtype)


@member(1, 2, 30, 200, 1000)
def badly_scaled_diagonal(n, dtype):
    return HostDiagonal((normal((n,), dtype) * np.geomspace(1e-15, 1e15, n)).astype(dtype)), S((n,), dtype)


class CumulativeSum(Linear):
    def apply(self, x):
        return np.cumsum(x)

    def adjoint(self, y):
        return np.cumsum(y[::-1])[::-1]


@member(1, 2, 17, 200, 1000)
def cumulative_sum(n, dtype):
    return CumulativeSum(), S((n,), dtype)


@member((1,), (8,), (15,), (12, 10), (64, 64))
def fft(shape, dtype):
    return lo.FFT(norm=("ortho", "backward", "forward")[len(shape) % 3]), S(shape, dtype)


@member(100_000)
def large_cumulative_sum(n, dtype):
    return CumulativeSum(), S((n,), dtype)


class Convolution(lo.LinearOperator):
    h: jax.Array

    def apply(self, x):
        return np.convolve(x, self.h, "full")

    def adjoint(self, y):
        return np.correlate(y, self.h, "valid")

    def infer_shape(self, x):
        return S((x.shape[0] + self.h.shape[0] - 1,), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((y.shape[0] - self.h.shape[0] + 1,), y.dtype)


@member((5, 3), (100, 9), (1000, 31))
def convolution(shape, dtype):
    return Convolution(normal((shape[1],), dtype)), S((shape[0],), dtype)


class Spectral(Linear):
    """conj F diag(w) F, a filter over a huge range, computed in the input's precision."""

    w: jax.Array

    def apply(self, x):
        return np.fft.ifft(self.w * np.fft.fft(x)).astype(x.dtype)

    def adjoint(self, y):
        return np.fft.ifft(self.w.conj() * np.fft.fft(y)).astype(y.dtype)


@member(9, 1000, dtypes=(np.complex64, np.complex128))
def filter_of_huge_range(n, dtype):
    return Spectral((normal((n,), dtype) * np.geomspace(1, 1e-10, n)).astype(dtype)), S((n,), dtype)


class Gradient(lo.LinearOperator):
    def apply(self, x):
        return {"down": np.diff(x, axis=0), "across": np.diff(x, axis=1)}

    def adjoint(self, y):
        down = np.pad(y["down"], ((1, 1), (0, 0)))
        across = np.pad(y["across"], ((0, 0), (1, 1)))
        return -np.diff(down, axis=0) - np.diff(across, axis=1)

    def infer_shape(self, x):
        h, w = x.shape
        return {"down": S((h - 1, w), x.dtype), "across": S((h, w - 1), x.dtype)}

    def infer_adjoint_shape(self, y):
        return S((y["across"].shape[0], y["down"].shape[1]), y["down"].dtype)


@member((2, 3), (30, 20))
def gradient(shape, dtype):
    return Gradient(), S(shape, dtype)


class Gather(lo.LinearOperator):
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


@member((1, 5), (20, 7), (1000, 100))
def gather(shape, dtype):
    m, n = shape
    return Gather(np.random.default_rng(0).integers(0, n, m), n), S((n,), dtype)


class Mean(lo.LinearOperator):
    size: int = lo.static()

    def apply(self, x):
        return np.mean(x)

    def adjoint(self, y):
        return np.full(self.size, y / self.size, y.dtype)

    def infer_shape(self, x):
        return S((), x.dtype)

    def infer_adjoint_shape(self, y):
        return S((self.size,), y.dtype)


@member(1, 10, 100, 10_000)
def mean(n, dtype):
    return Mean(n), S((n,), dtype)


@member(10, 10_000)
def spread(n, dtype):
    return Mean(n).H, S((), dtype)


class Mixed(lo.LinearOperator):
    """Arrays of very different sizes and scales."""

    def apply(self, x):
        u, (v, w) = x
        return [1e6 * u, 1e-3 * v + u.sum(), w.sum() + v]

    def adjoint(self, y):
        a, b, c = y
        return 1e6 * a + b.sum(), (1e-3 * b + c, np.full(self.count, c.sum()))

    count: int = lo.static()

    def infer_shape(self, x):
        u, (v, _) = x
        return [u, v, v]

    def infer_adjoint_shape(self, y):
        return y[0], (y[1], S((self.count,), y[0].dtype))


@member((1000, 3, 2), (2, 500, 1))
def arrays_of_all_sizes(shape, dtype):
    a, b, c = shape
    return Mixed(c), (S((a,), dtype), (S((b,), dtype), S((c,), dtype)))


@member(1, 1000, dtypes=(np.complex64, np.complex128))
def real_part(n, dtype):
    return RealPart(), S((n,), dtype)


@member(3, 40, dtypes=(np.complex64, np.complex128))
def antilinear(n, dtype):
    return Antilinear(normal((n, n), dtype, 1), normal((n, n), dtype, 2)), S((n,), dtype)


class HalfSpectrum(lo.LinearOperator, real_linear=True):
    n: int = lo.static()

    def apply(self, x):
        return np.fft.rfft(x)

    def adjoint(self, y):
        return self.n * np.fft.ifft(y, self.n).real

    def infer_shape(self, x):
        return S((self.n // 2 + 1,), np.result_type(x.dtype, np.complex64))

    def infer_adjoint_shape(self, y):
        return S((self.n,), jnp.finfo(y.dtype).dtype)


@member(1, 8, 9, 5000, dtypes=(np.float32, np.float64))
def half_spectrum(n, dtype):
    return HalfSpectrum(n), S((n,), dtype)


class Cancelling(Linear):
    """(G + c) x - c sum(x): large numbers that cancel."""

    g: jax.Array
    c: jax.Array

    def apply(self, x):
        return (self.g + self.c) @ x - self.c * x.sum()

    def adjoint(self, y):
        return (self.g + self.c).conj().T @ y - np.conj(self.c) * y.sum()


@member((20, 1e2), dtypes=(np.float32, np.complex128))
def cancelling(shape, dtype):
    n, c = int(shape[0]), shape[1]
    return Cancelling(normal((n, n), dtype), np.asarray(c, dtype)), S((n,), dtype)


@member(5, 1000)
def zero(n, dtype):
    return lo.Zero((3,)), S((n,), dtype)


@member(6, 1000)
def normal_operator(n, dtype):
    a = Convolution(normal((5,), dtype)) @ HostDiagonal(normal((n,), dtype))
    return a.H @ a + 0.1 * lo.Identity(), S((n,), dtype)


@member(6, 500)
def difference_of_operators(n, dtype):
    return CumulativeSum() - 0.5 * HostDiagonal(normal((n,), dtype)), S((n,), dtype)


# ---- nonlinear ----------------------------------------------------------------------------------------------------------


class Elementwise(lo.NonlinearOperator):
    name: str = lo.static()

    functions = {  # noqa: RUF012 of the class, no field
        "sine": (np.sin, np.cos),
        "cube": (lambda x: x**3, lambda x: 3 * x**2),
        "exp": (np.exp, np.exp),
        "fast sine": (lambda x: np.sin(50 * x), lambda x: 50 * np.cos(50 * x)),
    }

    def apply(self, x):
        return self.functions[self.name][0](x)

    def jacobian_apply(self, x, dx):
        return self.functions[self.name][1](x) * dx

    def jacobian_adjoint(self, x, dy):
        return np.conj(self.functions[self.name][1](x)) * dy

    def infer_shape(self, x):
        return x


@member(2, 1000)
def sine(n, dtype):
    return Elementwise("sine"), S((n,), dtype)


@member(100)
def cube(n, dtype):
    return Elementwise("cube"), S((n,), dtype)


@member(3, dtypes=(np.float32, np.complex128))
def exponential(n, dtype):
    return Elementwise("exp"), S((n,), dtype)


@member(4, dtypes=(np.float32, np.float64))
def fast_sine(n, dtype):
    return Elementwise("fast sine"), S((n,), dtype)


class Kinks(lo.NonlinearOperator):
    """max(x, 0) and |x|: differentiable almost everywhere."""

    def apply(self, x):
        return np.maximum(x, 0), np.abs(x)

    def jacobian_apply(self, x, dx):
        return (x > 0) * dx, np.sign(x) * dx

    def jacobian_adjoint(self, x, dy):
        return (x > 0) * dy[0] + np.sign(x) * dy[1]

    def infer_shape(self, x):
        return x, x


@member(1, 100, 1000, dtypes=(np.float32, np.float64))
def kinks(n, dtype):
    return Kinks(), S((n,), dtype)


class Softmax(lo.NonlinearOperator):
    def apply(self, x):
        e = np.exp(x - x.max())
        return e / e.sum()

    def jacobian_apply(self, x, dx):
        s = self.apply(x)
        return s * (dx - s @ dx)

    jacobian_adjoint = jacobian_apply

    def infer_shape(self, x):
        return x


@member(2, 30, dtypes=(np.float32, np.float64))
def softmax(n, dtype):
    return Softmax(), S((n,), dtype)


class Intensity(lo.NonlinearOperator, real_linear=True):
    matrix: jax.Array

    def apply(self, x):
        return np.abs(self.matrix @ x) ** 2

    def jacobian_apply(self, x, dx):
        return 2 * np.real(np.conj(self.matrix @ x) * (self.matrix @ dx))

    def jacobian_adjoint(self, x, dy):
        return 2 * self.matrix.conj().T @ ((self.matrix @ x) * dy)

    def infer_shape(self, x):
        return S(self.matrix.shape[:1], jnp.finfo(x.dtype).dtype)


@member((4, 3), (60, 40), dtypes=(np.complex64, np.complex128))
def phase_retrieval(shape, dtype):
    return Intensity(normal(shape, dtype)), S((shape[1],), dtype)


def through_reals(matrix):
    """M Re(M^H x): real numbers between complex ones, because the domain of M is real."""
    op = Dense(matrix).with_domain(S(matrix.shape[1:], jnp.finfo(matrix.dtype).dtype))
    return op @ op.H


@member((4, 3), dtypes=(np.complex64, np.complex128))
def real_numbers_between_complex_ones(shape, dtype):
    m = normal(shape, dtype)
    return through_reals(m) + 2j * Dense(m).with_domain(S(shape[1:], dtype)) @ Dense(m).H, S(shape[:1], dtype)


@member((4, 3), dtypes=(np.complex64, np.complex128))
def real_numbers_along_an_axis(shape, dtype):
    return lo.along_axis(through_reals(normal(shape, dtype)), 1), S((2, shape[0]), dtype)


@member((4, 3), dtypes=(np.complex64, np.complex128))
def kronecker_product_through_reals(shape, dtype):
    return lo.kron(Dense(normal(shape, dtype)), through_reals(normal((2, 3), dtype))), S((shape[1], 2), dtype)


@member((4, 3), dtypes=(np.complex64, np.complex128))
def intensities_between_complex_numbers(shape, dtype):
    return Dense(normal(shape, dtype)) @ Intensity(normal((shape[1], 2), dtype)), S((2,), dtype)
