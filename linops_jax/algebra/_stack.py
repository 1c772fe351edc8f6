"""vstack, hstack and block_diag, for containers of operators."""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Iterable
from typing import Any, overload

import jax

from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite
from linops_jax.algebra._composition import compose


class _Stack:
    """What all these classes share."""

    ops: Any
    _name = ""

    def _flat(self) -> tuple[list[Any], Any]:
        """The operators, and the structure of the container."""
        return _parts.flatten(self.ops)

    @property
    def properties(self) -> Properties:
        return common(self._flat()[0])

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return _parts.split(x, self._flat()[1], exact(self))

    def _adjoints(self, domains: list[Any]) -> Any:
        """The container of the adjoints, for these domains."""
        ops, structure = self._flat()
        return jax.tree.unflatten(structure, [_parts.typed(op, x).H for op, x in zip(ops, domains, strict=True)])

    def _expand_each(self, kind: Any, points: list[Any], join: Callable[[list[Any]], Any]) -> Expansion:
        """The stack to first order: a stack of the derivatives, and what ``join`` makes of the values."""
        ops, structure = self._flat()
        found = [op._expand(x) for op, x in zip(ops, points, strict=True)]
        derivative = kind(jax.tree.unflatten(structure, [part.jacobian for part in found]))
        return Expansion(derivative, lambda: join([part.value() for part in found]))

    def _contained(self, values: list[Any]) -> Any:
        """The values of the parts, in the container."""
        return jax.tree.unflatten(self._flat()[1], values)

    def _expression(self, show: Any) -> str:
        return f"{self._name}({show.container(self.ops)})"

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        return zip(self._each(domain), self._each(codomain), strict=True)

    def _each(self, specs: Any) -> list[Any]:
        """The specs for each part, from a container of specs or None."""
        _, structure = self._flat()
        return [None] * structure.num_leaves if specs is None else structure.flatten_up_to(specs)

    def _products(self, right: Any) -> Any:
        """The container of the products of the parts with those of the other one; None if the structures differ."""
        (ops, structure), (others, other_structure) = self._flat(), right._flat()
        return jax.tree.unflatten(structure, map(compose, ops, others)) if structure == other_structure else None


class _VStack(_Stack):
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


class _HStack(_Stack):
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
        if not isinstance(right, BlockDiagonal | VStack) or (products := self._products(right)) is None:
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


class _BlockDiagonal(_Stack):
    _name = "block_diag"

    def apply(self, x: Any) -> Any:
        ops, structure = self._flat()
        xs = _parts.split(x, structure, exact(self))
        return self._contained([op(x) for op, x in zip(ops, xs, strict=True)])

    def _derive_shape(self, x: Any) -> Any:
        ops, structure = self._flat()
        xs = _parts.split(x, structure, exact(self))
        return self._contained([op._infer_shape(x) for op, x in zip(ops, xs, strict=True)])

    @functools.cached_property
    def domain(self) -> Any:
        ops, structure = self._flat()
        return _parts.together([op.domain for op in ops], structure)

    @property
    def properties(self) -> Properties:
        return common(self._flat()[0], "symmetric", "positive", "unitary", "diagonal")


class BlockDiagonal(_BlockDiagonal, LinearComposite):
    """``lo.block_diag(ops)`` for linear operators: (A x)ₖ = Aₖ xₖ.

    Parameters
    ----------
    ops : pytree of linear operators
        The operators Aₖ.
    """

    ops: Any

    def _adjoint_inside(self, domain: Any) -> LinearOperator:
        structure = self._flat()[1]
        domains = [None] * structure.num_leaves if domain is None else structure.flatten_up_to(domain)
        return BlockDiagonal(self._adjoints(domains))

    def _infer_adjoint_shape(self, y: Any) -> Any:
        ops, structure = self._flat()
        ys = _parts.split(y, structure, f"{exact(self)}.H")
        return jax.tree.unflatten(structure, [_parts.adjoint_shape(*both) for both in zip(ops, ys, strict=True)])

    def _pull_back(self, y: Any, like: Any) -> Any:
        ops, structure = self._flat()
        ys = _parts.split(y, structure, f"{exact(self)}.H")
        likes = structure.flatten_up_to(like)
        return jax.tree.unflatten(structure, [op._reverse(*both) for op, *both in zip(ops, ys, likes, strict=True)])

    def _inverse(self) -> LinearOperator | None:
        ops, structure = self._flat()
        inverses = [op._inverse() for op in ops]
        return None if None in inverses else BlockDiagonal(jax.tree.unflatten(structure, inverses))

    def _product_with(self, right: Any) -> Any:
        """A block diagonal times a block diagonal or a column is one, too."""
        if not isinstance(right, BlockDiagonal | VStack) or (products := self._products(right)) is None:
            return None
        return type(right)(products)


