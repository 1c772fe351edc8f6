"""What stacks and block diagonals share: a container of operators."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import jax

from linops_jax._model.properties import Properties, common
from linops_jax._operators.printing import exact
from linops_jax.algebra import _parts
from linops_jax.algebra._composite import Expansion
from linops_jax.algebra._composition import compose


class OfContainer:
    """Fields and rules of operators that are made of a container of operators."""

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
