"""What the operators in a product have been applied to.

An adjoint without ``infer_adjoint_shape`` finds the shape of its result here, as ``A.H`` does in ``A.H @ A``. The record
has only what the input itself has passed through, not what is beside it in a stack or a sum.
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

Step = tuple[Any, Any, Any]  # an operator, specs of its input, specs of its result


class _Way(threading.local):
    """The record of one thread."""

    passed: tuple[Step, ...] = ()  # the steps that an adjoint may use
    steps: list[Step] | None = None  # those since the last factor; None outside of a product
    reach: float = math.inf  # index of the earliest step that was used; -1 if none was found


_way = _Way()


@contextlib.contextmanager
def product() -> Iterator[Callable[[], None]]:
    """A context in which a product is evaluated. It gives a function to call after each factor."""
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
    """A function that makes a context with the present record; adjoints of factors are evaluated in the other order."""
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
    """A context without a product: JAX keeps what is traced in it for use in any product."""
    passed, steps, _way.passed, _way.steps = _way.passed, _way.steps, (), None
    try:
        yield
    finally:
        _way.passed, _way.steps = passed, steps


def is_open() -> bool:
    """Whether a product is being evaluated, so that a later factor may need what is recorded."""
    return _way.steps is not None


def record(op: Any, x: Any, y: Any) -> None:
    """Adds one step to the record: an operator, specs of its input, specs of its result."""
    if _way.steps is not None:
        _way.steps.append((op, x, y))


def domain_of(op: Any, y: Any) -> Any:
    """Specs of the input for which an equal operator gave ``y`` in this product; None if there is none.

    If it gave these shapes in other dtypes, its input is promoted in the same way, as for a real operator in a complex
    product.
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
    """Specs x with dtypes promoted by those of y."""
    dtypes = [leaf.dtype for leaf in jax.tree.leaves(y)]
    return jax.tree.map(lambda leaf: shapes.with_dtype(leaf, jnp.result_type(leaf.dtype, *dtypes)), x)


def _leads_to(op: Any, x: Any, y: Any) -> bool:
    """Whether the operator maps specs x to specs y."""
    with outside():
        return shapes.same(op._derive_shape(x), y)


class Watched:
    """The steps that one evaluation records, and whether it is independent of the earlier ones."""

    independent = False
    steps: tuple[Step, ...] = ()


@contextlib.contextmanager
def watched() -> Iterator[Watched]:
    """A context that finds out what an evaluation records, and whether it depends on what was recorded before."""
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
    """The steps, each once: of equal ones the last, which an adjoint finds first."""
    kept: dict[Any, Step] = {}
    for op, x, y in reversed(steps):
        leaves, tree = jax.tree.flatten((x, y))
        kept.setdefault((id(op), tree, tuple(leaves)), (op, x, y))
    return tuple(kept.values())[::-1]


def record_all(steps: tuple[Step, ...]) -> None:
    """Adds the steps of an earlier evaluation that is not repeated."""
    if _way.steps is not None:
        _way.steps += steps


def _signature(op: Any) -> Any:
    """Everything on which the shapes of an operator's results depend."""
    leaves, tree = jax.tree.flatten(shapes.specs(op))
    return tree, tuple((leaf.shape, leaf.dtype) for leaf in leaves)
