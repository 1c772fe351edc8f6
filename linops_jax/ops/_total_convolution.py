"""TotalConvolution: a sky as seen through a beam that points anywhere, by ducc0."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments, _ducc
from linops_jax.ops import _sphere_geometry as geometries
from linops_jax.ops._sphere_packing import Packing, up_to


class TotalConvolution(lo.LinearOperator, batched=True):
    r"""What a telescope measures of a sky when its beam, which need not be symmetric, is rotated to any orientations.

    Parameters
    ----------
    pointings : array or nested lists of numbers
        The orientations, of shape (points, 3): colatitude, longitude and the angle by which the beam is turned around its axis.
    beam : array or nested lists of numbers
        The coefficients of the beam in its own frame, where it points to the north pole: of shape (components, coefficients),
        with one component or three, packed as for ``SphericalHarmonics(lmax, kmax)``.
    lmax : int
        The largest degree of sky and beam.
    kmax : int
        The largest order of the beam.
    epsilon : float, optional
        The relative error. The default is 1e-5 in single and 1e-10 in double precision.
    threads : int, optional
        How many threads ducc0 uses for one call; 0, the default, for all of the hardware.

    Raises
    ------
    ImportError
        If ducc0 is not installed.
    TypeError
        If pointings or beam are no real floating-point numbers. When the operator is applied, if the input is complex.
    ValueError
        If they have another shape, or there are no points, or ``kmax`` is not between 0 and ``lmax``. When the operator is
        applied, if the last axes of the input are not (components, (lmax + 1)²), if its precision does not reach ``epsilon``, or
        if a pointing is not finite or a colatitude not between 0 and π.

    Notes
    -----
    The input holds the coefficients of the sky, (components, (lmax + 1)²), packed as for ``SphericalHarmonics``, and the result
    has the axis (points,). With the sky f and the beam b of each component, and the rotations R by the angles ψ, θ and φ:

    .. math:: y_j = \sum \int f(n)\, b(R_j^{-1} n)\, dn, \qquad R = R_z(\varphi)\, R_y(\theta)\, R_z(\psi) .

    The adjoint is the exact transpose up to rounding, for every ``epsilon``. Pointings and beam are constants: there are no
    derivatives in them.

    References
    ----------
    * Wandelt, B. D. and K. M. Górski (2001). Fast convolution on the sphere. Phys. Rev. D 63, 123002.
    * The documentation of ``ducc0.totalconvolve``.

    Examples
    --------
    >>> beam = jnp.array([[1.0, 0.5]])
    >>> A = lo.ops.TotalConvolution([[0.0, 0.0, 0.0]], beam, lmax=1, kmax=0)
    >>> A(jnp.array([[1.0, 2.0, 0.0, 0.0]])).round(3).tolist()
    [2.0]
    """

    pointings: jax.Array = lo.constant()
    beam: jax.Array = lo.constant()
    lmax: int = lo.static()
    kmax: int = lo.static()
    epsilon: float | None = lo.static(default=None)
    threads: int = lo.static(default=0)

    def __init__(self, pointings: Any, beam: Any, lmax: int, kmax: int, epsilon: float | None = None, threads: int = 0):
        _ducc.ducc("TotalConvolution")
        self.pointings = _arguments.as_field(pointings, "TotalConvolution.pointings")
        self.beam = _arguments.as_field(beam, "TotalConvolution.beam")
        self.lmax = _arguments.as_integer(lmax, "TotalConvolution.lmax", least=0)
        self.kmax = up_to(self.lmax, kmax, "TotalConvolution.kmax")
        self.epsilon = _ducc.as_epsilon(epsilon, "TotalConvolution.epsilon")
        self.threads = _arguments.as_integer(threads, "TotalConvolution.threads", least=0)
        self._require_shapes()

    def _require_shapes(self) -> None:
        found = getattr(self.pointings, "shape", (1, 3))  # what is no array is left to the field's own check
        if len(found) != 2 or found[1] != 3 or found[0] == 0:
            message = f"TotalConvolution.pointings has shape {found}; expected (points, 3), with at least one point."
            raise ValueError(message)
        size = Packing(self.lmax, self.kmax).size
        found = getattr(self.beam, "shape", (1, size))
        if found not in ((1, size), (3, size)):
            message = (
                f"TotalConvolution.beam has shape {found}; expected (components, {size}) for lmax={self.lmax} and "
                f"kmax={self.kmax}, with 1 or 3 components."
            )
            raise ValueError(message)
        for name in ("pointings", "beam"):
            _ducc.require_real(getattr(self, name), f"TotalConvolution.{name}")

    def prepare(self, x: Any, *, pointings: Any, beam: Any) -> Plan:
        return Plan(self, x.dtype, pointings, beam)

    def apply(self, x: Any, *, out: Any, plan: Any) -> None:
        for sky, values in zip(_ducc.flat(x, self._domain), _ducc.flat(out, self._codomain), strict=True):
            values[...] = plan.interpolate(sky)

    def adjoint(self, y: Any, *, out: Any, plan: Any) -> None:
        for values, sky in zip(_ducc.flat(y, self._codomain), _ducc.flat(out, self._domain), strict=True):
            plan.spread(values, sky)

    def infer_shape(self, x: Any) -> Any:
        return self._result(x, self._domain, self._codomain, "TotalConvolution")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._result(y, self._codomain, self._domain, "TotalConvolution.H")

    def _result(self, x: Any, old: tuple[int, ...], new: tuple[int, ...], where: str) -> jax.ShapeDtypeStruct:
        lead = _arguments.lead_of(x, old, where)
        _ducc.require_real_input(x, where)
        _ducc.reachable(self.epsilon, 3, "TotalConvolution.epsilon", x.dtype)
        return jax.ShapeDtypeStruct((*lead, *new), _arguments.single(x.dtype))

    @property
    def _domain(self) -> tuple[int, int]:
        return self.beam.shape[0], (self.lmax + 1) ** 2

    @property
    def _codomain(self) -> tuple[int]:
        return (self.pointings.shape[0],)

    @classmethod
    def examples(cls) -> Any:
        rng = np.random.default_rng(0)
        pointings = jnp.array([[0.4, 1.0, 0.3], [2.0, -5.0, 1.0], [0.0, 0.0, 7.0]], jnp.float32)
        beam = jnp.asarray(rng.standard_normal((1, 7)), jnp.float32)
        yield cls(pointings, beam, 2, 1, threads=1), jax.ShapeDtypeStruct((1, 9), jnp.float32)
        beams = jnp.asarray(rng.standard_normal((3, 9)), jnp.float32)
        yield cls(pointings[:2], beams, 2, 2, threads=1), jax.ShapeDtypeStruct((2, 3, 9), jnp.float32)


class Plan:
    """The pointings and the beam in the form that ducc0 takes."""

    def __init__(self, op: TotalConvolution, dtype: Any, pointings: np.ndarray, beam: np.ndarray):
        import ducc0

        geometries.require_positions(pointings, "TotalConvolution.pointings")
        _ducc.require_finite(beam, "TotalConvolution.beam")
        self.pointings = pointings.astype(np.float64)
        self.pointings[:, 1:] %= 2 * np.pi  # ducc0 takes these only
        self.real, self.packing = _ducc.real_dtype(dtype), Packing(op.lmax, op.lmax)
        single = self.real == np.float32
        self.make = ducc0.totalconvolve.Interpolator_f if single else ducc0.totalconvolve.Interpolator
        self.beam = Packing(op.lmax, op.kmax).unpacked(beam, self.real)
        self.options = dict(
            lmax=op.lmax,
            kmax=op.kmax,
            epsilon=_ducc.reachable(op.epsilon, 3, "TotalConvolution.epsilon", dtype),
            npoints=len(pointings),
            nthreads=op.threads,
        )

    def interpolate(self, sky: np.ndarray) -> np.ndarray:
        """From (components, coefficients) to (points,)."""
        coefficients = self.packing.unpacked(sky, self.real)
        interpolator = self.make(sky=coefficients, beam=self.beam, separate=False, **self.options)
        return interpolator.interpol(self._as_pointings())[0]

    def spread(self, values: np.ndarray, out: np.ndarray) -> None:
        """The adjoint."""
        interpolator = self.make(ncomp=1, **self.options)
        interpolator.deinterpol(self._as_pointings(), values[None].astype(self.real))
        self.packing.pack(interpolator.getSlm(self.beam), out)

    def _as_pointings(self) -> np.ndarray:
        return self.pointings.astype(self.real, copy=False)
