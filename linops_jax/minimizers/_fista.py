"""FISTA: accelerated proximal gradients, with restarts."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from linops_jax import _vectors
from linops_jax._vectors import Axes, add
from linops_jax.minimizers import _smooth
from linops_jax.minimizers._measures import Seen, gap, relative
from linops_jax.minimizers._problem import Problem, number


class State(NamedTuple):
    """An iterate x, the point y ahead of it, and the images A x + b of both."""

    x: Any
    y: Any
    x_images: list[Any]
    y_images: list[Any]
    t: Any
    step: Any


@dataclasses.dataclass(frozen=True)
class FISTA:
    """The algorithm of Beck and Teboulle (2009), restarted where it goes uphill (O'Donoghue and Candès, 2015).

    A step applies each A and its adjoint once: the images of y are sums of those of x. Where some A is nonlinear, the step
    shrinks until the objective's quadratic model is above it.
    """

    problem: Problem
    axes: Axes
    backtracks: bool

    def begin(self, x: Any, step: Any) -> State:
        at = _smooth.images(self.problem.smooth, x)
        return State(x, x, at, at, jnp.ones((), number(x)), step)

    def advance(self, state: State) -> tuple[State, Seen]:
        x, y, x_images, y_images, t, step = state
        terms, axes = self.problem.smooth, self.axes
        slope = _smooth.gradient(terms, y_images, y)
        height = _smooth.value(terms, y_images, x, axes)
        if self.backtracks:
            step = self._shorter(step, y, slope, height)
        new, simple = self._forward_backward(y, slope, step)
        images = _smooth.images(terms, new)
        smooth = _smooth.value(terms, images, x, axes)
        ahead, change = add(new, -1, x), add(y, -1, new)
        restart = _vectors.dot(change, ahead, axes) > 0
        t = jnp.where(restart, 1, t)
        later = (1 + jnp.sqrt(1 + 4 * t**2)) / 2
        momentum = jnp.where(restart, 0, (t - 1) / later)
        point = add(new, momentum, ahead)
        found = _smooth.between(terms, x_images, images, momentum, point)
        size, moved = sizes = _vectors.norm(new, axes), _vectors.norm(change, axes)
        bregman = smooth - height + _vectors.dot(slope, change, axes)
        bound = (
            gap(new, change, sizes, step, bregman, axes) if self.problem.is_convex else jnp.full_like(moved, jnp.inf)
        )
        seen = Seen(smooth + simple, bound, relative(moved, size), moved)
        return State(new, point, images, found, later, step), seen.as_number(x)

    def result(self, state: State) -> tuple[Any, list[Any]]:
        return state.x, []

    def _forward_backward(self, y: Any, slope: Any, step: Any) -> tuple[Any, Any]:
        """prox(y - step slope), and the value of the term with the prox."""
        target = add(y, -step, slope)
        if self.problem.simple is None:
            return target, jnp.zeros((), number(y))
        new, value = self.problem.simple.prox(target, step)
        return new, _smooth.total([value], y, self.axes)

    def _shorter(self, step: Any, y: Any, slope: Any, height: Any) -> Any:
        """The step, halved until |new - y|² / (2 step) bounds what the smooth terms exceed their linear model by."""
        terms, axes = self.problem.smooth, self.axes
        slack = 8 * jnp.finfo(height.dtype).eps * jnp.abs(height)

        def is_long(step: Any) -> Any:
            new, _ = self._forward_backward(y, slope, step)
            change = add(new, -1, y)
            value = _smooth.value(terms, _smooth.images(terms, new), y, axes)
            model = height + _vectors.dot(slope, change, axes) + _vectors.dot(change, change, axes) / (2 * step)
            return ~(value <= model + slack)

        floor = step * 2.0**-20  # where the values are no numbers
        return jax.lax.while_loop(lambda step: (step > floor) & is_long(step), lambda step: step / 2, step)
