"""What ``lo.simplify``, ``lo.tree`` and composites ask of an operator: its parts, and which identities hold for it.

A combinator overrides what is different for it. No other code asks for the class of an operator.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from linops_jax._model import fields


class Structure:
    """The answers of an operator without parts, for which no rules are known."""

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _parts(self) -> list[Any]:
        """The operators of which a composite is made."""
        cls: Any = type(self)
        return fields.operators_of(self) if cls._composite else []

    def _with_parts(self, parts: list[Any]) -> Any:
        """The same composite with other parts, given in the order of ``_parts``."""
        rest = iter(parts)
        leaves, structure = jax.tree.flatten(
            self, is_leaf=lambda value: value is not self and fields.is_operator(value)
        )
        return jax.tree.unflatten(structure, [next(rest) if fields.is_operator(leaf) else leaf for leaf in leaves])

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        """Specs of the input of each part, from specs of the input; None where they are not known."""
        return [None] * len(self._parts())

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        """The pair of domain and codomain of each part, for ``lo.tree``, from those of the composite.

        A space is None if it does not follow from these. The result is empty if none does.
        """
        return ()

    @property
    def _inputs(self) -> Any:
        """The structure of the input, as a pytree of anything; None if it is not known."""
        return self.domain  # type: ignore[attr-defined]

    def _bare(self) -> Any:
        """The same operator without a domain that ``with_domain`` has fixed."""
        return self

    # ---- rules ----------------------------------------------------------------------------------------------------

    def _simpler(self, x: Any) -> Iterable[Any]:
        """The rules of ``lo.simplify`` for this class: the result of each rule, or None where the rule does not apply.

        The parts are simple already. ``x`` is the specs of the input, None if they are not known; each result must equal
        the operator for every such input. The first result with the same spaces is taken. Rules look at structure, at
        declared properties and at which parts are the same Python object, never at the values of arrays.
        """
        return ()

    def _product_with(self, right: Any) -> Any:
        """``self @ right`` as an operator that is simpler than a product, or None."""
        return None

    def _undoes(self, other: Any) -> bool:
        """Whether this operator is the exact inverse of the other one."""
        return False

    def _multiple(self) -> tuple[Any, Any]:
        """A number and an operator, whose product is this operator."""
        return 1, self

    @property
    def _is_identity(self) -> bool:
        """Whether the operator is the identity, by its class."""
        return False

    @property
    def _is_zero(self) -> bool:
        """Whether the operator is zero, by its class."""
        return False

    @property
    def _vanishes(self) -> bool:
        """Whether the operator is zero because one of its factors is."""
        return False

    @property
    def _elements(self) -> Any:
        """The array by which the operator multiplies its input, element by element; None for all other operators."""
        return None

    def _with_elements(self, elements: Any) -> Any:
        """The operator that multiplies by this array, element by element."""
        raise NotImplementedError
