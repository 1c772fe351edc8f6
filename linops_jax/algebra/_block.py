"""block: a matrix of operators."""

from __future__ import annotations

import functools
from typing import Any, overload

import jax

from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite


class _Block:
    """What the linear and the nonlinear class share."""

    blocks: Any

    def _rows(self) -> tuple[list[list[Any]], Any, Any]:
        """The rows, as lists of entries with None for zero; the structure of the column of rows, and that of one row."""
        rows, outer = jax.tree.flatten(self.blocks, is_leaf=_is_row)
        flat = [jax.tree.flatten(row, is_leaf=_is_entry) for row in rows]
        return [entries for entries, _ in flat], outer, flat[0][1]

    def apply(self, x: Any) -> Any:
        rows, outer, inner = self._rows()
        xs = _parts.split(x, inner, exact(self))
        return self._added(rows, outer, [[op and op(x) for op, x in _zip(row, xs)] for row in rows])

    def _added(self, rows: Any, outer: Any, values: Any) -> Any:
        """The result of the block, from the results of its entries."""
        return jax.tree.unflatten(outer, [_sum(*both) for both in _zip(rows, values)])

    def _derive_shape(self, x: Any) -> Any:
        rows, outer, inner = self._rows()
        xs = _parts.split(x, inner, exact(self))
        return self._added(rows, outer, [[op and op._infer_shape(x) for op, x in _zip(row, xs)] for row in rows])

    @functools.cached_property
    def domain(self) -> Any:
        rows, _, inner = self._rows()
        return _parts.together([_parts.common_domain(_present(column), "block:") for column in _zip(*rows)], inner)

    @property
    def properties(self) -> Properties:
        return common(_present([op for row in self._rows()[0] for op in row]))

    def _expression(self, show: Any) -> str:
        return f"block({show.container(self.blocks)})"


class Block(_Block, LinearComposite):
    """``lo.block(blocks)`` for linear operators: (A x)ᵢ = Σⱼ Aᵢⱼ xⱼ.

    Parameters
    ----------
    blocks : pytree of linear operators
        The rows, each a container of operators; None is zero.
    """

    blocks: Any

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        rows, outer, inner = self._rows()
        domains = [None] * inner.num_leaves if domain is None else inner.flatten_up_to(domain)
        parts = [[op and _parts.typed(op, x) for op, x in _zip(row, domains)] for row in rows]
        if domain is None:
            if not _parts.are_alike(_present([op for row in rows for op in row])):
                return None
        else:
            ys = outer.flatten_up_to(self._infer_shape(domain))
            if not all(_parts.have_codomain(_present(row), y) for row, y in _zip(parts, ys)):
                return None
        columns = [jax.tree.unflatten(outer, [op and op.H for op in column]) for column in _zip(*parts)]
        return Block(jax.tree.unflatten(inner, columns))

    def _infer_adjoint_shape(self, y: Any) -> Any:
        rows, outer, inner = self._rows()
        ys = _parts.split(y, outer, f"{exact(self)}.H")
        columns = []
        for column in _zip(*rows):
            present = [(op, y) for op, y in _zip(column, ys) if op is not None]
            columns.append(_parts.common_adjoint_shape(*_zip(*present)))
        return jax.tree.unflatten(inner, columns)

    def _pull_back(self, y: Any, like: Any) -> Any:
        rows, outer, inner = self._rows()
        ys = _parts.split(y, outer, f"{exact(self)}.H")
        columns = [
            _sum(column, [op and op._reverse(y, spec) for op, y in _zip(column, ys)])
            for column, spec in _zip(_zip(*rows), inner.flatten_up_to(like))
        ]
        return jax.tree.unflatten(inner, columns)


