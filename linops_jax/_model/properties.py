"""What is known of an operator without looking at its numbers, and what of it survives the algebra."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any


@dataclasses.dataclass(frozen=True)
class Properties:
    """What an operator says of itself; False means unknown. ``A.properties`` is one.

    symmetric:    A^H = A (Hermitian, where numbers are complex)
    positive:     symmetric, and <x, A x> >= 0 for all x
    unitary:      A^H A = A A^H = I, so that the inverse is the adjoint
    diagonal:     every entry of the result is a multiple of the same entry of the input
    real_linear:  linear over the reals only; of a nonlinear operator, its Jacobian
    adjoint_rtol: relative error of an adjoint that is declared inexact; None: it is exact
    jacobian_rtol: that of the Jacobian of a nonlinear operator, as the derivative of the operator

    Classes declare them by keywords (``class Blur(lo.LinearOperator, symmetric=True)``), ``lo.declare`` adds them to one
    operator, and where they depend on static fields or dtypes a class overrides the property ``properties``.
    They never depend on the values of array fields: these are unknown while JAX traces.
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
