"""Operators that communicate in ``shard_map``: their vectors are spread over the devices, each of which has a part."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax import _compat
from linops_jax._model import shapes
from linops_jax._vectors.arithmetic import Axes


def coupled_axes(ops: Sequence[Any], where: str, *, adjoint: bool = True) -> Axes:
    """The axes of the mesh of an enclosing ``shard_map`` over which operators or their adjoints communicate.

    Over these, the parts of all devices are one vector. Over others each device has a vector of its own.

    Parameters
    ----------
    ops : list of LinearOperator
        Operators that know their domains.
    where : str
        What messages begin with.
    adjoint : bool, optional
        Whether the adjoints are applied, too. Default: True.

    Raises
    ------
    ValueError
        If it communicates, and ``shard_map`` does not check over which axes arrays vary.
    """
    if not _compat.manual_axes():
        return ()
    axes = frozenset[Any]().union(*(_communicates_over(op, adjoint) for op in ops))
    if axes and not _compat.varying_axes(_compat.vary(jnp.zeros(()), axes)):
        message = (
            f"{where}: {ops[0]!r:.80} communicates over {_listed(axes)}, in a shard_map that does not check over which axes "
            "arrays vary. Leave out check_vma=False."
        )
        raise ValueError(message)
    return tuple(sorted(axes))


def _communicates_over(op: Any, adjoint: bool) -> frozenset[Any]:
    programs = [_forward(op), _reverse(op)] if adjoint else [_forward(op)]
    axes = frozenset[Any]().union(*(_compat.communicating_axes(program.jaxpr) for program in programs))
    return axes & _compat.manual_axes()


def _forward(op: Any) -> Any:
    """The program of the operator, for an input that differs between all devices."""
    varied = lambda spec: _compat.vary(shapes.zeros(spec), _compat.manual_axes())  # noqa: E731
    return jax.make_jaxpr(op)(jax.tree.map(varied, op.domain))


def _reverse(op: Any) -> Any:
    """The program of the adjoint, for what the operator returns."""
    return jax.make_jaxpr(op.H)(_typed(op.codomain, _forward(op)))


def _typed(specs: Any, program: Any) -> Any:
    """Zeros with these specs, which vary as the results of a program."""
    leaves, tree = jax.tree.flatten(specs)
    zeros = [
        _compat.vary(shapes.zeros(spec), _compat.varying_axes(aval))
        for spec, aval in zip(leaves, program.out_avals, strict=True)
    ]
    return jax.tree.unflatten(tree, zeros)


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


def spread_domain(op: Any, axes: Axes) -> Any:
    """The specs of the domain, which over the coupled axes vary as what the adjoint returns."""
    if not axes:
        return op.domain
    return jax.tree.map(shapes.spec, _typed(op.domain, _reverse(op)))


def _listed(axes: Any) -> str:
    return ", ".join(map(repr, sorted(axes)))
