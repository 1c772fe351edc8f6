"""Functional: the class to subclass for a function to the real numbers that has a proximal operator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import jax
import jax.numpy as jnp

from linops_jax._model import lookup, rules, shapes
from linops_jax._operators.arithmetic import is_scalar
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import required
from linops_jax._types import Arrays
from linops_jax._vectors import arithmetic


class Functional(NonlinearOperator, rules=rules.FUNCTIONAL, real_linear=True):
    r"""A function f from a pytree of real or complex arrays to the real numbers, or to ∞, with its proximal operator.

    It is a nonlinear operator whose result is a real array without axes: the sum of functionals, their multiples and their
    compositions with operators are operators, too. Subclass it and write ``apply`` as for any operator, and ``prox``.
    Users call ``f(x)``, ``f.prox(x, step)`` and ``f.gradient(x)``.

    Attributes
    ----------
    smooth : float or jax.Array, optional
        A Lipschitz constant of the gradient, as an attribute or a property of the class. Default: None, f is not smooth.
    convex : bool, optional
        Whether f is convex, as an attribute of the class. Default: True.
    indicator : bool, optional
        Whether f is 0 in a set and ∞ elsewhere, so that its prox is the projection, as an attribute of the class. Default: False.
    separable : bool, optional
        Whether f is a sum over the parts into which ``jax.shard_map`` cuts x, and its prox that of each part, as an attribute of
        the class. Default: False; ``lo.minimize`` refuses f where the parts of all devices are one problem.

    Methods
    -------
    prox(x, step)
        A hook, as ``apply`` is: host, traced or native. The point u where f(u) + \|u - x\|² / (2 step) is least. ``step`` is a
        real array without axes. Outside of hooks, ``f.prox(x, step)`` evaluates it under every transformation of JAX; there
        ``step`` may be a number.
    prox_jacobian(x, step, dx)
        A hook: the derivative of ``prox(x, step)`` at x in the direction dx. If ``prox`` is traced, JAX derives it.

    Notes
    -----
    The prox of a convex function is the gradient of another one, so its derivative J is self-adjoint (for complex arrays with
    the real part of the inner product), and ``prox_jacobian`` serves in forward and reverse mode. With it there is a derivative
    with respect to the step, too: with p = prox(x, step), p + step ∂f(p) ∋ x gives

    .. math:: \frac{\partial p}{\partial\, \mathrm{step}} = J(x)\, \frac{p - x}{\mathrm{step}} .

    With the class keyword ``batched=True``, ``prox`` gets leading axes on ``step`` as on x.

    The names are those of N. Parikh and S. Boyd, Proximal Algorithms, 2014.

    Examples
    --------
    >>> class Cardinality(lo.Functional):
    ...     convex = False
    ...
    ...     @lo.traced
    ...     def apply(self, x):
    ...         return jnp.sum(x != 0, dtype=x.dtype)
    ...
    ...     def prox(self, x, step):  # hard thresholding, in NumPy
    ...         return np.where(x**2 > 2 * step, x, 0)
    >>> f, x = Cardinality(), jnp.array([3.0, -1.0, 0.0])
    >>> f(x), f.prox(x, 1.0)
    (Array(2., dtype=float32), Array([3., 0., 0.], dtype=float32))
    """

    smooth: ClassVar[Any] = None
    convex: ClassVar[bool] = True
    indicator: ClassVar[bool] = False
    separable: ClassVar[bool] = False

    if TYPE_CHECKING:

        @required
        def prox(self, x: Arrays, step: Any) -> Any: ...
    else:
        prox = lookup.AlsoAttribute("prox", lambda f: f._evaluate_prox, "Write the whole prox here.")

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        Functional.prox.put_on(cls)

    def _evaluate_prox(self, x: Arrays, step: Any) -> Arrays:
        """``f.prox(x, step)``: the hook, evaluated by its primitive.

        Parameters
        ----------
        x : pytree of arrays
            The point, of floating-point numbers.
        step : float or jax.Array
            The step, a positive real number.

        Returns
        -------
        pytree of arrays
            The prox, in the shapes and dtypes of x.

        Raises
        ------
        NotImplementedError
            If the class has no prox.
        TypeError
            If x has numbers that are not floating-point, or if step is not a real number.
        ValueError
            If step is not positive.
        """
        x, step = self._as_prox_arguments(x, step, "prox(x, step)")
        return self._evaluate("prox", (x, step), shapes.specs(x)) if jax.tree.leaves(x) else x

    def conjugate_prox(self, u: Arrays, step: Any) -> Arrays:
        r"""The prox of the convex conjugate f*, by Moreau's identity: u - step prox(u / step, 1 / step).

        A class may override it by JAX code, where there is a better formula.

        Parameters
        ----------
        u : pytree of arrays
            The point, in the shapes and dtypes of the input of f.
        step : float or jax.Array
            The step, a positive real number.

        Returns
        -------
        pytree of arrays
            The point v where f*(v) + \|v - u\|² / (2 step) is least, in the shapes and dtypes of u.

        Raises
        ------
        NotImplementedError, TypeError, ValueError
            As of ``prox``.
        """
        u, step = self._as_prox_arguments(u, step, "conjugate_prox(u, step)")
        inner = self.prox(arithmetic.times(1 / step, u), 1 / step)
        return arithmetic.add(u, -step, inner)

    def conjugate(self, u: Arrays) -> jax.Array:
        """The convex conjugate f*(u), the supremum of Re⟨u, x⟩ - f(x) over x. A class may define it by JAX code.

        Parameters
        ----------
        u : pytree of arrays
            The point, in the shapes and dtypes of the input of f.

        Returns
        -------
        jax.Array
            The value f*(u), a real array without axes. Where only the rounding of u makes f* infinite, it is finite.

        Raises
        ------
        NotImplementedError
            If the class does not define it.
        """
        where = type(self)._label
        message = (
            f"{where} has no conjugate. Define {where}.conjugate(self, u), the supremum of Re<u, x> - f(x) over x."
        )
        raise NotImplementedError(message)

    def gradient(self, x: Arrays) -> Arrays:
        """The gradient of f at x, ``f.jacobian(x).H(1)``. For complex x it is the conjugate of ``jax.grad(f)(x)``.

        Parameters
        ----------
        x : pytree of arrays
            The point.

        Returns
        -------
        pytree of arrays
            The gradient, in the shapes and dtypes of x.

        Raises
        ------
        NotImplementedError
            If f is not smooth.
        """
        if self.smooth is None:
            where = type(self)._label
            message = (
                f"{where} is not smooth, so it has no gradient everywhere. Use {where}.prox(x, step); if there is a Lipschitz "
                f"constant of the gradient, set {where}.smooth to it."
            )
            raise NotImplementedError(message)
        jacobian = self.jacobian(x)
        one = jacobian.codomain
        return jacobian.H(jnp.ones(one.shape, one.dtype))

    def _as_prox_arguments(self, x: Any, step: Any, name: str) -> tuple[Any, jax.Array]:
        """The arguments of a prox as arrays; the step in the real dtype with the precision of x."""
        where = f"{type(self)._label}.{name}"
        shapes.refuse_shapes(x, where, "Pass the point, as jnp.zeros({})")
        x = self._as_input(shapes.as_arrays(x, where))
        if not all(shapes.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(x)):
            message = (
                f"{where}: expected x of floating-point numbers, found {shapes.describe_tree(x)}. Use x.astype(float)."
            )
            raise TypeError(message)
        if not is_scalar(step) or jnp.iscomplexobj(step):
            found = shapes.describe_tree(step) if shapes.is_spec(step) else f"{step!r:.80}"
            message = f"{where}: expected a step that is a real number, or a real array of shape (), found {found}."
            raise TypeError(message)
        if shapes.is_concrete(step) and not step > 0:
            message = f"{where}: expected a positive step, found {step}."
            raise ValueError(message)
        return x, jnp.asarray(step, shapes.real_scalar(x).dtype)
