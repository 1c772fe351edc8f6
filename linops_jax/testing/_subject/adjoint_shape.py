"""What ``infer_adjoint_shape`` answers to the specs of a result, beside the specs of the input."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from linops_jax._engine import errors
from linops_jax._model import shapes
from linops_jax.testing import _probes


def wrong_adjoint_shape(op: Any, x: Any, out: Any) -> str | None:
    """What is wrong with the answer of ``infer_adjoint_shape`` to the specs of A x; None where nothing is."""
    where = f"{type(op)._label}.infer_adjoint_shape({shapes.describe_tree(out)})"
    try:
        answer = shapes.specs(op).infer_adjoint_shape(shapes.specs(out))
    except Exception as error:
        errors.annotate(error, f"{type(op)._label}.infer_adjoint_shape")
        raise
    if answer is None:
        return f"{where} returned None, expected {shapes.describe_tree(x)}: is a return missing?"
    answer = shapes.promised(answer, f"{type(op)._label}.infer_adjoint_shape")
    if difference := shapes.shape_difference(answer, x):
        return f"{where}: {difference}"
    for (path, a), leaf in zip(
        jax.tree_util.tree_leaves_with_path(answer), jax.tree.leaves(shapes.specs(x)), strict=True
    ):
        coarse = _probes.is_inexact(leaf) and _probes.eps(a) > _probes.eps(leaf, out)
        if coarse or not shapes.castable(np.dtype(leaf.dtype), np.dtype(a.dtype)):
            at = f" at {jax.tree_util.keystr(path)}" if path else ""
            return f"{where}: found {shapes.describe(a)}{at}, which cannot hold x, {shapes.describe(leaf)}"
    return None