class NonlinearBlockDiagonal(_BlockDiagonal, NonlinearComposite):
    """``lo.block_diag(ops)`` with a nonlinear operator: F(x)ₖ = Fₖ(xₖ).

    Parameters
    ----------
    ops : pytree of operators
        The operators Fₖ.
    """

    ops: Any

    def _expand_parts(self, x: Any) -> Expansion:
        points = _parts.split(x, self._flat()[1], f"{exact(self)}.jacobian")
        return self._expand_each(BlockDiagonal, points, self._contained)


@overload
def vstack(ops: _parts.LinearTree) -> LinearOperator: ...
@overload
def vstack(ops: _parts.NonlinearTree) -> NonlinearOperator: ...
@overload
def vstack(ops: Any) -> _parts.Either: ...
def vstack(ops: Any) -> Any:
    """Operators with the same input, one above the other: (A x)ₖ = Aₖ x.

    Parameters
    ----------
    ops : pytree of operators
        A list, tuple, dict or other pytree of operators.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator, nonlinear if one of ``ops`` is. Its result has the structure of ``ops``; nothing is concatenated.

    Raises
    ------
    TypeError
        If ``ops`` holds anything that is not an operator.
    ValueError
        If ``ops`` is empty, or domains differ.

    Examples
    --------
    >>> A = lo.vstack({"twice": 2 * lo.Identity(), "same": lo.Identity()})
    >>> {name: y.tolist() for name, y in A(jnp.ones(2)).items()}
    {'same': [1.0, 1.0], 'twice': [2.0, 2.0]}
    """
    _parts.require_operators(ops, "vstack")
    stack = VStack(ops) if _parts.all_linear(ops) else NonlinearVStack(ops)
    stack.domain  # noqa: B018 domains that differ are refused here
    return stack


@overload
def hstack(ops: _parts.LinearTree) -> LinearOperator: ...
@overload
def hstack(ops: _parts.NonlinearTree) -> NonlinearOperator: ...
@overload
def hstack(ops: Any) -> _parts.Either: ...
def hstack(ops: Any) -> Any:
    """Operators side by side, whose results are added: A x = Σₖ Aₖ xₖ.

    Parameters
    ----------
    ops : pytree of operators
        A list, tuple, dict or other pytree of operators.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator, nonlinear if one of ``ops`` is. Its input has the structure of ``ops``; nothing is concatenated.

    Raises
    ------
    TypeError
        If ``ops`` holds anything that is not an operator.
    ValueError
        If ``ops`` is empty, or the shapes of results differ.

    Examples
    --------
    >>> A = lo.hstack([lo.Identity(), lo.Diagonal([1.0, 2.0])])
    >>> A([jnp.ones(2), jnp.ones(2)]).tolist()
    [2.0, 3.0]
    """
    _parts.require_operators(ops, "hstack")
    stack = HStack(ops) if _parts.all_linear(ops) else NonlinearHStack(ops)
    if stack.domain is not None:
        stack.codomain  # noqa: B018 results that cannot be added are refused here
    return stack


@overload
def block_diag(ops: _parts.LinearTree) -> LinearOperator: ...
@overload
def block_diag(ops: _parts.NonlinearTree) -> NonlinearOperator: ...
@overload
def block_diag(ops: Any) -> _parts.Either: ...
def block_diag(ops: Any) -> Any:
    """Operators with one input each: (A x)ₖ = Aₖ xₖ.

    Parameters
    ----------
    ops : pytree of operators
        A list, tuple, dict or other pytree of operators.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator, nonlinear if one of ``ops`` is. Its input and its result have the structure of ``ops``.

    Raises
    ------
    TypeError
        If ``ops`` holds anything that is not an operator.
    ValueError
        If ``ops`` is empty.

    Examples
    --------
    >>> A = lo.block_diag((lo.Identity(), lo.Diagonal([1.0, 2.0])))
    >>> [y.tolist() for y in A((jnp.ones(3), jnp.ones(2)))]
    [[1.0, 1.0, 1.0], [1.0, 2.0]]
    """
    _parts.require_operators(ops, "block_diag")
    return BlockDiagonal(ops) if _parts.all_linear(ops) else NonlinearBlockDiagonal(ops)
