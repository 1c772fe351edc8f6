"""What operators around one other operator share: those that leave its spaces as they are, and those that swap them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from linops_jax._model.properties import Properties


class Wrapper:
    """Around one operator, ``op``: takes its domain, its shapes and its properties."""

    op: Any

    @property
    def domain(self) -> Any:
        return self.op.domain

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
    """Around one operator ``op``, from its codomain to its domain."""

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
