"""Solvers in lineax's interface, so that it differentiates through them. Imported on first use: needs lineax."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx

RESTART = 30  # vectors that gmres keeps


def dot(a: Any, b: Any) -> jax.Array:
    """Re <a, b> over all arrays of two pytrees: right for operators that are linear over the reals only as well."""
    products = [jnp.real(jnp.vdot(u, v)) for u, v in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)]
    return jnp.sum(jnp.stack([jnp.asarray(p, jnp.result_type(*products)) for p in products]))


def norm(a: Any) -> jax.Array:
    return jnp.sqrt(dot(a, a))


def add(a: Any, scalar: Any, b: Any) -> Any:
    """a + scalar b, in the dtypes of a."""
    return jax.tree.map(lambda u, v: u + jnp.asarray(scalar, jnp.finfo(u.dtype).dtype) * v.astype(u.dtype), a, b)


def zeros(spec: Any) -> Any:
    return jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), spec)


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
        op, precondition = state, options["preconditioner"].mv if "preconditioner" in options else lambda r: r
        limit = self.rtol * norm(vector) + self.atol
        z = precondition(vector)

        def proceed(carry: Any) -> Any:
            _, r, _, gamma, step, sound = carry
            return (norm(r) > limit) & (gamma > 0) & (step < self.max_steps) & sound

        def body(carry: Any) -> Any:
            x, r, p, gamma, step, _ = carry
            q = op.mv(p)
            curvature = dot(p, q)
            sound = curvature > 0  # otherwise A is not positive
            alpha = jnp.where(sound, gamma / jnp.where(sound, curvature, 1), 0)
            x, r = add(x, alpha, p), add(r, -alpha, q)
            z = precondition(r)
            new = dot(r, z)
            return x, r, add(z, new / gamma, p), new, step + 1, sound

        start = (zeros(op.in_structure()), vector, z, dot(vector, z), jnp.int32(0), jnp.bool_(True))
        x, r, *_, steps, _ = jax.lax.while_loop(proceed, body, start)
        return x, lx.RESULTS.successful, {"num_steps": steps, "converged": norm(r) <= limit}


class CGLS(Iteration):
    """Least squares for any operator; r = A^H (y - A x), the gradient. Starts at zero: the smallest of all solutions.

    Conjugate gradients on the normal equations in the form of Hestenes and Stiefel (1952): A and A^H once each a step.
    """

    def compute(self, state: Any, vector: Any, options: dict[str, Any]) -> Any:
        op, adjoint = state, lx.conj(state).transpose()
        s = adjoint.mv(vector)
        gamma = dot(s, s)
        limit = self.rtol * jnp.sqrt(gamma) + self.atol
        floor = 4 * jnp.finfo(gamma.dtype).eps

        def reached(r: Any, gamma: Any, size: Any) -> Any:
            """Also where the gradient is nothing but rounding, given the size of A."""
            return jnp.sqrt(gamma) <= jnp.maximum(limit, floor * size * norm(r))

        def proceed(carry: Any) -> Any:
            _, r, _, gamma, size, step = carry
            return ~reached(r, gamma, size) & jnp.isfinite(gamma) & (step < self.max_steps)

        def body(carry: Any) -> Any:
            x, r, p, gamma, size, step = carry
            q = op.mv(p)
            delta = dot(q, q)
            alpha = jnp.where(delta > 0, gamma / jnp.where(delta > 0, delta, 1), 0)
            x, r = add(x, alpha, p), add(r, -alpha, q)
            s = adjoint.mv(r)
            new = dot(s, s)
            size = jnp.maximum(size, jnp.sqrt(delta) / norm(p))
            return x, r, add(s, new / gamma, p), new, size, step + 1

        start = (zeros(op.in_structure()), vector, s, gamma, jnp.zeros_like(gamma), jnp.int32(0))
        x, r, _, gamma, size, steps = jax.lax.while_loop(proceed, body, start)
        return x, lx.RESULTS.successful, {"num_steps": steps, "converged": reached(r, gamma, size)}


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
    found = lx.linear_solve(op, target, solver, options=options, throw=False)
    stats = {"num_steps": 0, "converged": True, **found.stats}
    stats["converged"] = jnp.asarray(stats["converged"]) & (found.result == lx.RESULTS.successful)
    return found.value, stats


def is_solver(value: Any) -> bool:
    return isinstance(value, lx.AbstractLinearSolver)


def relies_on_adjoint(solver: Any) -> bool:
    return isinstance(solver, CGLS | lx.LSMR | lx.Normal) or (isinstance(solver, Library) and solver.kind == "lsmr")
