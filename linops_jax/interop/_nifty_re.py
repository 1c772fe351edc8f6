"""NIFTy.re: to_nifty_re."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import nifty.re as jft

import linops_jax as lo
from linops_jax._types import Specs
from linops_jax.interop import _arguments


def to_nifty_re(op: lo.LinearOperator | lo.NonlinearOperator, spec: Specs | None = None) -> OperatorModel:
    """A ``nifty.re.Model`` that applies an operator, with a white prior: a part of other models, or of a likelihood.

    Parameters
    ----------
    op : LinearOperator or NonlinearOperator
        The operator.
    spec : pytree of arrays or jax.ShapeDtypeStruct, optional
        The domain, where ``op`` does not know it.

    Returns
    -------
    nifty.re.Model
        With ``op``, the operator with its domain. A ``nifty.re.Vector`` gives a ``nifty.re.Vector`` where the result is
        more than an array, as likelihoods of several data sets need it.

    Raises
    ------
    TypeError
        If ``op`` is not an operator, or its domain is unknown.

    Warns
    -----
    UserWarning
        If the domain is in 64 bits and JAX is not.

    Notes
    -----
    Operators are callables and pytrees, so ``likelihood.amend(op, domain=op.domain)`` and ``nifty.re.Model(op,
    domain=...)`` work as well. But there NIFTy takes the operator for a constant of its programs, with all arrays in
    it. Here its arrays are operands: new values do not recompile.
    """
    return OperatorModel(_arguments.operator(op, spec, "to_nifty_re"))


class OperatorModel(jft.Model):
    """What ``to_nifty_re`` returns; ``op`` is the operator with its domain.

    Nothing else is kept: whatever NIFTy stores beside it would be part of the compiled program's key, by identity.
    """

    op: Any = dataclasses.field(metadata={"static": False})

    def __init__(self, op: Any):
        self.op = op

    def __call__(self, x: Any) -> Any:
        if not isinstance(x, jft.Vector):
            return self.op(x)
        y = self.op(x.tree)
        return y if isinstance(y, jax.Array) else jft.Vector(y)

    @property
    def domain(self) -> Any:
        return self.op.domain

    @property
    def target(self) -> Any:
        return self.op.codomain

    @property
    def init(self) -> Any:
        return jft.Initializer(jax.tree.map(lambda leaf: partial(jft.random_like, primals=leaf), self.domain))

    def __repr__(self) -> str:
        return f"OperatorModel({self.op!r})"
