"""along_axis: an operator on some axes of an array, for each index of the other axes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, overload

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.properties import Properties
from linops_jax._operators import upstream
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite

Axes = tuple[int, ...]


class _AlongAxis:
    """What the linear and the nonlinear class share."""

    op: Any
    axes: Axes

    def apply(self, x: Any) -> Any:
        at = self._at(x)
        return _map(self.op, (x, at), result=lambda ndim: _placed(at, ndim, self))

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [_part(x, self._at(x))]

    def _derive_shape(self, x: Any) -> Any:
        at = self._at(x)
        return _replaced(x, at, self.op._infer_shape(_part(x, at)), self)

    def _at(self, x: Any) -> Axes:
        """The axes of x on which the operator acts, counted from the start."""
        if not shapes.is_spec(x) or not all(-x.ndim <= axis < x.ndim for axis in self.axes):
            found = shapes.describe_tree(x)
            message = (
                f"{exact(self)} cannot be applied: found {found}, expected one array that has the axes {self.axes}."
            )
            raise ValueError(message)
        return tuple(axis % x.ndim for axis in self.axes)

    def _result_at(self, at: Axes, x: Any) -> Axes:
        """The axes of the result that replace those of x."""
        return _placed(at, self.op._infer_shape(_part(x, at)).ndim, self)

    @property
    def properties(self) -> Properties:
        return self.op.properties

    def _expression(self, show: Any) -> str:
        return f"along_axis({show(self.op)}, {self.axes[0] if len(self.axes) == 1 else self.axes})"


class AlongAxis(_AlongAxis, LinearComposite):
    """``lo.along_axis(A, axes)`` for a linear A.

    Parameters
    ----------
    op : LinearOperator
        The operator A, from one array to one array.
    axes : tuple of int
        The axes on which A acts, in the order of the axes of its input.
    """

    op: LinearOperator
    axes: Axes = static()

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """Aᴴ on the same axes, if result and input have the same number of them; otherwise the axes of the result are others."""
        if domain is None:
            return AlongAxis(self.op.H, self.axes) if len(self.axes) == 1 else None
        part = self.op.with_domain(_part(domain, self._at(domain)))
        return AlongAxis(part.H, self.axes) if part.codomain.ndim == len(self.axes) else None

    _is_recorded = True  # type: ignore[assignment]
    _is_looked_for = True  # type: ignore[assignment]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        if not self.op._says_adjoint_shape and (domain := upstream.domain_of(self, y)) is not None:
            return domain
        at = self._at(y)
        return _replaced(y, at, self.op._spaces_of(_part(y, at))[0], self)

    def _pull_back(self, y: Any, like: Any) -> Any:
        at = self._at(like)
        part = _part(like, at)
        return _map(lambda y: self.op._reverse(y, part), (y, self._result_at(at, like)), result=lambda ndim: at)

    def _inverse(self) -> LinearOperator | None:
        inverse = self.op._inverse()
        return None if inverse is None else AlongAxis(inverse, self.axes)


class NonlinearAlongAxis(_AlongAxis, NonlinearComposite):
    """``lo.along_axis(F, axes)`` for a nonlinear F.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F, from one array to one array.
    axes : tuple of int
        The axes on which F acts, in the order of the axes of its input.
    """

    op: NonlinearOperator
    axes: Axes = static()

    def _expand_parts(self, x: Any) -> Expansion:
        return self._expand_by_jax(jnp.asarray(x))


def _part(x: Any, at: Axes) -> jax.ShapeDtypeStruct:
    """Specs of the array to which the operator itself is applied."""
    return jax.ShapeDtypeStruct(tuple(x.shape[i] for i in at), x.dtype)


def _replaced(x: Any, at: Axes, part: Any, op: Any) -> jax.ShapeDtypeStruct:
    """Specs of x after its axes ``at`` are replaced by those of ``part``."""
    placed = _placed(at, part.ndim, op)
    others = iter([size for i, size in enumerate(x.shape) if i not in at])
    new = dict(zip(placed, part.shape, strict=True))
    ndim = x.ndim - len(at) + part.ndim
    return jax.ShapeDtypeStruct(tuple(new[i] if i in new else next(others) for i in range(ndim)), part.dtype)


def _placed(at: Axes, ndim: int, op: Any) -> Axes:
    """The positions of ``ndim`` axes that replace the axes ``at``."""
    if ndim == len(at):
        return at
    first = min(at)
    if sorted(at) != list(range(first, first + len(at))):
        message = (
            f"{exact(op)}: {len(at)} axes become {ndim}, which can take the place of consecutive axes only; found {at}."
        )
        raise ValueError(message)
    return tuple(range(first, first + ndim))


def _map(function: Callable[..., Any], *arrays: tuple[Any, Axes], result: Callable[[int], Axes]) -> Any:
    """``function`` on the given axes of arrays, for every index of the others, which the arrays share in this order."""
    moved = [jnp.moveaxis(array, at, range(array.ndim - len(at), array.ndim)) for array, at in arrays]
    lead = moved[0].shape[: moved[0].ndim - len(arrays[0][1])]
    y = jax.vmap(function)(*(array.reshape(math.prod(lead), *array.shape[len(lead) :]) for array in moved))
    y = y.reshape(*lead, *y.shape[1:])
    at = result(y.ndim - len(lead))
    return jnp.moveaxis(y, range(len(lead), y.ndim), at)


@overload
def along_axis(op: LinearOperator, axis: int | tuple[int, ...]) -> LinearOperator: ...
@overload
def along_axis(op: NonlinearOperator, axis: int | tuple[int, ...]) -> NonlinearOperator: ...
def along_axis(op: Any, axis: int | tuple[int, ...]) -> Any:
    """Applies an operator to some axes of one array, for each index of the other axes.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        An operator from one array, with as many axes as are named here, to one array.
    axis : int or tuple of int
        One axis or several, in the order of the axes of the input of ``op``. Negative ones count from the end.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator on larger arrays, linear if ``op`` is. The axes of its result are in the place of those of the input;
        if their number changes, these must be consecutive.

    Raises
    ------
    TypeError
        If ``op`` is not an operator.
    ValueError
        If an axis is named twice. When the operator is applied, if the input does not have the axes.

    Notes
    -----
    The operator is mapped over the other axes by ``vmap``, and costs as much.

    Examples
    --------
    >>> columns = lo.along_axis(lo.Matrix([[1.0, 1.0]]), 0)
    >>> columns(jnp.asarray([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).tolist()
    [[5.0, 7.0, 9.0]]
    """
    _parts.require_operators(op, "along_axis")
    axes = tuple(map(int, np.atleast_1d(axis)))
    if len(set(axes)) < len(axes) or not axes:
        message = f"along_axis: expected one or several different axes, found {axis}."
        raise ValueError(message)
    return AlongAxis(op, axes) if isinstance(op, LinearOperator) else NonlinearAlongAxis(op, axes)
