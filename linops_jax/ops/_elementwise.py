"""Differentiable functions of each element: Exp, Log, Sqrt, Power, Sin, Cos, Tanh, Sigmoid, Softplus."""

from __future__ import annotations

import abc
import operator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo


class Elementwise(lo.NonlinearOperator):
    """A function of each element of an array, or of each array of a pytree, as a JAX function in a class of its own."""

    @abc.abstractmethod
    def _function(self, x: Any) -> Any:
        """The function of one array."""

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jax.tree.map(self._function, x)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jnp.array([0.5, 1.5, 3.0])


class Exp(Elementwise):
    """The exponential function x → eˣ of each element, real or complex.

    Notes
    -----
    The Jacobian is dx → eˣ dx.

    Examples
    --------
    >>> F, x = lo.ops.Exp(), jnp.array([0.0, -jnp.inf])
    >>> F(x).tolist(), F.jacobian(x)(jnp.array([3.0, 0.0])).tolist()
    ([1.0, 0.0], [3.0, 0.0])
    """

    def _function(self, x: Any) -> Any:
        return jnp.exp(x)


class Log(Elementwise):
    """The natural logarithm x → log x of each element.

    Notes
    -----
    The Jacobian is dx → dx / x. As in NumPy, the value is -∞ at 0, and NaN at negative real numbers. Of complex numbers it is the
    principal value, which jumps at the negative real axis.

    Examples
    --------
    >>> F = lo.ops.Log()
    >>> F(jnp.array([1.0, 0.0])).tolist()
    [0.0, -inf]
    >>> F.jacobian(jnp.array([4.0]))(jnp.ones(1)).tolist()
    [0.25]
    """

    def _function(self, x: Any) -> Any:
        return jnp.log(x)


class Sqrt(Elementwise):
    """The square root x → √x of each element.

    Notes
    -----
    The Jacobian is dx → dx / (2 √x), infinite at 0. As in NumPy, the value is NaN at negative real numbers. Of complex numbers it
    is the principal value, which jumps at the negative real axis.

    Examples
    --------
    >>> lo.ops.Sqrt()(jnp.array([0.0, 4.0])).tolist()
    [0.0, 2.0]
    """

    def _function(self, x: Any) -> Any:
        return jnp.sqrt(x)


class Power(Elementwise):
    """The power x → xᵖ of each element.

    Parameters
    ----------
    exponent : int, float or complex
        The exponent p.

    Raises
    ------
    TypeError
        If the exponent is not a number.

    Notes
    -----
    The Jacobian is dx → p xᵖ⁻¹ dx. If p is an integer, x may have any sign. Otherwise, as in NumPy, the value is NaN at negative
    real numbers, and the principal value at complex ones. Negative powers are infinite at 0.

    Examples
    --------
    >>> lo.ops.Power(3)(jnp.array([-2.0, 3.0])).tolist()
    [-8.0, 27.0]
    """

    exponent: int | float | complex = lo.static()

    def __init__(self, exponent: complex):
        if isinstance(exponent, bool | np.bool_) or not isinstance(exponent, int | float | complex | np.number):
            message = f"Power.exponent is {exponent!r:.80}; expected a number."
            raise TypeError(message)
        self.exponent = operator.index(exponent) if isinstance(exponent, np.integer) else exponent

    def _function(self, x: Any) -> Any:
        return jnp.power(x, self.exponent)

    @classmethod
    def examples(cls) -> Any:
        yield cls(1.5), jnp.array([0.5, 1.5, 3.0])


class Sin(Elementwise):
    """The sine x → sin x of each element, real or complex.

    Notes
    -----
    The Jacobian is dx → cos(x) dx.

    Examples
    --------
    >>> lo.ops.Sin()(jnp.array([0.0, jnp.pi / 2])).tolist()
    [0.0, 1.0]
    """

    def _function(self, x: Any) -> Any:
        return jnp.sin(x)


class Cos(Elementwise):
    """The cosine x → cos x of each element, real or complex.

    Notes
    -----
    The Jacobian is dx → -sin(x) dx.

    Examples
    --------
    >>> lo.ops.Cos()(jnp.array([0.0, jnp.pi])).tolist()
    [1.0, -1.0]
    """

    def _function(self, x: Any) -> Any:
        return jnp.cos(x)


class Tanh(Elementwise):
    """The hyperbolic tangent x → tanh x of each element, real or complex.

    Notes
    -----
    The Jacobian is dx → (1 - tanh² x) dx.

    Examples
    --------
    >>> lo.ops.Tanh()(jnp.array([0.0, 20.0])).tolist()
    [0.0, 1.0]
    """

    def _function(self, x: Any) -> Any:
        return jnp.tanh(x)


class Sigmoid(Elementwise):
    """The logistic function x → 1 / (1 + e⁻ˣ) of each element, real or complex.

    Notes
    -----
    The Jacobian is dx → s (1 - s) dx with s = F(x). Nothing overflows at large numbers.

    Examples
    --------
    >>> lo.ops.Sigmoid()(jnp.array([0.0, -1000.0])).tolist()
    [0.5, 0.0]
    """

    def _function(self, x: Any) -> Any:
        return jax.nn.sigmoid(x)


class Softplus(Elementwise):
    """The smooth positive part x → log(1 + eˣ) of each element, real or complex.

    Notes
    -----
    The Jacobian is dx → dx / (1 + e⁻ˣ). Nothing overflows at large numbers.

    Examples
    --------
    >>> lo.ops.Softplus()(jnp.array([-1000.0, 2000.0])).tolist()
    [0.0, 2000.0]
    """

    def _function(self, x: Any) -> Any:
        return jax.nn.softplus(x)
