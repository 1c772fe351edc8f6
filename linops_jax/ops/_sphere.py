"""SphericalHarmonics: from coefficients to values on the sphere, by ducc0."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import linops_jax as lo
from linops_jax.ops import _arguments, _ducc
from linops_jax.ops import _sphere_geometry as geometries
from linops_jax.ops._sphere_packing import Packing, up_to


class SphericalHarmonics(lo.LinearOperator, batched=True):
    r"""The values on the sphere of a function with given coefficients of spherical harmonics: synthesis.

    Parameters
    ----------
    lmax : int
        The largest degree l.
    mmax : int, optional
        The largest order m; ``lmax`` by default.
    spin : int, optional
        The spin s: 0, the default, for one component, such as a temperature; others for two components, such as the gradient and
        curl parts of a polarisation, and its Stokes parameters Q and U.
    geometry : tuple, array or nested lists of numbers, optional
        Where the values are: ``lo.ops.healpix(nside)``; a grid ``(name, ntheta, nphi)`` with a name of ducc0 (``"GL"``, ``"CC"``,
        ``"F1"``, ``"F2"``, ``"MW"``, ``"MWflip"``, ``"DH"``); or any positions, an array of shape (points, 2) with colatitude and
        longitude in radians. By default the smallest Gauss-Legendre grid that determines the coefficients.
    epsilon : float, optional
        The relative error at positions, by default 1e-5 in single and 1e-10 in double precision. The other geometries are exact.
    threads : int, optional
        How many threads ducc0 uses for one call; 0, the default, for all of the hardware.

    Attributes
    ----------
    positions : array of shape (points, 2) or None
        The positions, if the geometry is positions. They can be differentiated.

    Raises
    ------
    ImportError
        If ducc0 is not installed.
    TypeError
        If positions are no real floating-point numbers. When the operator is applied, if the input is complex.
    ValueError
        If ``lmax``, ``mmax`` and ``spin`` do not satisfy 0 ≤ mmax ≤ lmax and 0 ≤ spin ≤ lmax, or the geometry is none of the
        above. When the operator is applied, if the last axes of the input do not have the right sizes, if its precision does not
        reach ``epsilon``, or if a position is not finite or a colatitude not between 0 and π.

    Notes
    -----
    The input has the last axes (components, coefficients), the result (components, pixels), or (components, ntheta, nphi) for
    grids. For spin 0:

    .. math:: f(\theta, \varphi) = \sum_{l m} a_{l m} Y_{l m}(\theta, \varphi), \qquad a_{l, -m} = (-1)^m\, \overline{a_{l m}} .

    The coefficients are real numbers. First :math:`a_{l0}` for l = 0, ..., lmax; then, for m = 1, ..., mmax and l = m, ..., lmax,
    the pairs :math:`\sqrt 2\, \mathrm{Re}\, a_{lm}`, :math:`\sqrt 2\, \mathrm{Im}\, a_{lm}`. They belong to an orthonormal basis
    of real functions, so that white noise in them is white noise on the sphere, and the adjoint needs no weights. There are
    (lmax + 1)² for mmax = lmax.

    The adjoint sums over pixels: it is the exact transpose. It is not analysis; with the area of a pixel as a factor it
    approximates it. Coefficients with l < s have no effect, and the adjoint has zeros in their places. Signs of spin functions
    are those of ducc0 and HEALPix.

    The derivative in the colatitude is a sum of functions with one spin more and one less, and that in the longitude has the
    coefficients i m a; so there are derivatives of all orders.

    References
    ----------
    * Reinecke, M. and D. S. Seljebotn (2013). Libsharp - spherical harmonic transforms revisited. Astron. Astrophys. 554, A112.
    * Reinecke, M., S. Belkner and J. Carron (2023). Improved cosmic microwave background (de-)lensing using general spherical
      harmonic transforms. Astron. Astrophys. 678, A165.

    Examples
    --------
    >>> A = lo.ops.SphericalHarmonics(1, geometry=lo.ops.healpix(1))
    >>> (A(jnp.array([[1.0, 0.0, 0.0, 0.0]])) * (4 * jnp.pi) ** 0.5).round(3).tolist()
    [[1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]]
    """

    lmax: int = lo.static()
    mmax: int = lo.static()
    spin: int = lo.static(default=0)
    geometry: tuple[Any, ...] = lo.static(default=())
    positions: jax.Array | None = None
    epsilon: float | None = lo.static(default=None)
    threads: int = lo.static(default=0)

    def __init__(
        self,
        lmax: int,
        mmax: int | None = None,
        spin: int = 0,
        geometry: Any = None,
        epsilon: float | None = None,
        threads: int = 0,
    ):
        _ducc.ducc("SphericalHarmonics")
        self.lmax = _arguments.as_integer(lmax, "SphericalHarmonics.lmax", least=0)
        self.mmax = up_to(self.lmax, self.lmax if mmax is None else mmax, "SphericalHarmonics.mmax")
        self.spin = up_to(self.lmax, spin, "SphericalHarmonics.spin")
        self.epsilon = _ducc.as_epsilon(epsilon, "SphericalHarmonics.epsilon")
        self.threads = _arguments.as_integer(threads, "SphericalHarmonics.threads", least=0)
        geometry = ("GL", self.lmax + 1, 2 * self.mmax + 1) if geometry is None else geometry
        is_tuple = isinstance(geometry, tuple)
        self.geometry = geometries.as_geometry(geometry) if is_tuple else ("positions",)
        self.positions = None if is_tuple else geometries.as_positions(geometry)

    def prepare(self, x: Any, *, positions: Any) -> Plan:
        return Plan(self, x.dtype, positions)

    def apply(self, x: Any, *, out: Any, plan: Any) -> None:
        plan.synthesis(_ducc.flat(x, self._domain), _ducc.flat(out, self._codomain))

    def adjoint(self, y: Any, *, out: Any, plan: Any) -> None:
        plan.adjoint(_ducc.flat(y, self._codomain), _ducc.flat(out, self._domain))

    @lo.traced
    def parameter_jvp(self, x: Any, dself: Any) -> Any:
        result = self.infer_shape(x)
        if self.positions is None:
            return jnp.zeros(result.shape, result.dtype)
        x = x.astype(result.dtype)
        slopes = self._slope_in_colatitude(x), self(self._packing.times_order(x))
        steps = [_arguments.with_ndim(step, len(result.shape)) for step in dself.positions.T]
        change: Any = sum(step * slope for step, slope in zip(steps, slopes, strict=True))
        return change.astype(result.dtype)

    def _slope_in_colatitude(self, x: Any) -> Any:
        """The derivative of the result: by the operators ð, a sum of functions with one spin more and with one less."""
        degree, s = self._packing.degrees(), self.spin
        raised = self._times_root((degree - s) * (degree + s + 1), x)
        lowered = self._times_root((degree + s) * (degree - s + 1), x)
        if s == 0:
            return self._with_spin(1)(jnp.concatenate([raised, jnp.zeros_like(x)], -2))[..., :1, :]
        above = self._with_spin(s + 1)(raised) if s < self.lmax else 0.0
        if s == 1:  # both components are functions without spin, for which ducc0 has the opposite sign
            return -(self._with_spin(0)(lowered[..., None, :])[..., 0, :] + above) / 2
        return (self._with_spin(s - 1)(lowered) - above) / 2

    def _times_root(self, squares: np.ndarray, x: Any) -> Any:
        return _arguments.with_ndim(np.sqrt(np.maximum(squares, 0)).astype(x.dtype), x.ndim) * x

    def _with_spin(self, spin: int) -> SphericalHarmonics:
        return SphericalHarmonics(self.lmax, self.mmax, spin, self.positions, self.epsilon, self.threads)

    def infer_shape(self, x: Any) -> Any:
        return self._result(x, self._domain, self._codomain, "SphericalHarmonics")

    def infer_adjoint_shape(self, y: Any) -> Any:
        return self._result(y, self._codomain, self._domain, "SphericalHarmonics.H")

    def _result(self, x: Any, old: tuple[int, ...], new: tuple[int, ...], where: str) -> jax.ShapeDtypeStruct:
        lead = _arguments.lead_of(x, old, where)
        _ducc.require_real_input(x, where)
        if self.positions is not None:
            _ducc.reachable(self.epsilon, 2, "SphericalHarmonics.epsilon", x.dtype)
        return jax.ShapeDtypeStruct((*lead, *new), _arguments.single(x.dtype))

    @property
    def _domain(self) -> tuple[int, int]:
        return self._components, self._packing.size

    @property
    def _codomain(self) -> tuple[int, ...]:
        name, *sizes = self.geometry
        if name == "healpix":
            sizes = [12 * sizes[0] ** 2]
        return (self._components, *(self.positions.shape[:1] if self.positions is not None else sizes))

    @property
    def _packing(self) -> Packing:
        return Packing(self.lmax, self.mmax)

    @property
    def _components(self) -> int:
        return 1 if self.spin == 0 else 2

    @classmethod
    def examples(cls) -> Any:
        yield cls(3, geometry=geometries.healpix(1), threads=1), jax.ShapeDtypeStruct((1, 16), jnp.float32)
        yield cls(3, 2, 2, ("CC", 3, 4), threads=1), jax.ShapeDtypeStruct((2, 2, 14), jnp.float32)
        positions = jnp.array([[0.4, 1.0], [1.7, -2.0], [2.5, 0.3]], jnp.float32)
        yield cls(2, geometry=positions, threads=1), jax.ShapeDtypeStruct((1, 9), jnp.float32)


class Plan:
    """What ducc0 needs to know of one geometry."""

    def __init__(self, op: SphericalHarmonics, dtype: Any, positions: np.ndarray | None):
        import ducc0

        name, *sizes = op.geometry
        self.real, self.packing = _ducc.real_dtype(dtype), Packing(op.lmax, op.mmax)
        self.spin, self.batched = op.spin, name == "healpix"
        self.options: dict[str, Any] = dict(lmax=op.lmax, mmax=op.mmax, nthreads=op.threads)
        if positions is not None:
            geometries.require_positions(positions, "SphericalHarmonics.positions")
            epsilon = _ducc.reachable(op.epsilon, 2, "SphericalHarmonics.epsilon", dtype)
            location = positions.astype(np.float64)
            location[:, 1] %= 2 * np.pi  # ducc0 takes these only
            self.options |= dict(loc=location, epsilon=epsilon)
            self.forward, self.backward = ducc0.sht.synthesis_general, ducc0.sht.adjoint_synthesis_general
        elif name == "healpix":
            self.options |= ducc0.healpix.Healpix_Base(sizes[0], "RING").sht_info()
            self.forward, self.backward = ducc0.sht.synthesis, ducc0.sht.adjoint_synthesis
        else:
            self.options |= dict(geometry=name)
            self.forward, self.backward = ducc0.sht.synthesis_2d, ducc0.sht.adjoint_synthesis_2d

    def synthesis(self, x: np.ndarray, out: np.ndarray) -> None:
        """From (batch, components, coefficients) to (batch, components, *pixels)."""
        for alm, values in self._calls(self.packing.unpacked(x, self.real), out):
            self.forward(alm=alm, map=values, spin=self.spin, **self.options)

    def adjoint(self, y: np.ndarray, out: np.ndarray) -> None:
        """From (batch, components, *pixels) to (batch, components, coefficients)."""
        y = np.ascontiguousarray(y, self.real)
        coefficients = self.packing.zeros(out.shape[:-1], self.real)
        for alm, values in self._calls(coefficients, y):
            self.backward(alm=alm, map=values, spin=self.spin, **self.options)
        self.packing.pack(coefficients, out)

    def _calls(self, coefficients: np.ndarray, values: np.ndarray) -> Any:
        """The arguments of each call of ducc0, which takes batches in some geometries."""
        if len(values) == 0:
            return ()
        return [(coefficients, values)] if self.batched else zip(coefficients, values, strict=True)
