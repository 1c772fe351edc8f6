"""Where SphericalHarmonics has its values: the pixels of HEALPix, grids, or any positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from linops_jax.ops import _arguments, _ducc

GRIDS = ("CC", "F1", "MW", "MWflip", "GL", "DH", "F2")  # the names of ducc0
_EXPECTED = "lo.ops.healpix(nside), a tuple (name, ntheta, nphi) or positions of shape (points, 2)"


def healpix(nside: int) -> tuple[str, int]:
    """The pixels of HEALPix in ring order, as a geometry for ``SphericalHarmonics``.

    Parameters
    ----------
    nside : int
        The resolution: there are 12 nside² pixels.

    Returns
    -------
    tuple
        The geometry, ``("healpix", nside)``.

    Raises
    ------
    TypeError
        If ``nside`` is no integer.
    ValueError
        If it is below 1.

    References
    ----------
    * Górski, K. M. et al. (2005). HEALPix: a framework for high-resolution discretization and fast analysis of data distributed
      on the sphere. Astrophys. J. 622, 759-771.

    Examples
    --------
    >>> lo.ops.SphericalHarmonics(2, geometry=lo.ops.healpix(4))(jnp.ones((1, 9))).shape
    (1, 192)
    """
    return "healpix", _arguments.as_integer(nside, "healpix.nside", least=1)


def as_geometry(geometry: tuple[Any, ...]) -> tuple[Any, ...]:
    name, *sizes = geometry or ("",)
    if name == "healpix" and len(sizes) == 1:
        return healpix(*sizes)
    if name not in GRIDS or len(sizes) != 2:
        names = ", ".join(GRIDS)
        message = f"SphericalHarmonics.geometry is {geometry!r:.80}; expected {_EXPECTED}. The names are {names}."
        raise ValueError(message)
    least = 2 if name == "CC" else 1
    ntheta = _arguments.as_integer(sizes[0], "SphericalHarmonics.geometry: ntheta", least)
    return name, ntheta, _arguments.as_integer(sizes[1], "SphericalHarmonics.geometry: nphi", 1)


def as_positions(value: Any) -> Any:
    positions = _arguments.as_field(value, "SphericalHarmonics.geometry")
    shape = getattr(positions, "shape", None)
    if shape is None or len(shape) != 2 or shape[1] != 2 or shape[0] == 0:
        found = f"{positions!r:.80}" if shape is None else f"an array of shape {shape}"
        message = f"SphericalHarmonics.geometry is {found}; expected {_EXPECTED}, with at least one point."
        raise ValueError(message)
    _ducc.require_real(positions, "SphericalHarmonics.positions")
    return positions


def require_positions(positions: np.ndarray, where: str) -> None:
    """Raises ValueError if a position is not finite, or if a colatitude, in the first column, is none."""
    _ducc.require_finite(positions, where)
    colatitude = positions[:, 0]
    wrong = (colatitude < 0) | (colatitude > np.float32(np.pi))  # which is above π
    if wrong.any():
        found = colatitude[np.argmax(wrong)]
        message = (
            f"{where} holds the colatitude {found}; expected radians from 0, the north pole, to π. The colatitude is the first "
            "column."
        )
        raise ValueError(message)
