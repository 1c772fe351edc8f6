"""Entries that are chosen by their indices or by a mask: Restriction, Permutation and Mask."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments


class Restriction(lo.LinearOperator):
    r"""The entries with the given indices along one axis.

    Parameters
    ----------
    indices : array or list of int
        Which entries, in any order. They may be repeated, and negative ones count from the end.
    size : int
        The size of the axis in the input.
    axis : int, optional
        The axis along which entries are chosen, the last by default. Negative ones count from the end.

    Raises
    ------
    TypeError
        If the indices are not integers.
    ValueError
        If an index is not below ``size``. When the operator is applied, if the input has no such axis, or in another size.

    Notes
    -----
    With indices p:

    .. math:: y_i = x_{p_i}, \qquad (A^H y)_j = \sum_{i : p_i = j} y_i .

    The adjoint puts the entries back and leaves zeros elsewhere. What comes from a repeated index is added up. Indices that
    JAX traces are not checked; beyond the ends they mean the first and the last entry.

    References
    ----------
    * The documentation of ``numpy.take``.

    Examples
    --------
    >>> A = lo.ops.Restriction([1, 1, 3], 5)
    >>> A(jnp.arange(5.0)).tolist()
    [1.0, 1.0, 3.0]
    >>> A.H(jnp.ones(3)).tolist()
    [0.0, 2.0, 0.0, 1.0, 0.0]
    """

    indices: jax.Array = lo.constant()
    size: int = lo.static()
    axis: int = lo.static(default=-1)

    def __init__(self, indices: Any, size: int, axis: int = -1):
        self.size = _arguments.as_integer(size, "Restriction.size", least=0)
        self.indices = jnp.asarray(_arguments.as_indices(indices, self.size, "Restriction.indices"))
        self.axis = _arguments.as_integer(axis, "Restriction.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.take(x, self.indices, self.axis, mode="clip")

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        rows = jnp.moveaxis(y, self.axis, 0)  # XLA adds rows faster than columns
        zeros = jnp.zeros((self.size, *rows.shape[1:]), y.dtype)
        return jnp.moveaxis(zeros.at[self.indices].add(rows, mode="clip"), 0, self.axis)

    def infer_shape(self, x: Any) -> Any:
        return _arguments.along_axis(x, self.axis, self.size, self.indices.size, "Restriction")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return _arguments.along_axis(y, self.axis, self.indices.size, self.size, "Restriction.H")

    @classmethod
    def examples(cls) -> Any:
        yield cls([1, -2, 1, 0], 5), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls([2, 0], 3, axis=0), jax.ShapeDtypeStruct((3, 2), jnp.complex64)


class Permutation(lo.LinearOperator, unitary=True):
    r"""The entries in another order along one axis.

    Parameters
    ----------
    indices : array or list of int
        A permutation of 0, 1, ..., n - 1.
    axis : int, optional
        The axis along which the entries are permuted, the last by default. Negative ones count from the end.

    Raises
    ------
    TypeError
        If the indices are not integers.
    ValueError
        If they are not a permutation. When the operator is applied, if the input has no such axis, or in another size.

    Notes
    -----
    With the permutation p:

    .. math:: y_i = x_{p_i}, \qquad (A^H y)_{p_i} = y_i .

    The adjoint is the inverse. Indices that JAX traces are not checked.

    References
    ----------
    * The documentation of ``numpy.take``.

    Examples
    --------
    >>> A = lo.ops.Permutation([2, 0, 1])
    >>> A(jnp.array([1.0, 2.0, 3.0])).tolist()
    [3.0, 1.0, 2.0]
    """

    indices: jax.Array = lo.constant()
    places: jax.Array = lo.constant(init=False)  # the inverse permutation
    axis: int = lo.static(default=-1)

    def __init__(self, indices: Any, axis: int = -1):
        checked = _arguments.as_indices(indices, None, "Permutation.indices")
        if isinstance(checked, np.ndarray) and len(np.unique(checked)) < checked.size:
            message = f"Permutation.indices is {indices!r:.80}; expected each of 0 to {checked.size - 1} once."
            raise ValueError(message)
        self.indices = jnp.asarray(checked)
        self.places = jnp.argsort(self.indices).astype(checked.dtype)
        self.axis = _arguments.as_integer(axis, "Permutation.axis")

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.take(x, self.indices, self.axis, mode="clip")

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        return jnp.take(y, self.places, self.axis, mode="clip")

    def infer_shape(self, x: Any) -> Any:
        n = self.indices.size
        return _arguments.along_axis(x, self.axis, n, n, "Permutation")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self.infer_shape(y)

    @classmethod
    def examples(cls) -> Any:
        yield cls([2, 0, 1]), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls([1, 3, 2, 0], axis=0), jax.ShapeDtypeStruct((4, 3), jnp.complex64)


class Mask(lo.LinearOperator, positive=True, diagonal=True):
    """Keeps the entries where a mask is True, and sets the others to zero.

    Parameters
    ----------
    mask : array or list of bool
        The mask. Its shape broadcasts to that of x, by NumPy's rules.

    Raises
    ------
    TypeError
        If the mask does not hold booleans.
    ValueError
        When the operator is applied, if the mask does not broadcast to the shape of the input.

    Notes
    -----
    The operator is an orthogonal projection: its own adjoint, and equal to its square. Where the mask is False, the result is
    zero also if the input is not finite. ``Restriction`` returns the chosen entries alone.

    References
    ----------
    * The documentation of ``numpy.where``.

    Examples
    --------
    >>> lo.ops.Mask([True, False, True])(jnp.arange(1.0, 4.0)).tolist()
    [1.0, 0.0, 3.0]
    """

    mask: jax.Array = lo.constant()

    def __init__(self, mask: Any):
        self.mask = _arguments.as_field(mask, "Mask.mask")
        if (dtype := getattr(self.mask, "dtype", None)) != jnp.bool_:
            message = f"Mask.mask holds {dtype}; expected an array of booleans. lo.Diagonal multiplies by numbers."
            raise TypeError(message)

    @lo.traced
    def apply(self, x: Any) -> Any:
        return jnp.where(_arguments.with_ndim(self.mask, x.ndim), x, jnp.zeros((), x.dtype))

    @lo.traced
    def gram(self, x: Any) -> Any:
        return self.apply(x)

    def infer_shape(self, x: Any) -> Any:
        _arguments.require_array(x, "Mask")
        _arguments.require_broadcast(self.mask, x, "Mask.mask")
        return x

    @classmethod
    def examples(cls) -> Any:
        yield cls([True, False, True]), jax.ShapeDtypeStruct((2, 3), jnp.float32)
        yield cls([[False], [True]]), jax.ShapeDtypeStruct((2, 3), jnp.complex64)
