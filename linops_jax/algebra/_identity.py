"""Identity and Zero: the neutral elements of products and of sums."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._model.declarations import static
from linops_jax._model.properties import Properties
from linops_jax._operators import upstream
from linops_jax._operators.operator import UnknownShapeError
from linops_jax._operators.printing import exact
from linops_jax.algebra._composite import LinearComposite


class Identity(LinearComposite, positive=True, unitary=True, diagonal=True):
    """The identity x → x, for any pytree of arrays.

    Examples
    --------
    >>> lo.Identity()(jnp.arange(3)).tolist()
    [0, 1, 2]
    """

    _symbol = "I"
    _is_identity = True  # type: ignore[assignment]

    def _inverse(self) -> Identity:
        return self

    def apply(self, x: Any) -> Any:
        return x

    def _derive_shape(self, x: Any) -> Any:
        return x

    def _infer_adjoint_shape(self, y: Any) -> Any:
        return y

    def _pull_back(self, y: Any, like: Any) -> Any:
        return y

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3, 4), jnp.complex64)


class Zero(LinearComposite):
    """The map x → 0.

    Parameters
    ----------
    shape : tuple of int, optional
        The shape of the result: one array, in the dtype of the input. By default, the result has the structure and the
        shapes of the input. With a shape, ``A.H(y)`` needs a domain.

    Examples
    --------
    >>> lo.Zero((2,))(jnp.ones(3)).tolist()
    [0.0, 0.0]
    """

    _symbol = "0"
    _is_zero = True  # type: ignore[assignment]
    shape: tuple[int, ...] | None = static(default=None)

    @property
    def properties(self) -> Properties:
        same = self.shape is None
        return Properties(positive=same, diagonal=same)

    def apply(self, x: Any) -> Any:
        if self.shape is None:
            return jax.tree.map(jnp.zeros_like, x)
        if not (leaves := jax.tree.leaves(x)):
            message = (
                f"{exact(self)} takes the dtype of its result from its input, but {x!r:.80} has no arrays. Pass at "
                "least one."
            )
            raise TypeError(message)
        return jnp.zeros(self.shape, jnp.result_type(*leaves))

    _is_recorded = True  # type: ignore[assignment]
    _is_looked_for = True  # type: ignore[assignment]

    def _infer_adjoint_shape(self, y: Any) -> Any:
        if self.shape is None:
            return y
        if (domain := upstream.domain_of(self, y)) is not None:
            return domain
        message = (
            f"{type(self)._label}.H(y) needs to know the shape of its result: fix the domain with with_domain(spec)."
        )
        raise UnknownShapeError(message)

    def _pull_back(self, y: Any, like: Any) -> Any:
        return jax.tree.map(shapes.zeros, like)

    @classmethod
    def examples(cls) -> Any:
        yield cls(), jax.ShapeDtypeStruct((3,), jnp.float32)
        yield cls((2, 5)), jax.ShapeDtypeStruct((3,), jnp.complex64)


def zero_for(op: Any, x: Any) -> Any:
    """A Zero in the place of an operator that vanishes; None if its result is not one array of the input's dtype."""
    if x is None:
        return None
    codomain = op._infer_shape(x)
    if not shapes.is_spec(x) or not shapes.is_spec(codomain) or x.dtype != codomain.dtype:
        return None
    return Zero(codomain.shape).with_domain(x)
