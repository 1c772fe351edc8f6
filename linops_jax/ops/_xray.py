"""XRay: the X-ray transform of images by parallel beams. FanBeam is the one from a point source, XRay3D that of volumes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp

import linops_jax as lo
from linops_jax.ops import _arguments, _rays


class XRay(lo.LinearOperator):
    r"""The X-ray transform of an image: its line integrals along parallel beams, for several angles.

    Parameters
    ----------
    angles : array or list of numbers
        The angles, in radians. They can be differentiated.
    shape : tuple of int
        The two sizes of the image. The axes of the input in front of these two are batch axes, for example the slices of a
        volume that turns around its first axis. For other directions there is ``XRay3D``.
    detectors : int, optional
        The number of detector bins, which are as wide as a pixel. By default there are enough for the diagonal of the image.
        Less do not see all of it.

    Raises
    ------
    TypeError
        If ``shape`` or ``detectors`` are not integers.
    ValueError
        If ``angles`` do not have one axis, ``shape`` does not have two sizes, or there are none of something. When the operator
        is applied, if the last axes of the input do not have these sizes.

    Notes
    -----
    The image turns around its centre, which the middle of the detector sees. The pixel in row i and column j, both counted from
    the centre, has its shadow at

    .. math:: p = j \cos\theta - i \sin\theta .

    So angle 0 projects along axis 0, as in ASTRA and in scikit-image. An angle of 90° projects along axis 1, and the last row
    comes first. The shadow is a box of width w = max(\|cos θ\|, \|sin θ\|), and a bin of the detector, centred at t, gets that
    part of the pixel whose shadow is there (the distance-driven method):

    .. math:: y_{\theta t} = \sum_{ij} \frac{|[t - \tfrac12, t + \tfrac12] \cap [p - \tfrac w2, p + \tfrac w2]|}{w}\, x_{ij} .

    If the detector sees all of the image, every angle has the sum of the image. The adjoint has the same weights to rounding.
    The default number of bins is even where the number of columns is, so that at angle 0 they coincide.

    The weights are piecewise linear in p. Where they have kinks, the derivative of each weight in the angle takes
    one side of its own.

    References
    ----------
    * De Man, B. and S. Basu (2004). Distance-driven projection and backprojection in three dimensions. Phys. Med. Biol. 49,
      2463-2475.

    Examples
    --------
    >>> A = lo.ops.XRay([0.0, jnp.pi / 2], (2, 3), detectors=3)
    >>> A(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])).round(2).tolist()
    [[5.0, 7.0, 9.0], [7.5, 10.5, 3.0]]
    """

    angles: jax.Array
    shape: tuple[int, ...] = lo.static()
    detectors: int = lo.static()

    def __init__(self, angles: Any, shape: tuple[int, int], detectors: int | None = None):
        self.angles, self.shape = _rays.as_angles_and_shape(angles, shape, "XRay")
        if detectors is None:
            detectors = _rays.enough_bins(math.hypot(*self.shape), self.shape[1])
        self.detectors = _arguments.as_integer(detectors, "XRay.detectors", least=1)

    @lo.traced
    def apply(self, x: Any) -> Any:
        project, angles = jax.checkpoint(self._project, prevent_cse=False), self._angles(x)
        transform = jnp.vectorize(lambda x: jax.lax.map(lambda a: project(x, a), angles), signature="(i,j)->(a,t)")
        return transform(x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        project_back, angles = jax.checkpoint(self._project_back, prevent_cse=False), self._angles(y)
        transform = jnp.vectorize(lambda y: _rays.sum_over(project_back, y, angles), signature="(a,t)->(i,j)")
        return transform(y)

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "XRay")
        return jax.ShapeDtypeStruct((*lead, *self.angles.shape, self.detectors), _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, (*self.angles.shape, self.detectors), "XRay.H")
        return jax.ShapeDtypeStruct((*lead, *self.shape), _arguments.inexact(y.dtype))

    def _angles(self, x: Any) -> jax.Array:
        """The angles in the precision of the computation."""
        return self.angles.astype(jnp.finfo(_arguments.single(x.dtype)).dtype)

    def _project(self, x: Any, angle: Any) -> Any:
        """One row of the result, by sums over those lines of pixels which are across the beam."""
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        return jax.lax.cond(
            jnp.abs(cos) >= jnp.abs(sin),
            lambda: self._project_rows(x, cos, -sin),
            lambda: self._project_rows(x.T, -sin, cos),
        )

    def _project_rows(self, x: Any, along: Any, across: Any) -> Any:
        """The projection for p = along · j + across · i, where ``along`` is the larger one."""
        rows, columns = x.shape
        width = 1 / jnp.abs(
            along
        )  # of a bin, in pixels: from 1 to √2, so at most one pixel is between those of its ends
        ends = (jnp.arange(self.detectors + 2, dtype=along.dtype) - self.detectors / 2) * width + columns / 2

        def project_row(row: Any, shift: Any) -> Any:
            start, stop = ends[:-1] - shift, ends[1:] - shift  # of each bin; a stop is the next start, bit by bit
            pixel = jnp.floor(start)
            value = _at(row, pixel)
            between = jnp.where(jnp.floor(stop) - pixel > 1, _at(row, pixel + 1), 0)
            return (start - pixel) * value, value + between

        before, whole = _rays.sum_over(project_row, _between_zeros(x), _rays.centred(rows, across) * across / along)
        y = whole[:-1] - before[:-1] + before[1:]  # without what is before the start, with what is before the stop
        return jnp.where(along < 0, y[::-1], y)

    def _project_back(self, y: Any, angle: Any) -> Any:
        """What the image gets of one row of the result."""
        cos, sin = jnp.cos(angle), jnp.sin(angle)
        width = jnp.maximum(jnp.abs(cos), jnp.abs(sin))  # of a pixel, in bins: at most 1, so that 2 bins see it
        i, j = (_rays.centred(size, angle) for size in self.shape)
        start = j[None, :] * cos - i[:, None] * sin + (self.detectors - width) / 2
        bin_ = jnp.floor(start)
        last = jnp.maximum(start + width - bin_ - 1, 0) / width
        row = _between_zeros(y)
        return (1 - last) * _at(row, bin_) + last * _at(row, bin_ + 1)

    @classmethod
    def examples(cls) -> Any:
        angles = jnp.array([0.1, 1.2, -2.5])
        yield cls(angles, (4, 3)), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(angles[:2], (2, 5), detectors=3), jax.ShapeDtypeStruct((2, 2, 5), jnp.complex64)


def _between_zeros(x: Any) -> Any:
    """The array with a zero at both ends of its last axis."""
    return jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(1, 1)])


def _at(row: Any, indices: Any) -> Any:
    """The entries of a row between zeros, at indices that count from the first of these entries; zero elsewhere."""
    return jnp.take(row, indices.astype(jnp.int32) + 1, mode="clip")
