"""Properties of an operator that are known without its numbers, and those of sums and products."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Properties:
    """The declared properties of an operator, ``A.properties``; False means unknown.

    A class declares properties by keywords, as in ``class Blur(lo.LinearOperator, symmetric=True)``. ``lo.declare`` adds
    properties to one operator. If they depend on static fields or dtypes, a class overrides the property ``properties``.
    They never depend on the values of array fields, which are unknown while JAX traces.

    Parameters
    ----------
    symmetric : bool, optional
        Whether Aᴴ = A (Hermitian, if the numbers are complex).
    positive : bool, optional
        Whether the operator is symmetric and ⟨x, A x⟩ ≥ 0 for all x.
    unitary : bool, optional
        Whether Aᴴ A = A Aᴴ = I, so that the inverse is the adjoint.
    diagonal : bool, optional
        Whether each entry of the result is a multiple of the same entry of the input.
    real_linear : bool, optional
        Whether the operator, or the Jacobian of a nonlinear operator, is linear over the real numbers only.
    adjoint_rtol : float, optional
        The relative error of an adjoint that is declared inexact. Default: None, the adjoint is exact.
    jacobian_rtol : float, optional
        The relative error of the Jacobian of a nonlinear operator, as the derivative of the operator. Default: None, the
        Jacobian is exact.
    gram_rtol : float, optional
        The relative error of a hook ``gram`` that approximates Aᴴ A. Default: None, it is exact.

    Examples
    --------
    >>> lo.Diagonal(jnp.array([1.0, 2.0])).properties
    Properties(symmetric=True, diagonal=True)
    """

    symmetric: bool = False
    positive: bool = False
    unitary: bool = False
    diagonal: bool = False
    real_linear: bool = False
    adjoint_rtol: float | None = None
    jacobian_rtol: float | None = None
    gram_rtol: float | None = None

    def __post_init__(self) -> None:
        if self.positive:
            object.__setattr__(self, "symmetric", True)

    def __repr__(self) -> str:
        known = {name: value for name, value in dataclasses.asdict(self).items() if value not in (False, None)}
        return f"Properties({', '.join(f'{name}={value}' for name, value in known.items())})"


NAMES = tuple(field.name for field in dataclasses.fields(Properties))


def common(parts: Iterable[Any], *kept: str) -> Properties:
    """The properties among ``kept`` that all parts have.

    The result is linear over the reals only if one of the parts is. The relative errors add up.
    """
    each = [part.properties for part in parts]
    return Properties(
        **{name: all(getattr(p, name) for p in each) for name in kept},
        real_linear=any(p.real_linear for p in each),
        adjoint_rtol=_sum(p.adjoint_rtol for p in each),
        jacobian_rtol=_sum(p.jacobian_rtol for p in each),
    )


def _sum(errors: Iterable[float | None]) -> float | None:
    declared = [error for error in errors if error is not None]
    return sum(declared) if declared else None
