"""Evaluating a bound call: it is specialized once for equal keywords, shapes and dtypes."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax

from linops_jax._engine import binding as bindings
from linops_jax._engine import calling
from linops_jax._model import shapes
from linops_jax._model.fields import Statics
from linops_jax.functional._promises import promise


@dataclasses.dataclass(frozen=True)
class Specialization:
    """What calls with equal keywords, shapes and dtypes have in common."""

    binding: Any
    order: tuple[int, ...] | None  # of the operands among the arguments: the fixed ones come first
    out: tuple[Any, ...]


def specialize(op: Any, keywords: Statics, specs: tuple[Any, ...], x64: bool) -> Specialization:
    """What calls with these keywords, shapes and dtypes have in common."""
    op = op.with_keywords(keywords) if keywords.values else op
    hook = type(op)._hooks["apply"]
    free = [i for i in range(len(specs)) if i not in op.fixed]
    groups = [tuple(op.fixed), *([tuple(free)] if "x" in hook.rule.arguments else free)]
    _check_number(op, len(specs), len(hook.rule.arguments) == len(groups) + 1)
    out = [spec for spec, _ in promise(op, "apply", [jax.ShapeDtypeStruct(*spec) for spec in specs])]
    trees = tuple(jax.tree.structure(group) for group in (op, *groups))
    binding = bindings.bind(hook, trees, jax.tree.structure(out), (False,) * len(out))
    order = (*op.fixed, *free)
    return Specialization(binding, None if order == tuple(range(len(order))) else order, calling.as_out(out))


def _check_number(op: Any, found: int, fits: bool) -> None:
    least = max((len(op.fixed), *op.fixed)) + 1
    if fits and found >= least:
        return
    exact = None if "x" in op._rules["apply"].arguments else len(op._rules) - 1 + len(op.fixed)
    expected = f"at least {least}" if exact is None else f"{exact}"
    message = f"{op.name}: {found} arguments were given; expected {expected}, of which {len(op.fixed)} are fixed."
    raise TypeError(message)


def evaluate(name: str, specialize: Callable[..., Specialization], keywords: Statics, *args: Any) -> list[jax.Array]:
    values = [x if isinstance(x, jax.Array) else as_array(name, i, x) for i, x in enumerate(args)]
    specs = tuple((value.shape, value.dtype) for value in values)
    found = specialize(keywords, specs, jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    operands = values if found.order is None else [values[i] for i in found.order]
    return calling.evaluate(found.binding, operands, found.out)


def as_array(name: str, position: int, value: Any) -> Any:
    """An argument as an array. Raises TypeError for a container."""
    if isinstance(value, jax.Array):
        return value
    if not jax.tree_util.all_leaves([value]):
        message = (
            f"{name}: argument {position} is {type(value).__name__} {value!r:.80}, expected an array. Pass the arrays of a "
            "container as arguments of their own."
        )
        raise TypeError(message)
    return shapes.as_arrays(value, f"{name}: argument {position}")
