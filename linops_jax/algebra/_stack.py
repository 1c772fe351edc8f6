"""Operators side by side: ``vstack`` and ``hstack``, which are each other's adjoints."""

from __future__ import annotations

import functools
import operator
from collections.abc import Iterable
from typing import Any, overload

import jax

from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite
from linops_jax.algebra._container import OfContainer
from linops_jax.algebra._stacked import refuse_mesh, stack_of_one


class _VStack(OfContainer):
    _name = "vstack"

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [x] * len(self._flat()[0])

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        return [(domain, each) for each in self._each(codomain)]

    def apply(self, x: Any) -> Any:
        return self._contained([op(x) for op in self._flat()[0]])

    def _derive_shape(self, x: Any) -> Any:
        return self._contained([op._infer_shape(x) for op in self._flat()[0]])

    @functools.cached_property
    def domain(self) -> Any:
        return _parts.common_domain(self._flat()[0], "cannot stack")


class VStack(_VStack, LinearComposite):
    """``lo.vstack(ops)`` for linear operators: (A x)ₖ = Aₖ x.

    Parameters
    ----------
    ops : pytree of linear operators
        The operators Aₖ.
    """

    ops: Any

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        ops, _ = self._flat()
        if domain is None and not _parts.are_alike(ops):
            return None
        return HStack(self._adjoints([domain] * len(ops)))

    def _infer_adjoint_shape(self, y: Any) -> Any:
        ops, structure = self._flat()
        return _parts.common_adjoint_shape(ops, _parts.split(y, structure, f"{exact(self)}.H"))

    def _pull_back(self, y: Any, like: Any) -> Any:
        ops, structure = self._flat()
        ys = _parts.split(y, structure, f"{exact(self)}.H")
        return _parts.add_up(ops, [op._reverse(y, like) for op, y in zip(ops, ys, strict=True)], "cannot add A.H(y) of")


class NonlinearVStack(_VStack, NonlinearComposite):
    """``lo.vstack(ops)`` with a nonlinear operator: F(x)ₖ = Fₖ(x).

    Parameters
    ----------
    ops : pytree of operators
        The operators Fₖ.
    """

    ops: Any

    def _expand_parts(self, x: Any) -> Expansion:
        return self._expand_each(VStack, [x] * len(self._flat()[0]), self._contained)


class _HStack(OfContainer):
    _name = "hstack"

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        return [(each, codomain) for each in self._each(domain)]

    def apply(self, x: Any) -> Any:
        ops, structure = self._flat()
        xs = _parts.split(x, structure, exact(self))
        return self._added([op(x) for op, x in zip(ops, xs, strict=True)])

    def _derive_shape(self, x: Any) -> Any:
        ops, structure = self._flat()
        xs = _parts.split(x, structure, exact(self))
        return self._added([op._infer_shape(x) for op, x in zip(ops, xs, strict=True)])

    def _added(self, values: list[Any]) -> Any:
        """The sum of the results of the parts."""
        return _parts.add_up(self._flat()[0], values, "cannot add the results of")

    @property
    def _inputs(self) -> Any:
        return self.ops

    @functools.cached_property
    def domain(self) -> Any:
        ops, structure = self._flat()
        return _parts.together([op.domain for op in ops], structure)


class HStack(_HStack, LinearComposite):
    """``lo.hstack(ops)`` for linear operators: A x = Σₖ Aₖ xₖ.

    Parameters
    ----------
    ops : pytree of linear operators
        The operators Aₖ.
    """

    ops: Any

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        ops, structure = self._flat()
        domains = [None] * len(ops) if domain is None else structure.flatten_up_to(domain)
        parts = [_parts.typed(op, x) for op, x in zip(ops, domains, strict=True)]
        if not (_parts.are_alike(ops) if domain is None else _parts.have_codomain(parts, self._infer_shape(domain))):
            return None
        return VStack(self._adjoints(domains))

    def _infer_adjoint_shape(self, y: Any) -> Any:
        ops, structure = self._flat()
        return jax.tree.unflatten(structure, [_parts.adjoint_shape(op, y) for op in ops])

    def _pull_back(self, y: Any, like: Any) -> Any:
        ops, structure = self._flat()
        likes = structure.flatten_up_to(like)
        return jax.tree.unflatten(structure, [op._reverse(y, spec) for op, spec in zip(ops, likes, strict=True)])

    def _product_with(self, right: Any) -> Any:
        """A row times a column is a sum; a row times a block diagonal is a row."""
        is_linear = isinstance(right, OfContainer) and isinstance(right, LinearOperator)
        if not is_linear or isinstance(right, HStack) or (products := self._products(right)) is None:
            return None
        if isinstance(right, VStack):
            return functools.reduce(operator.add, _parts.flatten(products)[0])
        return HStack(products)


