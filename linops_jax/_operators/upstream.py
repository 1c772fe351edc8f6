"""What operators were applied to before, on the way through a product: from this an adjoint without
``infer_adjoint_shape`` knows the shape of its result, as ``A.H`` does in ``A.H @ A``.

Only what the input itself has passed is seen, never what stands beside it in a stack or a sum.
"""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes

Step = tuple[Any, Any, Any]  # an operator with hooks of its own, specs of its input, specs of its result


class _Way(threading.local):
    passed: tuple[Step, ...] = ()  # what an adjoint may look at
    steps: list[Step] | None = None  # since the last factor; None outside of products
    reach: float = math.inf  # the earliest step that an answer depended on; below all where nobody knew


_way = _Way()


@contextlib.contextmanager
def product() -> Iterator[Callable[[], None]]:
    """A product is evaluated from here on; it calls what it is given after each factor."""
    passed, steps = _way.passed, _way.steps
    inside: list[Step] = []
    _way.steps = []

    def after_factor() -> None:
        inside.extend(_way.steps or ())
        _way.passed, _way.steps = (*_way.passed, *(_way.steps or ())), []

    try:
        yield after_factor
    finally:
        _way.passed, _way.steps = passed, steps
        if steps is not None:
            steps += inside


def here() -> Callable[[], contextlib.AbstractContextManager[None]]:
    """What has been passed up to here, to return to: adjoints of factors are evaluated in the other order."""
    passed = _way.passed

    @contextlib.contextmanager
    def back() -> Iterator[None]:
        before, _way.passed = _way.passed, passed
        try:
            yield
        finally:
            _way.passed = before

    return back


@contextlib.contextmanager
def outside() -> Iterator[None]:
    """No product is around: JAX keeps what is traced here for any other one."""
    passed, steps, _way.passed, _way.steps = _way.passed, _way.steps, (), None
    try:
        yield
    finally:
        _way.passed, _way.steps = passed, steps


def is_open() -> bool:
    """Whether a product is being evaluated: then somebody may ask later what is evaluated now."""
    return _way.steps is not None


def record(op: Any, x: Any, y: Any) -> None:
    if _way.steps is not None:
        _way.steps.append((op, x, y))


def domain_of(op: Any, y: Any) -> Any:
    """Specs of what an equal operator was applied to when it gave ``y`` on this way; None where it did not.

    Where it gave the same shapes in another dtype, its input is promoted likewise: a real operator in a complex product.
    """
    y = shapes.specs(y)
    wanted = None
    inputs = []
    for i in reversed(range(len(_way.passed))):
        other, x, result = _way.passed[i]
        if type(other) is type(op) and shapes.shape_difference(result, y) is None:
            wanted = _signature(op) if wanted is None else wanted
            if _signature(other) == wanted:
                if shapes.same(result, y):
                    _way.reach = min(_way.reach, i)
                    return x
                inputs.append(x)
    _way.reach = -1
    return next((wide for x in inputs if _leads_to(op, wide := _promoted(x, y), y)), None)


def _promoted(x: Any, y: Any) -> Any:
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(y)]
    return jax.tree.map(lambda leaf: shapes.with_dtype(leaf, jnp.result_type(leaf.dtype, *dtypes)), x)


def _leads_to(op: Any, x: Any, y: Any) -> bool:
    with outside():
        return shapes.same(op._derive_shape(x), y)


class Watched:
    """What one evaluation adds to the way, and whether it depends on what came before."""

    independent = False
    steps: tuple[Step, ...] = ()


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    found = Watched()
    reach, _way.reach = _way.reach, math.inf
    start, before = len(_way.steps or ()), len(_way.passed)
    try:
        yield found
        found.independent = _way.reach >= before
        found.steps = _without_repetitions((_way.steps or [])[start:])
    finally:
        _way.reach = reach if found.independent else min(reach, _way.reach)


def _without_repetitions(steps: list[Step]) -> tuple[Step, ...]:
    """The last ones of equal steps: those that an adjoint looks at first."""
    kept: dict[Any, Step] = {}
    for op, x, y in reversed(steps):
        leaves, tree = jax.tree.flatten((x, y))
        kept.setdefault((id(op), tree, tuple(leaves)), (op, x, y))
    return tuple(kept.values())[::-1]


def record_all(steps: tuple[Step, ...]) -> None:
    """The steps of an evaluation that need not be done again."""
    if _way.steps is not None:
        _way.steps += steps


def _signature(op: Any) -> Any:
    """All that the shapes of an operator depend on."""
    leaves, tree = jax.tree.flatten(shapes.specs(op))
    return tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
