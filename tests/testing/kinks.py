"""Right operators with kinks, where people disagree about the derivative: each by a convention that is in use.

``KINKS`` maps names to operators of vectors of 6 numbers; ``POINTS`` are vectors at which many of them have kinks.
"""

import jax
import numpy as np

import linops_jax as lo

N = 6
POINTS = {
    "zeros": np.zeros(N),
    "ones": np.ones(N),
    "some zeros": np.array([0, 0, 1, -1, 0, 2.0]),
    "pairs": np.array([1.0, 1, -1, -1, 3, 3]),
    "not known": jax.ShapeDtypeStruct((N,), np.float64),
}
KINKS = {}
WEIGHTS = np.random.default_rng(0).standard_normal((9, N)), np.random.default_rng(1).standard_normal((4, 9))


class ByMatrix(lo.NonlinearOperator):
    """f(x) and the matrix of its derivative."""

    def apply(self, x):
        return self.f(x.astype(np.float64)).astype(x.dtype)

    def jacobian_apply(self, x, dx):
        return (self.matrix(x.astype(np.float64)) @ dx).astype(x.dtype)

    def jacobian_adjoint(self, x, dy):
        return (self.matrix(x.astype(np.float64)).T @ dy).astype(x.dtype)

    def infer_shape(self, x):
        return jax.ShapeDtypeStruct(self.f(np.zeros(x.shape)).shape, x.dtype)


def kink(cls):
    KINKS[cls.__name__] = cls()
    return cls


@kink
class Sorted(ByMatrix):
    def f(self, x):
        return np.sort(x)

    def matrix(self, x):
        return np.eye(N)[np.argsort(x, kind="stable")]


@kink
class LargestTwo(ByMatrix):
    def f(self, x):
        return np.sort(x)[::-1][:2]

    def matrix(self, x):
        return np.eye(N)[np.argsort(-x, kind="stable")[:2]]


@kink
class Median(ByMatrix):
    def f(self, x):
        return np.median(x)[None]

    def matrix(self, x):
        order = np.argsort(x, kind="quicksort")
        return 0.5 * (np.eye(N)[order[[2]]] + np.eye(N)[order[[3]]])


@kink
class FirstOfTheLargest(ByMatrix):
    def f(self, x):
        return x.max()[None]

    def matrix(self, x):
        return np.eye(N)[[np.argmax(x)]]


@kink
class MeanOfTheLargest(FirstOfTheLargest):
    def matrix(self, x):
        largest = x == x.max()
        return (largest / largest.sum())[None]


@kink
class LargestOfThree(ByMatrix):
    def f(self, x):
        return np.array([x[i : i + 3].max() for i in range(N - 2)])

    def matrix(self, x):
        return np.eye(N)[[i + np.argmax(x[i : i + 3]) for i in range(N - 2)]]


@kink
class Margin(ByMatrix):
    """The largest number less the second."""

    def f(self, x):
        return np.diff(np.sort(x)[-2:])

    def matrix(self, x):
        first, second = np.argsort(-x, kind="stable")[:2]
        return (np.eye(N)[first] - np.eye(N)[second])[None]


@kink
class Between0And1(ByMatrix):
    def f(self, x):
        return (x - x.min()) / (x.max() - x.min() + 1e-3)

    def matrix(self, x):
        width, low, high = x.max() - x.min() + 1e-3, np.eye(N)[np.argmin(x)], np.eye(N)[np.argmax(x)]
        return (np.eye(N) - low) / width - np.outer((x - x.min()) / width**2, high - low)


@kink
class TwoLayers(ByMatrix):
    """Rectified sums; at zero nothing passes."""

    def f(self, x):
        return WEIGHTS[1] @ np.maximum(WEIGHTS[0] @ x, 0)

    def matrix(self, x):
        return WEIGHTS[1] @ ((WEIGHTS[0] @ x > 0)[:, None] * WEIGHTS[0])


@kink
class Leaky(ByMatrix):
    def f(self, x):
        y = WEIGHTS[0] @ x
        return WEIGHTS[1] @ np.where(y > 0, y, 0.1 * y)

    def matrix(self, x):
        return WEIGHTS[1] @ (np.where(WEIGHTS[0] @ x > 0, 1, 0.1)[:, None] * WEIGHTS[0])


