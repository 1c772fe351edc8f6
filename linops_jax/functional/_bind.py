"""Binding functions to JAX: a linear one with its transpose, a differentiable one with its derivatives."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

from linops_jax.functional import _arguments
from linops_jax.functional._call import Call
from linops_jax.functional._functions import LinearCall, NonlinearCall, multilinear


def get_linear_call(
    f: Any,
    f_T: Any,
    /,
    abstract: Any,
    abstract_T: Any,
    *,
    first_n_args_fixed: int = 0,
    fixed_args: Sequence[int] = (),
    func_can_batch: bool = False,
) -> Call:
    """Binds a linear function and its transpose to JAX.

    - f: ``f(out, args, kwargs_dump)`` on NumPy arrays. ``out`` and ``args`` are lists; it fills ``out`` in place
      (``out[0][...] = ...``), changes no argument and keeps no array. ``load_kwargs(kwargs_dump)`` are the keywords.
      It is linear in all arguments together that are not fixed.
    - f_T: its transpose, without conjugation, called with the fixed arguments and one cotangent for each output; it fills
      one output for each argument that is not fixed. None: forward mode only. A tuple: ``f`` is linear in each argument
      alone, and ``f_T[i]`` is the transpose in argument i, called with all other arguments and then the cotangents; None
      for an argument that is fixed or without a transpose.
    - abstract: ``abstract(*args, **kwargs)`` returns ``((shape, dtype), ...)``, one entry for each output of ``f``, from
      objects with shape and dtype.
    - abstract_T: the same for ``f_T``, called with what ``f_T`` is called with; a tuple where ``f_T`` is one.
    - first_n_args_fixed: so many arguments at the beginning are not differentiable, and need not be linear.
    - fixed_args: positions of such arguments, instead.
    - func_can_batch: ``vmap`` calls ``f`` once, with the keyword ``batch_axes``: None, or for each input of the function that
      is called a tuple of its batch axes, innermost ``vmap`` first. ``abstract`` gets it too and returns ``(shape, dtype,
      axis)``, with the position of the last batch axis in the output. Otherwise calls are looped over.

    Raises TypeError for arguments that are not functions and ValueError for positions that are not valid or tuples of
    different lengths.
    """
    made_by = functools.partial(
        get_linear_call,
        f,
        f_T,
        abstract,
        abstract_T,
        first_n_args_fixed=first_n_args_fixed,
        fixed_args=fixed_args,
        func_can_batch=func_can_batch,
    )
    where = "get_linear_call"
    fixed = _arguments.fixed_positions(where, first_n_args_fixed, fixed_args)
    if not isinstance(f_T, tuple | list):
        functions = _arguments.named(where, f=f, f_T=f_T, optional=("f_T",))
        abstracts = _arguments.named(where, abstract=abstract, abstract_T=abstract_T, optional=("abstract_T",))
        return Call(LinearCall.make(functions, abstracts, fixed, bool(func_can_batch), ()), made_by)
    free = _arguments.free_positions(where, f_T, abstract_T, fixed)
    transposes = {f"f_T[{i}]": f_T[i] for i in free}
    functions = _arguments.named(where, **{"f": f, **transposes}, optional=tuple(transposes))
    with_specs = {f"abstract_T[{i}]": abstract_T[i] for i in free}
    abstracts = _arguments.named(where, **{"abstract": abstract, **with_specs}, optional=tuple(with_specs))
    return Call(multilinear(len(free)).make(functions, abstracts, fixed, bool(func_can_batch), ()), made_by)


def get_nonlinear_call(
    f: Any,
    f_derivative: Any,
    /,
    abstract: Any,
    abstract_reverse: Any,
    *,
    first_n_args_fixed: int = 0,
    fixed_args: Sequence[int] = (),
    func_can_batch: bool = False,
    hessian: Any = None,
) -> Call:
    """Binds a differentiable function and its derivatives to JAX.

    - f: ``f(out, args, kwargs_dump)``, as in ``get_linear_call``.
    - f_derivative: ``(jvp, vjp)``, functions of the same form. ``jvp`` is called with all arguments of ``f`` and the tangents
      of those that are not fixed, and has the outputs of ``f``. ``vjp`` is called with all arguments and one cotangent
      for each output of ``f``, and has one output for each argument that is not fixed; it is the plain transpose of
      ``jvp``. One of them may be None: forward or reverse mode only.
    - abstract: as in ``get_linear_call``, for the outputs of ``f`` (and, if it can batch, of ``jvp`` and ``hessian[0]``).
    - abstract_reverse: the same for ``vjp`` (and ``hessian[1]``), called with what the function is called with.
    - first_n_args_fixed, fixed_args, func_can_batch: as in ``get_linear_call``.
    - hessian: ``(hessian_apply, hessian_transpose)`` for second derivatives. With all arguments first, ``hessian_apply`` is
      called with two tangents, ``(*args, *dx1, *dx2)``, and has the outputs of ``f``: the second derivative in these two
      directions. ``hessian_transpose`` is called with ``(*args, *dx, *dy)`` and has the outputs of ``vjp``: the derivative
      of ``vjp`` with cotangents dy in the direction dx.

    Raises TypeError or ValueError as ``get_linear_call`` does.
    """
    made_by = functools.partial(
        get_nonlinear_call,
        f,
        f_derivative,
        abstract,
        abstract_reverse,
        first_n_args_fixed=first_n_args_fixed,
        fixed_args=fixed_args,
        func_can_batch=func_can_batch,
        hessian=hessian,
    )
    where = "get_nonlinear_call"
    fixed = _arguments.fixed_positions(where, first_n_args_fixed, fixed_args)
    jvp, vjp = _arguments.pair(where, "f_derivative", "(jvp, vjp)", f_derivative)
    apply, transpose = _arguments.pair(where, "hessian", "(hessian_apply, hessian_transpose)", hessian or (None, None))
    derivatives = {"jvp": jvp, "vjp": vjp, "hessian[0]": apply, "hessian[1]": transpose}
    functions = _arguments.named(where, **{"f": f, **derivatives}, optional=tuple(derivatives))
    forward, reverse = _arguments.named(
        where, abstract=abstract, abstract_reverse=abstract_reverse, optional=("abstract_reverse",)
    )
    abstracts = (forward, forward, reverse, forward, reverse)
    return Call(NonlinearCall.make(functions, abstracts, fixed, bool(func_can_batch), ()), made_by)
