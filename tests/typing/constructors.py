# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownParameterType=false, reportMissingParameterType=false
"""What a type checker knows of an operator class. Not run: `.ci/run` checks it, and each ignored error must be one."""

from typing import Any, assert_type

import jax
import jax.numpy as jnp

import linops_jax as lo


class Diagonal(lo.LinearOperator):
    d: jax.Array
    axis: int = lo.static(default=0)

    def apply(self, x: Any) -> Any:
        return self.d * x

    def adjoint(self, y: Any) -> Any:
        return self.d * y

    def infer_shape(self, x: Any) -> Any:
        return x


class Traced(lo.LinearOperator):
    """JAX derives the other hooks, so the class is not abstract."""

    d: jax.Array

    @lo.traced
    def apply(self, x: Any) -> Any:
        return self.d * x


class Sampled(Traced):
    points: jax.Array = lo.constant(kw_only=True)


d = jnp.ones(3)
assert_type(Sampled(d, points=d), Sampled)
Sampled(d)  # type: ignore
assert_type(Diagonal(d, axis=2), Diagonal)
assert_type(Traced(d).H, lo.LinearOperator)
assert_type(Diagonal(d).axis, int)
Diagonal()  # type: ignore
Diagonal(d, 1, 2)  # type: ignore
Diagonal(d, axis="last")  # type: ignore
