"""The programs of lo.solve: what minimises, and how good that is.

Each is compiled as a whole, and the next one waits for its end: collectives between processes may block for good where
two programs run at once, and every eager operation is a program.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._engine.compiled import compiled
from linops_jax._operators.linear import LinearOperator
from linops_jax._vectors import Axes
from linops_jax.solvers._pseudoinverse import PseudoInverse, solve
from linops_jax.solvers._real import in_own_numbers
from linops_jax.solvers._solution import Stats
from linops_jax.solvers._watch import SILENT, Watch


@compiled
def minimise(
    op: LinearOperator, y: Any, method: Any, limits: Any, x0: Any = None, inner: Any = None, outer: Any = None,
    wide: bool = False, watch: Watch = SILENT,
) -> tuple[Any, dict[str, Any]]:  # fmt: skip
    """The x closest to x0 that minimises |op x - y|, and what the method says of it.

    ``inner`` is the method's own preconditioner; ``outer`` is M, of which x = M z.
    """
    axes = method.axes
    target = y if x0 is None else _remaining(y, op(x0), *limits, axes=axes)
    op = op if outer is None else op @ outer
    run = lambda op, y, inner: solve(PseudoInverse(op, method, inner), y, watch)  # noqa: E731
    z, found = in_own_numbers(run, op, target, inner, wide, axes)
    x = z if outer is None else outer(z)
    return x if x0 is None else jax.tree.map(jnp.add, x0, x), found


@compiled
def assess(A: Any, x: Any, y: Any, found: dict[str, Any], axes: Axes) -> Stats:
    """How well x solves A x = y, given what the method says of it. Nothing of this is differentiated."""
    A, x, y, found = jax.lax.stop_gradient((A, x, y, found))
    residual = found["residual"] if "residual" in found else _residual(A, x, y, axes)
    converged = found["converged"] & _vectors.is_finite([x, residual], axes)
    return Stats(jnp.asarray(found["num_steps"]), residual, converged, found.get("history"), found.get("simulations"))


def _residual(A: Any, x: Any, y: Any, axes: Axes) -> Any:
    size = _vectors.norm(y, axes)
    return _vectors.norm(jax.tree.map(jnp.subtract, A(x), y), axes) / jnp.where(size > 0, size, 1)


def _remaining(target: Any, reached: Any, rtol: Any, atol: Any, axes: Axes) -> Any:
    """What of the target is still to be reached.

    Within the tolerance it is exactly zero, with the same derivative.
    """
    rest = jax.tree.map(jnp.subtract, target, reached)
    sizes = [_vectors.norm(jax.lax.stop_gradient(tree), axes) for tree in (rest, target)]
    enough = sizes[0] <= rtol * sizes[1] + atol
    return jax.tree.map(lambda r: r - jax.lax.stop_gradient(jnp.where(enough, r, 0)), rest)
