"""Affine: the map x → A x + b."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._model.properties import Properties, common
from linops_jax._operators.linear import LinearOperator
from linops_jax._operators.operator import SUM
from linops_jax._operators.printing import exact
from linops_jax._types import Arrays
from linops_jax.algebra._composite import Expansion, NonlinearComposite, Wrapper
from linops_jax.algebra._composition import compose
from linops_jax.algebra._identity import Identity


class Affine(Wrapper, NonlinearComposite):
    """The affine map x → A x + b. It is a NonlinearOperator, and its Jacobian is A.

    Parameters
    ----------
    op : LinearOperator
        The linear part A.
    b : pytree of arrays
        What is added, in the structure and shapes of A x. It can be differentiated.

    Raises
    ------
    TypeError
        If ``op`` is not a linear operator.
    ValueError
        If b does not have the shapes of A x.

    Examples
    --------
    >>> F = lo.Affine(lo.Diagonal([1.0, 2.0]), jnp.asarray([0.0, 1.0]))
    >>> F(jnp.ones(2)).tolist()
    [1.0, 3.0]
    >>> print(F.jacobian(jnp.ones(2)))
    Diagonal : f32[2] -> f32[2]
    """

    op: LinearOperator
    b: Arrays

    _precedence = SUM

    def __init__(self, op: LinearOperator, b: Arrays):
        if not isinstance(op, LinearOperator):
            message = f"Affine: expected a linear operator, found {type(op).__name__} {op!r:.80}."
            raise TypeError(message)
        self.op = op
        self.b = shapes.lists_as_arrays(b, lambda: op.codomain)
        if op.domain is not None:
            self._check(op.codomain)

    @property
    def properties(self) -> Properties:
        return common([self.op])

    def apply(self, x: Any) -> Any:
        return self._plus_b(self.op(x))

    def _plus_b(self, y: Any) -> Any:
        """The sum of y and b."""
        self._check(y)
        return jax.tree.map(lambda leaf, b: shapes.strong(jnp.add(leaf, b)), y, self.b)

    def _derive_shape(self, x: Any) -> Any:
        y = self.op._infer_shape(x)
        self._check(y)
        return jax.tree.map(lambda s, b: shapes.with_dtype(s, jnp.result_type(s.dtype, b)), y, self.b)

    def _check(self, y: Any) -> None:
        """Raises ValueError if b does not have the shapes of y."""
        if difference := shapes.shape_difference(shapes.specs(self.b), y):
            message = f"Affine: b does not have the shape of the result of {exact(self.op)}: {difference}."
            raise ValueError(message)

    def _expand_parts(self, x: Any) -> Expansion:
        """The derivative is A, whose results get the dtype of A x + b."""
        found = self.op._expand(x)
        A, codomain = found.jacobian, self._infer_shape(found.jacobian.domain)
        derivative = A if shapes.same(codomain, A.codomain) else compose(Identity().with_domain(codomain), A)
        return Expansion(derivative, lambda: self._plus_b(found.value()))

    def _expression(self, show: Any) -> str:
        return f"Affine({show(self.op)}, {show.point(shapes.specs(self.b), 'b')})"
