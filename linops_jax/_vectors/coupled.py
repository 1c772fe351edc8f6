"""Operators that communicate in ``shard_map``: their vectors are spread over the devices, each of which has a part."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._vectors.arithmetic import Axes

Sides = tuple[tuple[frozenset[Any], ...], tuple[frozenset[Any], ...]]


def coupled_axes(ops: Sequence[Any], where: str, *, needs_adjoint: bool = True) -> Axes:
    """The axes of the mesh of an enclosing ``shard_map`` over which operators or their adjoints communicate.

    Over these, the parts of all devices are one vector. Over others each device has a vector of its own.

    Parameters
    ----------
    ops : list of LinearOperator
        Operators that know their domains.
    where : str
        What messages begin with.
    needs_adjoint : bool, optional
        Whether all must have an adjoint. Default: True.

    Raises
    ------
    ValueError
        If one communicates, and ``shard_map`` does not check over which axes arrays vary.
    NotImplementedError
        If one communicates over a named axis of ``vmap``.
    """
    if not _compat.bound_axes():
        return ()
    found: set[Any] = set()
    for op in ops:
        found |= _compat.communicating_axes(_forward(op).jaxpr)
        with contextlib.nullcontext() if needs_adjoint else contextlib.suppress(Exception):  # there may be none
            found |= _compat.communicating_axes(_reverse(op).jaxpr)
    manual = _compat.manual_axes()
    axes = tuple(sorted(found & manual))
    _refuse_mapped(ops[0], found - manual, where)
    if axes and not _compat.varying_axes(_compat.vary(jnp.zeros(()), frozenset(axes))):
        message = (
            f"{where}: {ops[0]!r:.80} communicates over {_listed(axes)}, in a shard_map that does not check over which axes "
            "arrays vary. Leave out check_vma=False."
        )
        raise ValueError(message)
    return axes


def refuse_over_a_batch(op: Any, x: Any, where: str) -> None:
    """Raises NotImplementedError if an operator, linear or not, communicates over a named axis of ``vmap`` at x."""
    if _compat.bound_axes() - _compat.manual_axes():
        used = _compat.communicating_axes(jax.make_jaxpr(op)(x).jaxpr)
        _refuse_mapped(op, used - _compat.manual_axes(), where)


def _refuse_mapped(op: Any, axes: frozenset[Any] | set[Any], where: str) -> None:
    if axes:
        message = (
            f"{where}: {op!r:.80} communicates over {_listed(axes)}, a named axis of jax.vmap, so each element of the batch is "
            "part of one problem. This works for axes of jax.shard_map, with linear operators."
        )
        raise NotImplementedError(message)


def refuse_shared(op: Any, y: Any, axes: Axes, where: str) -> None:
    """Raises NotImplementedError for an operator on vectors that all devices share, over an axis over which it communicates.

    The domain is shared where nothing makes it differ between devices: neither what the adjoint returns for such a domain, nor
    the data y, which may be None. What the specs say is not enough: they may have been made from y.
    """
    types = [frozenset[Any]()] * len(jax.tree.leaves(op.domain))
    while True:
        image = jax.make_jaxpr(op)(_zeros(op.domain, types)).out_avals
        reverse = jax.make_jaxpr(op.H)(_zeros(op.codomain, map(_compat.varying_axes, image)))
        back = [_compat.varying_axes(aval) & set(axes) for aval in reverse.out_avals]
        data = frozenset() if y is None else _beyond(y, image) & set(axes)
        grown = [known | data | more for known, more in zip(types, back, strict=True)]
        if grown == types:
            break
        types = grown
    if shared := set(axes) - frozenset(axes).intersection(*back):
        message = (
            f"{where}: {op!r:.80} communicates over {_listed(shared)} and acts on vectors that all of its devices share. In "
            "shard_map each device must have a part of its own. Outside of it, lo.vstack(A, mesh=mesh) and lo.sharded(...) take "
            "shared ones."
        )
        raise NotImplementedError(message)


def _beyond(y: Any, avals: Any) -> frozenset[Any]:
    """The axes over which data vary, and what the operator returns does not."""
    leaves = zip(jax.tree.leaves(y), avals, strict=True)
    return frozenset[Any]().union(*(_compat.varying_axes(leaf) - _compat.varying_axes(aval) for leaf, aval in leaves))


def fitted(op: Any, y: Any, axes: Axes, where: str) -> Any:
    """The data y, which over the coupled axes varies as what the operator returns.

    Raises ValueError if y varies over an axis over which the operator sums.
    """
    if not axes:
        return y

    def fit(leaf: Any, aval: Any) -> Any:
        varying = _compat.varying_axes(aval) & set(axes)
        if more := (_compat.varying_axes(leaf) & set(axes)) - varying:
            message = (
                f"{where}: y differs between the devices along {_listed(more)}, but {op!r:.80} returns the same on all of "
                "them. Pass the same y to all, for example its jax.lax.psum."
            )
            raise ValueError(message)
        return _compat.vary(leaf, varying)

    leaves, tree = jax.tree.flatten(y)
    return jax.tree.unflatten(tree, map(fit, leaves, _forward(op).out_avals))


def sides(op: Any, axes: Axes) -> Sides:
    """Over which of the coupled axes each array of the codomain varies, and each of the domain."""
    codomain = [_compat.varying_axes(aval) & set(axes) for aval in _forward(op).out_avals]
    return tuple(codomain), (frozenset(axes),) * len(jax.tree.leaves(op.domain))


def varied(tree: Any, types: Sequence[frozenset[Any]]) -> Any:
    """The arrays, changed to vary over these axes, one set for each array."""
    leaves, structure = jax.tree.flatten(tree)
    return jax.tree.unflatten(structure, map(_compat.vary, leaves, types))


def spread_domain(op: Any, axes: Axes) -> Any:
    """The specs of the domain, which vary over the coupled axes."""
    if not axes:
        return op.domain
    return jax.tree.map(lambda spec: shapes.spec(_compat.vary(shapes.zeros(spec), frozenset(axes))), op.domain)


def _forward(op: Any) -> Any:
    """The program of the operator, for an input that differs between all devices."""
    return jax.make_jaxpr(op)(_zeros(op.domain, itertools.repeat(_compat.manual_axes())))


def _reverse(op: Any) -> Any:
    """The program of the adjoint, for what the operator returns."""
    return jax.make_jaxpr(op.H)(_zeros(op.codomain, map(_compat.varying_axes, _forward(op).out_avals)))


def _zeros(specs: Any, axes: Iterable[frozenset[Any]]) -> Any:
    """Zeros with these specs, which vary over these axes, one set for each array."""
    leaves, tree = jax.tree.flatten(specs)
    return jax.tree.unflatten(tree, [_compat.vary(shapes.zeros(spec), names) for spec, names in zip(leaves, axes)])  # noqa: B905


def _listed(axes: Any) -> str:
    return ", ".join(map(repr, sorted(axes, key=str)))
