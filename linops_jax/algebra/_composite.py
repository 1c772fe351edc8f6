"""What operators made of operators share: JAX code that is called as it is, without a primitive of its own."""

from __future__ import annotations

from typing import Any

from linops_jax._model import shapes
from linops_jax._model.fields import restore
from linops_jax._operators import meta
from linops_jax._operators.expansion import Expansion as Expansion
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.printing import exact
from linops_jax._operators.wrappers import SwappedWrapper as SwappedWrapper
from linops_jax._operators.wrappers import Wrapper as Wrapper


class LinearComposite(LinearOperator, composite=True):
    """Subclasses write ``apply``, ``_pull_back(y, like)``, and ``_derive_shape(x)`` and ``_infer_adjoint_shape(y)`` by
    those of their parts."""

    def adjoint(self, y: Any) -> Any:
        return self._reverse(y, self.domain)

    def infer_shape(self, x: Any) -> Any:
        return self._infer_shape(x)


class NonlinearComposite(NonlinearOperator, composite=True):
    """Subclasses write ``apply``, ``_derive_shape(x)``, and ``_expand_parts(x)``, the chain rule as algebra."""

    def jacobian(self, x: Any) -> LinearOperator:
        """The derivative at x, in directions of its dtype: at a real point of a complex domain, real ones."""
        return self._expand(shapes.as_arrays(x, f"{exact(self)}.jacobian(x)")).jacobian

    def _expand(self, x: Any) -> Expansion:
        at = self._as_input(x)
        found = self._expand_parts(at)
        return found if at is x else found._replace(jacobian=found.jacobian.with_domain(shapes.specs(x)))

    def _expand_parts(self, x: Any) -> Expansion:
        raise NotImplementedError

    def jacobian_apply(self, x: Any, dx: Any) -> Any:
        return self.jacobian(x)(dx)

    def jacobian_adjoint(self, x: Any, dy: Any) -> Any:
        return self.jacobian(x).H(dy)

    def infer_shape(self, x: Any) -> Any:
        return self._infer_shape(x)


def of_checked_parts(cls: Any, statics: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    """A composite without the constructor's look at every part, which makes long sums and products quadratic."""
    if meta.introductions:
        meta.introduce()
    return restore(cls, statics, arrays)
