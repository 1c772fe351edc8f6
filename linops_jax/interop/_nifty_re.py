"""NIFTy.re: to_nifty_re."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import nifty.re as jft

import linops_jax as lo
from linops_jax.interop import _arguments


def to_nifty_re(op: lo.LinearOperator | lo.NonlinearOperator, spec: Any = None) -> OperatorModel:
    """A ``nifty.re.Model`` that applies ``op``, with a white prior: a part of other models, or a likelihood's.

    spec: shape and dtype of the input (a pytree of jax.ShapeDtypeStruct or arrays), where ``op`` has no domain

    Operators are callables and pytrees, so ``likelihood.amend(op, domain=op.domain)`` and ``jft.Model(op, domain=...)``
    work as well; but there NIFTy takes the operator for a constant of its programs, with all arrays in it. Here its
    arrays are operands: new values do not recompile. A ``jft.Vector`` gives a ``jft.Vector``, where the result is more
    than an array, as likelihoods of several data sets need it.

    Raises TypeError for what is not an operator and for an unknown domain; warns where the domain is in 64 bits and JAX
    is not.
    """
    return OperatorModel(_arguments.operator(op, spec, "to_nifty_re"))


class OperatorModel(jft.Model):
    """What to_nifty_re returns. ``op``: the operator, with its domain.

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
