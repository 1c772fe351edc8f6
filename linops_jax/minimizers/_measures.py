"""How far from the minimum an iterate is: the primal-dual gap, and the change in a step."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._vectors import Axes
from linops_jax.minimizers._problem import number
from linops_jax.solvers._iterate import ratio


class Seen(NamedTuple):
    """What an algorithm sees in a step.

    Parameters
    ----------
    objective : 0-d array
        The value of the objective; infinite where x violates a constraint behind an operator.
    gap : 0-d array
        The primal-dual gap, see ``gap``; infinite if there is none.
    residual : 0-d array
        The largest relative change of the vectors that are iterated.
    moved : 0-d array
        The length of the change of the primal one.
    """

    objective: jax.Array
    gap: jax.Array
    residual: jax.Array
    moved: jax.Array

    def as_number(self, x: Any) -> Seen:
        """The same in the dtype of numbers for x: operators may compute in another one."""
        return Seen(*(jnp.asarray(value, number(x)) for value in self))

    @property
    def distance(self) -> jax.Array:
        """What is compared with ``rtol``: the gap relative to the objective, or the residual without a gap.

        The gap tells little while x is still short of a minimiser, as in the first steps from zero: it counts as at least the
        residual squared.
        """
        relative_gap = jnp.where(self.gap > 0, _over(self.gap, jnp.abs(self.objective)), 0)
        by_gap = jnp.maximum(relative_gap, self.residual**2)
        return jnp.where(jnp.isinf(self.gap) | jnp.isinf(self.objective), self.residual, by_gap)

    def reached(self, rtol: Any) -> jax.Array:
        """Whether the tolerance is reached, or nothing changes but rounding."""
        rounding = 4 * jnp.finfo(self.residual.dtype).eps
        return ~jnp.isnan(self.objective) & ((self.distance <= rtol) | (self.residual <= rounding))


def gap(x: Any, change: Any, sizes: tuple[Any, Any], step: Any, bregman: Any, axes: Axes) -> jax.Array:
    """The primal-dual gap over the vectors that are at most twice as long as x, or as x and the change together.

    An algorithm that iterates x = prox(z) has a subgradient of each term at hand: those of the smooth terms are their
    gradients, those of the others what their proxes subtract. By the equality of Fenchel and Young each gives the value of the
    term's conjugate without a formula for it, so nothing needs to be known of the conjugates. The subgradients add up to
    d = change / step, not to zero, so the dual point is feasible only up to d. Over a ball of radius R that has a minimiser in
    it (the restricted gap of Chambolle and Pock, 2011) this costs R |d|:

        objective(x) - minimum  <=  bregman + <d, x> + R |d|,

    where ``bregman`` sums what terms exceed their linear models by, for the terms whose subgradient is not one at x. ``sizes``
    are the lengths of x and of the change.
    """
    size, moved = sizes
    radius = 2 * (size + moved)
    return jnp.maximum(bregman, 0) + (_vectors.dot(change, x, axes) + radius * moved) / step


def _over(a: jax.Array, b: jax.Array) -> jax.Array:
    """a / b, and infinity where b is 0."""
    return jnp.where(b == 0, jnp.inf, ratio(a, b))


def relative(moved: Any, size: Any) -> jax.Array:
    """The length of a change relative to the vector that has changed, of this size; at most 1."""
    return ratio(moved, jnp.maximum(moved, size))
