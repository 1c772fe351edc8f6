"""What ``abstract`` says of the results of a function, and whether that fits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from linops_jax._engine import errors
from linops_jax._engine.names import Named
from linops_jax._model import shapes
from linops_jax._model.rules import STATE
from linops_jax.functional._given import Given


class MisfitError(ValueError):
    """Raised where ``abstract`` says what does not fit."""


def promise(given: Given, name: str, specs: Sequence[Any], batch_axes: Any = None) -> list[tuple[Any, Any]]:
    """What is said of a function's results: specs, and the axis of the last vmap.

    Those of ``linearize`` are the results of f and then the state, of which its own abstract says.
    """
    before = promise(given, "apply", specs, batch_axes) if given._rules[name].with_state else []
    return before + _answer(given, name, specs, batch_axes)


def promised_state(given: Given, specs: Sequence[Any]) -> list[Any]:
    """Specs of the state for arguments with these specs."""
    return [spec for spec, _ in _answer(given, "linearize", specs, None)]


def _answer(given: Given, name: str, specs: Sequence[Any], batch_axes: Any) -> list[tuple[Any, Any]]:
    """What one abstract says."""
    abstract = given.abstract(name)
    if abstract is None:
        message = f"Nothing says what {given.label(name)} returns: its abstract is None. Pass a function."
        raise MisfitError(message)
    where = Named(abstract).label
    keywords = dict(given.keywords) | ({"batch_axes": batch_axes} if given.can_batch else {})
    try:
        answer = abstract(*specs, **keywords)
    except Exception as error:
        errors.annotate(error, where)
        raise
    try:
        entries = [(tuple(shape), np.dtype(dtype), axis) for shape, dtype, *axis in answer]
    except (TypeError, ValueError):
        message = (
            f"{where} returned {answer!r:.80}; expected ((shape, dtype), ...) with one entry for each array. "
            "For a single array, mind the comma: ((shape, dtype),)."
        )
        raise TypeError(message) from None
    return [(shapes.spec(jax.ShapeDtypeStruct(shape, dtype)), axis) for shape, dtype, axis in entries]


def promised(given: Given, rule: Any, arguments: dict[str, Any], result: Any) -> dict[str, Any]:
    """Specs of a function's arguments and of its results, for a program that calls it with those given."""
    points = [name for name in given._rules["apply"].arguments if name.startswith("x")]
    at = {name: arguments.get(name, result) for name in points}  # of one that is not given, the result is the cotangent
    specs = given.in_place(jax.tree.leaves(arguments["fixed"]), jax.tree.leaves(list(at.values())))
    results = [spec for spec, _ in promise(given, "linearize" if rule.with_state else "apply", specs)]
    found = {**arguments, "result": result}
    of_results = {"result", "dy"} - ({"result"} if rule.reverses else set())
    expected = {name: _in_structure_of(tree, results) for name, tree in found.items() if name in of_results}
    if STATE in arguments:
        expected[STATE] = _in_structure_of(arguments[STATE], promised_state(given, specs))
    alike = {name for name in found if name.startswith("d") or name == "result"} - of_results
    return expected | {name: at["x"] for name in alike if "x" in arguments}


def compare(given: Given, name: str, found: Sequence[Any], wanted: Sequence[Any], when: str = "") -> None:
    if [(s.shape, s.dtype) for s in found] == [(s.shape, s.dtype) for s in wanted]:
        return
    who = given.promised_by(name)
    message = (
        f"{' and '.join(who)} {'say' if len(who) > 1 else 'says'} that {given.label(name)} returns "
        f"{shapes.describe_tree(list(found))}{when}; expected {shapes.describe_tree(list(wanted))}. Fix whichever is wrong."
    )
    raise MisfitError(message)


def _in_structure_of(tree: Any, leaves: list[Any]) -> Any:
    structure = jax.tree.structure(tree)
    return jax.tree.unflatten(structure, leaves) if structure.num_leaves == len(leaves) else leaves
