"""The rule of forward mode: the sum of the contributions of all arguments, each by the hook that the table names."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.core
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._engine import absent, calling, closures, refused, remembered
from linops_jax._engine.batch import Batch, element
from linops_jax._engine.binding import Binding, of_variant
from linops_jax._engine.closures import Program
from linops_jax._engine.evaluation import evaluate_traced
from linops_jax._engine.groups import Groups, as_typed, placed
from linops_jax._engine.tangents import is_zero, vanishes, zero
from linops_jax._model import shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import MISSING
from linops_jax._model.rules import STATE, T


def jvp(
    hook: Hook,
    primals: Sequence[Any],
    tangents: Sequence[Any],
    *,
    binding: Binding,
    batch: Batch,
    out: tuple[Any, ...],
    **traced: Any,
) -> tuple[list[Any], list[Any]]:
    """The results and their tangents. Contributions that JAX differentiates itself are computed together."""
    groups, directions = Groups(binding, primals, batch, **traced), Groups(binding, tangents, batch)
    moving = {name: values for name, values in directions.values.items() if not all(map(is_zero, values))}
    moving.pop(STATE, None)  # the state is a function of x, and derivatives with respect to x include its change
    state: list[Any] = []
    if hook.rule.remembers and moving:
        results = remembered.linearized(groups, out)
    else:
        results = calling.primitive(hook).bind(*primals, binding=binding, batch=batch, out=out, **traced)
        if hook.rule.with_state:
            results, state = remembered.split(groups, binding.out_tree, results)
    by_jax = {name for name in moving if _is_up_to_jax(binding, name)}
    terms = [_contribution(groups, name, values, results) for name, values in moving.items() if name not in by_jax]
    if by_jax or not all(map(is_zero, directions.closed_over)):
        _refuse_closed_over(binding, directions)
        chosen = _tangents_of(directions, by_jax)
        terms.append(_jvp_by_jax(primals, chosen, binding=binding, batch=batch, out=out, **traced)[: len(results)])
    total = _total(results, [term for term in terms if term is not None])
    return [*results, *state], [*total, *map(zero, state)]


def _refuse_closed_over(binding: Binding, directions: Groups) -> None:
    """Raises NotImplementedError if an array that is closed over has a tangent and the hook uses a state.

    The state may depend on the array, and its derivative is not known.
    """
    rule = binding.hook.rule
    if (rule.with_state or binding.hook.takes_state) and not all(map(is_zero, directions.closed_over)):
        message = (
            f"{binding.label} closes over an array that is being differentiated, on which the state may depend. Declare the "
            f"array as a field of {binding.hook.cls._label}."
        )
        raise NotImplementedError(message)


def _is_up_to_jax(binding: Binding, name: str) -> bool:
    says = name in binding.hook.rule.transposed or _has_derivative(binding, name)
    return not says and absent.is_up_to_jax(binding, name)


def _has_derivative(binding: Binding, name: str) -> bool:
    derivative = binding.hook.rule.derivative
    return name in derivative and binding.convention.has(derivative[name][0])


def _total(results: Sequence[Any], terms: Sequence[Any]) -> list[Any]:
    if not terms:
        return list(map(zero, results))
    return [
        functools.reduce(jnp.add, parts) if shapes.is_inexact(jax.typeof(result).dtype) else zero(result)
        for result, parts in zip(results, zip(*terms, strict=True), strict=True)
    ]


# ---- by hooks -----------------------------------------------------------------------------------------------------


def _contribution(groups: Groups, name: str, tangents: list[Any], results: Sequence[Any]) -> list[Any] | None:
    """The tangents that one argument contributes; None if they are zero.

    Raises NotImplementedError if the derivative is not defined.
    """
    binding, hook = groups.binding, groups.binding.hook
    if name in hook.rule.transposed:
        arguments = tuple(T if argument == name else argument for argument in hook.rule.arguments)
        return _push(groups, hook, arguments, name, tangents, results)
    if _has_derivative(binding, name):
        derivative, arguments = hook.rule.derivative[name]
        cls: Any = hook.cls
        target = cls._hooks[derivative]
        if target.kind == MISSING and all(map(vanishes, tangents)):
            return None
        return _push(groups, target, arguments, name, tangents, results)
    if all(map(vanishes, tangents)):
        return None
    if name == "self" and all(vanishes(t) or isinstance(t, jax.core.Tracer) for t in tangents):
        nothing = refused.zero_or_error(hook.cls, hook.name, groups.trees[name], tangents, groups.masks[name])
        return [jnp.zeros_like(result) + nothing.astype(jax.typeof(result).dtype) for result in results]
    raise binding.convention.no_derivative(name, [not vanishes(t) for t in tangents])


def _push(
    groups: Groups, target: Hook, arguments: Sequence[str], name: str, tangents: Sequence[Any], results: Sequence[Any]
) -> list[Any]:
    """Evaluates a hook with the tangents of one argument; missing tangents are zero."""
    complete = [
        shapes.zeros(shapes.spec(primal)) if is_zero(t) else t
        for primal, t in zip(groups.values[name], tangents, strict=True)
    ]
    groups.add(T, groups.trees[name], complete, groups.masks[name])
    axes = len(groups.masks[name][0])
    specs = [element(jax.typeof(result), axes) for result in results]
    return groups.bind(target, arguments, groups.out_tree, specs)


# ---- by JAX -------------------------------------------------------------------------------------------------------


def _tangents_of(directions: Groups, names: set[str]) -> list[Any]:
    """The tangents of the arrays that are closed over and of the named arguments; None for the others."""
    return directions.closed_over + [
        t if name in names else None for name in directions.binding.hook.rule.arguments for t in directions.values[name]
    ]


def _jvp_by_jax(primals: Sequence[Any], tangents: Sequence[Any], **params: Any) -> list[Any]:
    """JAX's own derivative of a traced hook, for arguments without a hook for it. A tangent that is None is zero."""
    binding = params["binding"]
    if (not binding.hook.is_jax or binding.hook.takes_state) and binding.hook.by_others is not None:
        params["binding"] = of_variant(binding, binding.hook.by_others)
        params.pop("jaxprs", None)  # these belong to the hook itself
    positions = [i for i, t in enumerate(tangents) if t is not None and not is_zero(t)]
    moving = [tangents[i] for i in positions]
    varies = any(
        _compat.varying_axes(t) - _compat.varying_axes(primals[i]) for i, t in zip(positions, moving, strict=True)
    )
    if varies and params.get("related"):
        return _jvp_of_program(primals, positions, moving, **params)
    if varies or not params.get("jaxprs"):
        return _jvp_of_function(primals, positions, moving, **params)
    return _jvp_at(functools.partial(evaluate_traced, **params), primals, positions, moving)


