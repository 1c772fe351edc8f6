"""Binding functions to JAX: a linear one with its transpose, a differentiable one with its derivatives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from linops_jax.functional import _arguments
from linops_jax.functional._call import Call
from linops_jax.functional._functions import LinearCall, LinearizedCall, NonlinearCall, multilinear

Function: TypeAlias = Callable[..., Any]


def get_linear_call(
    f: Function,
    f_T: Function | Sequence[Function | None] | None,
    /,
    abstract: Function,
    abstract_T: Any,
    *,
    first_n_args_fixed: int = 0,
    fixed_args: Sequence[int] = (),
    func_can_batch: bool = False,
) -> Call:
    """Binds a linear function and its transpose to JAX.

    Parameters
    ----------
    f : callable
        ``f(out, args, kwargs_dump)`` on NumPy arrays. ``out`` and ``args`` are lists. It fills ``out`` in place
        (``out[0][...] = ...``), changes no argument and keeps no array. ``lo.load_kwargs(kwargs_dump)`` gives the
        keywords. It is linear in all arguments together that are not fixed.
    f_T : callable, None, or tuple of these
        The transpose of ``f``, without conjugation. It is called with the fixed arguments and one cotangent for each
        output, and fills one output for each argument that is not fixed. None: forward mode only. A tuple: ``f`` is
        linear in each argument alone, and ``f_T[i]`` is the transpose in argument i, called with all other arguments
        and then the cotangents; None for an argument that is fixed or has no transpose.
    abstract : callable
        ``abstract(*args, **kwargs)`` returns ``((shape, dtype), ...)``, one entry for each output of ``f``, from
        objects with shape and dtype.
    abstract_T : callable, None, or tuple of these
        The same for ``f_T``, called with what ``f_T`` is called with; a tuple where ``f_T`` is one.
    first_n_args_fixed : int, optional
        So many arguments at the beginning are fixed: not differentiable, and not necessarily linear. 0 by default.
    fixed_args : sequence of ints, optional
        Positions of the fixed arguments, in place of their number.
    func_can_batch : bool, optional
        Whether ``f`` takes batches. If it does, ``vmap`` calls it once, with the keyword ``batch_axes``: None, or for
        each input of the function that is called a tuple of its batch axes, innermost ``vmap`` first. ``abstract`` gets
        this keyword, too, and returns ``(shape, dtype, axis)``, with the position of the last batch axis in the output.
        If not, calls are looped over, as by default.

    Returns
    -------
    linops_jax.functional.Call
        The function, for all of JAX's transformations.

    Raises
    ------
    TypeError
        If an argument that should be a function is not one.
    ValueError
        If positions are not valid, or tuples differ in length.

    Notes
    -----
    The interface is that of JAXbind (Roth, Reinecke and Edenhofer, 2024).

    References
    ----------
    * Roth, J., M. Reinecke and G. Edenhofer (2024). JAXbind: Bind any function to JAX. J. Open Source Softw. 9, 6532.

    Examples
    --------
    >>> def twice(out, args, kwargs_dump):
    ...     out[0][...] = 2 * args[0]
    >>> def same(x):
    ...     return ((x.shape, x.dtype),)
    >>> f = lo.get_linear_call(twice, twice, same, same)
    >>> print(f(jnp.ones(3))[0], jax.grad(lambda x: f(x)[0].sum())(jnp.ones(3)))
    [2. 2. 2.] [2. 2. 2.]
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
    f: Function,
    f_derivative: Sequence[Function | None],
    /,
    abstract: Function,
    abstract_reverse: Function | None,
    *,
    first_n_args_fixed: int = 0,
    fixed_args: Sequence[int] = (),
    func_can_batch: bool = False,
    hessian: Sequence[Function | None] | None = None,
    linearize: Sequence[Function] | None = None,
) -> Call:
    """Binds a differentiable function and its derivatives to JAX.

    Parameters
    ----------
    f : callable
        ``f(out, args, kwargs_dump)``, as in ``lo.get_linear_call``, but nonlinear.
    f_derivative : pair of callables
        ``(jvp, vjp)``, functions of the same form. ``jvp`` is called with all arguments of ``f`` and the tangents of
        those that are not fixed, and has the outputs of ``f``. ``vjp`` is called with all arguments and one cotangent
        for each output of ``f``, and has one output for each argument that is not fixed; it is the plain transpose of
        ``jvp``. One of them may be None: forward or reverse mode only.
    abstract : callable
        As in ``lo.get_linear_call``, for the outputs of ``f``; if it can batch, of ``jvp`` and ``hessian[0]``, too.
    abstract_reverse : callable or None
        The same for ``vjp`` and ``hessian[1]``, called with what the function is called with.
    first_n_args_fixed : int, optional
        So many arguments at the beginning are not differentiable. 0 by default.
    fixed_args : sequence of ints, optional
        Positions of such arguments, in place of their number.
    func_can_batch : bool, optional
        Whether the functions take batches, as in ``lo.get_linear_call``. False by default.
    hessian : pair of callables, optional
        ``(hessian_apply, hessian_transpose)``, for second derivatives. ``hessian_apply`` is called with all arguments
        and two tangents, ``(*args, *dx1, *dx2)``, and has the outputs of ``f``: the second derivative in these two
        directions. ``hessian_transpose`` is called with ``(*args, *dx, *dy)`` and has the outputs of ``vjp``: the
        derivative of ``vjp`` with cotangents dy in the direction dx.
    linearize : pair of callables, optional
        ``(f_linearize, abstract_state)``, for functions whose value and derivatives share a computation.
        ``f_linearize`` is called like ``f``, and fills the outputs of ``f`` and then the arrays of a *state*, of any
        dtype: whatever the derivatives at this point need. ``abstract_state`` says their shapes and dtypes, called
        like ``abstract``. All of ``f_derivative`` and ``hessian`` are then called with the state, between the
        arguments of ``f`` and the tangents or cotangents: ``(*args, *state, *dx)``.

    Returns
    -------
    linops_jax.functional.Call
        The function, for all of JAX's transformations.

    Raises
    ------
    TypeError, ValueError
        As ``lo.get_linear_call``.

    Notes
    -----
    With ``linearize``, one evaluation of ``f_linearize`` serves the value and all derivatives at a point. Where nothing
    is differentiated, and in compiled programs that do not read the state, ``f`` is evaluated. The values of both must
    be equal up to rounding: ``lo.check_operator(call.as_operator(), x)`` compares them. The state is a function of the
    arguments, so ``hessian`` gives total second derivatives.

    Examples
    --------
    >>> def square(out, args, kwargs_dump):
    ...     out[0][...] = args[0] ** 2
    >>> def derivative(out, args, kwargs_dump):  # its own transpose
    ...     out[0][...] = 2 * args[0] * args[1]
    >>> def same(x, *tangents):
    ...     return ((x.shape, x.dtype),)
    >>> f = lo.get_nonlinear_call(square, (derivative, derivative), same, same)
    >>> print(jax.grad(lambda x: f(x)[0].sum())(jnp.array([1.0, 2.0])))
    [2. 4.]

    The same with a state, here the slope:

    >>> def square_and_slope(out, args, kwargs_dump):
    ...     out[0][...], out[1][...] = args[0] ** 2, 2 * args[0]
    >>> def times_slope(out, args, kwargs_dump):
    ...     x, slope, tangent = args
    ...     out[0][...] = slope * tangent
    >>> f = lo.get_nonlinear_call(square, (times_slope, times_slope), same, same, linearize=(square_and_slope, same))
    >>> print(jax.grad(lambda x: f(x)[0].sum())(jnp.array([1.0, 2.0])))
    [2. 4.]
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
        linearize=linearize,
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
    kind = NonlinearCall
    if linearize is not None:
        both = _arguments.pair(where, "linearize", "(f_linearize, abstract_state)", linearize)
        both = _arguments.named(where, **dict(zip(("linearize[0]", "linearize[1]"), both, strict=True)), optional=())
        kind, functions, abstracts = LinearizedCall, (*functions, both[0]), (*abstracts, both[1])
    return Call(kind.make(functions, abstracts, fixed, bool(func_can_batch), ()), made_by)
