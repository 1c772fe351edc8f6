"""RadioResponse: what an interferometer measures of an image of the sky, by the w-gridder of ducc0."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments, _ducc

SPEED_OF_LIGHT = 299792458.0  # metres per second
_BEST = {True: 1e-5, False: 2e-13}  # that ducc0 documents, in single and in double precision
_DEFAULT = {True: 1e-4, False: 1e-9}


class RadioResponse(lo.LinearOperator, real_linear=True, batched=True):
    r"""The visibilities that a radio interferometer measures of an image of the sky.

    Parameters
    ----------
    uvw : array or nested lists of numbers
        The baselines in metres, of shape (rows, 3). They can be differentiated.
    freq : array or list of numbers
        The frequencies of the channels in hertz, of shape (channels,). They can be differentiated.
    shape : tuple of int
        The two sizes of the image, both even: the last axes of the input. Axes in front of them are batch axes.
    pixel_sizes : float or tuple of float
        The sizes of a pixel along both axes, in radians.
    epsilon : float, optional
        The relative error of the visibilities. The default is 1e-4 in single and 1e-9 in double precision.
    w_gridding : bool, optional
        Whether the curvature of the sky counts, as it does by default; without, the image is flat: n = 1.
    weights : array or nested lists of numbers, optional
        Factors for the visibilities, of shape (rows, channels). They can be differentiated.
    mask : array or nested lists of booleans, optional
        Which visibilities are computed, of shape (rows, channels); the others are zero.
    center : tuple of float, optional
        The position (l, m) of the centre of the image, (0, 0) by default.
    threads : int, optional
        How many threads ducc0 uses for one call; 0, the default, for all of the hardware.

    Raises
    ------
    ImportError
        If ducc0 is not installed.
    TypeError
        If coordinates, frequencies or weights are no real floating-point numbers, or the mask holds no booleans. When the
        operator is applied, if the image is complex.
    ValueError
        If an argument has another shape or value, or there are no rows or channels. When the operator is applied, if the last
        axes of the input do not have the sizes ``shape``, if its precision does not reach ``epsilon``, or if a coordinate or
        frequency is not finite.

    Notes
    -----
    With the weights g, the frequency ν of a channel, and the speed of light c:

    .. math::
        V = g \sum_{i j} \frac{x_{i j}}{n_{i j}}
        \exp\left(-2 \pi i\, \frac{\nu}{c}\, [u\, l_i + v\, m_j - w\, (n_{i j} - 1)]\right)

    with the direction cosines :math:`l_i = (i - n_x / 2)\, \Delta_x`, :math:`m_j = (j - n_y / 2)\, \Delta_y` from the centre and
    :math:`n = \sqrt{1 - l^2 - m^2}`. With ``w_gridding=False``, n = 1 everywhere: there is neither the factor 1/n nor the term
    of w.

    The image is real, so the adjoint is the real part of

    .. math:: x_{i j} = \frac{1}{n_{i j}} \sum V g \exp\left(2 \pi i\, \frac{\nu}{c}\, [\ldots]\right) ,

    the dirty image. It is adjoint up to rounding, for every ``epsilon``.

    The derivative in the coordinates is the response to images that are multiplied by l, m and n - 1.

    ducc0 computes with coordinates and frequencies in double precision. Without ``jax_enable_x64``, JAX rounds them to single
    precision, which is too coarse for long baselines and wide fields.

    References
    ----------
    * Arras, P., M. Reinecke, R. Westermann and T. A. Ensslin (2021). Efficient wide-field radio interferometry response. Astron.
      Astrophys. 646, A58.
    * The documentation of ``ducc0.wgridder``.

    Examples
    --------
    >>> A = lo.ops.RadioResponse([[10.0, 20.0, 3.0]], [1e9], (32, 32), 1e-3)
    >>> point = jnp.zeros((32, 32)).at[16, 16].set(2.0)
    >>> jnp.allclose(A(point), 2.0, atol=1e-3).item()
    True
    """

    uvw: jax.Array
    freq: jax.Array
    shape: tuple[int, int] = lo.static()
    pixel_sizes: tuple[float, float] = lo.static()
    epsilon: float | None = lo.static(default=None)
    w_gridding: bool = lo.static(default=True)
    weights: jax.Array | None = None
    mask: jax.Array | None = lo.constant(default=None)
    center: tuple[float, float] = lo.static(default=(0.0, 0.0))
    threads: int = lo.static(default=0)

    def __init__(
        self,
        uvw: Any,
        freq: Any,
        shape: tuple[int, int],
        pixel_sizes: float | tuple[float, float],
        epsilon: float | None = None,
        w_gridding: bool = True,
        weights: Any = None,
        mask: Any = None,
        center: tuple[float, float] = (0.0, 0.0),
        threads: int = 0,
    ):
        _ducc.ducc("RadioResponse")
        self.uvw = _arguments.as_field(uvw, "RadioResponse.uvw")
        self.freq = _arguments.as_field(freq, "RadioResponse.freq")
        self.shape = _as_shape(shape)
        self.pixel_sizes = _pair(pixel_sizes, _arguments.as_positive, "RadioResponse.pixel_sizes")
        self.epsilon = _ducc.as_epsilon(epsilon, "RadioResponse.epsilon")
        self.w_gridding = _arguments.one_of(w_gridding, (True, False), "RadioResponse.w_gridding")
        self.weights = None if weights is None else _arguments.as_field(weights, "RadioResponse.weights")
        self.mask = None if mask is None else _arguments.as_field(mask, "RadioResponse.mask")
        self.center = _pair(center, _as_number, "RadioResponse.center")
        self.threads = _arguments.as_integer(threads, "RadioResponse.threads", least=0)
        self._require_shapes()

    def _require_shapes(self) -> None:
        _require_shape(self.uvw, (None, 3), "(rows, 3)", "RadioResponse.uvw")
        _require_shape(self.freq, (None,), "(channels,)", "RadioResponse.freq")
        visibilities = getattr(self.uvw, "shape", (None,))[0], *getattr(self.freq, "shape", (None,))
        for name in ("weights", "mask"):
            _require_shape(getattr(self, name), visibilities, "(rows, channels)", f"RadioResponse.{name}")
        for name in ("uvw", "freq", "weights"):
            _ducc.require_real(getattr(self, name), f"RadioResponse.{name}")
        if (dtype := getattr(self.mask, "dtype", np.dtype(bool))) != np.bool_:
            message = f"RadioResponse.mask has dtype {dtype}; expected booleans."
            raise TypeError(message)

    def prepare(self, x: Any, *, uvw: Any, freq: Any) -> dict[str, np.ndarray]:
        _ducc.require_finite(uvw, "RadioResponse.uvw")
        _ducc.require_finite(freq, "RadioResponse.freq")
        return {"uvw": uvw.astype(np.float64), "freq": freq.astype(np.float64)}

    def apply(self, x: Any, *, out: Any, plan: Any) -> None:
        import ducc0

        real = out.real.dtype
        for image, vis in zip(_ducc.flat(x, self.shape), _ducc.flat(out, self._visibilities), strict=True):
            image = image.astype(real, copy=False)
            ducc0.wgridder.dirty2vis(dirty=image, vis=vis, **plan, **self._options(real))

    def adjoint(self, y: Any, *, out: Any, plan: Any) -> None:
        import ducc0

        kind = np.result_type(out.dtype, np.complex64)
        for vis, image in zip(_ducc.flat(y, self._visibilities), _ducc.flat(out, self.shape), strict=True):
            vis = _without_zeros(vis.astype(kind, copy=False))
            ducc0.wgridder.vis2dirty(vis=vis, dirty=image, **plan, **self._options(out.dtype))

    @lo.traced
    def parameter_jvp(self, x: Any, dself: Any) -> Any:
        dtype = self.infer_shape(x).dtype
        x = x.astype(jnp.finfo(dtype).dtype)
        factors = [_arguments.with_ndim(factor, x.ndim).astype(x.dtype) for factor in self._directions()]
        moved = jax.vmap(self)(jnp.stack([factor * x for factor in factors]))
        freq, dfreq = self.freq[None], dself.freq[None]
        steps = [self.uvw[:, i, None] * dfreq + dself.uvw[:, i, None] * freq for i in range(len(factors))]
        scale = -2j * math.pi / SPEED_OF_LIGHT
        change: Any = sum(
            scale * _arguments.with_ndim(step, x.ndim) * vis for step, vis in zip(steps, moved, strict=True)
        )
        if self.weights is not None:
            plain = dataclasses.replace(self, weights=None)(x)
            change += _arguments.with_ndim(dself.weights, x.ndim) * plain
        return change.astype(dtype)

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "RadioResponse")
        if jnp.issubdtype(x.dtype, jnp.complexfloating):
            message = (
                f"RadioResponse takes a real image, found {x.dtype}. The real and the imaginary part are two images."
            )
            raise TypeError(message)
        return jax.ShapeDtypeStruct((*lead, *self._visibilities), self._precise(x, jnp.complex64))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, self._visibilities, "RadioResponse.H")
        return jax.ShapeDtypeStruct((*lead, *self.shape), jnp.finfo(self._precise(y, jnp.complex64)).dtype)

    def _precise(self, x: Any, least: Any) -> Any:
        """The dtype of visibilities. Raises ValueError if the precision does not reach epsilon."""
        single = _ducc.is_single(x.dtype)
        if self.epsilon is not None:
            _ducc.require_reachable(self.epsilon, _BEST[single], single, "RadioResponse.epsilon")
        return jnp.result_type(x.dtype, least)

    @property
    def _visibilities(self) -> tuple[int, int]:
        return self.uvw.shape[0], self.freq.shape[0]

    def _options(self, real: Any) -> dict[str, Any]:
        return dict(
            wgt=None if self.weights is None else self.weights.astype(real, copy=False),
            mask=None if self.mask is None else self.mask.astype(np.uint8),
            pixsize_x=self.pixel_sizes[0],
            pixsize_y=self.pixel_sizes[1],
            center_x=self.center[0],
            center_y=self.center[1],
            epsilon=self.epsilon or _DEFAULT[_ducc.is_single(real)],
            do_wgridding=self.w_gridding,
            nthreads=self.threads,
        )

    def _directions(self) -> list[np.ndarray]:
        """The direction cosines l, m and, if w counts, 1 - n of the pixels: the factors of u, v and w in the exponent."""
        l, m = (  # noqa: E741
            c + size * (np.arange(n) - n / 2)
            for c, size, n in zip(self.center, self.pixel_sizes, self.shape, strict=True)
        )
        square = np.minimum(l[:, None] ** 2 + m[None, :] ** 2, 1)
        depth = square / (1 + np.sqrt(1 - square))  # 1 - n, also where it is tiny
        return [l[:, None], m[None, :], depth][: 3 if self.w_gridding else 2]

    @classmethod
    def examples(cls) -> Any:
        rng = np.random.default_rng(0)
        uvw, freq = jnp.asarray(30 * rng.standard_normal((5, 3)), jnp.float32), jnp.array([1e8, 1.3e8], jnp.float32)
        weights = jnp.asarray(rng.uniform(0.5, 2, (5, 2)), jnp.float32)
        mask = jnp.asarray(rng.uniform(size=(5, 2)) > 0.2)
        image = jax.ShapeDtypeStruct((4, 6), jnp.float32)
        yield cls(uvw, freq, (4, 6), (0.03, 0.02), weights=weights, mask=mask, threads=1), image
        flat = cls(uvw, freq, (6, 4), 0.02, w_gridding=False, center=(0.01, -0.02), threads=1)
        yield flat, jax.ShapeDtypeStruct((2, 6, 4), jnp.float32)


def _pair(value: Any, convert: Any, where: str) -> tuple[float, float]:
    values = tuple(value) if np.ndim(value) else (value, value)
    if len(values) != 2:
        message = f"{where} is {value!r:.80}; expected two numbers."
        raise ValueError(message)
    return convert(values[0], where), convert(values[1], where)


def _as_number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | np.number) or not math.isfinite(value):
        message = f"{where} holds {value!r:.80}; expected finite numbers."
        raise ValueError(message)
    return float(value)


def _as_shape(shape: Any) -> tuple[int, int]:
    sizes = _arguments.as_integers(shape, "RadioResponse.shape", least=2)
    if len(sizes) != 2 or any(n % 2 for n in sizes):
        message = f"RadioResponse.shape is {sizes}; expected two even sizes."
        raise ValueError(message)
    return sizes


def _require_shape(value: Any, shape: tuple[Any, ...], words: str, where: str) -> None:
    """Raises ValueError for an array of another shape or without entries; what is no array is left to the field's own check."""
    found = getattr(value, "shape", None)
    if found is None:
        return
    fits = len(found) == len(shape) and all(n in (None, m) for n, m in zip(shape, found, strict=True))
    if not fits or 0 in found:
        message = f"{where} has shape {found}; expected {words}, with at least one of each."
        raise ValueError(message)


def _without_zeros(vis: np.ndarray) -> np.ndarray:
    """The same with tiny numbers in the places of zeros.

    ducc0 leaves zeros out and grids the others in another way. So its error would depend on where there are zeros, and the
    adjoint would be exact up to epsilon only.
    """
    zeros, largest = vis == 0, np.abs(vis).max()
    if largest == 0 or not zeros.any():
        return vis
    return np.where(zeros, vis.dtype.type(largest * np.finfo(vis.dtype).eps ** 2), vis)
