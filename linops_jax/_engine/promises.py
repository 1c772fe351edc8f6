"""Checks that a program calls a hook with the types that ``infer_shape`` promises.

Programs that are traced in this process have been checked then. A program from another process is not trusted: each
executable is checked when it runs for the first time, before the hook gets any memory.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from linops_jax import _compat
from linops_jax._engine.batch import Batch
from linops_jax._model import shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import REFUSED
from linops_jax._model.rules import STATE

Arrays = tuple[tuple[np.dtype, tuple[int, ...]], ...]  # dtype and shape of each


class Promises:
    """The types of the operands and results with which one binding may be evaluated."""

    __slots__ = ("_hook", "_known", "_out_tree", "_trees")

    def __init__(self, hook: Hook, trees: tuple[Any, ...], out_tree: Any):
        self._hook, self._trees, self._out_tree = hook, trees, out_tree
        self._known: set[tuple[Arrays, Arrays]] = set()

    def keep(self, avals_in: Sequence[Any], avals_out: Sequence[Any], batch: Batch) -> None:
        """Records the types of a call in a program that is lowered in this process."""
        operands, results = (tuple((aval.dtype, aval.shape) for aval in avals) for avals in (avals_in, avals_out))
        self._known.add(of_one(batch, operands, results))

    def check(self, batch: Batch, operands: Arrays, results: Arrays) -> None:
        """Raises ValueError, or what ``infer_shape`` raises, for a call with types that ``infer_shape`` does not allow."""
        inputs, outputs = of_one(batch, operands, results)
        if self._hook.kind == REFUSED or (inputs, outputs) in self._known:
            return
        # The program may have been made with or without 64 bits, so both are tried.
        narrow = jax.config.jax_enable_x64 is False  # type: ignore[attr-defined]
        try:
            self._check(inputs, outputs, wide=not narrow)
        except Exception:
            self._check(inputs, outputs, wide=narrow)
        self._known.add((inputs, outputs))

    def _check(self, inputs: Arrays, outputs: Arrays, *, wide: bool) -> None:
        with jax.enable_x64(wide):
            specs = [jax.ShapeDtypeStruct(shape, dtype) for dtype, shape in (*inputs, *outputs)]
            trees = jax.tree_util.treedef_tuple((*self._trees, self._out_tree))
            *arguments, result = jax.tree.unflatten(trees, specs)
            before = _compat.swap_no_execution(True)  # JAX could deadlock here: the program waits for this check
            try:
                self._compare(dict(zip(self._hook.rule.arguments, arguments, strict=True)), result)
            finally:
                _compat.swap_no_execution(before)

    def _compare(self, given: dict[str, Any], result: Any) -> None:
        found = {**given, "result": result}
        for name, wanted in given["self"]._promised(self._hook.rule, given, result).items():
            if not shapes.same(found[name], wanted):
                message = (
                    f"this program calls it with {name}: {shapes.describe_tree(found[name]):.200}, where "
                    f"{self._promiser(name)} promises {shapes.describe_tree(wanted):.200}. Export the program again."
                )
                raise ValueError(message)

    def _promiser(self, name: str) -> str:
        """The hook that says the types of an argument, or of the result."""
        if name == "result" and self._hook.rule.with_state:
            return "infer_shape, or infer_state_shape,"
        return "infer_state_shape" if name == STATE else "infer_shape"


def of_one(batch: Batch, operands: Arrays, results: Arrays) -> tuple[Arrays, Arrays]:
    """The types of the operands and results of one element of a batch."""
    inputs = tuple((dtype, shape[axes:]) for (dtype, shape), axes in zip(operands, batch.own, strict=True))
    return inputs, tuple((dtype, shape[batch.axes :]) for dtype, shape in results)
