"""Models that simulate: a fit of few parameters, and what a product costs that is given the state of the simulation."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

from . import calls
from ._measure import Case, Effort, Goal, Run
from ._negation import OURS

TITLE = "Models that simulate"
TIMES = np.linspace(0, 8, 40)
RATES, START = np.array([1.1, 0.4, 0.1, 0.4]), np.array([0.9, 0.5, 0.15, 0.3])
NOISE = 0.01
RTOL = 1e-6  # of both


def cases(effort: Effort) -> Iterator[Case]:
    contestants: dict[str, Callable[[], Run]] = {OURS: _fit, "SciPy": _fit_by_scipy}
    yield Case("four rates of predators and prey", contestants, goals={"SciPy": Goal(1.2)}, slow=True)
    size = effort.sizes[0]
    count = calls.count(size)
    contestants = {
        OURS: partial(_products, Remembering(), size, count),
        "without state": partial(_products, Forgetting(), size, count),
    }
    yield Case(f"an empty product, {size} floats", contestants, count, goals={"without state": Goal(1.3)})


# ---- the fit --------------------------------------------------------------------------------------------------------


def _slope(t: float, z: np.ndarray, p: np.ndarray) -> np.ndarray:
    (a, b, c, d), (u, v) = p, z[:2]
    slope = np.array([a * u - b * u * v, c * u * v - d * v])
    J = np.array([[a - b * v, -b * u], [c * v, c * u - d]])
    P = np.array([[u, -u * v, 0, 0], [0, 0, u * v, -v]])
    return np.concatenate([slope, (J @ z[2:].reshape(2, 4) + P).ravel()])


def _simulate(p: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both populations at all times, and their derivatives in the four rates."""
    from scipy.integrate import solve_ivp

    start = np.concatenate([[1.0, 0.5], np.zeros(8)])
    found = solve_ivp(_slope, (0, TIMES[-1]), start, t_eval=TIMES, args=(p,), rtol=1e-7, atol=1e-9)
    return found.y[:2], found.y[2:].reshape(2, 4, -1)


class PredatorPrey(lo.NonlinearOperator):
    """Predators and prey at some times, from four rates."""

    def infer_shape(self, p):
        return jax.ShapeDtypeStruct((2, TIMES.size), p.dtype)

    def infer_state_shape(self, p):
        return jax.ShapeDtypeStruct((2, 4, TIMES.size), p.dtype)

    def apply(self, p):
        return _simulate(p)[0]

    def linearize(self, p):
        return _simulate(p)

    def jacobian_apply(self, p, dp, *, state):
        return np.einsum("ikt,k->it", state, dp)

    def jacobian_adjoint(self, p, dy, *, state):
        return np.einsum("ikt,it->k", state, dy)


def _data() -> np.ndarray:
    return _simulate(RATES)[0] + NOISE * np.random.default_rng(0).standard_normal((2, TIMES.size))


def _fit() -> Run:
    model, y, start = PredatorPrey(), jnp.asarray(_data()), jnp.asarray(START)
    run = lambda: lo.solve(model, y, x0=start, rtol=RTOL, progress=False).value.block_until_ready()  # noqa: E731
    np.testing.assert_allclose(run(), _fit_by_scipy()(), rtol=1e-4)
    return run


def _fit_by_scipy() -> Run:
    """The Jacobian matrix is made of the same simulation as the residual."""
    from scipy.optimize import least_squares

    y, known = _data(), {}

    def residual(p: np.ndarray) -> np.ndarray:
        found, known["sensitivities"] = _simulate(p)
        known["at"] = p.copy()
        return np.ravel(found - y)

    def jacobian(p: np.ndarray) -> Any:
        if not np.array_equal(p, known["at"]):
            residual(p)
        return np.swapaxes(known["sensitivities"], 1, 2).reshape(-1, p.size)

    options: Any = {"jac": jacobian, "ftol": RTOL, "xtol": RTOL, "gtol": RTOL}
    return lambda: least_squares(residual, START, **options).x


# ---- products -------------------------------------------------------------------------------------------------------


class Forgetting(lo.NonlinearOperator):
    """The identity, as a nonlinear operator."""

    def infer_shape(self, x):
        return x

    def apply(self, x):
        return x

    def jacobian_apply(self, x, dx):
        return dx

    def jacobian_adjoint(self, x, dy):
        return dy


class Remembering(Forgetting):
    """The same with a state."""

    def infer_state_shape(self, x):
        return x

    def linearize(self, x):
        return x, x

    def jacobian_apply(self, x, dx, *, state):
        return dx

    def jacobian_adjoint(self, x, dy, *, state):
        return dy


def _products(F: Any, size: int, count: int) -> Run:
    """A compiled loop of products with the Jacobian at one point."""
    x = jnp.ones(size, jnp.float32)
    run = jax.jit(lambda x, dx: calls.loop(F.jacobian(x), count)(dx))
    np.testing.assert_array_equal(run(x, x), x)
    return lambda: run(x, x).block_until_ready()
