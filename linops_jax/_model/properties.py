"""What is known of an operator without looking at its numbers, and what of it survives the algebra."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Properties:
    """What is known of an operator, ``A.properties``. False means that a property is not known.

    Parameters
    ----------
    symmetric : bool, optional
        Aᴴ = A: the operator is Hermitian, or symmetric on real numbers.
    positive : bool, optional
        The operator is symmetric, and ⟨x, A x⟩ ≥ 0 for all x.
    unitary : bool, optional
        Aᴴ A = A Aᴴ = I, so the inverse is the adjoint.
    diagonal : bool, optional
        Each entry of the result is a multiple of the same entry of the input.
    real_linear : bool, optional
        The operator, or the Jacobian of a nonlinear one, is linear over the real numbers only.
    adjoint_rtol : float, optional
        The relative error of an inexact adjoint. None, the default: it is exact.
    jacobian_rtol : float, optional
        The relative error of an inexact Jacobian of a nonlinear operator. None, the default: it is exact.

    Notes
    -----
    Class keywords declare properties for all operators of a class (``class Blur(lo.LinearOperator, symmetric=True)``),
    and ``lo.declare`` for one operator. If they depend on static fields or on dtypes, the class defines ``properties`` as
    a property. They never depend on the values of array fields, which are not known while JAX traces.

    Examples
    --------
    >>> lo.FFT().properties
    Properties(unitary=True)
    """

    symmetric: bool = False
    positive: bool = False
    unitary: bool = False
    diagonal: bool = False
    real_linear: bool = False
    adjoint_rtol: float | None = None
    jacobian_rtol: float | None = None

    def __post_init__(self) -> None:
        if self.positive:
            object.__setattr__(self, "symmetric", True)

    def __repr__(self) -> str:
        known = {name: value for name, value in dataclasses.asdict(self).items() if value not in (False, None)}
        return f"Properties({', '.join(f'{name}={value}' for name, value in known.items())})"


NAMES = tuple(field.name for field in dataclasses.fields(Properties))


def common(parts: Iterable[Any], *kept: str) -> Properties:
    """Those of ``kept`` that all parts have. Linearity over the reals only is contagious, inexactness adds up."""
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