class NonlinearHStack(_HStack, NonlinearComposite):
    """``lo.hstack(ops)`` with a nonlinear operator: F(x) = Σₖ Fₖ(xₖ).

    Parameters
    ----------
    ops : pytree of operators
        The operators Fₖ.
    """

    ops: Any

    def _expand_parts(self, x: Any) -> Expansion:
        points = _parts.split(x, self._flat()[1], f"{exact(self)}.jacobian")
        return self._expand_each(HStack, points, self._added)


@overload
def vstack(ops: _parts.LinearTree, *, mesh: Any = ..., axis_name: str | None = ...) -> LinearOperator: ...
@overload
def vstack(ops: _parts.NonlinearTree, *, mesh: Any = ..., axis_name: str | None = ...) -> NonlinearOperator: ...
@overload
def vstack(ops: Any, *, mesh: Any = ..., axis_name: str | None = ...) -> _parts.Either: ...
def vstack(ops: Any, *, mesh: Any = None, axis_name: str | None = None) -> Any:
    """Operators with the same input, one above the other: (A x)ₖ = Aₖ x.

    Parameters
    ----------
    ops : pytree of operators
        A list, tuple, dict or other pytree of operators. Or one operator whose array fields have a common leading axis, as
        ``jax.vmap(Diagonal)(arrays)`` makes it: it stands for one operator for each element.
    mesh : jax.sharding.Mesh, optional
        For one such operator: the devices over which the elements are spread. Without it, they are computed where its fields
        are.
    axis_name : str, optional
        The axis of the mesh, if it has several.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator, nonlinear if one of ``ops`` is. Its result has the structure of ``ops``; nothing is
        concatenated. Of one operator, the arrays have the leading axis.

    Raises
    ------
    TypeError
        If ``ops`` holds anything that is not an operator, or a mesh is given for several operators.
    ValueError
        If ``ops`` is empty, or domains differ; or if the fields of one operator have no common leading axis.

    Examples
    --------
    >>> A = lo.vstack({"twice": 2 * lo.Identity(), "same": lo.Identity()})
    >>> {name: y.tolist() for name, y in A(jnp.ones(2)).items()}
    {'same': [1.0, 1.0], 'twice': [2.0, 2.0]}
    """
    _parts.require_operators(ops, "vstack")
    if _parts.is_operator(ops):
        return stack_of_one(ops, "vstack", mesh, axis_name)
    refuse_mesh(mesh, axis_name, "vstack")
    stack = VStack(ops) if _parts.all_linear(ops) else NonlinearVStack(ops)
    stack.domain  # noqa: B018 domains that differ are refused here
    return stack


@overload
def hstack(ops: _parts.LinearTree, *, mesh: Any = ..., axis_name: str | None = ...) -> LinearOperator: ...
@overload
def hstack(ops: _parts.NonlinearTree, *, mesh: Any = ..., axis_name: str | None = ...) -> NonlinearOperator: ...
@overload
def hstack(ops: Any, *, mesh: Any = ..., axis_name: str | None = ...) -> _parts.Either: ...
def hstack(ops: Any, *, mesh: Any = None, axis_name: str | None = None) -> Any:
    """Operators side by side, whose results are added: A x = Σₖ Aₖ xₖ.

    Parameters
    ----------
    ops : pytree of operators
        A list, tuple, dict or other pytree of operators. Or one operator whose array fields have a common leading axis, as
        ``jax.vmap(Diagonal)(arrays)`` makes it: it stands for one operator for each element.
    mesh : jax.sharding.Mesh, optional
        For one such operator: the devices over which the elements are spread. Without it, they are computed where its fields
        are.
    axis_name : str, optional
        The axis of the mesh, if it has several.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator, nonlinear if one of ``ops`` is. Its input has the structure of ``ops``; nothing is
        concatenated. Of one operator, the arrays have the leading axis.

    Raises
    ------
    TypeError
        If ``ops`` holds anything that is not an operator, or a mesh is given for several operators.
    ValueError
        If ``ops`` is empty, or the shapes of results differ; or if the fields of one operator have no common leading axis.

    Examples
    --------
    >>> A = lo.hstack([lo.Identity(), lo.Diagonal([1.0, 2.0])])
    >>> A([jnp.ones(2), jnp.ones(2)]).tolist()
    [2.0, 3.0]
    """
    _parts.require_operators(ops, "hstack")
    if _parts.is_operator(ops):
        return stack_of_one(ops, "hstack", mesh, axis_name)
    refuse_mesh(mesh, axis_name, "hstack")
    stack = HStack(ops) if _parts.all_linear(ops) else NonlinearHStack(ops)
    if stack.domain is not None:
        stack.codomain  # noqa: B018 results that cannot be added are refused here
    return stack
