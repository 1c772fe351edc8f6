"""Solvers in lineax's interface, so that it differentiates through them. Imported on first use: needs lineax."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

from linops_jax import _meta
from linops_jax._linear import LinearOperator
from linops_jax.algebra._composite import LinearComposite, OfOne
from linops_jax.solvers._compiled import compiled, plain
from linops_jax.solvers._iterate import SILENT, bicgstab, cg, cgls
from linops_jax.solvers._scale import exponent, is_finite, norm, restored, shift

_meta.introduce()  # lineax dispatches on our classes from here on

RESTART = 30  # vectors that gmres keeps


class Iteration(lx.AbstractLinearSolver):
    """Stops when |r| <= rtol |r_0| + atol, in the Euclidean norm, and says so in its statistics instead of raising.

    The option ``watch`` belongs to the solve that was asked for, not to those of its derivatives.
    """

    rtol: Any
    atol: Any
    max_steps: int = eqx.field(static=True)

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        return lx.linearise(operator)

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return state.transpose(), {name: op.transpose() for name, op in options.items() if name != "watch"}

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return lx.conj(state), {name: lx.conj(op) for name, op in options.items() if name != "watch"}

    def limits(self, options: dict[str, Any]) -> Any:
        return self.rtol, self.atol, self.max_steps, options.get("watch", SILENT)

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
        return _result(*cg(state.mv, vector, precondition, *self.limits(options)))


class CGLS(Iteration):
    """Least squares for any operator; r = A^H (y - A x), the gradient. Starts at zero: the smallest of all solutions."""

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        adjoint = lx.conj(state).transpose()
        return _result(*cgls(state.mv, adjoint.mv, vector, *self.limits(options)))


def _result(x: Any, stats: dict[str, Any]) -> Any:
    return x, lx.RESULTS.successful, stats


class BiCGStab(Iteration):
    """For square operators, without their adjoints; r = y - A x.

    lineax's own divides by zero where nothing is left to solve for.
    """

    def assume_full_rank(self) -> bool:
        return True

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        return _result(*bicgstab(state.mv, vector, *self.limits(options)))


class Shifted(OfOne, LinearComposite):
    """A / 2^exponent. Not a function of lineax's: its program, with all that A holds, would outlive ``jax.clear_caches()``."""

    op: LinearOperator
    exponent: Any

    def apply(self, x: Any) -> Any:
        return shift(self.op(x), -self.exponent)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(shift(y, -self.exponent), like)


class Library(Iteration):
    """lineax's own solvers, for numbers of the size of one: tolerances are relative to all of them, and no unit a breakdown."""

    kind: str = eqx.field(static=True)

    def assume_full_rank(self) -> bool:
        return self._solver(1).assume_full_rank()

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        of_y = exponent(vector)
        unit = shift(vector, -of_y)
        size = norm(unit)
        unit = jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1).astype(jnp.finfo(leaf.dtype).dtype), unit)
        start = unit if self.kind == "gmres" else lx.conj(state).transpose().mv(unit)
        of_A = exponent(state.mv(shift(start, -exponent(start))))
        scaled = Shifted(state, of_A)
        atol = shift(jnp.asarray(self.atol, size.dtype), -of_y) / jnp.where(size > 0, size, 1)
        solver = self._solver(atol)
        x, result, stats = solver.compute(solver.init(scaled, options), unit, options)
        valid = (size > 0) & is_finite(x)
        x = jax.tree.map(lambda leaf: jnp.where(valid, leaf, 0), x)
        converged = ((result == lx.RESULTS.successful) & valid) | (size == 0)
        if (
            self.kind == "gmres"
        ):  # lineax asks for small steps, too, and calls it stagnation where there are no smaller ones
            rest = norm(jax.tree.map(jnp.subtract, unit, scaled(x)))
            limit = self.rtol + atol
            rounding = 4 * float(jnp.finfo(size.dtype).eps) * (1 + norm(x))
            converged = rest <= limit + jnp.where(limit > 0, rounding, 0)
        x = jax.tree.map(lambda leaf: leaf * size.astype(jnp.finfo(leaf.dtype).dtype), x)
        x, exists = restored(x, of_y - of_A)
        steps = jnp.where(size > 0, self._steps(stats, vector), 0)
        return x, lx.RESULTS.successful, {"num_steps": steps, "converged": converged & exists}

    def _solver(self, atol: Any) -> Any:
        if self.kind == "lsmr":
            return lx.LSMR(self.rtol, atol, max_steps=self.max_steps, conlim=float("inf"))
        # lineax allows atol + rtol |y_i| in every entry; of a vector of norm one, this is rtol at most
        tolerances = {"rtol": self.rtol / 2, "atol": self.rtol / 2 + atol, "norm": norm}
        return lx.GMRES(**tolerances, max_steps=-(-self.max_steps // RESTART) + 1, restart=RESTART)

    def _steps(self, stats: dict[str, Any], vector: Any) -> Any:
        steps = jnp.asarray(stats["num_steps"], jnp.int32)
        if self.kind == "lsmr":
            return steps
        size = sum(leaf.size for leaf in jax.tree.leaves(vector))
        return jnp.maximum(steps - 1, 0) * min(RESTART, size)  # lineax counts restarts, and one more


class Direct(lx.AbstractLinearSolver):
    """Division by a diagonal, of which only zeros have no inverse; otherwise the singular values of the dense matrix."""

    diagonal: bool = eqx.field(static=True, default=False)

    def init(self, operator: Any, options: dict[str, Any]) -> Any:
        return self._solver.init(operator, options)

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        of_y = exponent(vector)
        x, result, _ = self._solver.compute(state, shift(vector, -of_y), options)
        x, exists = restored(x, of_y)
        return x, result, {"num_steps": 0, "converged": exists}

    def transpose(self, state: Any, options: dict[str, Any]) -> Any:
        return self._solver.transpose(state, options)

    def conj(self, state: Any, options: dict[str, Any]) -> Any:
        return self._solver.conj(state, options)

    def assume_full_rank(self) -> bool:
        return False

    @property
    def _solver(self) -> Any:
        return lx.Diagonal(rcond=0.0) if self.diagonal else lx.SVD()


def make(name: str, rtol: Any, atol: Any, max_steps: int) -> Any:
    if name == "cg":
        return ConjugateGradients(rtol, atol, max_steps)
    if name == "cgls":
        return CGLS(rtol, atol, max_steps)
    if name == "bicgstab":
        return BiCGStab(rtol, atol, max_steps)
    if name == "direct":
        return Direct()
    return Library(rtol, atol, max_steps, name)


def run(op: Any, target: Any, solver: Any, preconditioner: Any, watch: Any) -> tuple[Any, dict[str, Any]]:
    """One solve by lineax: the solution, and ``num_steps`` and ``converged``."""
    options = {"preconditioner": preconditioner, "watch": watch}
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(solver, Direct):
        solver = Direct(lx.is_diagonal(op))
    return _solve(op, target, solver, options)


@compiled
def _solve(op: Any, target: Any, solver: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    found = plain(lx.linear_solve)(op, target, solver, options=options, throw=False)
    stats = {"num_steps": 0, "converged": True, **found.stats}
    converged = jnp.asarray(stats["converged"]) & (found.result == lx.RESULTS.successful)
    return found.value, jax.tree.map(jnp.asarray, {**stats, "converged": converged})


def is_solver(value: Any) -> bool:
    return isinstance(value, lx.AbstractLinearSolver)


def relies_on_adjoint(solver: Any) -> bool:
    return isinstance(solver, CGLS | lx.LSMR | lx.Normal) or (isinstance(solver, Library) and solver.kind == "lsmr")
