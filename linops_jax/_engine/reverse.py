"""The rule of transposition: the hook that the table names as the adjoint is evaluated with the cotangents.

The library conjugates only here: Aᵀ y = conj(Aᴴ conj(y)). If the hooks are plain transposes, as in the functional
interface, their convention says so, and nothing is conjugated.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine import absent
from linops_jax._engine.batch import Batch, Mask, element
from linops_jax._engine.binding import Binding
from linops_jax._engine.evaluation import evaluate_traced
from linops_jax._engine.groups import Groups
from linops_jax._engine.tangents import aval, is_wanted, is_zero
from linops_jax._model import shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import REFUSED
from linops_jax._model.rules import CT


def transpose(
    hook: Hook,
    cotangents: Sequence[Any],
    *operands: Any,
    binding: Binding,
    batch: Batch,
    out: tuple[Any, ...],
    **traced: Any,
) -> list[Any]:
    """The cotangents of the operands that JAX marks as wanted; None for the others."""
    if all(map(is_zero, cotangents)):
        return [None] * len(operands)
    groups = Groups(binding, operands, batch, **traced)
    linear = [name for name, values in groups.values.items() if any(map(is_wanted, values))]
    if _is_up_to_jax(groups, linear):
        return _transpose_by_jax(cotangents, operands, binding=binding, batch=batch, out=out, **traced)
    _refuse(binding, linear, operands)
    sizes = batch.sizes(list(map(aval, operands)))
    groups.add(CT, binding.out_tree, _complete(binding, cotangents, out, sizes), [(True,) * len(sizes)] * len(out))
    return _in_its_place(groups, linear[0], _pull(groups, linear[0]))


def _is_up_to_jax(groups: Groups, linear: Sequence[str]) -> bool:
    """Whether JAX transposes a traced hook itself.

    It does if cotangents are wanted for arrays that are closed over, or for arguments for which there is no hook.
    """
    binding = groups.binding
    others = [name for name in linear if name not in binding.hook.rule.transposed]
    by_jax = binding.hook.is_jax and all(absent.is_up_to_jax(binding, name) for name in others)
    return bool(by_jax and (others or any(map(is_wanted, groups.closed_over))))


# ---- by hooks -----------------------------------------------------------------------------------------------------


def _refuse(binding: Binding, linear: Sequence[str], operands: Sequence[Any]) -> None:
    """Raises NotImplementedError unless ``linear`` is a single argument, in which the hook is linear and has an adjoint."""
    hook = binding.hook
    if len(linear) != 1 or linear[0] not in hook.rule.transposed:
        raise binding.convention.not_linear(linear)
    if hook.kind == REFUSED:
        raise absent.not_transposed(binding, list(map(is_wanted, operands)))
    target, _ = hook.rule.transposed[linear[0]]
    if not binding.convention.has(target):
        raise binding.convention.missing(target, "reverse-mode differentiation needs it")


def _complete(
    binding: Binding, cotangents: Sequence[Any], out: tuple[Any, ...], sizes: tuple[Any, ...]
) -> list[jax.Array]:
    """The arguments of the adjoint: the conjugates of the cotangents, and zeros for those that are symbolic zeros."""
    conj = binding.convention.conj
    return [
        jnp.zeros((*sizes, *shape), dtype) if is_zero(ct) else conj(ct)
        for ct, (shape, dtype) in zip(cotangents, out, strict=True)
    ]


def _pull(groups: Groups, name: str) -> list[Any]:
    """The cotangents of all arrays in one argument; None for arrays of integers."""
    binding, cls = groups.binding, groups.binding.hook.cls
    conj, masks = binding.convention.conj, groups.masks[name]
    target, arguments = binding.hook.rule.transposed[name]
    avals = list(map(aval, groups.values[name]))
    wanted = [element(moved, sum(mask)) for moved, mask in zip(avals, masks, strict=True)]
    results = groups.bind(cls._hooks[target], arguments, groups.trees[name], wanted)  # type: ignore[attr-defined]
    return [
        _placed_like(moved, conj(_sum_missing_axes(result, mask))) if shapes.is_inexact(result.dtype) else None
        for result, mask, moved in zip(results, masks, avals, strict=True)
    ]


def _in_its_place(groups: Groups, name: str, found: Sequence[Any]) -> list[Any]:
    """For each operand, its cotangent among those of one argument, or None."""
    answer: list[Any] = [None] * len(groups.closed_over)
    for argument in groups.binding.hook.rule.arguments:
        values = groups.values[argument]
        cotangents = found if argument == name else [None] * len(values)
        answer += [ct if is_wanted(x) else None for x, ct in zip(values, cotangents, strict=True)]
    return answer


def _sum_missing_axes(result: Any, mask: Mask) -> Any:
    """The cotangent, summed over the batch axes that the operand lacks: all elements of the batch used the same operand."""
    axes = tuple(axis for axis, has in enumerate(mask) if not has)
    return jnp.sum(result, axis=axes) if axes else result


def _placed_like(aval: Any, cotangent: Any) -> Any:
    """The cotangent, moved to the place of its operand on the mesh.

    In ``shard_map``, all devices on which the operand is the same used it, so their cotangents are summed.
    """
    axes = _compat.varying_axes(cotangent) - _compat.varying_axes(aval)
    if axes:
        cotangent = jax.lax.psum(cotangent, tuple(sorted(axes)))
    cotangent = _compat.vary(cotangent, _compat.varying_axes(aval))
    sharding = aval.sharding
    if sharding.mesh.empty or jax.typeof(cotangent).sharding == sharding:
        return cotangent
    return jax.sharding.reshard(cotangent, sharding)


# ---- by JAX -------------------------------------------------------------------------------------------------------


def _transpose_by_jax(cotangents: Sequence[Any], operands: Sequence[Any], **params: Any) -> list[Any]:
    """JAX's own transpose of a traced hook with respect to fields, or arrays that it closes over.

    JAX asks for it if a custom rule of a user gives these arrays a tangent.
    """
    positions = [i for i, x in enumerate(operands) if is_wanted(x)]

    def linear(*values: Any) -> list[Any]:
        complete = list(operands)
        for position, value in zip(positions, values, strict=True):
            complete[position] = value
        return evaluate_traced(*complete, **params)

    at = [shapes.zeros(shapes.spec(aval(operands[i]))) for i in positions]
    results = jax.make_jaxpr(linear)(*at).out_avals
    cts = [
        shapes.zeros(shapes.spec(result)) if is_zero(ct) else _compat.placed(ct, result)
        for ct, result in zip(cotangents, results, strict=True)
    ]
    answer: list[Any] = [None] * len(operands)
    for position, ct in zip(positions, jax.linear_transpose(linear, *at)(cts), strict=True):
        answer[position] = ct
    return answer
