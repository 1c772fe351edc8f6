"""XRay3D: the X-ray transform of volumes by parallel beams in any direction."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments, _rays

_ORDERS = ((0, 1, 2), (1, 0, 2), (2, 0, 1))  # of the axes: one across planes, two along them


class XRay3D(lo.LinearOperator):
    r"""The X-ray transform of a volume: its line integrals along parallel beams, for several directions.

    Parameters
    ----------
    views : array or nested lists of numbers
        Either angles in radians, of shape (views,): the volume turns around its first axis, and the columns of the detector are
        along this axis. Or, for any directions, the steps from one detector bin to the next in voxels, of shape (views, 2, 3):
        first the step from row to row, then that from column to column, each with its parts along the three axes of the volume.
        They can be differentiated.
    shape : tuple of int
        The three sizes of the volume. The axes of the input in front of these three are batch axes.
    detectors : tuple of int, optional
        The numbers of rows and columns of the detector. By default there are enough for bins as wide as a voxel. Less do not see
        all of the volume.

    Raises
    ------
    TypeError
        If ``shape`` or ``detectors`` are not integers.
    ValueError
        If ``views`` has another shape, or two steps that are parallel, ``shape`` does not have three sizes, ``detectors`` does
        not have two, or there are none of something. When the operator is applied, if the last axes of the input do not have
        these sizes.

    Notes
    -----
    Positions count from the centre of the volume and from the middle of the detector, which see each other. With the steps r and
    c, the bin in row v and column u looks along the line through the point v r + u c, in the direction d = r × c. For an angle θ
    the steps are

    .. math:: r = (1, 0, 0), \qquad c = (0, -\sin\theta, \cos\theta) ,

    so that angles and columns are as for ``XRay``, and as for ``"parallel3d"`` in ASTRA, and the steps are those of
    ``"parallel3d_vec"``.

    Let k be the axis along which d is largest. The line crosses each plane of voxels across this axis, and takes a value from it
    by bilinear interpolation, with zeros around the volume (Joseph's method):

    .. math:: y_{vu} = \frac{|d|}{|d_k|} \sum_n x_n(p_n) ,

    with the point p_n at which the line crosses plane n. The adjoint has the same weights to rounding.

    A volume that turns around its first axis is a batch of slices for ``XRay``, which is much faster, and takes mean values over
    the width of a bin in the place of interpolated ones.

    The weights have kinks in the directions, and so have they where another axis becomes the largest. There the derivative
    of each weight takes one side of its own.

    The memory of a call is that of some cubes with the longest side of the volume.

    References
    ----------
    * Joseph, P. M. (1982). An improved algorithm for reprojecting rays through pixel images. IEEE Trans. Med. Imaging 1, 192-196.
    * van Aarle, W. et al. (2016). Fast and flexible X-ray tomography using the ASTRA toolbox. Opt. Express 24, 25129-25147.

    Examples
    --------
    >>> x = jnp.arange(12.0).reshape(2, 2, 3)
    >>> lo.ops.XRay3D([0.0], (2, 2, 3), (2, 3))(x).tolist()
    [[[3.0, 5.0, 7.0], [15.0, 17.0, 19.0]]]
    >>> from_above = lo.ops.XRay3D([[[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]], (2, 2, 3), (2, 3))
    >>> from_above(x).tolist()
    [[[6.0, 8.0, 10.0], [12.0, 14.0, 16.0]]]
    """

    views: jax.Array
    shape: tuple[int, ...] = lo.static()
    detectors: tuple[int, ...] = lo.static()

    def __init__(self, views: Any, shape: tuple[int, int, int], detectors: tuple[int, int] | None = None):
        self.views = _rays.as_numbers(views, "XRay3D.views")
        self.shape = _arguments.as_integers(shape, "XRay3D.shape", least=1)
        if len(self.shape) != 3:
            message = f"XRay3D.shape is {shape}; expected three sizes."
            raise ValueError(message)
        _require_views(self.views)
        detectors = self._enough_detectors() if detectors is None else detectors
        self.detectors = _arguments.as_integers(detectors, "XRay3D.detectors", least=1)
        if len(self.detectors) != 2:
            message = f"XRay3D.detectors is {detectors}; expected the numbers of rows and of columns."
            raise ValueError(message)

    @lo.traced
    def apply(self, x: Any) -> Any:
        x = x.astype(_arguments.single(x.dtype))
        steps = _steps(self.views, jnp.finfo(x.dtype).dtype)
        return jnp.vectorize(lambda x: _project(x, steps, self.detectors), signature="(i,j,k)->(a,v,u)")(x)

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "XRay3D")
        return jax.ShapeDtypeStruct((*lead, *self._measured), _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, self._measured, "XRay3D.H")
        return jax.ShapeDtypeStruct((*lead, *self.shape), _arguments.inexact(y.dtype))

    @property
    def _measured(self) -> tuple[int, ...]:
        return (self.views.shape[0], *self.detectors)

    def _enough_detectors(self) -> tuple[int, int]:
        if jnp.ndim(self.views) == 1:
            return self.shape[0], _rays.enough_bins(math.hypot(*self.shape[1:]), self.shape[2])
        diagonal = math.hypot(*self.shape)
        return _rays.enough_bins(diagonal, self.shape[1]), _rays.enough_bins(diagonal, self.shape[2])

    @classmethod
    def examples(cls) -> Any:
        yield cls(jnp.array([0.3, -2.0]), (2, 3, 4)), jax.ShapeDtypeStruct((2, 3, 4), jnp.float32)
        steps = jnp.array([[[0.8, 0.0, 0.6], [-0.1, 1.2, 0.3]], [[0.0, 1.0, 0.3], [0.2, -0.3, 1.0]]])
        yield cls(steps, (2, 3, 1), (3, 2)), jax.ShapeDtypeStruct((2, 2, 3, 1), jnp.complex64)


def _require_views(views: Any) -> None:
    """Raises ValueError if the views are neither angles nor pairs of steps; what is no array is left to the field's own check."""
    shape = getattr(views, "shape", (1,))
    if shape[:1] == (0,) or shape[1:] not in ((), (2, 3)) or not shape:
        message = f"XRay3D.views has shape {shape}; expected (views,) for angles or (views, 2, 3) for steps, at least one view."
        raise ValueError(message)
    if len(shape) == 3 and not isinstance(views, jax.core.Tracer):
        lengths = np.linalg.norm(np.cross(*np.moveaxis(np.asarray(views, np.float64), 1, 0)), axis=1)
        right = np.isfinite(lengths) & (lengths > 0)
        if not right.all():
            found = np.asarray(views)[np.argmin(right)].tolist()
            message = (
                f"XRay3D.views holds the steps {found}, which are parallel or not finite; expected two directions that span the "
                "detector."
            )
            raise ValueError(message)


def _steps(views: Any, dtype: Any) -> Any:
    """The steps of all views, in the precision of the computation."""
    views = jnp.asarray(views).astype(dtype)
    if views.ndim == 3:
        return views
    zero, one = jnp.zeros_like(views), jnp.ones_like(views)
    rows, columns = (one, zero, zero), (zero, -jnp.sin(views), jnp.cos(views))
    return jnp.stack([jnp.stack(rows, axis=1), jnp.stack(columns, axis=1)], axis=1)


def _project(x: Any, steps: Any, detectors: tuple[int, ...]) -> Any:
    """The rays of all views, each over planes across one of the three axes."""
    size = max(x.shape)
    pad = [(0, 0), (1, 1), (1, 1)]  # zeros around each plane
    moved = [jnp.moveaxis(x, axis, 0) for axis in range(3)]
    cubes = [jnp.pad(planes, [(0, size - n) for n in planes.shape]) for planes in moved]
    volumes = jnp.stack([jnp.pad(planes, pad).reshape(size, (size + 2) ** 2) for planes in cubes])
    shapes = jnp.array([planes.shape for planes in moved], steps.dtype)
    v, u = (_rays.centred(count, steps) for count in detectors)

    def project(steps: Any) -> Any:
        direction = jnp.cross(steps[0], steps[1])
        axis = jnp.argmax(jnp.abs(direction))
        parts = jnp.concatenate([steps, direction[None]])[:, jnp.array(_ORDERS)[axis]]
        rays = [(v[:, None] * row + u[None, :] * column).ravel() for row, column in parts[:2].T]
        y = _sum_over_planes(volumes[axis], shapes[axis], rays, parts[2] / parts[2, 0])
        return y.reshape(detectors)

    return jax.lax.map(jax.checkpoint(project, prevent_cse=False), steps)


def _sum_over_planes(planes: Any, shape: Any, rays: Any, direction: Any) -> Any:
    """The sum over planes of this shape, with more zeros behind, for rays through points, in a direction with first part 1."""
    side = math.isqrt(planes.shape[1])
    centre = (shape - 1) / 2
    starts = [ray - rays[0] * slope + c + 1 for ray, slope, c in zip(rays[1:], direction[1:], centre[1:], strict=True)]

    def add(plane: Any, position: Any) -> Any:
        i, j = (
            jnp.clip(start + slope * position, 0, n + 1)
            for start, slope, n in zip(starts, direction[1:], shape[1:], strict=True)
        )
        above, left = jnp.minimum(jnp.floor(i), side - 2), jnp.minimum(jnp.floor(j), side - 2)
        corner, down, right = above.astype(jnp.uint32) * side + left.astype(jnp.uint32), i - above, j - left
        a, b, c, d = (_rays.at(plane, corner + offset) for offset in (0, 1, side, side + 1))
        return (1 - down) * ((1 - right) * a + right * b) + down * ((1 - right) * c + right * d)

    positions = jnp.arange(len(planes), dtype=centre.dtype) - centre[0]
    return jnp.sqrt(jnp.sum(direction**2)) * _rays.sum_over(add, planes, positions)
