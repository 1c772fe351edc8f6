"""What an operator says of what it is made of, to ``lo.simplify``, to ``lo.tree`` and to the composites around it.

A combinator overrides what is true of it; nobody else asks what kind of operator something is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import jax

from linops_jax._model import fields


class Structure:
    """Of an operator that is not made of others, and of which no rule is known."""

    # ---- parts ----------------------------------------------------------------------------------------------------

    def _parts(self) -> list[Any]:
        """The operators of which a composite is made."""
        cls: Any = type(self)
        if not cls._composite:
            return []
        values = [getattr(self, name) for name in fields.array_fields(cls)]
        return [leaf for leaf in jax.tree.leaves(values, is_leaf=fields.is_operator) if fields.is_operator(leaf)]

    def _with_parts(self, parts: list[Any]) -> Any:
        """The same composite of other parts, in the order of ``_parts``."""
        rest = iter(parts)
        leaves, structure = jax.tree.flatten(
            self, is_leaf=lambda value: value is not self and fields.is_operator(value)
        )
        return jax.tree.unflatten(structure, [next(rest) if fields.is_operator(leaf) else leaf for leaf in leaves])

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        """Specs of what each part is applied to, from specs of the input; None where that is not known."""
        return [None] * len(self._parts())

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        """Domain and codomain of each part, for ``lo.tree``, as far as they follow from those of the whole; None where they do
        not, and no pairs at all where nothing follows."""
        return ()

    def _bare(self) -> Any:
        """The same operator without a domain that somebody has fixed."""
        return self

    # ---- rules ----------------------------------------------------------------------------------------------------

    def _simpler(self, x: Any) -> Iterable[Any]:
        """The rules of ``lo.simplify`` for this class: what each of them makes of an operator whose parts are simple already,
        or None where it does not apply. The first that keeps the spaces is taken.

        x: specs of the input, None where nobody knows them

        What they make gives the same for each such input. They look at structure, at declared properties and at which parts
        are the same Python object, never at arrays.
        """
        return ()

    def _product_with(self, right: Any) -> Any:
        """``self @ right`` as one operator that is simpler than a product, or None."""
        return None

    def _undoes(self, other: Any) -> bool:
        """Whether it is the exact inverse of the other one, as that one says it."""
        return False

    def _multiple(self) -> tuple[Any, Any]:
        """A number and an operator, of which this is the product."""
        return 1, self

    @property
    def _is_identity(self) -> bool:
        return False

    @property
    def _is_zero(self) -> bool:
        return False

    @property
    def _vanishes(self) -> bool:
        """Whether it gives zeros only, since a part of it does."""
        return False

    @property
    def _elements(self) -> Any:
        """What it multiplies its input with, element by element; None for all that do something else."""
        return None

    def _with_elements(self, elements: Any) -> Any:
        """The operator that multiplies with others."""
        raise NotImplementedError
