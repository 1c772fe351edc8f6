"""Steps and seconds of lo.minimize to an objective within 1e-6 of cvxpy's, for a lasso and a total variation with positivity.

    python benchmarks/minimize.py

It needs cvxpy. Prints the steps to that, the steps until the gap is as small, how far the end is above cvxpy's minimum relative
to it, and the seconds of all steps.
"""

import time

import cvxpy as cp
import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

RELATIVE = 1e-6
TIGHT = dict.fromkeys(["tol_gap_abs", "tol_gap_rel", "tol_feas"], 1e-12)


def least(objective):
    """The minimum by Clarabel."""
    return cp.Problem(cp.Minimize(objective)).solve(solver="CLARABEL", **TIGHT)


def lasso(rows=60, columns=100, lam=2.3):
    rng = np.random.default_rng(1)
    a = rng.standard_normal((rows, columns))
    sparse = np.where(rng.random(columns) < 0.1, rng.standard_normal(columns), 0)
    y = a @ sparse + 0.1 * rng.standard_normal(rows)
    x = cp.Variable(columns)
    f = lo.SquaredL2(jnp.asarray(y)) @ lo.Matrix(jnp.asarray(a)) + lam * lo.L1()
    return f, jnp.zeros(columns), least(cp.sum_squares(a @ x - y) / 2 + lam * cp.norm1(x))


def total_variation(n=16, lam=0.03):
    u, v = np.meshgrid(np.linspace(-1, 1, n), np.linspace(-1, 1, n))
    truth = 1.0 * (np.hypot(u + 0.3, v - 0.2) < 0.5) + 0.5 * (np.maximum(abs(u - 0.4), abs(v + 0.4)) < 0.3)
    spec = jax.ShapeDtypeStruct((n, n), float)
    blur, gradient = lo.ops.GaussianBlur(1.0).with_domain(spec), lo.ops.Gradient().with_domain(spec)
    y = np.asarray(blur(jnp.asarray(truth))) + 0.05 * np.random.default_rng(0).standard_normal((n, n))
    x = cp.Variable(n * n, nonneg=True)
    rest = np.asarray(lo.todense(blur)) @ x - y.ravel()
    slopes = cp.reshape(np.asarray(lo.todense(gradient)) @ x, (2, n * n), order="C")
    f = lo.SquaredL2(jnp.asarray(y)) @ blur + lam * lo.L21() @ gradient + lo.NonNegative()
    return f, jnp.zeros((n, n)), least(cp.sum_squares(rest) / 2 + lam * cp.sum(cp.norm(slopes, 2, axis=0)))


def measure(f, x0, minimum, solver):
    """The first step that is close enough, all steps, how far the end is above the minimum, and seconds for all steps."""
    run = jax.jit(lambda f, x0: lo.minimize(f, x0, solver=solver, rtol=RELATIVE, max_steps=20_000, history=True).stats)
    stats = jax.block_until_ready(run(f, x0))
    start = time.perf_counter()
    jax.block_until_ready(run(f, x0))
    seconds = time.perf_counter() - start
    above = np.asarray(stats.history["objective"]) / minimum - 1
    return np.argmax(above <= RELATIVE) + 1, int(stats.steps), float(stats.objective) / minimum - 1, seconds


def main():
    jax.config.update("jax_enable_x64", True)
    for name, make, first in (("lasso", lasso, "fista"), ("total variation", total_variation, "pd3o")):
        problem = make()
        for solver in (first, "admm"):
            close, steps, above, seconds = measure(*problem, solver)
            print(f"{name}, {solver}: {close} steps to {RELATIVE:g}, {steps} in all, {above:.1e}, {seconds:.3f} s")


if __name__ == "__main__":
    main()
