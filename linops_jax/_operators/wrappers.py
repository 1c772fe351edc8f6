"""What is common to operators with one part: those with its domain, and those with its spaces swapped."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from linops_jax._model.properties import Properties


class Wrapper:
    """An operator with one part, ``op``, which has its domain, shapes and properties by default."""

    op: Any

    @property
    def domain(self) -> Any:
        return self.op.domain

    @property
    def _inputs(self) -> Any:
        return self.op._inputs if self.domain is None else self.domain

    @property
    def properties(self) -> Properties:
        return self.op.properties

    def _inputs_of_parts(self, x: Any) -> list[Any]:
        return [x]

    def _spaces_of_parts(self, domain: Any, codomain: Any) -> Iterable[tuple[Any, Any]]:
        return [(domain, None)]

    def _derive_shape(self, x: Any) -> Any:
        return self.op._infer_shape(x)

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return self.op._infer_adjoint_shape(y)


class SwappedWrapper:
    """An operator with one part, ``op``, from its codomain to its domain."""

    op: Any

    @property
    def domain(self) -> Any:
        return self.op.codomain

    @property
    def codomain(self) -> Any:
        return self.op.domain

    @property
    def properties(self) -> Properties:
        return self.op.properties

    def _derive_shape(self, x: Any) -> Any:
        return self.op._spaces_of(x)[0]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return self.op._infer_shape(y)
