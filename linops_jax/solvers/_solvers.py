"""Solvers in lineax's interface, so that it differentiates through them. Imported on first use: needs lineax."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from linops_jax.solvers._compiled import compiled, plain
from linops_jax.solvers._iterate import cg, cgls, norm

RESTART = 30  # vectors that gmres keeps


class Iteration(lx.AbstractLinearSolver):
    """Stops when |r| <= rtol |r_0| + atol, in the Euclidean norm, and says so in its statistics instead of raising."""

    rtol: Any
    atol: Any
    max_steps: int = eqx.field(static=True)

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        return lx.linearise(operator)

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return state.transpose(), {name: op.transpose() for name, op in options.items()}

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return lx.conj(state), {name: lx.conj(op) for name, op in options.items()}

    def assume_full_rank(self) -> bool:
        return False


class ConjugateGradients(Iteration):
    """For positive operators; r = y - A x. The option ``preconditioner``, a positive operator, is close to A^-1.

    lineax's own CG takes <p, A p> < 200 n eps <r, r> for a breakdown, which in single precision most pictures meet, and
    measures convergence entry by entry, relative to entries of y that may be zero.
    """

    def assume_full_rank(self) -> bool:
        return True

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        precondition = options["preconditioner"].mv if "preconditioner" in options else lambda r: r
        return _result(*cg(state.mv, vector, precondition, self.rtol, self.atol, self.max_steps))


class CGLS(Iteration):
    """Least squares for any operator; r = A^H (y - A x), the gradient. Starts at zero: the smallest of all solutions."""

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        adjoint = lx.conj(state).transpose()
        return _result(*cgls(state.mv, adjoint.mv, vector, self.rtol, self.atol, self.max_steps))


def _result(x: Any, steps: Any, converged: Any) -> Any:
    return x, lx.RESULTS.successful, {"num_steps": steps, "converged": converged}


class Library(Iteration):
    """lineax's own solvers, on a vector of norm one: tolerances are relative to all of it, and small numbers no breakdown."""

    kind: str = eqx.field(static=True)

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        return self._solver(1).init(operator, options)

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        size = norm(vector)
        size = jnp.where(size > 0, size, 1)
        unit = jax.tree.map(lambda leaf: leaf / size.astype(jnp.finfo(leaf.dtype).dtype), vector)
        x, result, stats = self._solver(size).compute(state, unit, options)
        x = jax.tree.map(lambda leaf: leaf * size.astype(jnp.finfo(leaf.dtype).dtype), x)
        stats = {"num_steps": self._steps(stats, vector), "converged": result == lx.RESULTS.successful}
        return x, lx.RESULTS.successful, stats

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return self._solver(1).transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return self._solver(1).conj(state, options)

    def assume_full_rank(self) -> bool:
        return self._solver(1).assume_full_rank()

    def _solver(self, size: Any) -> Any:
        if self.kind == "direct":
            return lx.AutoLinearSolver(well_posed=False)
        if self.kind == "lsmr":
            return lx.LSMR(self.rtol, self.atol / size, max_steps=self.max_steps, conlim=float("inf"))
        # lineax allows atol + rtol |y_i| in every entry; of a vector of norm one, this is rtol at most
        tolerances = {"rtol": self.rtol / 2, "atol": self.rtol / 2 + self.atol / size, "norm": norm}
        if self.kind == "gmres":
            return lx.GMRES(**tolerances, max_steps=-(-self.max_steps // RESTART) + 1, restart=RESTART)
        return lx.BiCGStab(**tolerances, max_steps=self.max_steps)

    def _steps(self, stats: dict[str, Any], vector: Any) -> Any:
        steps = jnp.asarray(stats.get("num_steps", 0), jnp.int32)
        if self.kind != "gmres":
            return steps
        size = sum(leaf.size for leaf in jax.tree.leaves(vector))
        return jnp.maximum(steps - 1, 0) * min(RESTART, size)  # lineax counts restarts, and one more


def make(name: str, rtol: Any, atol: Any, max_steps: int) -> Any:
    if name == "cg":
        return ConjugateGradients(rtol, atol, max_steps)
    if name == "cgls":
        return CGLS(rtol, atol, max_steps)
    return Library(rtol, atol, max_steps, name)


def run(op: Any, target: Any, solver: Any, preconditioner: Any = None) -> tuple[Any, dict[str, Any]]:
    """One solve by lineax: the solution, and ``num_steps`` and ``converged``."""
    options = {} if preconditioner is None else {"preconditioner": preconditioner}
    return _solve(op, target, solver, options)


@compiled
def _solve(op: Any, target: Any, solver: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    found = plain(lx.linear_solve)(op, target, solver, options=options, throw=False)
    stats = {"num_steps": 0, "converged": True, **found.stats}
    converged = jnp.asarray(stats["converged"]) & (found.result == lx.RESULTS.successful)
    return found.value, {"num_steps": jnp.asarray(stats["num_steps"]), "converged": converged}


def is_solver(value: Any) -> bool:
    return isinstance(value, lx.AbstractLinearSolver)


def relies_on_adjoint(solver: Any) -> bool:
    return isinstance(solver, CGLS | lx.LSMR | lx.Normal) or (isinstance(solver, Library) and solver.kind == "lsmr")
