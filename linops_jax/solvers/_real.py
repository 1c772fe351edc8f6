"""An operator as a map between real arrays: over the reals every R-linear operator is linear as solvers mean it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import Axes
from linops_jax.algebra._composite import LinearComposite


class OnReals(LinearComposite):
    """The same operator with pairs (re, im), along a new first axis, for complex numbers.

    Parameters
    ----------
    op : LinearOperator
        An operator that knows its domain.
    wide : bool
        Whether to compute everything around the operator in double precision.
    """

    op: LinearOperator
    wide: bool = static(default=False)

    def apply(self, x: Any) -> Any:
        return to_reals(self.op(from_reals(x, self.op.domain)), self.wide)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return to_reals(self.op._reverse(from_reals(y, self.op.codomain), self.op.domain), self.wide)

    def _derive_shape(self, x: Any) -> Any:
        return self._on_reals(self.op._infer_shape(self.op.domain))

    @property
    def domain(self) -> Any:
        return self._on_reals(self.op.domain)

    def _on_reals(self, spec: Any) -> Any:
        return jax.eval_shape(lambda x: to_reals(x, self.wide), spec)

    @property
    def properties(self) -> Properties:
        return common([self.op], "symmetric", "positive", "unitary")


def in_own_numbers(
    solve: Callable[[Any, Any, Any], Any],
    op: LinearOperator,
    y: Any,
    preconditioner: Any = None,
    wide: bool = False,
    axes: Axes = (),
) -> tuple[Any, dict[str, Any]]:
    """``solve(op, y, preconditioner)``, the solution and its statistics, in numbers over which ``op`` is linear."""
    if op._is_linear_in_its_numbers and not wide:
        return solve(op, y, preconditioner)
    inner = None if preconditioner is None else OnReals(preconditioner, wide)
    x, stats = solve(OnReals(op, wide), to_reals(y, wide), inner)
    found = from_reals(x, op.domain)
    fixed = jax.lax.stop_gradient((found, to_reals(found, wide), x))
    return found, {**stats, "converged": stats["converged"] & _vectors.holds(*fixed, axes)}


def to_reals(tree: Any, wide: bool = False) -> Any:
    """Pairs (re, im), along a new first axis, for complex arrays; real ones as they are."""

    def convert(leaf: Any) -> Any:
        if shapes.is_complex(leaf.dtype):
            leaf = _vectors.as_reals(leaf, 0)
        return leaf.astype(jnp.result_type(float)) if wide else leaf

    return jax.tree.map(convert, tree)


def from_reals(tree: Any, spec: Any) -> Any:
    """The way back from ``to_reals``, in the dtypes of the specs."""

    def convert(leaf: Any, spec: Any) -> Any:
        if not shapes.is_complex(spec.dtype):
            return leaf.astype(spec.dtype)
        return _vectors.as_complex(leaf, spec.dtype, 0)

    return jax.tree.map(convert, tree, spec)


def is_narrower(op: LinearOperator, dtype: Any) -> bool:
    """Whether some array of the operator has fewer bits than these real numbers."""
    leaves = jax.tree.leaves((op.domain, op.codomain))
    return any(jnp.finfo(leaf.dtype).bits < jnp.finfo(jnp.result_type(dtype)).bits for leaf in leaves)
