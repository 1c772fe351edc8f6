"""What users call: a function that was bound to JAX."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax

from linops_jax._engine import eager
from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax.functional import _as_operator, _specialize
from linops_jax.functional._functions import CallOperator, LinearCall, LinearizedCall
from linops_jax.functional._keywords import NONE, static_keywords


class Call:
    """A function of arrays, bound to JAX by ``lo.get_linear_call`` or ``lo.get_nonlinear_call``.

    It can be called under all of JAX's transformations. Positional arguments are arrays; keywords are static: hashable
    values, part of the compiled program's key.

    Parameters
    ----------
    op : object
        The operator behind it; the library's own.
    made_by : callable
        Makes the same again, for pickles.
    """

    def __init__(self, op: CallOperator, made_by: Callable[..., Call]):
        self._op = op
        specialize = functools.lru_cache(maxsize=256)(functools.partial(_specialize.specialize, op))
        self._evaluate = functools.partial(_specialize.evaluate, op.name, specialize)
        self._compiled = jax.jit(self._evaluate, static_argnums=0)
        self._made_by = made_by
        self.__name__ = op.name.rpartition(".")[2]
        self.__doc__ = op.function("apply").__doc__

    def __call__(self, *args: Any, **kwargs: Any) -> list[jax.Array]:
        """Evaluates the function.

        Parameters
        ----------
        *args : arrays
            All arguments of the function, fixed ones among them.
        **kwargs : hashable values
            Its keywords.

        Returns
        -------
        list of jax.Array
            The outputs of the function, also where there is only one.

        Raises
        ------
        TypeError
            If arguments are not arrays or too few, or keywords are not hashable.

        Notes
        -----
        In eager code it raises whatever the function raised.
        """
        keywords = static_keywords(self._op.name, kwargs) if kwargs else NONE
        if all(map(shapes.is_concrete, args)):
            return eager.run_compiled(self._compiled, eager.always, keywords, *args)
        return self._evaluate(keywords, *args)

    def as_operator(self, *fixed: Any, **kwargs: Any) -> LinearOperator | NonlinearOperator:
        """The same function as an operator: for checks, and for the algebra.

        Parameters
        ----------
        *fixed : arrays
            The fixed arguments.
        **kwargs : hashable values
            The keywords.

        Returns
        -------
        LinearOperator or NonlinearOperator
            The former for what ``lo.get_linear_call`` made of one ``f_T``. It takes one array, or a tuple where there
            are several arguments that are not fixed, and returns likewise.

        Raises
        ------
        TypeError
            If the number of fixed arguments is another one.

        Notes
        -----
        ``lo.check_operator(f.as_operator(), x)`` checks the transpose, or the derivative.
        """
        op = self._op
        if len(fixed) != len(op.fixed):
            message = f"{op.name}: as_operator takes its {len(op.fixed)} fixed arguments, but {len(fixed)} were given."
            raise TypeError(message)
        values = tuple(_specialize.as_array(op.name, i, value) for i, value in zip(op.fixed, fixed, strict=True))
        known = {LinearCall: _as_operator.linear, LinearizedCall: _as_operator.linearized}
        make = known.get(type(op), _as_operator.nonlinear)
        return make(self, static_keywords(op.name, kwargs), values)

    def __repr__(self) -> str:
        return f"<{self._op.name} bound by {self._made_by.func.__name__}>"  # type: ignore[attr-defined]

    def __reduce__(self) -> Any:
        return _remade, (self._made_by, self.__name__, self.__doc__)


def _remade(made_by: Callable[[], Call], name: str, doc: str | None) -> Call:
    call = made_by()
    call.__name__, call.__doc__ = name, doc
    return call
