"""The orthogonal cosine and sine transforms: by SciPy on the CPU, by Fourier transforms on other devices."""

from __future__ import annotations

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments

ADJOINT_TYPES = {1: 1, 2: 3, 3: 2, 4: 4}
# The sum over cos(π (n + a) (k + b) / M), or sin, of each type: a, b, and M - N.
SUMS = {
    ("dct", 1): (0, 0, -1),
    ("dct", 2): (0.5, 0, 0),
    ("dct", 3): (0, 0.5, 0),
    ("dct", 4): (0.5, 0.5, 0),
    ("dst", 1): (1, 1, 1),
    ("dst", 2): (0.5, 1, 0),
    ("dst", 3): (1, 0.5, 0),
    ("dst", 4): (0.5, 0.5, 0),
}
# The samples of the input and of the result at which the matrix is orthogonal only with a factor 1 / √2.
ENDS = {
    ("dct", 1): ((0, -1), (0, -1)),
    ("dct", 2): ((), (0,)),
    ("dct", 3): ((0,), ()),
    ("dst", 2): ((), (-1,)),
    ("dst", 3): ((-1,), ()),
}


def by_scipy(self: Any, x: Any, *, out: Any) -> None:
    """In place, as SciPy does not write into arrays that it is given."""
    import scipy.fft  # here, as it takes longer to load than linops_jax

    transform = scipy.fft.dctn if self.kind == "dct" else scipy.fft.dstn
    out[...] = x
    y = transform(out, self.type, axes=self.axes, norm="ortho", overwrite_x=True, workers=os.cpu_count())
    if not np.may_share_memory(y, out):
        out[...] = y


def by_fft(self: Any, x: Any) -> Any:
    if jnp.iscomplexobj(x):
        return jax.lax.complex(by_fft(self, x.real), by_fft(self, x.imag))
    return functools.reduce(lambda x, axis: _sum(self.kind, self.type, x, axis), self.axes, x)


def _sum(kind: str, type: int, x: Any, axis: int) -> Any:
    """The transform along one axis: (n + a) (k + b) = n k + n b + a (k + b), a Fourier transform between two phases."""
    a, b, more = SUMS[kind, type]
    size, k = x.shape[axis], np.arange(x.shape[axis])
    m, (of_input, of_result) = size + more, ends(kind, type)
    turn = 1 if kind == "dct" else 1j  # the real part, or the negative imaginary part
    before = weights(size, of_input, 0.5**0.5) * np.exp(-1j * np.pi * b * k / m)
    after = turn * (2 / m) ** 0.5 * weights(size, of_result, 0.5**0.5) * np.exp(-1j * np.pi * a * (k + b) / m)
    y = jnp.fft.fft(times(before, x, axis), 2 * m, axis)
    return times(after, jax.lax.slice_in_dim(y, 0, size, axis=x.ndim + axis), axis).real


class Orthogonal(lo.LinearOperator, batched=True):
    """The transform with an orthogonal matrix along each axis, counted from the end."""

    kind: str = lo.static()
    type: int = lo.static()
    axes: tuple[int, ...] = lo.static()

    apply = lo.per_platform(cpu=by_scipy, default=lo.traced(by_fft))
    adjoint = lo.per_platform(
        cpu=lambda self, y, *, out: by_scipy(self._paired(), y, out=out),
        default=lo.traced(lambda self, y: by_fft(self._paired(), y)),
    )

    def infer_shape(self, x: Any) -> Any:
        return x

    def infer_adjoint_shape(self, y: Any) -> Any:
        return y

    def _paired(self) -> Orthogonal:
        return Orthogonal(self.kind, ADJOINT_TYPES[self.type], self.axes)

    @classmethod
    def examples(cls) -> Any:
        yield cls("dct", 2, (-1,)), jax.ShapeDtypeStruct((2, 5), jnp.float32)
        yield cls("dst", 3, (-2, -1)), jax.ShapeDtypeStruct((4, 3), jnp.complex64)


def ends(kind: str, type: int) -> tuple[tuple[int, ...], tuple[int, ...]]:
    return ENDS.get((kind, type), ((), ()))


def weights(size: int, at: tuple[int, ...], factor: float) -> Any:
    values = np.ones(size)
    values[list(at)] *= factor
    return values


def times(values: Any, x: Any, axis: int) -> Any:
    """The array times these values along one axis, counted from the end; real values keep real arrays real."""
    dtype = jnp.result_type(x.dtype, jnp.complex64) if np.iscomplexobj(values) else x.dtype
    return _arguments.with_ndim(values.astype(dtype).reshape(-1, *[1] * (-1 - axis)), x.ndim) * x
