"""The marks that users put on hooks, ``lo.traced`` and ``lo.in_place``, and what the signature of a function says."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from linops_jax._model.kinds import TRACED, Code, is_traced


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a hook as JAX code, which XLA compiles into the program on every platform.

    Use it as a decorator. The derivatives are still those that the class defines.

    Parameters
    ----------
    function : function
        The hook: a plain method, or a function with the same arguments. It must be written in JAX.

    Returns
    -------
    function
        The same function.

    Raises
    ------
    TypeError
        If it is not a function.

    Notes
    -----
    If ``apply`` is traced, all other hooks may be omitted: JAX derives them. Of two hooks that are adjoint to each other
    (``jacobian_apply`` and ``jacobian_adjoint``, ``hessian_apply`` and ``hessian_adjoint``, ``parameter_jvp`` and
    ``parameter_vjp``) a single traced one is enough: JAX transposes it, and it defines the derivative in both modes.

    Examples
    --------
    >>> class Double(lo.LinearOperator):
    ...     @lo.traced
    ...     def apply(self, x):
    ...         return 2 * x
    >>> x = jnp.array([1.0, 3.0])
    >>> Double().with_domain(x).H(x)
    Array([2., 6.], dtype=float32)
    """
    return TRACED.mark(function)


def in_place(hook: Any) -> Any:
    """Declares that the input of a hook and its ``out`` may share memory.

    Use it as a decorator of a method that takes ``out``, or as ``lo.in_place(lo.native(...))``. The input is the last
    argument: ``x`` of ``apply``, ``y`` of ``adjoint``, ``dx`` of ``jacobian_apply``, ``dy`` of ``jacobian_adjoint``.

    Parameters
    ----------
    hook : function or native hook
        It must not read an element of its input after it has written to that element of ``out``:
        ``np.multiply(x, 2, out=out)`` is right, but ``out[0] = 0`` followed by ``out[1:] = x[:-1]`` is wrong.

    Returns
    -------
    function or native hook
        The same function, or a copy of the native hook.

    Raises
    ------
    TypeError
        If the hook does not take ``out``, or is traced.

    Notes
    -----
    Input and result share memory if each leaf of the result has the shape and dtype of the corresponding leaf of the
    input. Then a compiled loop, or a program whose argument is donated, needs no second array. If the input is used again
    later, XLA copies it first, so an eager call needs one additional copy.

    Examples
    --------
    >>> class Double(lo.LinearOperator):
    ...     infer_shape = infer_adjoint_shape = lambda self, x: x
    ...
    ...     @lo.in_place
    ...     def apply(self, x, *, out):
    ...         np.multiply(x, 2, out=out)
    ...
    ...     adjoint = apply
    >>> jax.jit(Double(), donate_argnums=0)(jnp.array([1.0, 3.0]))
    Array([2., 6.], dtype=float32)
    """
    if not takes_out(hook):
        what = "traced code" if is_traced(hook) else getattr(hook, "__qualname__", type(hook).__name__)
        message = (
            f"lo.in_place marks a hook that fills out, `def apply(self, x, *, out)`, or lo.native(...), not {what}. "
            "Of traced code XLA decides itself."
        )
        raise TypeError(message)
    hook = copy.copy(hook) if isinstance(hook, Code) else hook  # the same object may be used for another hook, too
    hook._linops_in_place = True
    return hook


def is_in_place(value: Any) -> bool:
    return getattr(value, "_linops_in_place", False)


def keywords_of(hook: Any) -> tuple[str, ...]:
    """The names of the keyword-only arguments that a hook takes; none for anything else."""
    if isinstance(hook, Code):
        return hook.keywords
    parameters = inspect.signature(hook).parameters if inspect.isfunction(hook) else {}
    return tuple(name for name, value in parameters.items() if value.kind is inspect.Parameter.KEYWORD_ONLY)


def takes_out(hook: Any) -> bool:
    return "out" in keywords_of(hook)


def takes_state(hook: Any) -> bool:
    return "state" in keywords_of(hook)


def takes_plan(hook: Any) -> bool:
    """Whether a hook takes what ``prepare`` made. Native code says so in ``lo.native``."""
    return "plan" in keywords_of(hook)
