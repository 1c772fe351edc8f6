# pyright: standard, reportUnnecessaryTypeIgnoreComment=true
"""What type checkers make of hooks as the documents write them: none is an error. Not run: `.ci/run` checks it."""

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo

Spec = jax.ShapeDtypeStruct


class CumulativeSum(lo.LinearOperator):
    """A hook that fills out, and one that returns its result."""

    axis: int = lo.static(default=-1)

    def apply(self, x: np.ndarray, *, out: np.ndarray) -> None:
        np.cumsum(x, axis=self.axis, out=out)

    def adjoint(self, y: np.ndarray) -> np.ndarray:
        return np.flip(np.cumsum(np.flip(y, self.axis), axis=self.axis), self.axis)

    def infer_shape(self, x: Spec) -> Spec:
        return x

    def infer_adjoint_shape(self, y: Spec) -> Spec:
        return y

    @classmethod
    def examples(cls) -> Iterator[Any]:
        yield cls(), Spec((3,), jnp.float32)


class Everything(lo.LinearOperator, batched=True, real_linear=True, adjoint_rtol=1e-3):
    """All optional hooks."""

    d: jax.Array

    def apply(self, x: Any) -> Any:
        return self.d * x

    def adjoint(self, y: Any) -> Any:
        return self.d * y

    def gram(self, x: Any) -> Any:
        return self.d**2 * x

    def inverse(self, y: Any) -> Any:
        return y / self.d

    def parameter_vjp(self, x: Any, dy: Any) -> Any:
        return {"d": x * dy}

    def infer_shape(self, x: Spec) -> Spec:
        return x


class ForwardOnly(lo.LinearOperator):
    adjoint = None

    def apply(self, x: Any) -> Any:
        return x

    def infer_shape(self, x: Spec) -> Spec:
        return x


class Native(lo.LinearOperator, symmetric=True):
    apply = lo.native(ffi="target")

    def infer_shape(self, x: Spec) -> Spec:
        return x


class Traced(lo.LinearOperator):
    d: jax.Array

    @lo.traced
    def apply(self, x: jax.Array) -> jax.Array:
        return self.d * x


class Paper(lo.NonlinearOperator):
    """Reverse mode only, on a pair."""

    jacobian_apply = None

    def apply(self, x: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        x1, x2 = x
        return np.multiply(x1, x2**2)

    def jacobian_adjoint(self, x: tuple[np.ndarray, np.ndarray], dy: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        x1, x2 = x
        return np.conj(x2**2) * dy, np.conj(2 * x1 * x2) * dy

    def infer_shape(self, x: tuple[Spec, Spec]) -> Spec:
        return x[0]


x = jnp.ones(3)
jax.vmap(Everything)(jnp.ones((2, 3)))
jax.jit(Traced(x))(x)
jax.grad(lambda x: jnp.sum(CumulativeSum()(x) ** 2))(x)
lo.check_operator(Paper(), (x, x))
print(lo.dot_test(Native(), x).error, ForwardOnly().domain)
