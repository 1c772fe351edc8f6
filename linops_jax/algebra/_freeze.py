"""freeze: an operator of several inputs, some of which are fixed."""

from __future__ import annotations

from typing import Any, Literal, overload

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._model.properties import Properties, common
from linops_jax._operators import upstream
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator, UnknownShapeError
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite
from linops_jax.algebra._composition import compose


class _Freeze:
    """What the linear and the nonlinear class share."""

    op: Any
    values: dict[Any, Any]

    def apply(self, x: Any) -> Any:
        return self.op(_fill(x, self.values, exact(self)))

    def _derive_shape(self, x: Any) -> Any:
        return self.op._infer_shape(_fill(x, shapes.specs(self.values), exact(self)))

    @property
    def domain(self) -> Any:
        return None if self.op.domain is None else _rest(self.op.domain, self.values)

    @property
    def properties(self) -> Properties:
        return common([self.op])

    def _expression(self, show: Any) -> str:
        values = ", ".join(f"{slot!r}: {show.point(shapes.specs(value))}" for slot, value in self.values.items())
        return f"freeze({show(self.op)}, {{{values}}})"


class Frozen(_Freeze, NonlinearComposite):
    """``lo.freeze(F, values)``.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator F.
    values : dict
        The fixed inputs, by position or by name.
    """

    op: Operator
    values: dict[Any, Any]

    def _expand_parts(self, x: Any) -> Expansion:
        found = self.op._expand(_fill(shapes.as_arrays(x, exact(self)), self.values, exact(self)))  # type: ignore
        return Expansion(compose(found.jacobian, Insert(self.values)).with_domain(shapes.specs(x)), found.value)


class LinearFrozen(_Freeze, LinearComposite):
    """``lo.freeze(F, values, linear=True)``: F is linear in its other inputs, so it equals its derivative at any point.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F.
    values : dict
        The fixed inputs, by position or by name.
    """

    op: Operator
    values: dict[Any, Any]

    def apply(self, x: Any) -> Any:
        return self._derivative(shapes.specs(x))(x)

    _is_recorded = True  # type: ignore[assignment]
    _is_looked_for = True  # type: ignore[assignment]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        if (domain := upstream.domain_of(self, y)) is not None:
            return domain
        message = f"{exact(self)}.H(y) needs to know the shape of its result: fix the domain with with_domain(spec)."
        raise UnknownShapeError(message)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self._derivative(like)._reverse(y, like)

    def _derivative(self, spec: Any) -> Any:
        zero = jax.tree.map(shapes.zeros, spec)
        return Frozen(self.op, self.values).jacobian(zero)


class Insert(LinearComposite):
    """The map from the inputs that are not fixed to all inputs; the fixed ones are zero."""

    values: dict[Any, Any]

    def apply(self, x: Any) -> Any:
        return _fill(x, jax.tree.map(jnp.zeros_like, self.values), exact(self))

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return _rest(y, self.values)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return _rest(y, self.values)

    def _expression(self, show: Any) -> str:
        return f"Insert({list(self.values)})"


def _fill(x: Any, values: dict[Any, Any], where: str) -> Any:
    """All inputs: those of x in the order of the free positions, and the fixed ones."""
    if not _by_position(values):
        if not isinstance(x, dict) or set(x) & set(values):
            message = f"{where}: expected a dict of the inputs that are not fixed, found {shapes.describe_tree(x)}."
            raise ValueError(message)
        return {**x, **values}
    left = list(x) if type(x) is tuple else [x]
    total = len(left) + len(values)
    if max(values) >= total or (type(x) is tuple and len(x) == 1):
        message = (
            f"{where}: expected the one input that is not fixed, or a tuple of these inputs, found "
            f"{shapes.describe_tree(x)}; the inputs {sorted(values)} are fixed."
        )
        raise ValueError(message)
    rest = iter(left)
    return tuple(values[i] if i in values else next(rest) for i in range(total))


def _rest(x: Any, values: dict[Any, Any]) -> Any:
    """The inputs that are not fixed."""
    if not _by_position(values):
        return {name: part for name, part in x.items() if name not in values}
    left = tuple(part for i, part in enumerate(x) if i not in values)
    return left[0] if len(left) == 1 else left


def _by_position(values: dict[Any, Any]) -> bool:
    """Whether the inputs are fixed by position, not by name."""
    return all(isinstance(slot, int) for slot in values)


def _refuse_absent(op: Any, values: dict[Any, Any]) -> None:
    """Raises ValueError if it is known that ``op`` does not have one of these inputs."""
    inputs = op._inputs
    if inputs is None:
        return
    if isinstance(inputs, list):
        message = (
            f"freeze: the inputs of {exact(op)} are a list, and freeze takes those of a tuple by position and those of a dict "
            "by name. Make it of a tuple, as in lo.hstack((A, B))."
        )
        raise ValueError(message)
    slots = range(len(inputs)) if type(inputs) is tuple else inputs if isinstance(inputs, dict) else ()
    if absent := [slot for slot in values if slot not in slots]:
        known = f"its domain is {shapes.describe_tree(op.domain)}" if op.domain is not None else f"it has {list(slots)}"
        message = f"freeze: {exact(op)} has no input {absent[0]!r}: {known}."
        raise ValueError(message)


@overload
def freeze(op: _parts.Either, values: dict[Any, Any], *, linear: Literal[True]) -> LinearOperator: ...
@overload
def freeze(op: _parts.Either, values: dict[Any, Any], *, linear: Literal[False] = False) -> NonlinearOperator: ...
def freeze(op: Any, values: dict[Any, Any], *, linear: bool = False) -> Any:
    """Fixes some inputs of an operator that takes several.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        An operator F, whose input is a tuple or a dict.
    values : dict
        The fixed inputs: arrays or pytrees of arrays, by position in the tuple or by name in the dict. They can be
        differentiated.
    linear : bool, optional
        Whether F is linear in the other inputs, as a convolution is in the image. False by default.

    Returns
    -------
    NonlinearOperator or LinearOperator
        The operator of the other inputs, linear with ``linear=True``. If one input of a tuple is left, this is its input;
        otherwise a tuple or a dict of those that are left.

    Raises
    ------
    TypeError
        If ``op`` is not an operator.
    ValueError
        If ``values`` is empty, mixes positions and names, or has an input that ``op`` does not have.

    Examples
    --------
    >>> class Product(lo.NonlinearOperator):
    ...     @lo.traced
    ...     def apply(self, x):
    ...         return x[0] * x[1]
    >>> A = lo.freeze(Product(), {1: jnp.asarray([2.0, 3.0])}, linear=True)
    >>> A(jnp.ones(2)).tolist()
    [2.0, 3.0]
    """
    _parts.require_operators(op, "freeze")
    if not isinstance(values, dict) or not values:
        message = f"freeze: expected a dict of fixed inputs, {{position or name: value}}, found {values!r:.80}."
        raise ValueError(message)
    if any(isinstance(slot, int) for slot in values) and not _by_position(values):
        message = f"freeze: positions and names are mixed: {list(values)}. Use positions for a tuple, names for a dict."
        raise ValueError(message)
    if _by_position(values) and min(values) < 0:
        message = f"freeze: positions count from 0, found {min(values)}."
        raise ValueError(message)
    _refuse_absent(op, values)
    if linear and isinstance(op, LinearOperator):
        message = (
            f"freeze: {exact(op)} is linear in all of its inputs together, so with some of them fixed it is affine: drop "
            "linear=True."
        )
        raise ValueError(message)
    values = shapes.lists_as_arrays(values)
    return LinearFrozen(op, values) if linear else Frozen(op, values)
