"""Functions instead of classes: the interface of the JAXbind paper, over the library's own primitives and trampoline."""

from __future__ import annotations

import dataclasses
import functools
import operator
import pickle
import types
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np

from linops_jax._engine import binding as bindings
from linops_jax._engine import calling, eager
from linops_jax._engine.names import Named
from linops_jax._model import shapes
from linops_jax._model.fields import Statics, static
from linops_jax._model.hooks import traced
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax.functional._functions import LinearCall, NonlinearCall, is_hashable, multilinear


class Call:
    """A function of arrays, for all of JAX's transformations; its result is a list. Made by ``get_linear_call`` and
    ``get_nonlinear_call``.

    Positional arguments are arrays, keywords are static: hashable values, part of the compiled program's key.
    """

    def __init__(self, functions: Any, made_by: Callable[..., Call]):
        self._functions = functions
        plan = functools.lru_cache(maxsize=256)(functools.partial(_plan, functions))
        self._evaluate = functools.partial(_evaluate, functions.name, plan)
        self._compiled = jax.jit(self._evaluate, static_argnums=0)
        self._made_by = made_by
        self.__name__ = functions.name.rpartition(".")[2]
        self.__doc__ = functions.functions[0].function.__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> list[jax.Array]:
        """Evaluates the function.

        Raises TypeError for arguments that are not arrays, or too few of them, and for keywords that are not hashable;
        in eager code, whatever the function raised.
        """
        keywords = self._functions.static_keywords(kwargs) if kwargs else _NONE
        if all(map(shapes.is_concrete, args)):
            return eager.run_compiled(self._compiled, eager.always, keywords, *args)
        return self._evaluate(keywords, *args)

    def as_operator(self, *fixed: Any, **kwargs: Any) -> LinearOperator | NonlinearOperator:
        """The same function as an operator, with its fixed arguments and keywords: for checks and for the algebra.

        It takes one array, or a tuple where there are several arguments that are not fixed, and returns likewise.
        ``lo.check_operator(f.as_operator(), x)`` proves the transpose, or the derivative. A LinearOperator for what
        ``get_linear_call`` made of one ``f_T``, else a NonlinearOperator.
        """
        op = self._functions
        if len(fixed) != len(op.fixed):
            message = f"{op.name}: as_operator takes its {len(op.fixed)} fixed arguments, but {len(fixed)} were given."
            raise TypeError(message)
        values = tuple(_as_array(op.name, i, value) for i, value in zip(op.fixed, fixed, strict=True))
        return (_AsLinear if isinstance(op, LinearCall) else _AsNonlinear)(self, op.static_keywords(kwargs), values)

    def __repr__(self) -> str:
        return f"<{self._functions.name} bound by {self._made_by.func.__name__}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return _remade, (self._made_by, self.__name__, self.__doc__)


def _remade(made_by: Callable[[], Call], name: str, doc: str | None) -> Call:
    call = made_by()
    call.__name__, call.__doc__ = name, doc
    return call


def _evaluate(name: str, plan: Callable[..., _Plan], keywords: Statics, *args: Any) -> list[jax.Array]:
    values = [x if isinstance(x, jax.Array) else _as_array(name, i, x) for i, x in enumerate(args)]
    specs = tuple((value.shape, value.dtype) for value in values)
    found = plan(keywords, specs, jax.config.jax_enable_x64)  # type: ignore[attr-defined]
    operands = values if found.order is None else [values[i] for i in found.order]
    return calling.evaluate(found.binding, operands, found.out)


def _as_array(name: str, position: int, value: Any) -> Any:
    if isinstance(value, jax.Array):
        return value
    if not jax.tree_util.all_leaves([value]):
        message = (
            f"{name}: argument {position} is {type(value).__name__} {value!r:.80}, expected an array. Pass the arrays of a "
            "container as arguments of their own."
        )
        raise TypeError(message)
    return shapes.as_arrays(value, f"{name}: argument {position}")