def _jvp_of_function(
    primals: Sequence[Any],
    positions: Sequence[int],
    moving: Sequence[Any],
    *,
    binding: Binding,
    batch: Batch,
    out: tuple[Any, ...],
    **traced: Any,
) -> list[Any]:
    """The derivative of a hook that is traced again, with the types of these values.

    The arrays that it closes over are constants here.
    """
    first = binding.first(primals)
    moving = moving[sum(i < first for i in positions) :]
    positions = [i - first for i in positions if i >= first]
    varying = _compat.with_same_varying_axes([*primals[first:], *moving])  # evaluate_traced does the same
    primals, moving = varying[: len(primals) - first], varying[len(primals) - first :]
    evaluate = functools.partial(evaluate_traced, binding=binding, batch=batch.behind(first), out=out)
    return _jvp_at(evaluate, primals, positions, moving)


def _jvp_of_program(
    primals: Sequence[Any],
    positions: Sequence[int],
    moving: Sequence[Any],
    *,
    binding: Binding,
    batch: Batch,
    related: tuple[Program, ...],
    **params: Any,
) -> list[Any]:
    """The derivative for tangents that vary between devices where the values do not, by a program for such types."""
    first = binding.first(primals)
    wide = _compat.with_same_varying_axes([*primals[first:], *moving])
    program = closures.find(related, binding, wide[: len(primals) - first])
    closed = [_compat.varying_axes(t) - _compat.varying_axes(primals[i]) for i, t in zip(positions, moving, strict=True)
              if i < first]  # fmt: skip
    if program is None or any(closed):
        message = (
            f"{binding.label} closes over an array that is the same on all devices, but its tangent is not. Declare the array "
            "as a field of the class, or make it vary as well with jax.lax.pcast(array, axes, to='varying')."
        )
        raise NotImplementedError(message)
    operands = [*primals[:first], *as_typed(primals[first:], batch.behind(first), program)]
    moving = [
        t if i < first else placed(t, program.types[i - first], sum(batch[i]))
        for i, t in zip(positions, moving, strict=True)
    ]
    params |= {"jaxprs": program.jaxprs, "uses": program.uses}
    evaluate = functools.partial(evaluate_traced, binding=binding, batch=batch, **params)
    return _jvp_at(evaluate, operands, positions, moving)


def _jvp_at(
    function: Callable[..., list[Any]], primals: Sequence[Any], positions: Sequence[int], moving: Sequence[Any]
) -> list[Any]:
    """The derivative of a function with respect to the operands at some positions."""

    def of_moving(*values: Any) -> list[Any]:
        operands = list(primals)
        for position, value in zip(positions, values, strict=True):
            operands[position] = value
        return function(*operands)

    return jax.jvp(of_moving, tuple(primals[i] for i in positions), tuple(moving))[1]
