"""The residual r + J d near a point: what a step of nonlinear least squares asks of it.

With few unknowns or few data, J is formed and decomposed once for each point. Otherwise there are products with J and its
adjoint, for conjugate gradients. ``lineax.linear_solve`` is no alternative: it is compiled by equinox with donated
arguments, so the operator of every step, and A with all that it holds, would stay in a cache that ``jax.clear_caches()``
does not empty. See ``_engine/compiled``.
"""

from __future__ import annotations

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from linops_jax._model import shapes
from linops_jax._vectors import Packing, dot, times
from linops_jax.solvers._iterate import cgls

Limits = tuple[float, float, int]  # rtol, atol, max_steps
INNER: Limits = 1e-4, 0, 1000
FEW = 32  # real numbers: beyond them, conjugate gradients take fewer products, and less time than a decomposition
MOST_ENTRIES = 2**24  # of J


def least_squares(apply: Callable[[Any], Any], like: Any, target: Any, limits: Limits) -> Any:
    """The x in the structure of ``like`` that minimises |apply(x) - target|, over the reals, by conjugate gradients."""
    transpose = jax.linear_transpose(apply, like)
    return cgls(apply, lambda y: transpose(y)[0], target, *limits)[0]


def minus(tree: Any) -> Any:
    return jax.tree.map(jnp.negative, tree)


class _Model(eqx.Module):
    """|r + J d|² up to a constant, for d in the structure of ``zero``, as |residual + product(d)|²."""

    zero: eqx.AbstractVar[Any]
    residual: eqx.AbstractVar[Any]

    @abc.abstractmethod
    def product(self, d: Any) -> Any:
        """What is added to the residual by d."""

    def change(self, d: Any) -> Any:
        """By how much the loss |r + J d|² / 2 changes, which is less than zero for a good step."""
        moved = self.product(d)
        return dot(moved, moved) / 2 + dot(moved, self.residual)


class Dense(_Model):
    """By the singular values of J = U S Vᵀ, with Uᵀ r for r."""

    zero: Any
    residual: Any
    values: Any
    basis: Any

    def product(self, d: Any) -> Any:
        return self.values * jnp.matmul(self.basis, self._packing.pack(d).astype(self.basis.dtype), precision="highest")

    def gradient(self) -> Any:
        return self._combined(self.values * self.residual)

    def best(self, damp: Any = 0) -> Any:
        """The d that minimises |r + J d|² + damp² |d|²; where there are many, the smallest."""
        damp = jnp.asarray(damp, self.values.dtype)
        size = jnp.where(self.values > 0, self.values, 1)
        return self._combined(jnp.where(self.values > 0, -self.residual / (size + damp * (damp / size)), 0))

    @property
    def _packing(self) -> Packing:
        return Packing(shapes.specs(self.zero))

    def _combined(self, parts: Any) -> Any:
        return self._packing.unpack(jnp.matmul(self.basis.T, parts, precision="highest"))


class Products(_Model):
    """By products with J and its adjoint."""

    zero: Any
    residual: Any
    jac: Any

    def product(self, d: Any) -> Any:
        return self.jac.mv(d)

    def gradient(self) -> Any:
        return jax.linear_transpose(self.product, self.zero)(self.residual)[0]

    def best(self, damp: Any = None) -> Any:
        """The d that minimises |r + J d|² + damp² |d|²; where there are many, the smallest."""
        if damp is None:
            return minus(least_squares(self.product, self.zero, self.residual, INNER))
        stacked = lambda d: (self.product(d), times(damp, d))  # noqa: E731
        return minus(least_squares(stacked, self.zero, (self.residual, self.zero), INNER))


def linear_model(x: Any, info: Any) -> Dense | Products:
    """The model at x, of what optimistix knows there."""
    zero = jax.tree.map(jnp.zeros_like, x)
    n, m = (Packing(shapes.specs(tree)).size for tree in (x, info.residual))
    if min(n, m) > FEW or n * m > MOST_ENTRIES:
        return Products(zero, info.residual, info.jac)
    matrix = _matrix(info.jac.mv, zero, info.residual, by_rows=m < n)
    target = Packing(shapes.specs(info.residual)).pack(info.residual)
    dtype = jnp.result_type(jnp.float32, matrix.dtype, target.dtype)
    both = jnp.concatenate([matrix.astype(dtype), target.astype(dtype)[:, None]], 1)
    if m > n:  # |both (d, 1)| stays the same, and all that follows is small
        both = jnp.linalg.qr(both, mode="r")
    u, s, vh = jnp.linalg.svd(both[:, :-1], full_matrices=False)
    smallest = jnp.finfo(s.dtype).eps * max(n, m) * jnp.max(s, initial=0)
    return Dense(zero, jnp.matmul(u.T, both[:, -1], precision="highest"), jnp.where(s > smallest, s, 0), vh)


def _matrix(product: Any, like: Any, out: Any, by_rows: bool) -> Any:
    """The matrix of a linear function: a product for each column, or one with the transpose for each row."""
    domain, codomain = (Packing(shapes.specs(tree)) for tree in (like, out))
    if by_rows:
        transpose = jax.linear_transpose(product, like)
        row = lambda i: domain.pack(transpose(codomain.unit(i))[0])  # noqa: E731
        return jax.vmap(row)(jnp.arange(codomain.size))
    column = lambda i: codomain.pack(product(domain.unit(i)))  # noqa: E731
    return jax.vmap(column, out_axes=1)(jnp.arange(domain.size))
