"""The base classes of the library's own combinators, whose hooks are JAX code, called without a primitive."""

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
from linops_jax._types import Arrays


class LinearComposite(LinearOperator, composite=True):
    """A linear combinator.

    Subclasses define ``apply``, ``_pull_back(y, like)``, ``_derive_shape(x)`` and ``_infer_adjoint_shape(y)``, by those
    of their parts.
    """

    def adjoint(self, y: Any) -> Any:
        return self._reverse(y, self.domain)

    def infer_shape(self, x: Any) -> Any:
        return self._infer_shape(x)


class NonlinearComposite(NonlinearOperator, composite=True):
    """A nonlinear combinator.

    Subclasses define ``apply``, ``_derive_shape(x)``, and the chain rule, ``_expand_parts(x)``.
    """

    def jacobian(self, x: Arrays) -> LinearOperator:
        """The derivative of F at a point, as a linear operator.

        Parameters
        ----------
        x : pytree of arrays
            The point x.

        Returns
        -------
        LinearOperator
            J(x), for directions of the dtype of x: real ones at a real point, even if the domain of F is complex.
        """
        return self._expand(shapes.as_arrays(x, f"{exact(self)}.jacobian(x)")).jacobian

    def _expand(self, x: Any) -> Expansion:
        """The operator to first order at a point; the directions have the dtype of the point."""
        at = self._as_input(x)
        found = self._expand_parts(at)
        return found if at is x else found._replace(jacobian=found.jacobian.with_domain(shapes.specs(x)))

    def _expand_parts(self, x: Any) -> Expansion:
        """The chain rule: the composite to first order, from its parts to first order."""
        raise NotImplementedError

    def jacobian_apply(self, x: Any, dx: Any) -> Any:
        return self.jacobian(x)(dx)

    def jacobian_adjoint(self, x: Any, dy: Any) -> Any:
        return self.jacobian(x).H(dy)

    def infer_shape(self, x: Any) -> Any:
        return self._infer_shape(x)


def of_checked_parts(cls: Any, statics: tuple[Any, ...], arrays: tuple[Any, ...]) -> Any:
    """A composite of checked parts. To check them again would take quadratic time for long sums and products."""
    if meta.introductions:
        meta.introduce()
    return restore(cls, statics, arrays)
