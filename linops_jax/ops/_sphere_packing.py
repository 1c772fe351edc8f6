"""Coefficients of spherical harmonics as real numbers: those of an orthonormal basis of real functions on the sphere."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

from linops_jax.ops import _arguments


@dataclasses.dataclass(frozen=True)
class Packing:
    """The order of the coefficients up to lmax and mmax: m = 0 first, then pairs √2 Re a, √2 Im a in the order of ducc0."""

    lmax: int
    mmax: int

    @property
    def pairs(self) -> int:
        """The number of l and m > 0."""
        return self.mmax * (2 * self.lmax - self.mmax + 1) // 2

    @property
    def size(self) -> int:
        """The number of real coefficients."""
        return self.lmax + 1 + 2 * self.pairs

    def zeros(self, lead: tuple[int, ...], dtype: Any) -> np.ndarray:
        """Complex coefficients with m ≥ 0, of the precision of a real dtype."""
        return np.zeros((*lead, self.lmax + 1 + self.pairs), np.result_type(dtype, np.complex64))

    def unpacked(self, x: np.ndarray, dtype: Any) -> np.ndarray:
        """The complex coefficients with m ≥ 0, computed in a real dtype."""
        x, n = x.astype(dtype, copy=False), self.lmax + 1
        coefficients = self.zeros(x.shape[:-1], dtype)
        coefficients[..., :n] = x[..., :n]
        np.multiply(x[..., n:].view(coefficients.dtype), x.dtype.type(0.5**0.5), out=coefficients[..., n:])
        return coefficients

    def pack(self, coefficients: Any, out: Any) -> None:
        """The adjoint of unpacking."""
        n = self.lmax + 1
        out[..., :n] = coefficients[..., :n].real
        out[..., n:] = (coefficients[..., n:] * coefficients.real.dtype.type(2**0.5)).view(coefficients.real.dtype)

    def degrees(self) -> np.ndarray:
        """The degree l of each coefficient."""
        degrees = np.arange(self.lmax + 1)
        return np.concatenate([degrees, *(np.repeat(degrees[m:], 2) for m in range(1, self.mmax + 1))])

    def times_order(self, x: Any) -> Any:
        """The coefficients i m a, in JAX: of the derivative in longitude."""
        n = self.lmax + 1
        orders = np.repeat(np.arange(1, self.mmax + 1), self.lmax - np.arange(self.mmax))
        real, imag = x[..., n::2], x[..., n + 1 :: 2]
        orders = _arguments.with_ndim(orders.astype(x.dtype), x.ndim)
        turned = jnp.stack([-orders * imag, orders * real], -1).reshape(*x.shape[:-1], 2 * self.pairs)
        return jnp.concatenate([jnp.zeros_like(x[..., :n]), turned], -1)


def up_to(lmax: int, value: Any, where: str) -> int:
    """An order or a spin; raises TypeError or ValueError if it is no integer from 0 to lmax."""
    number = _arguments.as_integer(value, where, least=0)
    if number > lmax:
        message = f"{where} is {number}; expected an integer from 0 to lmax, which is {lmax}."
        raise ValueError(message)
    return number