class NonlinearBlock(_Block, NonlinearComposite):
    """``lo.block(blocks)`` with a nonlinear operator: F(x)ᵢ = Σⱼ Fᵢⱼ(xⱼ).

    Parameters
    ----------
    blocks : pytree of operators
        The rows, each a container of operators; None is zero.
    """

    blocks: Any

    def _expand_parts(self, x: Any) -> Expansion:
        rows, outer, inner = self._rows()
        xs = _parts.split(x, inner, f"{exact(self)}.jacobian")
        found = [[op and op._expand(x) for op, x in _zip(row, xs)] for row in rows]
        derivatives = [jax.tree.unflatten(inner, [entry and entry.jacobian for entry in row]) for row in found]
        values = lambda: [[entry and entry.value() for entry in row] for row in found]  # noqa: E731
        return Expansion(Block(jax.tree.unflatten(outer, derivatives)), lambda: self._added(rows, outer, values()))


def _is_entry(value: Any) -> bool:
    """Whether a value is an operator, or None for zero."""
    return value is None or _parts.is_operator(value)


def _is_row(value: Any) -> bool:
    """Whether a value is a row: the innermost containers are."""
    children = jax.tree.leaves(value, is_leaf=lambda child: child is not value)
    return _is_entry(value) or all(map(_is_entry, children))


def _zip(*sequences: Any) -> Any:
    return list(zip(*sequences, strict=True))


def _present(ops: Any) -> list[Any]:
    """The operators, without None."""
    return [op for op in ops if op is not None]


def _sum(ops: Any, values: list[Any]) -> Any:
    """The sum of the values whose operators are not None."""
    present = [(op, value) for op, value in _zip(ops, values) if op is not None]
    return _parts.add_up([op for op, _ in present], [value for _, value in present], "cannot add the results of")


@overload
def block(blocks: _parts.LinearRows) -> LinearOperator: ...
@overload
def block(blocks: Any) -> _parts.Either: ...
def block(blocks: Any) -> Any:
    """A matrix of operators: (A x)ᵢ = Σⱼ Aᵢⱼ xⱼ.

    Parameters
    ----------
    blocks : list, tuple or dict of rows
        Each row is a list, tuple or dict of operators. All rows have one structure. None stands for zero.

    Returns
    -------
    LinearOperator or NonlinearOperator
        The operator, nonlinear if one of the entries is. The input has the structure of a row, and the result that of a
        column.

    Raises
    ------
    TypeError
        If an entry is not an operator.
    ValueError
        If there are no operators, or none in some row or column; if rows differ in structure; if domains differ in a
        column.

    Examples
    --------
    >>> I, D = lo.Identity(), lo.Diagonal([1.0, 2.0])
    >>> A = lo.block([[I, D], [None, 3 * I]])
    >>> [y.tolist() for y in A([jnp.ones(2), jnp.ones(2)])]
    [[2.0, 3.0], [3.0, 3.0]]
    """
    _parts.require_operators(blocks, "block", allow_none=True)
    rows = jax.tree.leaves(blocks, is_leaf=_is_row)
    if _is_row(blocks) or any(map(_is_entry, rows)):
        message = f"block: expected a list, tuple or dict of rows of operators, found {blocks!r:.200}. For one row, use hstack."
        raise ValueError(message)
    structures = [jax.tree.structure(row, is_leaf=_is_entry) for row in rows]
    for i, structure in enumerate(structures):
        if structure != structures[0]:
            message = f"block: rows must have one structure; row 0 has {structures[0]}, row {i} has {structure}."
            raise ValueError(message)
    entries = [jax.tree.leaves(row, is_leaf=_is_entry) for row in rows]
    for kind, lines in (("row", entries), ("column", _zip(*entries))):
        for i, line in enumerate(lines):
            if not _present(line):
                message = f"block: {kind} {i} has no operator, so its shape is unknown. Put lo.Zero(shape) into it."
                raise ValueError(message)
    linear = all(isinstance(op, LinearOperator) for line in entries for op in _present(line))
    matrix = Block(blocks) if linear else NonlinearBlock(blocks)
    if matrix.domain is not None:
        matrix.codomain  # noqa: B018 results that cannot be added are refused here
    return matrix
