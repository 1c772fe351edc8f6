"""Hooks that a class does not define: functions that replace them, and the errors that name them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from linops_jax._engine.binding import Binding
from linops_jax._model import lookup, rules
from linops_jax._model.kinds import MISSING


def _can_evaluate(cls: Any, name: str) -> bool:
    return name in cls._hooks and cls._hooks[name].kind != MISSING


def is_up_to_jax(binding: Binding, argument: str) -> bool:
    """Whether JAX differentiates the hook itself: it is traced, and the class defines no derivative for the argument."""
    hook = binding.hook
    if hook.is_jax and not hook.is_differentiable:
        return False
    if not hook.is_jax or argument not in hook.rule.derivative:
        return hook.is_jax or (argument == "self" and hook.by_others is not None)
    cls: Any = hook.cls
    name, _ = hook.rule.derivative[argument]
    return lookup.find(cls, name, MISSING) is not None and not rules.other_modes(name) & set(cls._hooks)


def missing(cls: Any, name: str, why: str) -> NotImplementedError:
    """The error for a hook that is needed but not defined."""
    where = cls._label
    for modes, words in rules.UNKNOWN.items():
        if name in modes and not any(_can_evaluate(cls, mode) for mode in modes):
            return NotImplementedError(words.format(where))
    others = [other for other in rules.other_modes(name) if _can_evaluate(cls, other) and not cls._hooks[other].is_jax]
    also = f" JAX transposes traced hooks only, and {where}.{others[0]} is not traced." if others else ""
    message = f"{where} has no {name}: {why}.{also} Define {where}.{name}."
    return NotImplementedError(message)


def no_derivative(binding: Binding, argument: str, moves: Sequence[bool]) -> NotImplementedError:
    """The error for a derivative with respect to an argument. ``moves`` says which of its arrays have a tangent."""
    hook = binding.hook
    cls: Any = hook.cls
    if argument == "self":
        return _no_field_derivative(cls, hook.name, _paths(jax.tree.unflatten(binding.trees[0], moves)))
    if argument in hook.rule.derivative:
        return missing(cls, hook.rule.derivative[argument][0], "it is the derivative that is needed")
    message = f"Derivatives of {hook.label} with respect to {argument} have no hook. Write {cls._label} with lo.traced."
    return NotImplementedError(message)


def _paths(op: Any) -> list[str]:
    """The paths of the array fields that have a nonzero entry."""
    return [jax.tree_util.keystr(path) for path, leaf in jax.tree_util.tree_leaves_with_path(op) if np.any(leaf)]


def _no_field_derivative(cls: Any, name: str, paths: Sequence[str]) -> NotImplementedError:
    where, hook = cls._label, cls._hooks[name]
    fields = ", ".join(where + path for path in paths)
    if "self" in hook.rule.derivative:
        what = f"{where} only has a derivative with respect to its input. Define {where}.parameter_jvp and {where}.parameter_vjp"
    elif hook.is_jax:
        what = f"its state comes from {where}.linearize, which JAX cannot differentiate. Write that hook with lo.traced, too"
    else:
        what = (
            f"there is no hook for the derivative of {hook.label} with respect to fields. Write {where} with lo.traced"
        )
    message = (
        f"{fields} is being differentiated, but {what}, or declare the field with lo.constant() if it is never to be "
        "differentiated, or wrap it in jax.lax.stop_gradient inside the differentiated function."
    )
    return NotImplementedError(message)


def refusal(cls: Any, name: str) -> Callable[..., None]:
    """A host hook that replaces a missing derivative with respect to the fields: zero, or an error for nonzero tangents.

    JAX also asks for this derivative with zero tangents. ``jax.lax.custom_root``, for example, differentiates with respect
    to everything that a function closes over, and does not use the result.
    """

    def zero_for_zero(dself: Any, *, out: Any) -> None:
        if paths := _paths(dself):
            target, _ = cls._hooks[name].rule.derivative.get("self", ("", ()))
            if target in cls._hooks:
                raise missing(cls, target, cls._hooks[target].rule.why)
            raise _no_field_derivative(cls, name, paths)
        out[...] = 0

    return zero_for_zero


def not_transposed(binding: Binding, moves: Sequence[bool]) -> NotImplementedError:
    """The error for the transpose of a missing derivative with respect to the fields. It is raised while JAX traces."""
    hook = binding.hook
    name, _ = hook.rule.transposed["dself"]
    return _no_field_derivative(hook.cls, name, _paths(jax.tree.unflatten(binding.trees[0], moves)))


def out_of_reach(binding: Binding) -> jax.errors.UnexpectedTracerError:
    """The error for a hook that closes over a tracer of a transformation that has already ended when the hook is traced."""
    where = binding.hook.cls._label
    message = (
        f"{binding.label} closes over an array that was being traced, but that trace has ended. Declare the array as a field "
        f"of {where}, or close over it also in the hook of which this one is the derivative."
    )
    return jax.errors.UnexpectedTracerError(message)


def stand_in(name: str) -> Callable[..., Any]:
    """The function of a hook that can be transposed but not evaluated. Lowering its primitive is an error."""

    def unavailable(*arguments: Any) -> Any:
        message = f"{name} is not available"
        raise NotImplementedError(message)

    return unavailable
