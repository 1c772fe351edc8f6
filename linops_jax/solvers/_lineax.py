"""lineax's solvers for lo.solve. Imported on first use: needs lineax."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx

from linops_jax import _compat
from linops_jax._engine.compiled import joined, split
from linops_jax._operators import meta
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import Packing, exponent, is_finite, norm, restored, shift
from linops_jax.algebra._composite import LinearComposite, Wrapper
from linops_jax.solvers._iterate import rounding
from linops_jax.solvers._watch import Watch

meta.introduce()  # lineax dispatches on our classes from here on

RESTART = 30  # vectors that gmres keeps


class Shifted(Wrapper, LinearComposite):
    """A / 2^exponent, which takes vectors that are not finite to NaN.

    GMRES of lineax meets those where it breaks down, and hooks of users must not.

    It is no function of lineax's: the program of that, with all that A holds, would outlive ``jax.clear_caches()``.
    """

    op: LinearOperator
    exponent: Any

    def apply(self, x: Any) -> Any:
        finite = is_finite(x)
        values = self.op(jax.tree.map(lambda leaf: jnp.where(finite, leaf, 0), x))
        return jax.tree.map(lambda leaf: jnp.where(finite, leaf, jnp.nan), shift(values, -self.exponent))

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(shift(y, -self.exponent), like)


@functools.partial(jax.tree_util.register_dataclass, data_fields=["rtol", "atol"], meta_fields=["name", "max_steps"])
@dataclasses.dataclass(frozen=True)
class Library:
    """The solvers "lsmr" and "gmres" of lineax.

    They get numbers of the size of one: tolerances are relative to all of them, and no unit is a breakdown.
    """

    name: str
    rtol: Any
    atol: Any
    max_steps: int

    axes = ()

    @property
    def of_adjoint(self) -> Library:
        return self

    @property
    def full_rank(self) -> bool:
        return self.name == "gmres"

    @property
    def relies_on_adjoint(self) -> bool:
        return self.name == "lsmr"

    def solve(self, op: LinearOperator, y: Any, preconditioner: None, watch: Watch) -> tuple[Any, dict[str, Any]]:
        of_y = exponent(y)
        unit = shift(y, -of_y)
        size = norm(unit)
        unit = jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1).astype(jnp.finfo(leaf.dtype).dtype), unit)
        start = unit if self.name == "gmres" else op.H(unit)
        of_A = exponent(op(shift(start, -exponent(start))))
        scaled = Shifted(op, of_A)
        atol = shift(jnp.asarray(self.atol, size.dtype), -of_y) / jnp.where(size > 0, size, 1)
        solver = self._solver(atol)
        x, result, stats = _compute(solver, scaled, unit)
        valid = (size > 0) & is_finite(x)
        x = jax.tree.map(lambda leaf: jnp.where(valid, leaf, 0), x)
        converged = ((result == lx.RESULTS.successful) & valid) | (size == 0)
        if self.name == "gmres":
            # lineax asks for small steps, too, and calls it stagnation where there are no smaller ones
            rest = norm(jax.tree.map(jnp.subtract, unit, scaled(x)))
            limit = self.rtol + atol
            converged = rest <= limit + jnp.where(limit > 0, rounding(1, norm(x)), 0)
        x = jax.tree.map(lambda leaf: leaf * size.astype(jnp.finfo(leaf.dtype).dtype), x)
        x, exists = restored(x, of_y - of_A)
        steps = jnp.where(size > 0, self._steps(stats, y), 0)
        return x, {"num_steps": steps, "converged": converged & exists}

    def _solver(self, atol: Any) -> Any:
        if self.name == "lsmr":
            return lx.LSMR(self.rtol, atol, max_steps=self.max_steps, conlim=float("inf"))
        # lineax allows atol + rtol |y_i| in every entry; of a vector of norm one, this is rtol at most
        tolerances = {"rtol": self.rtol / 2, "atol": self.rtol / 2 + atol, "norm": norm}
        return lx.GMRES(**tolerances, max_steps=-(-self.max_steps // RESTART) + 1, restart=RESTART)

    def _steps(self, stats: dict[str, Any], vector: Any) -> Any:
        steps = jnp.asarray(stats["num_steps"], jnp.int32)
        if self.name == "lsmr":
            return steps
        return jnp.maximum(steps - 1, 0) * min(RESTART, Packing(vector).size)  # lineax counts restarts, and one more


@functools.partial(jax.tree_util.register_dataclass, data_fields=["arrays"], meta_fields=["static"])
@dataclasses.dataclass(frozen=True)
class Foreign:
    """A solver of lineax that the user made, with tolerances of its own, as its arrays and the rest."""

    static: Any
    arrays: Any

    axes = ()

    @property
    def of_adjoint(self) -> Foreign:
        return self

    @property
    def solver(self) -> Any:
        return joined(self.static, self.arrays)

    @property
    def full_rank(self) -> bool:
        return self.solver.assume_full_rank()

    @property
    def relies_on_adjoint(self) -> bool:
        return isinstance(self.solver, lx.LSMR | lx.Normal)

    def solve(self, op: LinearOperator, y: Any, preconditioner: None, watch: Watch) -> tuple[Any, dict[str, Any]]:
        x, result, stats = _compute(self.solver, op, y)
        stats = {"num_steps": 0, "converged": True, **stats}
        converged = jnp.asarray(stats["converged"]) & (result == lx.RESULTS.successful)
        return x, {"num_steps": jnp.asarray(stats["num_steps"]), "converged": converged}


def _compute(solver: Any, op: LinearOperator, y: Any) -> Any:
    try:
        return solver.compute(solver.init(op, {}), y, {})
    except Exception as error:
        if not any(map(_compat.place, jax.tree.leaves(y))):
            raise
        message = (
            f"lo.solve: {type(solver).__name__} of lineax does not take arrays that differ between the devices of a "
            'shard_map or are sharded over an explicit mesh. "cg", "cgls" and "bicgstab" do.'
        )
        raise NotImplementedError(message) from error


def foreign(value: Any) -> Foreign | None:
    return Foreign(*split(value)) if isinstance(value, lx.AbstractLinearSolver) else None
