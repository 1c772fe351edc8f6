"""The operator elsewhere is the same: on every device, from its leaves, from its pickle."""

from __future__ import annotations

import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec

from linops_jax.testing._check import check, close, require, stack
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._transforms import BASICS, pullable


@check(
    needs=("vmap", "vmap_of_adjoint", "threads"), whole="it moves the arrays to a mesh of the devices of this process"
)
def check_shard_map(subject: Subject) -> str | None:
    """Under ``shard_map`` over all devices of this process: the values of a batch, and its gradient, = a loop."""
    count = jax.local_device_count()
    mesh = jax.make_mesh((count,), ("i",), axis_types=(jax.sharding.AxisType.Auto,), devices=jax.local_devices())
    rng = subject.rng("shard_map")
    xs = subject.points(rng, count)
    if "shard_map[" in str(jax.make_jaxpr(subject.op)(xs[0])):
        return "skipped: the operator opens a shard_map itself, and JAX allows none around it"
    ys = [subject.cotangent(rng) for _ in xs] if pullable(subject) else []
    if jax.sharding.get_abstract_mesh().empty:
        _compare_in_shard_map(subject.op, mesh, xs, ys, subject)
        return None
    arrays = jax.tree.map(np.asarray, (subject.op, xs, ys))  # which lie on another mesh
    with jax.set_mesh(mesh):
        op, xs, ys = jax.tree.map(jnp.asarray, arrays)
        _compare_in_shard_map(op, mesh, xs, ys, subject)
    return None


def _compare_in_shard_map(op: Any, mesh: Any, xs: list[Any], ys: list[Any], subject: Subject) -> None:
    split = PartitionSpec("i")
    mapped = jax.jit(jax.shard_map(jax.vmap(op), mesh=mesh, in_specs=split, out_specs=split))
    close(mapped(stack(xs)), stack([op(x) for x in xs]), "shard_map(vmap(A)) and a loop", subject)
    if not ys:
        return
    (found,) = jax.vjp(mapped, stack(xs))[1](stack(ys))
    pulls = [jax.vjp(op, x)[1](y)[0] for x, y in zip(xs, ys, strict=True)]
    close(found, stack(pulls), "the gradient of shard_map(vmap(A)) and a loop", subject)


@check(needs=BASICS)
def check_flatten(subject: Subject) -> None:
    """Flattened and put together again, the operator is the same."""
    leaves, tree = jax.tree.flatten(subject.op)
    again = jax.tree.unflatten(tree, leaves)
    require(jax.tree.structure(again) == tree, "the pytree's structure changes when it is put together again")
    x = subject.point(subject.rng("flatten"))
    close(again(x), subject.op(x), "the operator from its leaves and A", subject)


@check(needs=BASICS)
def check_pickle(subject: Subject) -> str | None:
    """Pickled and loaded again, the operator is the same."""
    try:
        data = pickle.dumps(subject.op)
    except Exception as error:  # a plan or a local class cannot be: no fault of the operator
        return f"cannot be pickled: {error}"
    x = subject.point(subject.rng("pickle"))
    close(pickle.loads(data)(x), subject.op(x), "the operator loaded from its pickle and A", subject)
    return None
