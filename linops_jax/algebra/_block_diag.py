"""Operators on inputs of their own, with results of their own: ``block_diag``."""

from __future__ import annotations

import functools
from typing import Any, overload

import jax

from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite
from linops_jax.algebra._container import OfContainer
from linops_jax.algebra._stack import VStack
from linops_jax.algebra._stacked import refuse_mesh, stack_of_one


class _BlockDiagonal(OfContainer):
    _name = "block_diag"

    def apply(self, x: Any) -> Any:
        ops, structure = self._flat()
        xs = _parts.split(x, structure, exact(self))
        return self._contained([op(x) for op, x in zip(ops, xs, strict=True)])

    def _derive_shape(self, x: Any) -> Any:
        ops, structure = self._flat()
        xs = _parts.split(x, structure, exact(self))
        return self._contained([op._infer_shape(x) for op, x in zip(ops, xs, strict=True)])

    @property
    def _inputs(self) -> Any:
        return self.ops

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
def block_diag(ops: _parts.LinearTree, *, mesh: Any = ..., axis_name: str | None = ...) -> LinearOperator: ...
@overload
def block_diag(ops: _parts.NonlinearTree, *, mesh: Any = ..., axis_name: str | None = ...) -> NonlinearOperator: ...
@overload
def block_diag(ops: Any, *, mesh: Any = ..., axis_name: str | None = ...) -> _parts.Either: ...
def block_diag(ops: Any, *, mesh: Any = None, axis_name: str | None = None) -> Any:
    """Operators with one input each: (A x)ₖ = Aₖ xₖ.

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
        The operator, nonlinear if one of ``ops`` is. Its input and its result have the structure of ``ops``. Of one
        operator, the arrays have the leading axis.

    Raises
    ------
    TypeError
        If ``ops`` holds anything that is not an operator, or a mesh is given for several operators.
    ValueError
        If ``ops`` is empty, or the fields of one operator have no common leading axis.

    Examples
    --------
    >>> A = lo.block_diag((lo.Identity(), lo.Diagonal([1.0, 2.0])))
    >>> [y.tolist() for y in A((jnp.ones(3), jnp.ones(2)))]
    [[1.0, 1.0, 1.0], [1.0, 2.0]]
    """
    _parts.require_operators(ops, "block_diag")
    if _parts.is_operator(ops):
        return stack_of_one(ops, "block_diag", mesh, axis_name)
    refuse_mesh(mesh, axis_name, "block_diag")
    return BlockDiagonal(ops) if _parts.all_linear(ops) else NonlinearBlockDiagonal(ops)
