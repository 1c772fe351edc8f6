"""The marks that users put on hooks, ``lo.traced``, ``lo.device`` and ``lo.in_place``, and what a signature says."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable
from typing import Any

from linops_jax._model.kinds import DEVICE, TRACED, Code, is_traced, kind_of

STREAM = "stream"  # the keyword-only argument by which a device hook asks for the stream of the program


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


def device(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a hook as Python code that gets the memory of the device: for CuPy, PyTorch, Numba, Warp and Triton.

    Use it as a decorator of ``def apply(self, x, *, out)``. The arrays are not copied. On a GPU they lie in its memory, and on
    the CPU in the memory of the host. **It has only been run on the CPU.**

    Parameters
    ----------
    function : function
        The hook: a plain method, or a function with the same arguments, that takes ``out`` and fills it. If it takes the
        keyword-only argument ``stream``, it gets the address of the CUDA or ROCm stream of the program, an integer, or None on
        the CPU.

    Returns
    -------
    function
        The same function.

    Raises
    ------
    TypeError
        If it is not a function. A class whose device hook does not take ``out`` is a TypeError, too.

    Notes
    -----
    Each array that the hook gets has ``shape``, ``dtype``, ``ndim``, ``size`` and ``nbytes``, and can be given to
    ``torch.from_dlpack`` and ``cupy.from_dlpack`` (``__dlpack__``), on a GPU also to ``cupy.asarray`` and Numba
    (``__cuda_array_interface__``), and on the CPU to ``np.asarray``. It does no arithmetic itself, and is valid until the hook
    returns. ``np.asarray`` of an input cannot be written to; other libraries do not know that they must not.

    The work must be put on the stream of the program, or another part of the program may read ``out`` before it is written.
    For PyTorch and CuPy, if they have been imported, this stream is the current one during the call, so there is nothing to
    do. Other libraries need ``stream``: ``kernel[blocks, threads, stream](x, out)`` in Numba. The hook need not wait for its
    work.

    Derivatives, ``vmap`` (as a loop; ``batched=True`` gives whole batches) and ``shard_map`` work as with all hooks. XLA has
    device memory for Python on the CPU, CUDA and ROCm: on a TPU the operator says what to add, when its program is lowered.
    Programs with device hooks cannot be exported. JAX must not be called in the hook.

    Examples
    --------
    >>> class Double(lo.LinearOperator):
    ...     infer_shape = infer_adjoint_shape = lambda self, x: x
    ...
    ...     @lo.device
    ...     def apply(self, x, *, out):
    ...         np.multiply(x, 2, out=np.asarray(out))
    ...
    ...     adjoint = apply
    >>> Double()(jnp.array([1.0, 3.0]))
    Array([2., 6.], dtype=float32)
    """
    return DEVICE.mark(function)


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


def takes_stream(hook: Any) -> bool:
    """Whether it is a device hook that takes the stream of the program."""
    return inspect.isfunction(hook) and kind_of(hook) == DEVICE and STREAM in keywords_of(hook)
