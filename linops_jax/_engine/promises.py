"""Whether a program calls a hook with what ``infer_shape`` promises.

A program that was made in this process has asked already, while it was traced. One from elsewhere is data: it is asked
once, when an executable first runs, and refused before the hook sees any memory.
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

Arrays = tuple[tuple[np.dtype, tuple[int, ...]], ...]  # dtype and shape of each


class Promises:
    """What one hook, with everything static about its calls, has been promised to get and to give for one evaluation."""

    __slots__ = ("_hook", "_known", "_out_tree", "_trees")

    def __init__(self, hook: Hook, trees: tuple[Any, ...], out_tree: Any):
        self._hook, self._trees, self._out_tree = hook, trees, out_tree
        self._known: set[tuple[Arrays, Arrays]] = set()

    def keep(self, avals_in: Sequence[Any], avals_out: Sequence[Any], batch: Batch) -> None:
        """From a program that is lowered here."""
        operands, results = (tuple((aval.dtype, aval.shape) for aval in avals) for avals in (avals_in, avals_out))
        self._known.add(_of_one(batch, operands, results))

    def check(self, batch: Batch, operands: Arrays, results: Arrays) -> None:
        """Raises ValueError, or what ``infer_shape`` raises, for a call that it would not have promised."""
        inputs, outputs = _of_one(batch, operands, results)
        if self._hook.kind == REFUSED or (inputs, outputs) in self._known:
            return
        narrow = jax.config.jax_enable_x64 is False  # type: ignore[attr-defined]  # the program may be from either
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
            before = _compat.swap_no_execution(True)  # it would wait for the program that waits for it
            try:
                self._compare(dict(zip(self._hook.rule.arguments, arguments, strict=True)), result)
            finally:
                _compat.swap_no_execution(before)

    def _compare(self, given: dict[str, Any], result: Any) -> None:
        found = {**given, "result": result}
        for name, wanted in given["self"]._promised(self._hook.rule, given, result).items():
            if not shapes.same(found[name], wanted):
                message = (
                    f"this program calls it with {name}: {shapes.describe_tree(found[name]):.200}, where infer_shape promises "
                    f"{shapes.describe_tree(wanted):.200}. Export the program again."
                )
                raise ValueError(message)


def _of_one(batch: Batch, operands: Arrays, results: Arrays) -> tuple[Arrays, Arrays]:
    """One evaluation of a batch."""
    inputs = tuple((dtype, shape[axes:]) for (dtype, shape), axes in zip(operands, batch.own, strict=True))
    return inputs, tuple((dtype, shape[batch.axes :]) for dtype, shape in results)
