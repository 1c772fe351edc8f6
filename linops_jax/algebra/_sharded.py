"""sharded: an operator on the part of each device, as an operator on the whole arrays."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple, overload

import jax
import jax.numpy as jnp
from jax.sharding import PartitionSpec

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.marks import traced
from linops_jax._model.properties import Properties
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import Notation
from linops_jax.algebra import _parts
from linops_jax.algebra._combinator import Combinator, NonlinearCombinator

WHOLE = PartitionSpec()  # of arrays that each device has


class Layout(NamedTuple):
    """A pytree of partition specs as a plain value."""

    specs: tuple[PartitionSpec, ...]
    tree: Any

    @classmethod
    def of(cls, specs: Any) -> Layout:
        leaves, tree = jax.tree.flatten(specs, is_leaf=_is_spec)
        return cls(tuple(leaves), tree)

    @property
    def pytree(self) -> Any:
        return jax.tree.unflatten(self.tree, self.specs)


def _is_spec(value: Any) -> bool:
    return isinstance(value, PartitionSpec)


class _Sharded:
    """What the linear and the nonlinear class share."""

    op: Any
    mesh: Any = static()
    inputs: Layout = static()
    results: Layout = static()
    fields: Layout = static()

    @traced
    def apply(self, x: Any) -> Any:
        return self._on_parts(lambda op, x: op(x), self.inputs, self.results)(self.op, x)

    def _on_parts(self, function: Any, inputs: Layout, results: Layout) -> Any:
        """The function ``(op, x)`` of the parts of each device, as a function of whole arrays."""
        in_specs = (self.fields.pytree, inputs.pytree)
        mapped = jax.shard_map(function, mesh=self.mesh, in_specs=in_specs, out_specs=results.pytree)
        return lambda op, x: mapped(self._split(op, self.fields), self._split(x, inputs))

    def _split(self, x: Any, layout: Layout) -> Any:
        """Arrays that can be split so; on an explicit mesh they are."""
        is_explicit = jax.sharding.AxisType.Explicit in self.mesh.axis_types

        def split(path: Any, leaf: Any, spec: PartitionSpec) -> Any:
            self._refuse_uneven(path, leaf, spec)
            return jax.sharding.reshard(leaf, jax.NamedSharding(self.mesh, spec)) if is_explicit else leaf

        return jax.tree_util.tree_map_with_path(split, x, _spec_of_each(x, layout.pytree))

    def _refuse_uneven(self, path: Any, leaf: Any, spec: PartitionSpec) -> None:
        where = f"lo.sharded: the array{jax.tree_util.keystr(path)}"
        if len(spec) > leaf.ndim:
            message = f"{where} is {shapes.describe(leaf)}, which has fewer axes than its spec {spec}."
            raise ValueError(message)
        for axis, names in enumerate(spec):
            devices = math.prod(self.mesh.shape[name] for name in _names(names))
            if leaf.shape[axis] % devices:
                message = (
                    f"{where} is {shapes.describe(leaf)}, whose axis {axis} cannot be split evenly over {devices} devices "
                    f"({spec}). Pad it."
                )
                raise ValueError(message)

    @property
    def properties(self) -> Properties:
        of_parts = self.op.properties
        return Properties(
            real_linear=of_parts.real_linear, adjoint_rtol=of_parts.adjoint_rtol, jacobian_rtol=of_parts.jacobian_rtol
        )

    def expression(self, show: Notation) -> str:
        shape = ", ".join(f"{name}: {size}" for name, size in self.mesh.shape.items())
        return f"sharded({show(self.op)}, {{{shape}}})"


def _spec_of_each(x: Any, specs: Any) -> Any:
    """The partition spec of each array of a pytree."""
    try:
        return jax.tree.map(lambda spec, part: jax.tree.map(lambda _: spec, part), specs, x, is_leaf=_is_spec)
    except ValueError:
        message = (
            f"lo.sharded: the specs {specs} do not fit the structure of {shapes.describe_tree(x)}. Give one spec for all "
            "arrays, or a pytree of specs that the arrays extend."
        )
        raise ValueError(message) from None


def _zeros(specs: Any) -> Any:
    return jax.tree.map(lambda spec: jnp.zeros(spec.shape, spec.dtype), specs)


def _names(entry: Any) -> tuple[str, ...]:
    return () if entry is None else entry if isinstance(entry, tuple) else (entry,)


class Sharded(_Sharded, Combinator):
    """``lo.sharded(A, ...)`` for a linear A.

    Parameters
    ----------
    op : LinearOperator
        The operator on the part of each device.
    mesh : jax.sharding.Mesh
        The devices.
    inputs, results, fields : Layout
        How the input, the result and the array fields are split.
    """

    @functools.cached_property
    def domain(self) -> Any:  # type: ignore[override]
        if self.op.domain is None:
            return None
        zeros = lambda op, _: _zeros(op.domain)  # noqa: E731
        nothing = Layout.of(WHOLE)
        return shapes.specs(jax.eval_shape(self._on_parts(zeros, nothing, self.inputs), self.op, jnp.zeros(())))

    def infer_adjoint_shape(self, y: Any) -> Any:
        # By that of the operator, in a trace of one part: it may use the axes of the mesh.
        zeros = lambda op, y: _zeros(op._spaces_of(y)[0])  # noqa: E731
        return shapes.specs(jax.eval_shape(self._on_parts(zeros, self.results, self.inputs), self.op, y))


class NonlinearSharded(_Sharded, NonlinearCombinator):
    """``lo.sharded(F, ...)`` for a nonlinear F.

    Parameters
    ----------
    op : NonlinearOperator
        The operator on the part of each device.
    mesh : jax.sharding.Mesh
        The devices.
    inputs, results, fields : Layout
        How the input, the result and the array fields are split.
    """


@overload
def sharded(
    op: LinearOperator, mesh: Any, in_specs: Any, out_specs: Any, *, field_specs: Any = ...
) -> LinearOperator: ...
@overload
def sharded(
    op: NonlinearOperator, mesh: Any, in_specs: Any, out_specs: Any, *, field_specs: Any = ...
) -> NonlinearOperator: ...
def sharded(op: Any, mesh: Any, in_specs: Any, out_specs: Any, *, field_specs: Any = WHOLE) -> Any:
    """An operator on the part of each device, as an operator on whole arrays.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator on parts. It may use collectives over the axes of the mesh, as ``lo.Halo`` does.
    mesh : jax.sharding.Mesh
        The devices.
    in_specs, out_specs : jax.sharding.PartitionSpec or pytree
        How the input and the result are split, as for ``jax.shard_map``: one spec for all arrays, or a pytree of specs.
    field_specs : jax.sharding.PartitionSpec, optional
        How the array fields of ``op`` are split; by default each device has all of them.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator ``jax.shard_map`` of ``op``, linear if ``op`` is. Its adjoint sums over devices what they have in common.

    Raises
    ------
    TypeError
        If ``op`` is not an operator, or ``mesh`` not a mesh.
    ValueError
        If a spec names an axis that the mesh does not have. When the operator is applied, if the specs do not fit the input, or
        an axis of it cannot be split evenly.

    Examples
    --------
    >>> mesh = jax.make_mesh((1,), ("i",))
    >>> A = lo.sharded(lo.Diagonal([1.0, 2.0]), mesh, jax.P("i"), jax.P("i"))
    >>> A(jnp.ones(2)).tolist()
    [1.0, 2.0]
    """
    _parts.require_operators(op, "sharded")
    if not isinstance(mesh, jax.sharding.Mesh):
        message = f"lo.sharded: mesh must be a jax.sharding.Mesh, as jax.make_mesh makes it; found {mesh!r:.80}."
        raise TypeError(message)
    layouts = {
        "in_specs": Layout.of(in_specs),
        "out_specs": Layout.of(out_specs),
        "field_specs": Layout.of(field_specs),
    }
    for name, layout in layouts.items():
        _refuse_unknown(name, layout, mesh)
    make: Any = Sharded if isinstance(op, LinearOperator) else NonlinearSharded
    return make(op, mesh, *layouts.values())


def _refuse_unknown(name: str, layout: Layout, mesh: Any) -> None:
    for spec in layout.specs:
        if not _is_spec(spec):
            message = f"lo.sharded: {name} must be jax.P(...) or a pytree of them; found {spec!r:.80}."
            raise TypeError(message)
        for axis in [axis for entry in spec for axis in _names(entry)]:
            if axis not in mesh.axis_names:
                message = (
                    f"lo.sharded: {name} names the axis {axis!r}; the mesh has {', '.join(map(repr, mesh.axis_names))}."
                )
                raise ValueError(message)
