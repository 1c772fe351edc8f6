"""with_domain: an operator for inputs of one shape and dtype."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterable
from typing import Any

import jax

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.properties import Properties
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import Operator
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite, Wrapper
from linops_jax.algebra._identity import zero_for


class _WithDomain(Wrapper):
    """What the linear and the nonlinear class share. The leaves and the tree are those of the domain's specs."""

    leaves: tuple[Any, ...]
    tree: Any

    def apply(self, x: Any) -> Any:
        return self.op._checked(x)

    @functools.cached_property
    def domain(self) -> Any:
        return jax.tree.unflatten(self.tree, list(map(shapes.thawed, self.leaves)))

    @property
    def _precedence(self) -> int:
        return self.op._precedence

    def _expression(self, show: Any) -> str:
        return show(self.op)

    def _bare(self) -> Any:
        return self.op

    def _simpler(self, x: Any) -> Iterable[Any]:
        """A domain that follows from the input is left out, and A @ 0 becomes a zero."""
        is_known = x is not None and shapes.same(self.domain, x)
        yield self.op if is_known and (self.op.domain is None or shapes.same(self.op.domain, x)) else None
        yield zero_for(self, x) if self.op._vanishes else None


class WithDomain(_WithDomain, LinearComposite):
    """``A.with_domain(spec)`` for a linear A.

    Parameters
    ----------
    op : LinearOperator
        The operator A.
    leaves : tuple
        Shapes, dtypes and shardings of the arrays of the domain.
    tree : jax.tree_util.PyTreeDef
        The structure of the domain.
    """

    op: LinearOperator
    leaves: tuple[Any, ...] = static()
    tree: Any = static()

    @property
    def properties(self) -> Properties:
        """The properties of the operator; none of symmetric, positive and unitary if domain and codomain differ.

        They differ, for example, for a complex operator on a real domain.
        """
        known = self.op.properties
        if shapes.same(self.domain, self.codomain):
            return known
        return dataclasses.replace(known, symmetric=False, positive=False, unitary=False)

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        return self.op._adjoint_inside(domain)

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return self.domain

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(y, self.domain)

    def _check_domain(self, domain: Any, codomain: Any) -> None:
        self.op._check_domain(domain, codomain)

    def _gram(self, x: Any, domain: Any = None) -> Any:
        return self.op._gram(x, self.domain)

    def _inverse(self) -> LinearOperator | None:
        inverse = self.op._inverse() if shapes.same(self.domain, self.codomain) else None
        return None if inverse is None else inverse.with_domain(self.codomain)


class NonlinearWithDomain(_WithDomain, NonlinearComposite):
    """``F.with_domain(spec)`` for a nonlinear F.

    Parameters
    ----------
    op : NonlinearOperator
        The operator F.
    leaves : tuple
        Shapes, dtypes and shardings of the arrays of the domain.
    tree : jax.tree_util.PyTreeDef
        The structure of the domain.
    """

    op: NonlinearOperator
    leaves: tuple[Any, ...] = static()
    tree: Any = static()

    def _expand_parts(self, x: Any) -> Expansion:
        return self.op._expand(x)


@constructors.with_domain.define
def with_domain(op: Any, spec: Any) -> Operator:
    """``op`` on a domain. One that has a complex domain already can get the real one of the same shape."""
    spec = shapes.specs(spec)
    if op.domain is not None:
        if difference := shapes.cast_obstacle(spec, op.domain):
            message = f"{op!r} has another domain already: {difference}."
            raise ValueError(message)
        if shapes.same(spec, op.domain):
            return op
    leaves, tree = jax.tree.flatten(spec)
    cls: Any = WithDomain if isinstance(op, LinearOperator) else NonlinearWithDomain
    wrapped = cls(op, tuple(map(shapes.frozen, leaves)), tree)
    wrapped.codomain  # noqa: B018 a domain that the operator cannot take is refused here
    return wrapped