@kink
class TotalVariation(ByMatrix):
    def f(self, x):
        return np.abs(np.diff(x)).sum()[None]

    def matrix(self, x):
        return (np.sign(np.diff(x)) @ np.diff(np.eye(N), axis=0))[None]


@kink
class Clipped(ByMatrix):
    def f(self, x):
        return np.clip(x, -1, 1)

    def matrix(self, x):
        return np.diag((np.abs(x) < 1).astype(float))


@kink
class Upwind(ByMatrix):
    """Transport against the wind; without wind nothing depends on it."""

    def f(self, x):
        u, back, ahead = x[1:-1], np.diff(x)[:-1], np.diff(x)[1:]
        return np.maximum(u, 0) * back + np.minimum(u, 0) * ahead

    def matrix(self, x):
        u, slopes, d = x[1:-1], np.diff(x), np.diff(np.eye(N), axis=0)
        by_wind = np.where(u > 0, slopes[:-1], np.where(u < 0, slopes[1:], 0))
        by_slope = np.maximum(u, 0)[:, None] * d[:-1] + np.minimum(u, 0)[:, None] * d[1:]
        return by_wind[:, None] * np.eye(N)[1:-1] + by_slope


@kink
class Limited(ByMatrix):
    """The smaller one of two slopes, if they have the same sign."""

    def f(self, x):
        a, b = np.diff(x)[:-1], np.diff(x)[1:]
        return np.where(a * b > 0, np.sign(a) * np.minimum(np.abs(a), np.abs(b)), 0.0)

    def matrix(self, x):
        d = np.diff(np.eye(N), axis=0)
        a, b = (d @ x)[:-1], (d @ x)[1:]
        smaller = np.where((np.abs(a) <= np.abs(b))[:, None], d[:-1], d[1:])
        return np.where((a * b > 0)[:, None], smaller, 0.0)


@kink
class NormsOfPairs(ByMatrix):
    def f(self, x):
        return np.hypot(x[::2], x[1::2])

    def matrix(self, x):
        norms = np.where(self.f(x) == 0, 1, self.f(x))[:, None]
        return (x[::2, None] * np.eye(N)[::2] + x[1::2, None] * np.eye(N)[1::2]) / norms


@kink
class Knots(ByMatrix):
    values = np.array([0, 2.0, 1, 5, 3])

    def f(self, x):
        return np.interp(x, np.arange(5.0), self.values)

    def matrix(self, x):
        slopes = np.diff(self.values)[np.clip(np.floor(x).astype(int), 0, 3)]
        return np.diag(np.where((x >= 0) & (x <= 4), slopes, 0))


@kink
class SingularValues(ByMatrix):
    def f(self, x):
        return np.linalg.svd(x.reshape(2, 3), compute_uv=False)

    def matrix(self, x):
        u, _, v = np.linalg.svd(x.reshape(2, 3))
        return np.array([np.outer(u[:, i], v[i]).ravel() for i in (0, 1)])


WRONG = {}  # operator, input, what is said of it


def wrong(message, x):
    def declare(cls):
        WRONG[cls.__name__] = cls(), x, message
        return cls

    return declare


@wrong(r"not between the one-sided ones", POINTS["ones"])
class AllOfTheLargest(FirstOfTheLargest):
    def matrix(self, x):
        return (x == x.max()).astype(float)[None]


@wrong(r"arrays as given: in 3 of 6 numbers it is not between", POINTS["some zeros"])
class DropsTheLinearPart(ByMatrix):
    """max(x, 0) + min(x, 0) is x."""

    def f(self, x):
        return np.maximum(x, 0) + np.minimum(x, 0)

    def matrix(self, x):
        return np.diag((x != 0).astype(float))


@wrong(r"arrays as given: in \d of 6 numbers it is not between", POINTS["pairs"])
class TwiceAtTheEnd(Clipped):
    def matrix(self, x):
        return np.diag(np.where(np.abs(x) == 1, -3.0, np.abs(x) < 1))
