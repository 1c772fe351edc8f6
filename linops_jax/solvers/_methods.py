"""Solvers of our own for A x = y: what they are given, and where they are right."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import Axes, MatrixForm, Sides, exponent, restored, shift
from linops_jax.measures._dense import dense_form
from linops_jax.solvers._iterate import bicgstab, cg, cgls
from linops_jax.solvers._watch import Watch


@functools.partial(
    jax.tree_util.register_dataclass,
    data_fields=["rtol", "atol"],
    meta_fields=["name", "max_steps", "full_rank", "axes", "sides"],
)
@dataclasses.dataclass(frozen=True)
class Iteration:
    """The solvers "cg", "cgls" and "bicgstab": they stop when ‖r‖ <= rtol ‖r_0‖ + atol, in the Euclidean norm.

    Where ``full_rank`` says that A is invertible, its derivatives take three solves less. ``axes`` are those of a mesh over which
    x and y are spread, ``sides`` over which of them each array of y varies, and each of x.
    """

    name: str
    rtol: Any
    atol: Any
    max_steps: int
    full_rank: bool
    axes: Axes = ()
    sides: Sides = ((), ())

    @property
    def of_adjoint(self) -> Iteration:
        """The method for the adjoint of the operator."""
        return dataclasses.replace(self, sides=self.sides[::-1])

    @property
    def relies_on_adjoint(self) -> bool:
        return self.name == "cgls"

    def solve(
        self, op: LinearOperator, y: Any, preconditioner: LinearOperator | None, watch: Watch
    ) -> tuple[Any, dict[str, Any]]:
        apply = lambda x: jax.tree.map(_compat.placed, op(x), y)  # noqa: E731
        own = _compat.all_axes(y) - set(self.axes)
        adjoint = lambda r: jax.tree.map(lambda leaf: _compat.vary(leaf, own), op.H(r))  # noqa: E731
        limits = self.rtol, self.atol, self.max_steps, watch, self.axes
        if self.name == "cg":
            return cg(apply, y, (lambda r: r) if preconditioner is None else preconditioner, *limits)
        if self.name == "cgls":
            return cgls(apply, adjoint, y, *limits)
        return bicgstab(apply, y, *limits)


@functools.partial(jax.tree_util.register_dataclass, data_fields=[], meta_fields=["diagonal"])
@dataclasses.dataclass(frozen=True)
class Direct:
    """The solver "direct": division by a diagonal, with 0 for 0, or the singular values of the dense matrix."""

    diagonal: bool

    full_rank = relies_on_adjoint = False
    axes = ()

    @property
    def of_adjoint(self) -> Direct:
        return self

    def solve(self, op: LinearOperator, y: Any, preconditioner: None, watch: Watch) -> tuple[Any, dict[str, Any]]:
        of_y = exponent(y)
        x = (_divide if self.diagonal else _by_singular_values)(op, shift(y, -of_y))
        x, exists = restored(x, of_y)
        return x, {"num_steps": jnp.zeros_like(exists, jnp.int32), "converged": exists}


def _divide(op: LinearOperator, y: Any) -> Any:
    diagonal = op(jax.tree.map(jnp.ones_like, y))
    return jax.tree.map(lambda d, leaf: jnp.where(d == 0, 0, leaf / jnp.where(d == 0, 1, d)), diagonal, y)


def _by_singular_values(op: LinearOperator, y: Any) -> Any:
    form = MatrixForm(op)
    target = form.codomain.pack(y).astype(form.dtype)
    u, s, vh = jnp.linalg.svd(dense_form(form), full_matrices=False)
    smallest = jnp.finfo(s.dtype).eps * max(form.shape) * jnp.max(s, initial=0)
    parts = jnp.where(
        s > smallest, jnp.matmul(u.conj().T, target, precision="highest") / jnp.where(s > smallest, s, 1), 0
    )
    return form.domain.unpack(jnp.matmul(vh.conj().T, parts, precision="highest"))
