"""The marks that users write on hooks, ``lo.traced`` and ``lo.in_place``, and what can be read off a function."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from linops_jax._model.kinds import Native, PerPlatform


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a hook as JAX code, which XLA compiles with the code around it, on any platform.

    Parameters
    ----------
    function : callable
        A method of the class.

    Returns
    -------
    callable
        The same function.

    Raises
    ------
    TypeError
        If ``function`` is not a plain function.

    Notes
    -----
    If ``apply`` is traced, the other hooks may be left out: JAX derives them. Of two hooks that are each other's adjoint
    (``jacobian_apply`` and ``jacobian_adjoint``, or those for second derivatives or for the fields), one is enough if it
    is traced: JAX transposes it.

    Examples
    --------
    >>> class Difference(lo.LinearOperator):
    ...     @lo.traced
    ...     def apply(self, x):
    ...         return jnp.diff(x)
    >>> Difference()(jnp.asarray([1.0, 4.0, 9.0])).tolist()
    [3.0, 5.0]
    """
    if not inspect.isfunction(function):
        advice = " Give several kinds with lo.per_platform." if isinstance(function, Native) else ""
        message = f"lo.traced marks a plain method, not {type(function).__name__}.{advice}"
        raise TypeError(message)
    function._linops_traced = True  # type: ignore[attr-defined]
    return function


def in_place(hook: Any) -> Any:
    """Declares that a hook may write its result over its input.

    Parameters
    ----------
    hook : callable or native hook
        A method that takes ``out``, or the result of ``lo.native``.

    Returns
    -------
    callable or native hook
        The method itself, or a copy of the native hook.

    Raises
    ------
    TypeError
        If ``hook`` does not take ``out``.

    Notes
    -----
    ``out`` and the input are then the same memory, if each array of the result has the shape and dtype of the
    corresponding array of the input. A compiled loop, or a program with a donated argument, needs no second array. If the
    input is used again later, XLA copies it first, so a call outside of ``jax.jit`` costs one copy more.

    The hook must not read an element of its input after it has written there: ``np.multiply(x, 2, out=out)`` is right,
    ``out[1:] = x[:-1]`` after ``out[0] = 0`` is wrong. The input is the last positional argument: ``x`` of ``apply``,
    ``y`` of ``adjoint``, ``dx`` of ``jacobian_apply``, ``dy`` of ``jacobian_adjoint``.

    Examples
    --------
    >>> class Twice(lo.LinearOperator, symmetric=True):
    ...     @lo.in_place
    ...     def apply(self, x, *, out):
    ...         np.multiply(x, 2, out=out)
    ...
    ...     def infer_shape(self, x):
    ...         return x
    >>> Twice()(jnp.ones(2)).tolist()
    [2.0, 2.0]
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
