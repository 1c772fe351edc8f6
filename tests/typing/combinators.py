# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportMissingTypeStubs=false, reportUnknownMemberType=false
"""What type checkers know of combinators of one's own. Not run: `.ci/run` checks it, and each ignored error must be one."""

from collections.abc import Iterable
from typing import Any, assert_type

import jax
import jax.numpy as jnp

import linops_jax as lo


class Twice(lo.algebra.Combinator, symmetric=True):
    op: lo.LinearOperator
    power: int = lo.static(default=1)
    precedence = lo.algebra.Precedence.PRODUCT

    def apply(self, x: Any) -> Any:
        return 2**self.power * self.op(x)

    def expression(self, show: lo.algebra.Notation) -> str:
        return f"{2**self.power}{show.times}{show(self.op, lo.algebra.Precedence.PRODUCT)}"

    def simplifications(self, x: Any) -> Iterable[lo.LinearOperator | None]:
        yield 2**self.power * self.op

    def inputs_of_parts(self, x: Any) -> list[Any]:
        return [x]

    def adjoint_operator(self) -> lo.LinearOperator:
        return Twice(self.op.H)

    def inverse_operator(self) -> lo.LinearOperator:
        return 0.5 * self.op.inv

    @property
    def domain(self) -> Any:
        return self.op.domain

    @property
    def properties(self) -> lo.Properties:
        return super().properties


class Product(lo.algebra.NonlinearCombinator):
    ops: dict[str, lo.LinearOperator | lo.NonlinearOperator]

    def apply(self, x: jax.Array) -> jax.Array:
        return self.ops["a"](x) * self.ops["b"](x)


d = jnp.ones(3)
A = Twice(lo.Diagonal(d), power=2)
F = Product({"a": A, "b": lo.Affine(A, d)})
assert_type(A @ A, lo.LinearOperator)
assert_type(A.H, lo.LinearOperator)
assert_type(F @ A, lo.NonlinearOperator)
assert_type(F.jacobian(d), lo.LinearOperator)
assert_type(lo.simplify(A), lo.LinearOperator)
Twice()  # type: ignore
Twice(lo.Diagonal(d), 2, 3)  # type: ignore
print(F.H)  # type: ignore