_NONE = Statics(())


@dataclasses.dataclass(frozen=True)
class _Plan:
    """What calls with equal keywords, shapes and dtypes have in common."""

    binding: Any
    order: tuple[int, ...] | None  # of the operands among the arguments: the fixed ones come first
    out: tuple[Any, ...]


def _plan(functions: Any, keywords: Statics, specs: tuple[Any, ...], x64: bool) -> _Plan:
    op = functions.with_keywords(keywords) if keywords.values else functions
    hook = type(op)._hooks["apply"]
    free = [i for i in range(len(specs)) if i not in op.fixed]
    groups = [tuple(op.fixed), *([tuple(free)] if "x" in hook.rule.arguments else free)]
    _check_number(op, len(specs), len(hook.rule.arguments) == len(groups) + 1)
    out = [spec for spec, _ in op.promise("apply", [jax.ShapeDtypeStruct(*spec) for spec in specs])]
    trees = tuple(jax.tree.structure(group) for group in (op, *groups))
    binding = bindings.bind(hook, trees, jax.tree.structure(out), (False,) * len(out))
    order = (*op.fixed, *free)
    promise = tuple((spec.shape, spec.dtype) for spec in out)
    return _Plan(binding, None if order == tuple(range(len(order))) else order, promise)


def _check_number(op: Any, found: int, fits: bool) -> None:
    least = max((len(op.fixed), *op.fixed)) + 1
    if fits and found >= least:
        return
    exact = None if "x" in op._rules["apply"].arguments else len(op._rules) - 1 + len(op.fixed)
    expected = f"at least {least}" if exact is None else f"{exact}"
    message = f"{op.name}: {found} arguments were given; expected {expected}, of which {len(op.fixed)} are fixed."
    raise TypeError(message)


class _AsOperator:
    """One array or a tuple of arrays in, one or a tuple out."""

    call: Call
    keywords: Statics
    fixed: Any

    @traced
    def apply(self, x: Any) -> Any:
        free = iter(x if isinstance(x, tuple) else (x,))
        places = dict(zip(self.call._functions.fixed, self.fixed, strict=True))
        count = len(places) + (len(x) if isinstance(x, tuple) else 1)
        results = self.call._evaluate(self.keywords, *(places[i] if i in places else next(free) for i in range(count)))
        return results[0] if len(results) == 1 else tuple(results)

    def __repr__(self) -> str:
        return self.call._functions.name


class _AsLinear(_AsOperator, LinearOperator):
    call: Call = static()
    keywords: Statics = static()
    fixed: Any

    def infer_adjoint_shape(self, y: Any) -> Any:
        functions = self.call._functions.with_keywords(self.keywords)
        answer = functions.promise("transpose", [*self.fixed, *(y if isinstance(y, tuple) else (y,))])
        return answer[0][0] if len(answer) == 1 else tuple(spec for spec, _ in answer)


class _AsNonlinear(_AsOperator, NonlinearOperator):
    call: Call = static()
    keywords: Statics = static()
    fixed: Any


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

    Raises TypeError or ValueError for functions that are none, tuples of different lengths, positions that are none.
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
    fixed = _fixed_positions(where, first_n_args_fixed, fixed_args)
    if not isinstance(f_T, tuple | list):
        functions = _named(where, f=f, f_T=f_T, optional=("f_T",))
        abstracts = _named(where, abstract=abstract, abstract_T=abstract_T, optional=("abstract_T",))
        return Call(LinearCall.make(functions, abstracts, fixed, bool(func_can_batch), ()), made_by)
    free = _free_positions(where, f_T, abstract_T, fixed)
    transposes = {f"f_T[{i}]": f_T[i] for i in free}
    functions = _named(where, **{"f": f, **transposes}, optional=tuple(transposes))
    with_specs = {f"abstract_T[{i}]": abstract_T[i] for i in free}
    abstracts = _named(where, **{"abstract": abstract, **with_specs}, optional=tuple(with_specs))
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
    fixed = _fixed_positions(where, first_n_args_fixed, fixed_args)
    jvp, vjp = _pair(where, "f_derivative", "(jvp, vjp)", f_derivative)
    apply, transpose = _pair(where, "hessian", "(hessian_apply, hessian_transpose)", hessian or (None, None))
    derivatives = {"jvp": jvp, "vjp": vjp, "hessian[0]": apply, "hessian[1]": transpose}
    functions = _named(where, **{"f": f, **derivatives}, optional=tuple(derivatives))
    forward, reverse = _named(
        where, abstract=abstract, abstract_reverse=abstract_reverse, optional=("abstract_reverse",)
    )
    abstracts = (forward, forward, reverse, forward, reverse)
    return Call(NonlinearCall.make(functions, abstracts, fixed, bool(func_can_batch), ()), made_by)


