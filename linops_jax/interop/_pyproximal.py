"""PyProximal: to_pyproximal and from_pyproximal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pyproximal

import linops_jax as lo
from linops_jax import algebra
from linops_jax._types import Specs
from linops_jax._vectors import Packing
from linops_jax.interop import _arguments
from linops_jax.interop._eager import as_raised

# ---- ours as theirs -----------------------------------------------------------------------------------------------------


def to_pyproximal(f: lo.NonlinearOperator, spec: Specs | None = None) -> FunctionalForPyProximal:
    """A ``pyproximal.ProxOperator`` from an objective, for the algorithms of PyProximal.

    Parameters
    ----------
    f : Functional or NonlinearOperator
        A functional, or its multiple, as ``0.1 * lo.L1()``: with its value and its prox, and with its gradient if it is
        smooth. Or a sum of smooth functionals of operators, as ``lo.SquaredL2(y) @ A``: with its value and its gradient.
    spec : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``f`` does not know it.

    Returns
    -------
    pyproximal.ProxOperator
        With ``op``, the objective with its domain. Vectors hold the entries of arrays in C order, those of pytrees leaf
        after leaf, in their common dtype, float32 at least.

    Raises
    ------
    TypeError
        If ``f`` is not a nonlinear operator to one real number, or its domain is unknown.
    ValueError
        If ``f`` is a multiple of a functional by a number that is not positive.
    NotImplementedError
        If ``f`` has neither a prox nor a gradient.

    Warns
    -----
    UserWarning
        If the domain is in 64 bits and JAX is not.

    Notes
    -----
    As in PyProximal, the value of a constraint is True or False, and without a gradient ``hasgrad`` is False and ``grad`` is
    that of the Moreau envelope. Functions are compiled once. 64 bits are used if they were switched on when this function
    was called.

    Examples
    --------
    >>> P = lo.interop.to_pyproximal(2.0 * lo.L1(), jnp.zeros(2))
    >>> P(np.array([3.0, -1.0])), P.prox(np.array([3.0, -1.0]), 0.5)
    (8.0, array([2., 0.], dtype=float32))
    """
    if isinstance(f, lo.LinearOperator):
        message = f"to_pyproximal needs a functional, and {f!r} is linear. Its misfit is lo.SquaredL2(y) @ A."
        raise TypeError(message)
    op = _arguments.operator(f, spec, "to_pyproximal")
    value = op.codomain
    if getattr(value, "shape", None) != () or jnp.iscomplexobj(value):
        message = f"to_pyproximal needs a function to one real number, and {op!r} gives {value}. Compose it with a functional."
        raise TypeError(message)
    functional, weight = _as_multiple(op)
    if functional is not None and not weight > 0:
        message = f"to_pyproximal: {op!r} is {weight} times a functional, and a prox needs a positive number."
        raise ValueError(message)
    if functional is None and not _is_smooth(op):
        message = (
            f"to_pyproximal: {op!r} has neither a prox nor a gradient. Convert the functional alone, and give its operator, "
            "lo.interop.to_pylops(A), to the algorithm, as to pyproximal.optimization.primaldual.PrimalDual."
        )
        raise NotImplementedError(message)
    return FunctionalForPyProximal(op, functional, weight)


class FunctionalForPyProximal(pyproximal.ProxOperator):
    """What ``to_pyproximal`` returns.

    Attributes
    ----------
    op : NonlinearOperator
        The objective, with its domain.
    """

    def __init__(self, op: Any, functional: lo.Functional | None, weight: Any):
        super().__init__(None, hasgrad=_is_smooth(op))
        self.op = op
        self._functional, self._weight = functional, weight
        self._packing = Packing(op.domain, least=np.float32, xp=np)
        self._x64 = jnp.result_type(float) == np.float64

    def __call__(self, x: Any) -> Any:
        """The value at a vector."""
        value = float(self._evaluate(_value, self.op, x))
        return value == 0 if self._functional is not None and self._functional.indicator else value

    def prox(self, x: Any, tau: Any) -> Any:
        """The prox at a vector with a step, a positive number."""
        if self._functional is None:
            message = (
                f"{self.op!r} has no prox, only a gradient: use it where PyProximal wants a smooth function, as the first "
                "argument of pyproximal.optimization.primal.ProximalGradient."
            )
            raise NotImplementedError(message)
        if np.size(tau) != 1 or not np.all(np.asarray(tau) > 0):
            message = f"the prox of {self.op!r} expects one positive number tau, found {tau}."
            raise ValueError(message)
        step = self._weight * np.reshape(tau, ())
        return self._packing.pack(self._evaluate(_prox, self._functional, x, step))

    def grad(self, x: Any) -> Any:
        """The gradient at a vector; that of the Moreau envelope, if f is not smooth."""
        if not self.hasgrad:
            return super().grad(x)
        return self._packing.pack(self._evaluate(_gradient, self.op, x))

    def _evaluate(self, function: Callable[..., Any], op: Any, x: Any, *more: Any) -> Any:
        x = np.asarray(x)
        if x.size != self._packing.size:
            message = f"{self.op!r} takes vectors of {self._packing.size} numbers, found an array of shape {x.shape}."
            raise ValueError(message)
        with jax.enable_x64(self._x64):
            return jax.tree.map(np.array, function(op, self._packing.unpack(x.ravel()), *more))


@as_raised
@jax.jit
def _value(op: Any, x: Any) -> Any:
    return op(x)


@as_raised
@jax.jit
def _prox(f: Any, x: Any, step: Any) -> Any:
    return f.prox(x, step)


@as_raised
@jax.jit
def _gradient(op: Any, x: Any) -> Any:
    jacobian = op.jacobian(x)
    return jacobian.H(jnp.ones((), jacobian.codomain.dtype))


def _as_multiple(op: Any, weight: Any = 1) -> tuple[lo.Functional | None, Any]:
    """The functional and the number whose product this is; no functional where it is something else."""
    if isinstance(op, algebra.NonlinearWithDomain):
        return _as_multiple(op.op, weight)
    if isinstance(op, algebra.NonlinearScaled):
        return _as_multiple(op.op, weight * op.scalar)
    return (op if isinstance(op, lo.Functional) else None), weight


def _is_smooth(op: Any) -> bool:
    """Whether an expression has a gradient, by what its functionals say. Other functions are taken to have one."""
    if isinstance(op, algebra.NonlinearSum):
        return all(map(_is_smooth, op.terms))
    if isinstance(op, algebra.NonlinearScaled | algebra.NonlinearWithDomain):
        return _is_smooth(op.op)
    if isinstance(op, algebra.NonlinearComposition):
        return _is_smooth(op.factors[0])
    return not isinstance(op, lo.Functional) or op.smooth is not None


# ---- theirs as ours -----------------------------------------------------------------------------------------------------


def from_pyproximal(P: Any, *, smooth: float | None = None, convex: bool = False) -> lo.Functional:
    """A functional from a proximal operator of PyProximal.

    Parameters
    ----------
    P : pyproximal.ProxOperator
        The operator of PyProximal.
    smooth : float, optional
        A Lipschitz constant of the gradient, where ``P.grad`` is the gradient. Default: None, the functional is used by its prox.
    convex : bool, optional
        Whether the function is convex, which PyProximal does not say. ``lo.minimize`` has a gap if all functions are.
        Default: False.

    Returns
    -------
    Functional
        Of an array of any shape, which PyProximal gets as a vector in C order, and in its dtype. Where PyProximal's value is
        True or False, it is 0 or ∞. Where ``P.hasgrad`` is True, the value can be differentiated; the prox cannot.

    Raises
    ------
    TypeError
        If ``P`` is not an operator of PyProximal.
    ValueError
        If ``smooth`` is not a positive number, or ``P`` has no gradient.

    Notes
    -----
    PyProximal's functions are called on the host as they are. A function that depends on how often it was called (a callable
    ``sigma`` or ``niter``, ``warm`` starts) is none, and the results of algorithms are then not those of PyProximal. Instead of
    ``pyproximal.L2(Op, b)`` write ``lo.SquaredL2(b) @ lo.interop.from_pylops(Op)``.

    What ``to_pyproximal`` made is taken apart again. Sums and multiples that PyProximal has built from such functions cannot come
    back, because JAX cannot be called from within its own programs.

    Examples
    --------
    >>> import pyproximal
    >>> f = lo.interop.from_pyproximal(pyproximal.L0(1.0))
    >>> f(jnp.array([3.0, -1.0])), f.prox(jnp.array([3.0, -1.0]), 1.0)
    (Array(2., dtype=float32), Array([3., 0.], dtype=float32))
    """
    if not isinstance(P, pyproximal.ProxOperator):
        advice = " from_pylops takes operators of PyLops." if type(P).__module__.startswith("pylops") else ""
        message = f"from_pyproximal expects a pyproximal.ProxOperator, found {_arguments.describe(P)}.{advice}"
        raise TypeError(message)
    if isinstance(P, FunctionalForPyProximal):
        return P.op
    if smooth is None:
        return (DifferentiablePyProximalFunctional if P.hasgrad else PyProximalFunctional)(P, None, bool(convex))
    if not P.hasgrad:
        message = (
            f"from_pyproximal: {type(P).__name__} of PyProximal has no gradient (hasgrad is False). Leave `smooth` out."
        )
        raise ValueError(message)
    if not smooth > 0:
        message = (
            f"from_pyproximal: expected `smooth`, a Lipschitz constant of the gradient, to be positive, found {smooth}."
        )
        raise ValueError(message)
    return DifferentiablePyProximalFunctional(P, float(smooth), bool(convex))


class PyProximalFunctional(lo.Functional):
    """A function of PyProximal, with its value and its prox.

    Parameters
    ----------
    operator : pyproximal.ProxOperator
        The operator of PyProximal.
    lipschitz : float or None
        A Lipschitz constant of the gradient.
    is_convex : bool
        Whether the function is convex.
    """

    operator: Any = lo.static()
    lipschitz: float | None = lo.static()
    is_convex: bool = lo.static()
    jacobian_apply = jacobian_adjoint = None  # type: ignore[assignment]

    @property
    def smooth(self) -> Any:  # type: ignore[override]
        return self.lipschitz

    @property
    def convex(self) -> bool:  # type: ignore[override]
        return self.is_convex

    def apply(self, x: Any) -> Any:
        value = self.operator(_vector(x))
        if isinstance(value, bool | np.bool_):
            value = 0 if value else np.inf
        return np.asarray(value, np.finfo(x.dtype).dtype)

    def prox(self, x: Any, step: Any) -> Any:
        return self._like(x, self.operator.prox(_vector(x), float(step)), "prox")

    def infer_shape(self, x: Any) -> Any:
        if not hasattr(x, "shape") or not jnp.issubdtype(x.dtype, jnp.inexact):
            message = (
                f"{type(self.operator).__name__} of PyProximal takes one array of floating-point numbers, found {x}. For a "
                "pytree, write a sum of functions of its arrays."
            )
            raise TypeError(message)
        return jax.ShapeDtypeStruct((), jnp.finfo(x.dtype).dtype)

    def _like(self, x: Any, found: Any, what: str) -> Any:
        """What PyProximal returned, in the shape and dtype of x."""
        found, name = np.asarray(found), type(self.operator).__name__
        if found.size != x.size:
            message = f"the {what} of {name} of PyProximal has {found.size} numbers for an x of shape {x.shape}."
            raise ValueError(message)
        if np.iscomplexobj(found) and not np.iscomplexobj(x):
            message = f"the {what} of {name} of PyProximal is complex for an x of {x.dtype}. Pass a complex x."
            raise TypeError(message)
        return found.reshape(x.shape).astype(x.dtype, copy=False)

    @classmethod
    def examples(cls) -> Any:
        yield from_pyproximal(pyproximal.L1(0.7), convex=True), jax.ShapeDtypeStruct((2, 3), np.float32)


class DifferentiablePyProximalFunctional(PyProximalFunctional):
    """The same with the gradient of PyProximal."""

    def jacobian_apply(self, x: Any, dx: Any) -> Any:
        return np.asarray(np.real(np.vdot(self._gradient(x), dx)), np.finfo(x.dtype).dtype)

    def jacobian_adjoint(self, x: Any, dy: Any) -> Any:
        return (dy * self._gradient(x)).astype(x.dtype, copy=False)

    def _gradient(self, x: Any) -> Any:
        return self._like(x, self.operator.grad(_vector(x)), "gradient")

    @classmethod
    def examples(cls) -> Any:
        b = np.linspace(-1, 1, 6, dtype=np.float32)
        yield from_pyproximal(pyproximal.L2(b=b), smooth=1, convex=True), jax.ShapeDtypeStruct((2, 3), np.float32)


def _vector(x: Any) -> Any:
    """A copy, since some of their functions write into their argument."""
    return np.array(x).ravel()
