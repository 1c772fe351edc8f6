"""Small objectives, and what SciPy says of their minima as quadratic programs: nothing here knows an algorithm of ours."""

import numpy as np
import scipy.optimize
from helpers import normal


def lasso_data(dtype=np.float64, rows=12, columns=8):
    """A matrix, and data of a sparse vector with noise."""
    a = normal((rows, columns), dtype, 1)
    x = np.where(np.arange(columns) % 3 == 0, normal((columns,), dtype, 2), 0).astype(dtype)
    return a, a @ x + 0.1 * normal((rows,), dtype, 3)


def edges_data(n=9):
    """A blur of a signal with edges, part of it negative, and its data."""
    a = sum(np.eye(n, k=k) * w for k, w in ((-1, 0.25), (0, 0.5), (1, 0.25)))
    x = np.where(np.arange(n) % 6 < 3, 1.0, -0.3)
    return a, a @ x + 0.1 * normal((n,), np.float64, 4)


def quadratic_program(a, y, lam, d, lower=None):
    """The x >= lower with the least |a x - y|² / 2 + lam |d x|₁, by SLSQP with d x = p - q, and the minimum."""
    n, m = a.shape[1], d.shape[0]
    zeros = np.zeros(2 * m)

    def value(v):
        return np.sum((a @ v[:n] - y) ** 2) / 2 + lam * np.sum(v[n:])

    def slope(v):
        return np.concatenate([a.T @ (a @ v[:n] - y), lam + zeros])

    rows = np.hstack([d, -np.eye(m), np.eye(m)])
    constraint = {"type": "eq", "fun": lambda v: rows @ v, "jac": lambda v: rows}
    bounds = [(lower, None)] * n + [(0, None)] * (2 * m)
    found = scipy.optimize.minimize(
        value, np.zeros(n + 2 * m), jac=slope, bounds=bounds, constraints=[constraint], method="SLSQP",
        options={"ftol": 1e-15, "maxiter": 1000},
    )  # fmt: skip
    return found.x[:n], found.fun


def differences(n):
    return np.diff(np.eye(n), axis=0)
