"""Derivatives with respect to fields that are not defined: zero, but an error if a tangent is not zero.

The values of tangents may be unknown while JAX traces, so the compiled program checks them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._engine import calling
from linops_jax._engine.batch import Batch, Mask
from linops_jax._engine.binding import Binding, bind_hook
from linops_jax._engine.groups import Groups
from linops_jax._engine.tangents import vanishes
from linops_jax._model import rules
from linops_jax._model.hooks import Hook


def zero_or_error(cls: Any, name: str, tree: Any, tangents: Sequence[Any], masks: Sequence[Mask]) -> Any:
    """The number zero, from a host hook that raises an error if one of the tangents of the fields is not zero."""
    moves = [not vanishes(t) for t in tangents]
    dself = jax.tree.unflatten(tree, [t if m else None for t, m in zip(tangents, moves, strict=True)])
    values, tree = jax.tree.flatten(dself)
    kept = Batch(mask for mask, m in zip(masks, moves, strict=True) if m)
    axes = [axis for axis in range(kept.axes) if any(kept.has(axis))]
    kept = Batch(tuple(mask[axis] for axis in axes) for mask in kept)
    hook = cls._hooks[rules.refusal_of(name)]
    spec = jax.ShapeDtypeStruct((), np.float32)
    binding = bind_hook(hook, (tree,), jax.tree.structure(0), [spec])
    (zero,) = calling.bind(binding, values, kept, [spec])
    return jnp.sum(zero)


def zeros_or_error(
    hook: Hook, *operands: Any, binding: Binding, batch: Batch, out: tuple[Any, ...], **traced: Any
) -> list[Any]:
    """The results of a derivative with respect to the fields for which only the transpose is defined: zero or an error."""
    groups = Groups(binding, operands, batch)
    sizes = batch.sizes([jax.typeof(x) for x in operands])
    cls: Any = hook.cls
    origin = next(other.name for other in cls._hooks.values() if hook.name in other.rule.derivatives)
    zero = zero_or_error(cls, origin, groups.trees["dself"], groups.values["dself"], groups.masks["dself"])
    return [jnp.full((*sizes, *shape), zero.astype(dtype)) for shape, dtype in out]
