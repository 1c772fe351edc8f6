"""Scaled: ``a * A``, a number times an operator."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax._model import shapes
from linops_jax._model.properties import Properties
from linops_jax._operators import constructors
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.nonlinear import NonlinearOperator
from linops_jax._operators.operator import PRODUCT
from linops_jax.algebra._composite import Expansion, LinearComposite, NonlinearComposite, Wrapper
from linops_jax.algebra._numbers import can_merge
from linops_jax.algebra._parts import typed


class _Scale(Wrapper):
    """What the linear and the nonlinear class share."""

    scalar: Any
    op: Any
    _precedence = PRODUCT

    def apply(self, x: Any) -> Any:
        return self._multiple_of(self.op(x))

    def _multiple_of(self, y: Any) -> Any:
        """The product of the scalar and y."""
        return jax.tree.map(lambda leaf: shapes.strong(self.scalar * leaf), y)

    def _derive_shape(self, x: Any) -> Any:
        return self._times(self.op._infer_shape(x))

    def _times(self, specs: Any) -> Any:
        """Specs multiplied by the scalar: the dtypes are promoted."""
        return jax.tree.map(lambda s: shapes.with_dtype(s, jnp.result_type(self.scalar, s.dtype)), specs)

    def _expression(self, show: Any) -> str:
        scalar = show.scalar(self.scalar)
        return f"{'-' if scalar == '-1' else scalar + show.times}{show(self.op, PRODUCT)}"

    def _multiple(self) -> tuple[Any, Any]:
        return self.scalar, self.op

    def _simpler(self, x: Any) -> Iterable[Any]:
        """1 A = A; a (b A) = (a b) A; a diag(d) = diag(a d)."""
        b, op = self.op._multiple()
        if type(self.scalar) in (bool, int) and self.scalar == 1:
            yield self.op
        elif op is not self.op and can_merge(self.scalar, b):
            yield scale(self.scalar * b, op)
        elif (d := self.op._elements) is not None and can_merge(self.scalar, d):
            yield self.op._with_elements(self.scalar * jnp.asarray(d))


class Scaled(_Scale, LinearComposite):
    """``a * A`` for a linear A.

    Parameters
    ----------
    scalar : scalar or 0-d array
        The number a. It can be differentiated, and new values do not compile again.
    op : LinearOperator
        The operator A.
    """

    scalar: Any
    op: LinearOperator

    @property
    def properties(self) -> Properties:
        """The properties of A that a A has, too: computed each time, because the scalar may be replaced."""
        of_op, known = self.op.properties, _known(self.scalar)
        return dataclasses.replace(
            of_op,
            symmetric=of_op.symmetric and "real" in known,
            positive=of_op.positive and "nonnegative" in known,
            unitary=of_op.unitary and "unit" in known,
        )

    def _gram(self, x: Any, domain: Any = None) -> Any:
        """|a|² Aᴴ A x; None also where the scalar has more precision than x, or is complex and x is not."""
        if any(jnp.result_type(self.scalar, leaf.dtype) != leaf.dtype for leaf in jax.tree.leaves(x)):
            return None
        gram = self.op._gram(x, domain)
        is_complex = shapes.is_complex(jnp.result_type(self.scalar))
        square = jnp.real(jnp.conj(self.scalar) * self.scalar) if is_complex else self.scalar * self.scalar
        return None if gram is None else jax.tree.map(lambda leaf: shapes.strong(square * leaf), gram)

    def _inverse(self) -> LinearOperator | None:
        if not self._scalar_passes(self.op):
            return super()._inverse()
        inverse = None if "zero" in _known(self.scalar) else self.op._inverse()
        return None if inverse is None else Scaled(1 / self.scalar, inverse)

    def _adjoint_inside(self, domain: Any) -> LinearOperator | None:
        """conj(a) Aᴴ. For a complex a, A must be linear over the complex numbers and its spaces complex."""
        A = typed(self.op, domain)
        conj = self.scalar.conjugate() if hasattr(self.scalar, "conjugate") else self.scalar
        fits = domain is None or shapes.same(A.codomain, self._infer_shape(domain))
        return scale(conj, A.H) if fits and self._scalar_passes(A) else None

    def _scalar_passes(self, A: LinearOperator) -> bool:
        """Whether a A x = A (a x)."""
        return not shapes.is_complex(jnp.result_type(self.scalar)) or A._is_complex_linear()

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return self.op._infer_adjoint_shape(self._times(y))

    def _pull_back(self, y: Any, like: Any) -> Any:
        return self.op._reverse(jax.tree.map(lambda leaf: jnp.conj(self.scalar) * leaf, y), like)


class NonlinearScaled(_Scale, NonlinearComposite):
    """``a * F`` for a nonlinear F.

    Parameters
    ----------
    scalar : scalar or 0-d array
        The number a. It can be differentiated, and new values do not compile again.
    op : NonlinearOperator
        The operator F.
    """

    scalar: Any
    op: NonlinearOperator

    def _expand_parts(self, x: Any) -> Expansion:
        found = self.op._expand(x)
        return Expansion(scale(self.scalar, found.jacobian), lambda: self._multiple_of(found.value()))


@constructors.scale.define
def scale(scalar: Any, op: Any) -> Any:
    return Scaled(scalar, op) if isinstance(op, LinearOperator) else NonlinearScaled(scalar, op)


def _known(scalar: Any) -> frozenset[str]:
    """What is known of a scalar: sign and size of a number of Python or NumPy, only the dtype of a JAX array."""
    kinds: Any = bool | int | float | complex | np.generic | np.ndarray
    if np.ndim(scalar) == 0 and isinstance(scalar, kinds):
        real = not np.iscomplexobj(scalar)
        facts = {"real": real, "nonnegative": real and scalar >= 0, "unit": abs(scalar) == 1, "zero": scalar == 0}
        return frozenset(name for name, holds in facts.items() if holds)
    dtype = getattr(scalar, "dtype", None)  # None: a placeholder for an array, in a tree
    return frozenset() if dtype is None or shapes.is_complex(dtype) else frozenset({"real"})
