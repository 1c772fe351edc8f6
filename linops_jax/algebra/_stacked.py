"""Stacks of one operator whose array fields have a leading axis: it stands for one operator for each element."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.marks import traced
from linops_jax._model.properties import Properties
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.printing import Notation, exact
from linops_jax.algebra._combinator import Combinator, NonlinearCombinator
from linops_jax.algebra._sharded import sharded

_NAMES = {(False, False): "vstack", (True, True): "hstack", (True, False): "block_diag", (False, True): "sum"}


class _Stacked:
    """What the linear and the nonlinear class share."""

    op: Any
    splits: bool = static()
    adds: bool = static()
    axis_name: str | None = static(default=None)

    @traced
    def apply(self, x: Any) -> Any:
        if self.splits:
            self._refuse_other_lengths(x)
        y = jax.vmap(lambda op, x: op(x), in_axes=(0, 0 if self.splits else None))(self.op, x)
        return self._sum(y) if self.adds else y

    def _sum(self, y: Any) -> Any:
        y = jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), y)
        return y if self.axis_name is None else jax.lax.psum(y, self.axis_name)

    def _refuse_other_lengths(self, x: Any) -> None:
        for leaf in jax.tree.leaves(x):
            if leaf.ndim == 0 or leaf.shape[0] != self._length:
                message = (
                    f"{exact(self)} cannot be applied to {shapes.describe_tree(x)}: each array needs a leading axis of length "
                    f"{self._length}, one element for each operator."
                )
                raise ValueError(message)

    @property
    def _length(self) -> int:
        return jax.tree.leaves(self.op)[0].shape[0]

    def _element(self) -> Any:
        """One of the operators, with specs in its fields."""
        return _one_of(self.op)

    def _whole(self, x: Any, *, is_split: bool) -> Any:
        """The specs for all operators together, from those for one of them."""
        if x is None or not is_split:
            return x
        place = _compat.place(jax.tree.leaves(self.op)[0]).get("sharding")  # of the fields, on an explicit mesh

        def whole(leaf: Any) -> jax.ShapeDtypeStruct:
            where = None if place is None else jax.NamedSharding(place.mesh, PartitionSpec(*place.spec[:1]))
            return jax.ShapeDtypeStruct((self._length, *leaf.shape), leaf.dtype, sharding=where)

        return jax.tree.map(whole, x)

    @property
    def domain(self) -> Any:
        return self._whole(self._element().domain, is_split=self.splits)

    @property
    def properties(self) -> Properties:
        of_each = self._element().properties
        if self.splits and not self.adds:
            return of_each
        kept = ("real_linear", "adjoint_rtol", "jacobian_rtol")
        return Properties(**{name: getattr(of_each, name) for name in kept})

    def _parts(self) -> list[Any]:
        """None: the operator in the field has one axis too many to be asked for its spaces or to be simplified."""
        return []

    @property
    def _is_traceable(self) -> bool:
        return self.op._is_traceable

    def _is_complex_linear(self, x: Any = None) -> bool:
        return self._element()._is_complex_linear(_one_of(x) if self.splits else x)

    def expression(self, show: Notation) -> str:
        return f"{_NAMES[self.splits, self.adds]}({show(self.op)}, {self._length})"


def _one_of(tree: Any) -> Any:
    """Specs of one element of arrays with a leading axis."""
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape[1:], leaf.dtype), tree)


class Stacked(_Stacked, Combinator):
    """``lo.vstack(A)``, ``lo.hstack(A)`` or ``lo.block_diag(A)`` for one linear A with a leading axis on its array fields.

    Parameters
    ----------
    op : LinearOperator
        The operator A.
    splits : bool
        Whether each element has an input of its own.
    adds : bool
        Whether the results are added.
    axis_name : str, optional
        The axis of a mesh over whose devices the results are added, too.
    """

    def adjoint_operator(self) -> LinearOperator | None:
        if self.axis_name is not None:
            return None
        return dataclasses.replace(self, op=self.op.H, splits=not self.adds, adds=not self.splits)

    def infer_adjoint_shape(self, y: Any) -> Any:
        x, _ = self._element()._spaces_of(y if self.adds else _one_of(y))
        return self._whole(x, is_split=self.splits)


class NonlinearStacked(_Stacked, NonlinearCombinator):
    """``lo.vstack(F)``, ``lo.hstack(F)`` or ``lo.block_diag(F)`` for one nonlinear F with a leading axis on its array fields.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F.
    splits : bool
        Whether each element has an input of its own.
    adds : bool
        Whether the results are added.
    axis_name : str, optional
        The axis of a mesh over whose devices the results are added, too.
    """


def stack_of_one(op: Any, name: str, mesh: Any, axis_name: str | None) -> Any:
    """``lo.vstack(op)`` and the like for one operator. With a mesh, each device has some of the elements."""
    _refuse_no_leading_axis(op, name)
    splits, adds = next(flags for flags, known in _NAMES.items() if known == name)
    kind: Any = Stacked if isinstance(op, LinearOperator) else NonlinearStacked
    make = functools.partial(kind, op, splits, adds)
    _refuse_axis_alone(mesh, axis_name, name)
    if mesh is None:
        return make()
    axis = _axis_of(mesh, axis_name, name)
    some, whole = PartitionSpec(axis), PartitionSpec()
    inputs, results = some if splits else whole, whole if adds else some
    return sharded(make(axis if adds else None), mesh, inputs, results, field_specs=some)


def refuse_mesh(mesh: Any, axis_name: str | None, name: str) -> None:
    """Raises TypeError if a mesh is given for several operators."""
    _refuse_axis_alone(mesh, axis_name, name)
    if mesh is not None:
        message = (
            f"{name}: mesh= is for one operator whose array fields have a leading axis. For several operators, use lo.sharded or "
            "place their fields."
        )
        raise TypeError(message)


def _refuse_axis_alone(mesh: Any, axis_name: str | None, name: str) -> None:
    if mesh is None and axis_name is not None:
        message = f"{name}: axis_name={axis_name!r} is an axis of mesh=, which is missing. Give the mesh, too."
        raise TypeError(message)


def _refuse_no_leading_axis(op: Any, name: str) -> None:
    found = [jnp.shape(leaf) for leaf in jax.tree.leaves(op)]
    if len({shape[:1] for shape in found}) != 1 or found[0] == ():
        message = (
            f"{name}({exact(op)}): one operator stands for several if its array fields have a common leading axis, as "
            f"jax.vmap(make)(values) gives it; found the shapes {', '.join(map(str, found)) or 'of no fields'}. For a single "
            f"operator write {name}([A])."
        )
        raise ValueError(message)


def _axis_of(mesh: Any, axis_name: str | None, name: str) -> str:
    names = mesh.axis_names
    if axis_name is None and len(names) == 1:
        return names[0]
    if axis_name is None or axis_name not in names:
        message = (
            f"{name}: axis_name={axis_name!r} is not an axis of the mesh, which has {', '.join(map(repr, names))}. Name the axis "
            "over which the operators are spread."
        )
        raise ValueError(message)
    return axis_name