def load_kwargs(kwargs_dump: Any, /) -> dict[str, Any]:
    """The keywords of a call, from what its functions get as ``kwargs_dump``: a new dict.

    Also takes a dict, and a uint8 array that holds a pickled one. Raises TypeError for anything else.
    """
    if isinstance(kwargs_dump, types.MappingProxyType):
        return kwargs_dump.copy()
    if isinstance(kwargs_dump, dict):
        return dict(kwargs_dump)
    if isinstance(kwargs_dump, np.ndarray) and kwargs_dump.dtype == np.uint8:
        return pickle.loads(kwargs_dump.tobytes())
    message = f"load_kwargs: expected the kwargs_dump that a function was called with, found {kwargs_dump!r:.80}."
    raise TypeError(message)


def _fixed_positions(where: str, first: Any, positions: Any) -> tuple[int, ...]:
    if first and len(positions):
        message = f"{where}: first_n_args_fixed={first} and fixed_args={positions} say the same. Pass one of them."
        raise TypeError(message)
    try:
        fixed = sorted(map(operator.index, positions)) if len(positions) else list(range(operator.index(first)))
        valid = len(set(fixed)) == len(fixed) and min((0, *fixed)) == 0 and operator.index(first) >= 0
    except TypeError:
        valid, fixed = False, []
    if not valid:
        message = (
            f"{where}: first_n_args_fixed={first!r}, fixed_args={positions!r}; expected a number of arguments, or different "
            "positions counted from 0."
        )
        raise ValueError(message)
    return tuple(fixed)


def _free_positions(where: str, f_T: Sequence[Any], abstract_T: Any, fixed: tuple[int, ...]) -> list[int]:
    if not isinstance(abstract_T, tuple | list) or len(abstract_T) != len(f_T):
        message = (
            f"{where}: f_T is a tuple of {len(f_T)}, so abstract_T must be one, but it is {abstract_T!r:.80}. "
            "Pass one function for each argument, or None."
        )
        raise TypeError(message)
    free = [i for i in range(len(f_T)) if i not in fixed]
    if not free or len(free) + len(fixed) != len(f_T):
        message = (
            f"{where}: f_T is a tuple of {len(f_T)}, one for each argument, but the arguments {', '.join(map(str, fixed))} "
            "are fixed. Pass None for those, and a transpose for at least one other."
        )
        raise ValueError(message)
    return free


def _named(where: str, *, optional: tuple[str, ...], **functions: Any) -> tuple[Named | None, ...]:
    for name, function in functions.items():
        is_function = callable(function) and is_hashable(function)
        if not (is_function or (function is None and name in optional)):
            message = f"{where}: {name} is {type(function).__name__} {function!r:.80}, expected a hashable function."
            raise TypeError(message)
    return tuple(None if function is None else Named.bind(function) for function in functions.values())


def _pair(where: str, name: str, expected: str, value: Any) -> Any:
    if isinstance(value, tuple | list) and len(value) == 2:
        return value
    message = f"{where}: {name} is {value!r:.80}, expected a tuple {expected}."
    raise TypeError(message)
