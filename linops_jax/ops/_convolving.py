"""Convolution sums: an array is extended at its ends, and a kernel slides over it."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.ops._arguments import PAD_MODES

METHODS = ("auto", "direct", "fft")

# Measured on two cores with 512 x 512 pixels in single and double precision: FFTs are faster for kernels with more entries.
_MOST_DIRECT = 128
# So many products are added in one pass over the memory. XLA's code is slower with more operands.
_TOGETHER = 16

Widths = tuple[tuple[int, int], ...]  # how far each axis is extended: before and after


def aligned(kernel: Any, widths: Widths, axes: tuple[int, ...], ndim: int) -> tuple[Any, Widths]:
    """A kernel for some axes, counted from the end, and their widths, as those for all axes of an array."""
    places = [axis + ndim for axis in axes]
    kernel = jnp.transpose(kernel, sorted(range(len(places)), key=places.__getitem__))
    kernel = jnp.expand_dims(kernel, [i for i in range(ndim) if i not in places])
    found = dict(zip(places, widths, strict=True))
    return kernel, tuple(found.get(i, (0, 0)) for i in range(ndim))


def convolved(x: Any, kernel: Any, widths: Widths, boundary: str, method: str) -> Any:
    """The convolution of an array, extended by ``widths``, with an aligned kernel: the entries that need nothing more."""
    x, kernel = _of_one_type(x, kernel)
    shape, dtype = _sizes(x, kernel, widths), jnp.result_type(x, kernel)
    if not x.size or not math.prod(shape):
        return jnp.zeros(shape, dtype)
    if method == "auto":
        method = "direct" if kernel.size <= _MOST_DIRECT else "fft"
    if method == "direct" or boundary not in ("zero", "periodic"):
        x, widths, boundary = jnp.pad(x, widths, mode=PAD_MODES[boundary]), ((0, 0),) * x.ndim, "zero"
    if method == "direct":
        return _sum_of_shifts(x, jnp.flip(kernel), shape)
    by_fft = _circular if boundary == "periodic" else _by_fft
    # There are no FFTs in half precision.
    x, kernel = (a.astype(jnp.promote_types(a.dtype, np.float32)) for a in (x, kernel))
    return by_fft(x, kernel, widths).astype(dtype)


def adjoint(y: Any, kernel: Any, widths: Widths, boundary: str, method: str) -> Any:
    """The adjoint of ``convolved``."""
    mirrored = jnp.conj(jnp.flip(kernel))
    rest = [size - 1 for size in kernel.shape]
    if boundary in ("zero", "periodic"):
        back = tuple((n - before, n - after) for n, (before, after) in zip(rest, widths, strict=True))
        return convolved(y, mirrored, back, boundary, method)
    extended = convolved(y, mirrored, tuple((n, n) for n in rest), "zero", method)
    ends = [n - after for n, (_, after) in zip(extended.shape, widths, strict=True)]
    inside = jax.lax.slice(extended, [before for before, _ in widths], ends)  # for its type
    extend = lambda x: jnp.pad(x, widths, mode=PAD_MODES[boundary])  # noqa: E731
    return jax.linear_transpose(extend, inside)(extended)[0] if inside.size else inside


def centered(kernel_shape: tuple[int, ...], centers: tuple[int, ...]) -> Widths:
    """How far to extend each axis, so that it keeps its size, and that the kernel's center falls on each sample."""
    return tuple((size - 1 - center, center) for size, center in zip(kernel_shape, centers, strict=True))


def _of_one_type(x: Any, kernel: Any) -> tuple[Any, Any]:
    """Both as floating point arrays; real ones stay real."""
    dtype = jnp.result_type(x, kernel)
    dtype = dtype if jnp.issubdtype(dtype, np.inexact) else jnp.result_type(float)
    cast = lambda a: jnp.asarray(a, dtype if jnp.iscomplexobj(a) else jnp.finfo(dtype).dtype)  # noqa: E731
    return cast(x), cast(kernel)


def _sizes(x: Any, kernel: Any, widths: Widths) -> tuple[int, ...]:
    return tuple(
        n + before + after - k + 1 for n, k, (before, after) in zip(x.shape, kernel.shape, widths, strict=True)
    )


def _sum_of_shifts(x: Any, weights: Any, shape: tuple[int, ...]) -> Any:
    """The sum of parts of x that begin at each index of ``weights``, with these factors."""
    starts = np.indices(weights.shape, np.int32).reshape(weights.ndim, -1).T
    factors = weights.ravel()

    def add(total: Any, some: Any) -> tuple[Any, None]:
        for start, factor in zip(*some, strict=True):
            total = total + factor * jax.lax.dynamic_slice(x, tuple(start), shape)
        return total, None

    zero = jnp.zeros(shape, jnp.result_type(x, weights))
    if len(starts) <= _TOGETHER:
        return add(zero, (starts, factors))[0]
    missing = -len(starts) % _TOGETHER
    groups = np.pad(starts, ((0, missing), (0, 0))).reshape(-1, _TOGETHER, x.ndim)
    # Without a checkpoint, a gradient in the kernel would keep all parts.
    body = jax.checkpoint(add, prevent_cse=False)
    return jax.lax.scan(body, zero, (groups, jnp.pad(factors, (0, missing)).reshape(-1, _TOGETHER)))[0]


def _by_fft(x: Any, kernel: Any, widths: Widths) -> Any:
    """By circular convolution, in a size where what goes around the ends is cut off."""
    sizes = [n if k == 1 else _fast(n + max(width)) for n, k, width in zip(x.shape, kernel.shape, widths, strict=True)]
    first = [k - 1 - before for k, (before, _) in zip(kernel.shape, widths, strict=True)]
    last = [start + size for start, size in zip(first, _sizes(x, kernel, widths), strict=True)]
    return jax.lax.slice(_product_of_ffts(x, kernel, sizes), first, last)


def _circular(x: Any, kernel: Any, widths: Widths) -> Any:
    """The entries of a kernel longer than the array meet the same samples again."""
    for axis, (n, (_, center)) in enumerate(zip(x.shape, widths, strict=True)):
        if kernel.shape[axis] == 1:
            continue
        folds = -(-kernel.shape[axis] // n)
        missing = [(0, folds * n - kernel.shape[axis] if i == axis else 0) for i in range(x.ndim)]
        folded = jnp.pad(kernel, missing).reshape(*kernel.shape[:axis], folds, n, *kernel.shape[axis + 1 :])
        kernel = jnp.roll(folded.sum(axis), -center, axis)
    return _product_of_ffts(x, kernel, list(x.shape))


def _product_of_ffts(x: Any, kernel: Any, sizes: list[int]) -> Any:
    axes = [axis for axis, size in enumerate(kernel.shape) if size > 1]
    sizes = [sizes[axis] for axis in axes]
    if not axes:
        return kernel * x
    if jnp.iscomplexobj(x) or jnp.iscomplexobj(kernel):
        return jnp.fft.ifftn(jnp.fft.fftn(x, sizes, axes) * jnp.fft.fftn(kernel, sizes, axes), axes=axes)
    return jnp.fft.irfftn(jnp.fft.rfftn(x, sizes, axes) * jnp.fft.rfftn(kernel, sizes, axes), sizes, axes)


def _fast(size: int) -> int:
    """The first size from this one on that has only small factors."""
    return next(n for n in range(size, 2 * size + 1) if _rest(n) == 1)


def _rest(n: int) -> int:
    for factor in (2, 3, 5):
        while n % factor == 0:
            n //= factor
    return n
