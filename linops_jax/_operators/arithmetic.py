"""The operators of Python between operators, numbers and arrays: ``+``, ``-``, ``*``, ``/``, ``@`` and ``**``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import numpy as np

from linops_jax._model import advice, shapes
from linops_jax._operators import constructors

Operand: TypeAlias = np.ndarray | jax.Array | list[Any]  # of ``A @ x``


def is_scalar(value: Any) -> bool:
    """Whether a value is a number, or an array without axes."""
    if isinstance(value, bool | int | float | complex | np.number | np.bool_):
        return True
    return isinstance(value, np.ndarray | jax.Array) and value.ndim == 0


class Arithmetic:
    """Python's operators: each builds a composite, or refuses its operands and says what to write instead."""

    __call__: Callable[..., Any]
    __array_ufunc__ = None  # so NumPy arrays leave binary operators to this class

    def __add__(self, other: Any) -> Any:
        if isinstance(other, Arithmetic):
            return constructors.add(self, other)
        return advice.refuse_operation("+", self, other)

    def __radd__(self, other: Any) -> Any:
        if type(other) is int and other == 0:  # the start value of sum()
            return self
        return advice.refuse_operation("+", other, self)

    def __sub__(self, other: Any) -> Any:
        if isinstance(other, Arithmetic):
            return constructors.add(self, -other)
        return advice.refuse_operation("-", self, other)

    def __rsub__(self, other: Any) -> Any:
        return advice.refuse_operation("-", other, self)

    def __neg__(self) -> Any:
        return constructors.scale(-1, self)

    def __mul__(self, other: Any) -> Any:
        return constructors.scale(other, self) if is_scalar(other) else advice.refuse_operation("*", self, other)

    def __rmul__(self, other: Any) -> Any:
        return constructors.scale(other, self) if is_scalar(other) else advice.refuse_operation("*", other, self)

    def __truediv__(self, other: Any) -> Any:
        if is_scalar(other):
            return constructors.scale(1 / other, self)
        return advice.refuse_operation("/", self, other)

    def __rtruediv__(self, other: Any) -> Any:
        return advice.refuse_operation("/", other, self)

    def __matmul__(self, other: Any) -> Any:
        if isinstance(other, Arithmetic):
            return constructors.compose(self, other)
        if isinstance(other, np.ndarray | jax.Array) or shapes.is_list_of_numbers(other):
            return self(other)
        return advice.refuse_operation("@", self, other)

    def __rmatmul__(self, other: Any) -> Any:
        return advice.refuse_operation("@", other, self)

    def __pow__(self, exponent: Any) -> Any:
        if isinstance(exponent, int | np.integer):
            return constructors.power(self, int(exponent))
        return advice.refuse_operation("**", self, exponent)
