"""Calls of foreign code under plain ``jit`` in which each device computes its own part of a sharded batch.

XLA can split a call between devices if its target is registered as batch-partitionable. XLA then assumes that the leading
axes of every operand are the same batch axes. An operand without these axes, such as an array field, is passed as one copy
for each device, and each device uses the first of the copies that it gets.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax.interpreters import mlir

from linops_jax import _compat
from linops_jax._engine.batch import Batch


class SharedBatch(NamedTuple):
    """A call whose batch XLA can split between devices.

    Parameters
    ----------
    context : lowering context
        The context of the new call.
    operands : sequence
        Its operands, some of which are copies.
    text : str
        The batch axes of the operands, for the extension.
    attributes : dict
        The attributes for XLA.
    """

    context: Any
    operands: Sequence[Any]
    text: str
    attributes: dict[str, Any]


def share_out(context: Any, operands: Sequence[Any], batch: Batch) -> SharedBatch | None:
    """The call in the form in which XLA can split its batch between devices, or None.

    XLA can do this if each operand has all batch axes or none, if at least one has other axes too, and if all sizes are
    known. It is not done if the copies would need more memory than the batch, because for a batch that is not sharded all
    copies would be made. It is not done for export either, because Shardy's attributes are not a stable format.
    """
    axes = batch.axes
    avals = (*context.avals_in, *context.avals_out)
    whole = [all(mask) for mask in batch]
    regular = all(has or not any(mask) for has, mask in zip(whole, batch, strict=True))
    further = any(has and aval.ndim > axes for has, aval in zip(whole, context.avals_in, strict=True))
    known = all(isinstance(size, int) and size > 0 for aval in avals for size in aval.shape)
    if not (axes and regular and further and known) or _compat.is_lowering_for_export(context):
        return None
    if not all(whole):
        sizes = (_compat.number_of_devices(context),) * axes
        if math.prod(sizes) == 1 or math.prod(sizes) * _bytes(avals, whole, False) > _bytes(avals, whole, True):
            return None
        copied = [x if has else _copies(context, x, aval, sizes)
                  for x, aval, has in zip(operands, context.avals_in, whole, strict=True)]  # fmt: skip
        avals_in = [aval if has else aval.update(shape=(*sizes, *aval.shape))
                    for aval, has in zip(context.avals_in, whole, strict=True)]  # fmt: skip
        context, operands = context.replace(avals_in=avals_in), copied
    text = batch.text(copied=[not has for has in whole])
    return SharedBatch(context, operands, text, _attributes(context, axes, whole))


def _bytes(avals: Sequence[Any], whole: Sequence[bool], wanted: bool) -> int:
    """The bytes of all arrays that have the batch axes (``wanted``), or of all that do not. Results have them."""
    chosen = [*whole, *[True] * (len(avals) - len(whole))]
    return sum(aval.size * aval.dtype.itemsize for aval, has in zip(avals, chosen, strict=True) if has is wanted)


def _copies(context: Any, operand: Any, aval: Any, sizes: tuple[int, ...]) -> Any:
    shape = (*sizes, *aval.shape)
    context = context.replace(primitive=None, avals_in=[aval], avals_out=[aval.update(shape=shape)])
    (result,) = mlir.lower_fun(lambda x: jnp.broadcast_to(x, shape), multiple_results=False)(context, operand)
    return result


def _attributes(context: Any, axes: int, whole: Sequence[bool]) -> dict[str, Any]:
    names = _factor_names()
    shared = list(itertools.islice(names, axes))
    batch = next(aval for aval, has in zip(context.avals_in, whole, strict=True) if has)
    sizes = dict(zip(shared, batch.shape, strict=False))

    def factors(aval: Any) -> str:
        own = list(itertools.islice(names, aval.ndim - axes))
        sizes.update(zip(own, aval.shape[axes:], strict=True))
        return f"[{', '.join(shared + own)}]"

    inputs, outputs = ", ".join(map(factors, context.avals_in)), ", ".join(map(factors, context.avals_out))
    replicated = ", ".join(name for name in sizes if name not in shared)
    need_replication = f" need_replication={{{replicated}}}" if replicated else ""
    rule = (
        f"#sdy.op_sharding_rule<({inputs})->({outputs}) {{{', '.join(f'{name}={size}' for name, size in sizes.items())}}}"
        f"{need_replication}, custom>"
    )
    return {
        "mhlo.frontend_attributes": mlir.ir_attribute({"num_batch_dims": str(axes)}),
        "sdy.sharding_rule": mlir.ir.Attribute.parse(rule, context=context.module_context.context),
    }


def _factor_names() -> Iterator[str]:
    """The names of dimensions in Shardy's sharding rules, in its order."""
    yield from "ijklmnopqrstuvwxyz"
    for number in itertools.count(1):
        yield f"z_{number}"
