"""How a linear operator is applied backward: in which spaces, and of what shape the result is."""

from __future__ import annotations

import functools
from typing import Any

import jax

from linops_jax._model import rules, shapes
from linops_jax._operators import printing, upstream
from linops_jax._operators.operator import Operator, UnknownShapeError


class Backward(Operator, rules=rules.LINEAR):
    """The adjoint as composites, solvers and derived hooks evaluate it; users subclass ``LinearOperator``."""

    def _reverse(self, y: Any, like: Any) -> Any:
        """Aᴴ y for any y; ``like`` is the specs of the result, None where they are not known.

        Only here are y cast to the codomain and the result to the domain, and to real parts where these are real. A
        composite calls this method of its parts, so each part gets an element of its own codomain.
        """
        domain, codomain = self._spaces_of(y) if like is None else (like, self._infer_shape(like))

        def where() -> str:
            return f"{printing.exact(self)}.H"

        return shapes.onto(self._pull_back(shapes.onto(y, codomain, where), domain), domain, where)

    def _pull_back(self, y: Any, like: Any) -> Any:
        """Aᴴ y for a y in the codomain. A composite defines it by ``_reverse`` of its parts."""
        return self._evaluate("adjoint", (y,), like)

    def _spaces_of(self, y: Any) -> tuple[Any, Any]:
        """Specs of the domain and of the codomain, where the dtype of y may be narrower than that of the codomain."""
        if self.domain is not None:
            return self.domain, self.codomain
        y = shapes.specs(y)
        domain = self._infer_adjoint_shape(y)
        codomain = self._infer_shape(domain)
        if not shapes.same(codomain, y) and shapes.shape_difference(codomain, y) is None:
            domain = self._infer_adjoint_shape(codomain)  # for example, A is complex and y is real
            codomain = self._infer_shape(domain)
        return domain, codomain

    @functools.cached_property
    def _is_looked_for(self) -> bool:
        if type(self)._composite:
            return any(part._is_looked_for for part in self._parts())
        return getattr(self, "infer_adjoint_shape", None) is None and not self.properties.symmetric

    def _infer_adjoint_shape(self, y: Any) -> Any:
        """Specs of Aᴴ y from specs of y. Composites ask their parts."""
        where = type(self)._label
        if getattr(self, "infer_adjoint_shape", None) is not None:
            return self._leading_back(self._placed(self._infer("infer_adjoint_shape", "", y), y), y)
        if self.properties.symmetric:
            return self._infer_shape(y)
        if (domain := upstream.domain_of(self, y)) is not None:
            return domain
        message = (
            f"{where}.H(y) needs to know the shape of its result. Define {where}.infer_adjoint_shape, or fix the domain "
            "with with_domain(spec)."
        )
        raise UnknownShapeError(message)

    def _placed(self, x: Any, y: Any) -> Any:
        """The specs x that ``infer_adjoint_shape`` gives for y, with a sharding if the fields or y have one and x does not.

        In a product, the sharding is that of the input that A was applied to. Otherwise it is that of y, for arrays of
        its shape.
        """
        if shapes.have_places(x) or not shapes.have_places((self, y)):
            return x
        passed = upstream.domain_of(self, y)
        return shapes.in_places_of(x, shapes.specs(y) if passed is None else passed)

    def _leading_back(self, x: Any, y: Any) -> Any:
        """The specs x that ``infer_adjoint_shape`` gives for y, checked: ``infer_shape`` must lead from x to y."""
        y = shapes.specs(y)
        says = f"{type(self)._label}.infer_adjoint_shape says {shapes.describe_tree(x)} for {shapes.describe_tree(y)}"
        found, given = ({shapes.is_inexact(leaf.dtype) for leaf in jax.tree.leaves(tree)} for tree in (x, y))
        if found == {False} and given == {True}:
            message = (
                f"{says}: of floating point numbers, the adjoint gives floating point numbers. Return their dtype."
            )
            raise TypeError(message)
        try:
            back = self._infer_shape(x)
        except Exception as error:
            message = (
                f"{says}, which infer_shape does not take: {type(error).__name__}: {error}. Fix whichever is wrong."
            )
            raise TypeError(message) from error
        if shapes.shape_difference(back, y):
            message = (
                f"{says}, but infer_shape leads from there to {shapes.describe_tree(back)}. Fix the hook that is "
                "wrong, or pass an input of this shape."
            )
            raise ValueError(message)
        return x

    @functools.cached_property
    def _has_checked_domain(self) -> bool:
        """True, or the error of ``_check_domain``; a cached property, so that each operator is checked once."""
        self._check_domain(self.domain, self.codomain)
        return True

    def _check_domain(self, domain: Any, codomain: Any) -> None:
        """Raises ValueError if ``infer_adjoint_shape`` contradicts a domain that is known."""
        if type(self)._composite or getattr(self, "infer_adjoint_shape", None) is None:
            return
        try:
            answer = shapes.specs(self).infer_adjoint_shape(codomain)
        except Exception:  # the hook cannot answer, and the domain is fixed anyway
            return
        where = f"{type(self)._label}.infer_adjoint_shape"
        if difference := shapes.shape_difference(shapes.promised(answer, where), domain):
            message = (
                f"{where}({shapes.describe_tree(codomain)}) contradicts the domain of {self!r}: "
                f"{difference}. Fix the hook, or leave it out."
            )
            raise ValueError(message)
