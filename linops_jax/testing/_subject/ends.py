"""An operator, what goes into it and what comes out, and where these arrays lie."""

from __future__ import annotations

import contextlib
import functools
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import Operator
from linops_jax._operators.printing import exact


class Ends:
    """An operator with specs of its input and its result, and where on a mesh they are."""

    def __init__(self, op: Any, x: Any = None, *, seed: int = 0, where: str = "check"):
        if not isinstance(op, Operator):
            message = f"{where}: expected an operator, found {type(op).__name__} {op!r:.80}."
            raise TypeError(message)
        _refuse_tracing(op, x, where)
        if x is None and op.domain is None:
            message = (
                f"{where}({exact(op)}) needs to know the input: pass specs or example arrays, or fix the domain with "
                "with_domain(spec)."
            )
            raise TypeError(message)
        self.op: Any = op
        self.seed = seed
        shapes.refuse_shapes(x, where, "Pass jax.ShapeDtypeStruct({}, dtype), or an array")
        given = op.domain if x is None else shapes.lists_as_arrays(x)
        self.spec = jax.tree.map(lambda leaf: leaf if _is_index(leaf) else _placed_spec(leaf), given)
        self._given = given

    def __repr__(self) -> str:
        return f"{exact(self.op)} on {shapes.describe_tree(self.spec)}"

    @property
    def is_linear(self) -> bool:
        return isinstance(self.op, LinearOperator)

    @functools.cached_property
    def out(self) -> Any:
        """Specs of the result, on the mesh of the arrays that were given. Raises TypeError if they are not known."""
        specs = shapes.specs(self.spec)
        is_typed = any(spec.sharding is not None for spec in jax.tree.leaves(specs))
        out = _compat.eval_shape(self.op._forward, specs) if is_typed else self.op._infer_shape(self.spec)
        if out is None:
            message = f"{type(self.op)._label}.infer_shape returned None. Return the specs of the result: is a return missing?"
            raise TypeError(message)
        if self._mesh is None:
            return out

        def placed(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
            partition = jax.sharding.PartitionSpec() if leaf.sharding is None else leaf.sharding.spec
            return leaf.update(sharding=jax.sharding.NamedSharding(self._mesh, partition))

        return jax.tree.map(placed, out)

    @functools.cached_property
    def _mesh(self) -> Any:
        """The mesh of the arrays that were given, or None."""
        shardings = (getattr(leaf, "sharding", None) for leaf in jax.tree.leaves(self.spec))
        meshes = (sharding.mesh for sharding in shardings if isinstance(sharding, jax.sharding.NamedSharding))
        return next((mesh for mesh in meshes if isinstance(mesh, jax.sharding.Mesh)), None)

    def replicated(self, leaf: Any) -> jax.Array:
        """An array for the operator, the same on all devices of the mesh."""
        array = jnp.asarray(leaf)
        if self._mesh is None:
            return array
        return jax.device_put(np.asarray(array), jax.sharding.NamedSharding(self._mesh, jax.sharding.PartitionSpec()))

    @property
    def is_explicit(self) -> bool:
        """Whether arrays on an explicit mesh were given."""
        return self._mesh is not None and jax.sharding.AxisType.Explicit in self._mesh.axis_types

    def on_its_mesh(self) -> Any:
        """The context in which JAX computes with arrays that are explicitly sharded."""
        if self.is_explicit and jax.sharding.get_abstract_mesh().empty:
            return jax.set_mesh(self._mesh)
        return contextlib.nullcontext()


def _refuse_tracing(op: Any, x: Any, where: str) -> None:
    """Raises where JAX is tracing: checks compare numbers, and in a program new arrays have none."""
    if not any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves((op, x, jnp.zeros(())))):
        return
    manual = jax.sharding.get_abstract_mesh().manual_axes
    what = f"inside of shard_map, over {', '.join(map(repr, manual))}," if manual else "while JAX traces a function,"
    instead = (
        "with specs or arrays of the part that one device has; or over the whole mesh, with whole arrays, on an operator "
        "whose traced apply opens the shard_map"
        if manual
        else "with specs or arrays that have values"
    )
    message = f"{where}({type(op)._label}) is called {what} and a check needs numbers. Call it outside, {instead}."
    raise TypeError(message)


def _placed_spec(leaf: Any) -> jax.ShapeDtypeStruct:
    """The spec of an array or spec, with its place on a mesh: vectors are drawn there."""
    spec, sharding = shapes.specs(leaf), getattr(leaf, "sharding", None)
    has_place = isinstance(sharding, jax.sharding.NamedSharding) and isinstance(sharding.mesh, jax.sharding.Mesh)
    return spec.update(sharding=sharding) if has_place else spec


def _is_index(leaf: Any) -> bool:
    return isinstance(leaf, np.ndarray | jax.Array) and not shapes.is_inexact(leaf.dtype)
