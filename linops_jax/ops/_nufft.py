"""NUFFT: the Fourier transform of an array at points between those of the FFT, by ducc0."""

from __future__ import annotations

import math
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments, _ducc

_NORMS = {"backward": 0.0, "ortho": -0.5, "forward": -1.0}  # the power of N by which it multiplies


class NUFFT(lo.LinearOperator, batched=True):
    r"""The Fourier transform of an array at any points: type 2, from a uniform grid to points. ``NUFFT.H`` is type 1.

    Parameters
    ----------
    coord : array or nested lists of numbers
        The points, of shape (points, ndim) with ndim 1, 2 or 3, in radians per sample. They can be differentiated.
    shape : int or tuple of int
        The sizes of the last axes of the input, one for each dimension. Axes in front of them are batch axes.
    epsilon : float, optional
        The relative error of the transform. The default is 1e-5 if points and input are in single precision, and 1e-10 otherwise.
    norm : str, optional
        ``"backward"``, the default (s = 1), ``"ortho"`` (s = 1/√N) or ``"forward"`` (s = 1/N), where N is the number of samples.
    sign : int, optional
        The sign of the exponent, -1 by default, or 1.
    periodicity : float, optional
        The period P of the points, 2π by default: 1 for points in cycles per sample.
    threads : int, optional
        How many threads ducc0 uses for one call; 0, the default, for all of the hardware.

    Raises
    ------
    ImportError
        If ducc0 is not installed.
    TypeError
        If the points are no real floating-point numbers.
    ValueError
        If ``coord`` has another shape, or no points, or another argument has another value. When the operator is applied, if the
        last axes of the input do not have the sizes ``shape``, if its precision does not reach ``epsilon``, or if a point is not
        finite.

    Notes
    -----
    With the points t, and the samples k of each axis of length n counted from its middle, from -(n//2) on; the upper sign is that
    of ``sign=-1``:

    .. math:: y_j = s \sum_k x_k\, e^{\mp 2 \pi i\, \langle k, t_j \rangle / P} .

    The adjoint has the same factor and the opposite sign:

    .. math:: x_k = s \sum_j y_j\, e^{\pm 2 \pi i\, \langle k, t_j \rangle / P} .

    They are adjoint to each other up to rounding, for every ``epsilon``. So ``nufft1`` and ``nufft2`` of FINUFFT and jax-finufft
    are ``A.H`` and ``A`` for an operator of the opposite or the same sign. Points may lie anywhere, as the transform is periodic.

    The derivative in the points is the transform of -2πi k x / P (for ``sign=-1``), with one transform for each dimension; it has
    derivatives of all orders.

    Aᴴ A is a Toeplitz matrix in each axis. ``gram`` embeds it in a circulant one, for FFTs of about twice the size, which is
    mostly faster than two non-uniform transforms. It differs from ``A.H(A(x))`` by a few ``epsilon``. ``A.H @ A`` uses it, as in
    ``lo.solve(A.H @ A, A.H(y), solver="cg")``.

    A plan is made once for each set of points, and serves ``A``, ``A.H`` and ``gram``. If the points or the input are in double
    precision, all is computed in double precision.

    References
    ----------
    * Barnett, A. H., J. Magland and L. af Klinteberg (2019). A parallel nonuniform fast Fourier transform library based on an
      "exponential of semicircle" kernel. SIAM J. Sci. Comput. 41, C479-C504.
    * The documentation of ``ducc0.nufft``.

    Examples
    --------
    >>> A = lo.ops.NUFFT(jnp.array([[0.0], [jnp.pi / 2]]), 4)
    >>> jnp.allclose(A(jnp.ones(4)), jnp.array([4.0, 0.0]), atol=1e-4).item()
    True
    >>> A.H(jnp.ones(2)).shape
    (4,)
    """

    coord: jax.Array
    shape: tuple[int, ...] = lo.static()
    epsilon: float | None = lo.static(default=None)
    norm: str = lo.static(default="backward")
    sign: int = lo.static(default=-1)
    periodicity: float = lo.static(default=2 * math.pi)
    threads: int = lo.static(default=0)

    def __init__(
        self,
        coord: Any,
        shape: int | tuple[int, ...],
        epsilon: float | None = None,
        norm: str = "backward",
        sign: int = -1,
        periodicity: float = 2 * math.pi,
        threads: int = 0,
    ):
        _ducc.ducc("NUFFT")
        self.coord = _arguments.as_field(coord, "NUFFT.coord")
        self.shape = _arguments.as_integers(shape, "NUFFT.shape", least=1)
        self.epsilon = _ducc.as_epsilon(epsilon, "NUFFT.epsilon")
        self.norm = _arguments.one_of(norm, _NORMS, "NUFFT.norm")
        self.sign = int(_arguments.one_of(sign, (-1, 1), "NUFFT.sign"))
        self.periodicity = _arguments.as_positive(periodicity, "NUFFT.periodicity")
        self.threads = _arguments.as_integer(threads, "NUFFT.threads", least=0)
        self._require_points()

    def _require_points(self) -> None:
        if len(self.shape) > 3:
            message = f"NUFFT.shape is {self.shape}; expected 1, 2 or 3 sizes."
            raise ValueError(message)
        found = getattr(self.coord, "shape", (1, len(self.shape)))  # what is no array is left to the field's own check
        if len(found) != 2 or found[1] != len(self.shape) or found[0] == 0:
            message = (
                f"NUFFT.coord has shape {found}; expected (points, {len(self.shape)}) with at least one point: one column for "
                f"each axis of the shape {self.shape}."
            )
            raise ValueError(message)
        _ducc.require_real(self.coord, "NUFFT.coord")

    def prepare(self, x: Any, *, coord: Any) -> Plan:
        _ducc.require_finite(coord, "NUFFT.coord")
        return Plan(self, x.dtype, coord)

    def apply(self, x: Any, *, out: Any, plan: Any) -> None:
        plan.to_points(_ducc.flat(x, self.shape), _ducc.flat(out, out.shape[-1:]))

    def adjoint(self, y: Any, *, out: Any, plan: Any) -> None:
        plan.to_grid(_ducc.flat(y, y.shape[-1:]), _ducc.flat(out, self.shape))

    def gram(self, x: Any, *, out: Any, plan: Any) -> None:
        for each, result in zip(_ducc.flat(x, self.shape), _ducc.flat(out, self.shape), strict=True):
            plan.toeplitz(each, result)

    @lo.traced
    def parameter_jvp(self, x: Any, dself: Any) -> Any:
        dtype = jnp.result_type(x.dtype, jnp.complex64)
        ramps = [_arguments.with_ndim(ramp.astype(dtype), x.ndim) for ramp in self._ramps()]
        each = jax.vmap(self)(jnp.stack([ramp * x.astype(dtype) for ramp in ramps]))
        steps = [_arguments.with_ndim(step, each.ndim - 1) for step in dself.coord.T]
        change: Any = sum(step * y for step, y in zip(steps, each, strict=True))
        return change.astype(dtype)

    def infer_shape(self, x: Any) -> Any:
        lead = _arguments.lead_of(x, self.shape, "NUFFT")
        return self._result(x, (*lead, self.coord.shape[0]))

    def infer_adjoint_shape(self, y: Any) -> Any:
        lead = _arguments.lead_of(y, self.coord.shape[:1], "NUFFT.H")
        return self._result(y, (*lead, *self.shape))

    @property
    def properties(self) -> lo.Properties:
        return lo.Properties(gram_rtol=10 * (self.epsilon or _ducc.default_epsilon(self.coord.dtype)))

    def _result(self, x: Any, shape: tuple[int, ...]) -> jax.ShapeDtypeStruct:
        _ducc.reachable(self.epsilon, len(self.shape), "NUFFT.epsilon", x.dtype, self.coord.dtype)
        return jax.ShapeDtypeStruct(shape, jnp.result_type(x.dtype, jnp.complex64))

    def _ramps(self) -> list[Any]:
        """The derivative of the exponent in each coordinate, along its axis of the grid."""
        scale = self.sign * 2j * math.pi / self.periodicity
        ndim = len(self.shape)
        return [
            (scale * (np.arange(n) - n // 2)).reshape(n, *[1] * (ndim - 1 - axis)) for axis, n in enumerate(self.shape)
        ]

    @classmethod
    def examples(cls) -> Any:
        coord = jnp.asarray(np.random.default_rng(0).uniform(-4, 4, (7, 2)), jnp.float32)
        yield cls(coord, (6, 5), threads=1), jax.ShapeDtypeStruct((6, 5), jnp.complex64)
        yield (
            cls(coord[:, :1], 4, 1e-4, "ortho", 1, periodicity=1.0, threads=1),
            jax.ShapeDtypeStruct((2, 4), jnp.float32),
        )


class Plan:
    """What ducc0 and ``gram`` need for one set of points, in one precision."""

    def __init__(self, op: NUFFT, dtype: Any, coord: np.ndarray):
        import ducc0

        self.ducc, self.shape, self.forward, self.threads = ducc0, op.shape, op.sign < 0, op.threads
        self.real = _ducc.real_dtype(dtype, coord.dtype)
        self.complex = np.result_type(self.real, np.complex64)
        self.coord = coord.astype(self.real, copy=False)
        self.factor = math.prod(op.shape) ** _NORMS[op.norm]
        self.options = dict(
            epsilon=_ducc.reachable(op.epsilon, len(op.shape), "NUFFT.epsilon", dtype, coord.dtype),
            periodicity=op.periodicity,
            nthreads=op.threads,
        )
        self.nufft = ducc0.nufft.plan(nu2u=False, coord=self.coord, grid_shape=op.shape, **self.options)
        self.lock = threading.Lock()  # ducc0: one call at a time
        self.spectrum: np.ndarray | None = None

    def to_points(self, grids: np.ndarray, out: np.ndarray) -> None:
        """From grids, (batch, *shape), to values at points, (batch, points)."""
        self._fill(out, lambda y: self.nufft.u2nu(forward=self.forward, grid=self._cast(grids), out=y))

    def to_grid(self, values: np.ndarray, out: np.ndarray) -> None:
        """From values at points to grids: the adjoint."""
        self._fill(out, lambda x: self.nufft.nu2u(forward=not self.forward, points=self._cast(values), out=x))

    def _fill(self, out: np.ndarray, transform: Any) -> None:
        if out.size == 0:
            return
        result = out if out.dtype == self.complex else np.empty(out.shape, self.complex)
        with self.lock:
            transform(result)
        if result is not out or self.factor != 1:
            np.multiply(_like(result, out), self.factor, out=out, casting="same_kind")

    def _cast(self, x: np.ndarray) -> np.ndarray:
        return x.astype(self.complex, copy=False)

    def toeplitz(self, x: np.ndarray, out: np.ndarray) -> None:
        """A circular convolution with the point spread function, on a grid that is large enough to hold a linear one."""
        with self.lock:
            if self.spectrum is None:
                self.spectrum = self._spectrum()
        z, corner = np.zeros(self.spectrum.shape, self.complex), tuple(map(slice, self.shape))
        z[corner] = x
        self._fft(z, True)
        z *= self.spectrum
        self._fft(z, False)
        out[...] = _like(z[corner], out)

    def _fft(self, z: np.ndarray, forward: bool) -> None:
        """In place. Padding axis by axis, so that fewer rows are transformed, was slower for images."""
        self.ducc.fft.c2c(z, forward=forward, out=z, nthreads=self.threads)

    def _spectrum(self) -> np.ndarray:
        """The Fourier transform of the point spread function, with the factors of all transforms.

        It is real, but for the one lag of an even size that has no opposite, which no pair of samples has.
        """
        sizes = [self.ducc.fft.good_size(2 * n - 1) for n in self.shape]
        ones = np.ones(len(self.coord), self.complex)
        spread: Any = np.empty(sizes, self.complex)
        self.ducc.nufft.nu2u(points=ones, coord=self.coord, forward=not self.forward, out=spread, **self.options)
        spread = np.fft.ifftshift(spread)
        self._fft(spread, True)
        return spread.real * self.real.type(self.factor**2 / math.prod(sizes))


def _like(result: Any, out: np.ndarray) -> Any:
    """What of a complex result goes into an array, which is real if the domain is."""
    return result if np.iscomplexobj(out) else result.real
