"""FanBeam: the X-ray transform of images by beams from a point source to a flat detector."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments, _rays


class FanBeam(lo.LinearOperator):
    r"""The X-ray transform of an image: its line integrals along fan beams, for several angles.

    Parameters
    ----------
    angles : array or list of numbers
        The angles, in radians. They can be differentiated.
    shape : tuple of int
        The two sizes of the image. The axes of the input in front of these two are batch axes.
    source_distance : float or array
        The distance of the source from the centre of the image, in pixels. The source is outside of the image at every angle.
        With ``math.inf`` the beams are parallel. It can be differentiated.
    detector_distance : float or array, optional
        The distance of the detector from the centre, in pixels. By default it is 0: a virtual detector through the centre. It can
        be differentiated.
    detectors : int, optional
        The number of detector bins. By default there are enough for the image. Less do not see all of it. It must be given where
        JAX traces a distance or the width of the bins, as in a gradient.
    bin_width : float or array, optional
        The width of a bin, in pixels. By default a bin sees one pixel at the centre: the width is the magnification
        (source_distance + detector_distance) / source_distance, and the detector distance makes no difference. It can be
        differentiated.

    Raises
    ------
    TypeError
        If ``shape`` or ``detectors`` are not integers, distances or the width are not numbers, or the number of detectors is not
        known.
    ValueError
        If ``angles`` do not have one axis, ``shape`` does not have two sizes, there are none of something, the source is inside
        of the image, or a distance or width is negative. When the operator is applied, if the last axes of the input do not
        have these sizes.

    Notes
    -----
    The pixel in row i and column j, both counted from the centre of the image, is seen by the detector at

    .. math:: t = m\, \frac{j \cos\theta - i \sin\theta}{1 - (i \cos\theta + j \sin\theta) / R} ,

    in bins from its middle, with the distance R of the source and m = (R + D) / (R w) for a detector at the distance D with bins
    of width w. At angle 0 the source is below the last row, at 90° it is to the right of the last column, and the detector is on
    the other side of the image. So angles and bins are as for ``XRay``, and as for ``"fanflat"`` in ASTRA.

    Each bin looks along the ray to its middle. Where this ray crosses more rows than columns, the bin takes from each row i the
    mean value between the rays to its two ends, which cross the row at a and b, times the length of the ray in the row (the
    distance-driven method):

    .. math:: y_{\theta t} = \frac{1}{|\cos \alpha|} \sum_i \frac{1}{b - a} \int_a^b x_i(j)\, dj ,

    with the angle α between the ray and the columns, and x_i constant in each pixel. Otherwise rows and columns change places.
    The adjoint has the same weights to rounding. A bin should not see more than 45°.

    The weights have kinks in angles and distances, and small jumps where a ray passes from rows to columns. There the derivative
    of each weight takes one side of its own, as at angle 0, where ends of bins and of pixels coincide.

    The memory of a call is that of some squares with the longer side of the image.

    References
    ----------
    * De Man, B. and S. Basu (2004). Distance-driven projection and backprojection in three dimensions. Phys. Med. Biol. 49,
      2463-2475.
    * van Aarle, W. et al. (2016). Fast and flexible X-ray tomography using the ASTRA toolbox. Opt. Express 24, 25129-25147.

    Examples
    --------
    >>> A = lo.ops.FanBeam([0.0, jnp.pi / 2], (2, 3), source_distance=4, detectors=3)
    >>> y = A(jnp.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]))
    >>> [[round(value, 2) for value in row] for row in y.tolist()]
    [[5.06, 7.0, 8.69], [8.97, 10.5, 3.92]]
    """

    angles: jax.Array
    shape: tuple[int, ...] = lo.static()
    source_distance: jax.Array
    detector_distance: jax.Array
    bin_width: jax.Array | None
    detectors: int = lo.static()

    def __init__(
        self,
        angles: Any,
        shape: tuple[int, int],
        source_distance: Any,
        detector_distance: Any = 0.0,
        detectors: int | None = None,
        bin_width: Any = None,
    ):
        self.angles, self.shape = _rays.as_angles_and_shape(angles, shape, "FanBeam")
        self.source_distance = _as_number(source_distance, "FanBeam.source_distance")
        self.detector_distance = _as_number(detector_distance, "FanBeam.detector_distance")
        self.bin_width = None if bin_width is None else _as_number(bin_width, "FanBeam.bin_width")
        self._require_distances()
        detectors = self._enough_detectors() if detectors is None else detectors
        self.detectors = _arguments.as_integer(detectors, "FanBeam.detectors", least=1)

    @lo.traced
    def apply(self, x: Any) -> Any:
        x = x.astype(_arguments.single(x.dtype))
        views = self._views(x)
        return jnp.vectorize(lambda x: _project(x, views, self.detectors), signature="(i,j)->(a,t)")(x)

    @lo.traced
    def adjoint(self, y: Any) -> Any:
        y = y.astype(_arguments.single(y.dtype))
        views = self._views(y)
        return jnp.vectorize(lambda y: _project_back(y, views, self.shape), signature="(a,t)->(i,j)")(y)

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "FanBeam")
        return jax.ShapeDtypeStruct((*lead, *self.angles.shape, self.detectors), _arguments.inexact(x.dtype))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, (*self.angles.shape, self.detectors), "FanBeam.H")
        return jax.ShapeDtypeStruct((*lead, *self.shape), _arguments.inexact(y.dtype))

    def _require_distances(self) -> None:
        radius = math.hypot(*self.shape) / 2
        outside = f"more than {radius:g}, half the diagonal of the image: the source is outside of it"
        _require(self.source_distance, lambda number: number > radius, "FanBeam.source_distance", outside)
        finite = lambda number: 0 <= number < math.inf  # noqa: E731
        positive = lambda number: 0 < number < math.inf  # noqa: E731
        _require(self.detector_distance, finite, "FanBeam.detector_distance", "a finite number from 0")
        if self.bin_width is not None:
            _require(self.bin_width, positive, "FanBeam.bin_width", "a finite number above 0")

    def _enough_detectors(self) -> int:
        numbers = (self.source_distance, self.detector_distance, self.bin_width)
        if any(isinstance(number, jax.core.Tracer) for number in numbers):
            message = "FanBeam.detectors is None while JAX traces a distance or a width; expected an integer."
            raise TypeError(message)
        source, radius = float(self.source_distance), math.hypot(*self.shape) / 2
        magnification = 1 + float(self.detector_distance) / source
        scale = 1.0 if self.bin_width is None else magnification / float(self.bin_width)
        return _rays.enough_bins(2 * scale * radius / math.sqrt(1 - (radius / source) ** 2), self.shape[1])

    def _views(self, x: Any) -> _View:
        """All views, in the precision of the computation."""
        dtype = jnp.finfo(x.dtype).dtype
        angles, source, detector = (
            jnp.asarray(field).astype(dtype) for field in (self.angles, self.source_distance, self.detector_distance)
        )
        nearness = 1 / source
        scale = 1 if self.bin_width is None else (1 + detector * nearness) / jnp.asarray(self.bin_width).astype(dtype)
        cos, sin = jnp.cos(angles), jnp.sin(angles)
        same = jnp.ones_like(angles)
        return _View((-sin, cos), (cos, sin), same * scale, same * nearness)

    @classmethod
    def examples(cls) -> Any:
        angles = jnp.array([0.1, 1.2, -2.5])
        yield cls(angles, (4, 3), 5.0), jax.ShapeDtypeStruct((4, 3), jnp.float32)
        yield cls(angles[:2], (2, 5), 7.0, 3.0, 3, 2.0), jax.ShapeDtypeStruct((2, 2, 5), jnp.complex64)


class _View(NamedTuple):
    """The bin t, counted from the middle, sees the points p with ``scale * <p, along> = t * (1 - nearness * <p, source>)``.

    Points and directions are pairs of a row and a column, counted from the centre of the image.
    """

    along: tuple[Any, Any]  # the direction of the detector
    source: tuple[Any, Any]  # the direction of the source, as seen from the centre
    scale: Any  # how many bins see one pixel at the centre
    nearness: Any  # the reciprocal of the distance of the source: 0 for parallel beams

    def ray(self, t: Any) -> tuple[Any, Any]:
        """(a, b): the ray to bin t is the line a * row + b * column = t."""
        a, b = (self.scale * u + self.nearness * t * s for u, s in zip(self.along, self.source, strict=True))
        return a, b

    def transposed(self) -> _View:
        """The same view of the transposed image."""
        return self._replace(along=self.along[::-1], source=self.source[::-1])

    def in_row(self, row: Any) -> Any:
        """(t0, t1, d0, d1, c, s): in this row the bin is t = (t0 + t1 * column) / depth, with depth = d0 + d1 * column.

        The share of a bin that is before a point, measured in the row, is p * (1 + (1 - p) * c * depth) for the share p on the
        detector; s is the sign of the derivative of the bin in the column.
        """
        (u, v), (a, b) = self.along, self.source
        start, step = self.scale * u * row, self.scale * v
        depth, deeper = 1 - self.nearness * a * row, -self.nearness * b
        slope = step * depth - start * deeper
        return jnp.stack([start, step, depth, deeper, -deeper / jnp.where(slope == 0, 1, slope), jnp.sign(slope)])


def _by_rows(view: _View, detectors: int) -> Any:
    """Which rays cross more rows than columns."""
    a, b = view.ray(_rays.centred(detectors, view.scale))
    return jnp.abs(b) >= jnp.abs(a)


def _lengths(view: _View, detectors: int) -> Any:
    """The length of each ray in one of the rows, or columns, that it sums over."""
    a, b = view.ray(_rays.centred(detectors, view.scale))
    return jnp.hypot(a, b) / jnp.maximum(jnp.abs(a), jnp.abs(b))


def _project(x: Any, views: _View, detectors: int) -> Any:
    """The rays of all views. Row i and column i are next to each other, so that one loop over i serves the rays over both."""
    size = max(x.shape)
    parts = [
        jnp.pad(part, [(0, size + extra - n) for extra, n in zip((0, 1), part.shape, strict=True)]) for part in (x, x.T)
    ]
    values, before = (jnp.concatenate(arrays, axis=1) for arrays in (parts, [_before(part) for part in parts]))

    def project(view: _View) -> Any:
        by_rows = _by_rows(view, detectors)
        rows, columns = (jnp.where(by_rows, *sizes) / 2 for sizes in (x.shape, x.shape[::-1]))
        part = jnp.where(by_rows, 0, size + 1)

        def crossing(t: Any) -> tuple[Any, Any]:
            """Where a ray crosses line 0, counted from the end of the line, and how far it goes from line to line."""
            a, b = view.ray(t)
            a, b = jnp.where(by_rows, a, b), jnp.where(by_rows, b, a)
            return t / b + columns + a / b * (rows - 0.5), -a / b

        t = _rays.centred(detectors, view.scale)
        (start, start_step), (stop, stop_step) = crossing(t - 0.5), crossing(t + 0.5)

        def add(values: Any, before: Any, line: Any) -> Any:
            first, last = start + start_step * line, stop + stop_step * line

            def integral(s: Any) -> Any:
                s = jnp.clip(s, 0, size)
                pixel = jnp.floor(s)
                return _rays.at(before, pixel + part) + (s - pixel) * _rays.at(values, pixel + part)

            width = last - first  # 0 in the line of the source, as is the difference of the integrals there
            return (integral(last) - integral(first)) / jnp.where(width == 0, 1, width)

        return _lengths(view, detectors) * _rays.sum_over(add, values, before, jnp.arange(size, dtype=t.dtype))

    return jax.lax.map(jax.checkpoint(project, prevent_cse=False), views)


def _project_back(y: Any, views: _View, shape: tuple[int, ...]) -> Any:
    """What the image gets from the rays over rows, and from those over columns."""
    detectors = y.shape[1]
    by_rows = jax.vmap(lambda view: _by_rows(view, detectors))(views)
    y = y * jax.vmap(lambda view: _lengths(view, detectors))(views)
    rows = _project_back_rows(jnp.where(by_rows, y, 0), by_rows.any(1), views, shape)
    columns = _project_back_rows(jnp.where(by_rows, 0, y), ~by_rows.all(1), views.transposed(), shape[::-1])
    return rows + columns.T


def _project_back_rows(y: Any, used: Any, views: _View, shape: tuple[int, ...]) -> Any:
    """What the image gets from rays over rows; ``used`` tells which views have such rays."""
    detectors = y.shape[1]
    values = jnp.pad(y, [(0, 0), (0, 1)])
    before = _before(values)
    ends = jnp.arange(shape[1] + 1, dtype=views.scale.dtype) - shape[1] / 2  # of the pixels

    def back_row(row: Any) -> Any:
        def see(values: Any, before: Any, view: Any) -> Any:
            bin_0, bins, depth_0, depths, bend, sign = view

            def integral(column: Any) -> Any:
                depth = depth_0 + depths * column
                t = jnp.clip((bin_0 + bins * column) / depth + detectors / 2, 0, detectors)
                first = jnp.floor(t)
                part = t - first
                part = part * (1 + (1 - part) * bend * depth)  # of the bin, as measured in the row
                return _rays.at(before, first) + part * _rays.at(values, first)

            return sign * (integral(ends[1:]) - integral(ends[:-1]))

        return _rays.sum_over(see, values, before, jax.vmap(lambda view: view.in_row(row))(views), used=used)

    return jax.lax.map(jax.checkpoint(back_row, prevent_cse=False), _rays.centred(shape[0], ends))


def _before(values: Any) -> Any:
    """The sum of what is in front of each entry of a row."""
    return jnp.pad(jnp.cumsum(values[:, :-1], axis=1), [(0, 0), (1, 0)])


def _as_number(value: Any, where: str) -> Any:
    """One number as an array field. Raises TypeError or ValueError for others."""
    if isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool):
        value = jnp.asarray(value, jnp.result_type(float))
    if not hasattr(value, "ndim"):
        message = f"{where} is {value!r:.80}; expected a number, or an array that holds one."
        raise TypeError(message)
    _arguments.require_ndim(value, 0, where)
    if jnp.iscomplexobj(value):
        message = f"{where} has dtype {jnp.result_type(value)}; expected a real number."
        raise TypeError(message)
    return value


def _require(number: Any, holds: Callable[[float], bool], where: str, expected: str) -> None:
    """Raises ValueError if a number is out of range, as far as it is known."""
    if not isinstance(number, jax.core.Tracer) and not holds(float(number)):
        message = f"{where} is {float(number):g}; expected {expected}."
        raise ValueError(message)
