"""Products of several inputs, linear in each: Product, BiConvolution."""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments, _convolving
from linops_jax.ops._convolution import BOUNDARIES, Convolution


class Product(lo.NonlinearOperator):
    r"""Multiplication of several arrays of one shape, element by element: (x₁, …, xₙ) → x₁ ⋯ xₙ.

    Raises
    ------
    ValueError
        When the operator is applied, if the input is not a pytree of one or more arrays of one shape.

    Notes
    -----
    The product of the values of two operators A and B is ``Product() @ lo.vstack([A, B])``. The Jacobian is

    .. math:: (dx_1, \dots, dx_n) \mapsto \sum_k dx_k \prod_{l \ne k} x_l ,

    and its adjoint multiplies by the conjugate of the other factors.

    Examples
    --------
    >>> F, x = lo.ops.Product(), (jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]))
    >>> F(x).tolist()
    [3.0, 8.0]
    >>> F.jacobian(x).H(jnp.ones(2))
    (Array([3., 4.], dtype=float32), Array([1., 2.], dtype=float32))
    """

    @lo.traced
    def apply(self, x: Any) -> Any:
        return functools.reduce(operator.mul, jax.tree.leaves(x))

    def infer_shape(self, x: Any) -> Any:
        leaves = jax.tree.leaves(x)
        shapes = [leaf.shape for leaf in leaves]
        if len(set(shapes)) != 1:
            message = f"Product takes a pytree of arrays of one shape, found the shapes {shapes}."
            raise ValueError(message)
        return jax.ShapeDtypeStruct(shapes[0], jnp.result_type(*leaves))

    @classmethod
    def examples(cls) -> Any:
        x = jax.ShapeDtypeStruct((3,), jnp.float32)
        yield cls(), (x, jax.ShapeDtypeStruct((3,), jnp.complex64))


class BiConvolution(lo.NonlinearOperator):
    r"""The convolution of an array with a kernel, as a function of both: (x, h) → h * x.

    Parameters
    ----------
    axes : int or tuple of int, optional
        The axes of x, in the order of those of h; all by default. Negative ones count from the end.
    offset : int or tuple of int, optional
        The index of the center of h, one number for all axes or one for each. Default: (K - 1) // 2 for K entries.
    boundary : str, optional
        ``"zero"``, the default, ``"periodic"``, ``"valid"`` or ``"full"``, as of ``Convolution``.
    method : str, optional
        ``"auto"``, the default, ``"direct"`` or ``"fft"``, as of ``Convolution``.

    Raises
    ------
    TypeError
        If ``axes`` or ``offset`` are not integers. When the operator is applied, if the input is not a pair of arrays.
    ValueError
        If ``boundary`` or ``method`` has another value. When the operator is applied, if ``Convolution`` of this kernel refuses
        its arguments or this array.

    Notes
    -----
    The Jacobian is (dx, dh) → h * dx + dh * x. For a fixed kernel ``Convolution`` is the linear operator, whose notes have the
    formula and the conventions. Together with the solvers this is blind deconvolution.

    Examples
    --------
    >>> F, x, h = lo.ops.BiConvolution(boundary="full"), jnp.array([1.0, 2.0]), jnp.array([1.0, -1.0])
    >>> F((x, h)).tolist()
    [1.0, 1.0, -2.0]
    >>> F.jacobian((x, h))((0 * x, jnp.array([0.0, 1.0]))).tolist()
    [0.0, 1.0, 2.0]
    """

    axes: tuple[int, ...] | None = lo.static(default=None)
    offset: int | tuple[int, ...] | None = lo.static(default=None)
    boundary: str = lo.static(default="zero")
    method: str = lo.static(default="auto")

    def __init__(
        self,
        axes: int | tuple[int, ...] | None = None,
        offset: int | tuple[int, ...] | None = None,
        boundary: str = "zero",
        method: str = "auto",
    ):
        self.axes = _arguments.as_axes(axes, "BiConvolution.axes")
        self.offset = offset if offset is None else _arguments.as_integers(offset, "BiConvolution.offset", 0)
        self.boundary = _arguments.one_of(boundary, BOUNDARIES, "BiConvolution.boundary")
        self.method = _arguments.one_of(method, _convolving.METHODS, "BiConvolution.method")

    @lo.traced
    def apply(self, x: Any) -> Any:
        array, kernel = x
        return Convolution(kernel, self.axes, self.offset, self.boundary, self.method)(array)

    def infer_shape(self, x: Any) -> Any:
        if not (isinstance(x, tuple | list) and len(x) == 2 and all(hasattr(leaf, "shape") for leaf in x)):
            message = f"BiConvolution takes a pair of arrays, x and the kernel, found {x!r:.120}."
            raise TypeError(message)
        return jax.eval_shape(self.apply, x)

    @classmethod
    def examples(cls) -> Any:
        x, h = jax.ShapeDtypeStruct((2, 5), jnp.float32), jax.ShapeDtypeStruct((3,), jnp.complex64)
        yield cls(axes=-1), (x, h)
