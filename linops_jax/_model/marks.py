"""The marks that users write on hooks, ``lo.traced`` and ``lo.in_place``, and what can be read off a function."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from linops_jax._model.kinds import Native, PerPlatform


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a hook as JAX code: inlined by XLA on every platform, and still one primitive with the class's adjoint.

    With a traced ``apply`` the other hooks may be left out: JAX derives them. Of two hooks that are each other's adjoint
    (``jacobian_apply`` and ``jacobian_adjoint``, those of the Hessian, those in the fields) one that is traced is enough:
    JAX transposes it, and what it says is the derivative in both modes.
    """
    if not inspect.isfunction(function):
        advice = " Give several kinds with lo.per_platform." if isinstance(function, Native) else ""
        message = f"lo.traced marks a plain method, not {type(function).__name__}.{advice}"
        raise TypeError(message)
    function._linops_traced = True  # type: ignore[attr-defined]
    return function


def in_place(hook: Any) -> Any:
    """Declares that a hook may find its input and ``out`` in the same memory: ``@lo.in_place`` over a method that takes
    ``out``, or ``lo.in_place(lo.native(...))``.

    They are then the same where every leaf of the result has shape and dtype of the leaf of the input in its place: a
    compiled loop, or a program whose argument is donated, needs no second array. If the input is used again later, XLA
    makes a copy of it first, so an eager call costs one more copy. The hook must not read an element of its input after it
    wrote there: ``np.multiply(x, 2, out=out)`` is right, ``out[1:] = x[:-1]`` after ``out[0] = 0`` is not. The input is the last
    argument: ``x`` of apply, ``y`` of adjoint, ``dx`` of jacobian_apply, ``dy`` of jacobian_adjoint.

    Raises TypeError for what does not take ``out``.
    """
    if not isinstance(hook, Native) and not (inspect.isfunction(hook) and takes_out(hook)):
        what = "traced code" if is_traced(hook) else getattr(hook, "__qualname__", type(hook).__name__)
        message = (
            f"lo.in_place marks a hook that fills out, `def apply(self, x, *, out)`, or lo.native(...), not {what}. "
            "Of traced code XLA decides itself."
        )
        raise TypeError(message)
    hook = copy.copy(hook) if isinstance(hook, Native) else hook  # which may serve another hook as well
    hook._linops_in_place = True
    return hook


def is_traced(function: Any) -> bool:
    return getattr(function, "_linops_traced", False) or (
        isinstance(function, PerPlatform) and function.traced is not None
    )


def is_in_place(value: Any) -> bool:
    return getattr(value, "_linops_in_place", False)


def takes_out(function: Callable[..., Any]) -> bool:
    parameter = inspect.signature(function).parameters.get("out")
    return parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY


def takes_state(function: Any) -> bool:
    parameter = inspect.signature(function).parameters.get("state") if inspect.isfunction(function) else None
    return parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY


def is_hook(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, Native | PerPlatform)
