"""What makes a Jacobian the derivative."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close, require
from linops_jax.testing._directions import inexact, moving, only_inexact, tied
from linops_jax.testing._dot_test import DotTest, run
from linops_jax.testing._jacobian import jacobian_of
from linops_jax.testing._kinks import kink_test
from linops_jax.testing._pairings import seen_through, size_through
from linops_jax.testing._subject import WITH_ZEROS, Subject
from linops_jax.testing._taylor import at_several_points, taylor_test
from linops_jax.testing.checks._linear import (
    DROPPED,
    ENTRIES,
    _linearity,
    compare_dense,
    is_small,
    without_imaginary_part,
)


def _moves(subject: Subject) -> bool:
    """Whether there is anything to differentiate."""
    return any(map(_probes.is_inexact, jax.tree.leaves(subject.spec))) and any(
        map(_probes.is_inexact, jax.tree.leaves(subject.out))
    )


def has_jacobian(subject: Subject) -> bool:
    return not subject.is_linear and not subject.is_indicator and subject.has_forward and _moves(subject)


def has_jacobian_adjoint(subject: Subject) -> bool:
    return not subject.is_linear and not subject.is_indicator and subject.has_reverse and _moves(subject)


@check(needs=("repeatable",), when=has_jacobian)
def check_jacobian(subject: Subject) -> None:
    """Taylor test: |F(x + h dx) - F(x) - h J(x) dx| falls as h^2, down to rounding."""
    rng = subject.rng("jacobian")
    what, function = "jacobian_apply is not the derivative of apply", only_inexact(subject.op)

    def derivative(x: Any, dx: Any) -> list[Any]:
        return inexact(subject.op.jacobian(x)(dx))

    def attempt() -> None:
        x = subject.point(rng)
        dx = moving(rng, subject.tangent(rng), x, alone=False, zeros=0)  # these stay zero: F may have kinks there
        taylor_test(function, x, dx, derivative(x, dx), what, rtol=subject.jacobian_rtol)

    for where, x in [] if subject.is_spread else subject.special_points(rng):
        _at_a_special_point(subject, x, where, rng, derivative, what)
    at_several_points(attempt)


def _at_a_special_point(
    subject: Subject, x: Any, where: str, rng: Any, derivative: Callable[[Any, Any], Any], what: str
) -> None:
    """The Taylor test where F may have kinks, or not be defined.

    At a kink it takes two more directions: one in which equal numbers stay equal, and one of a single element.
    """
    invented = where == WITH_ZEROS
    zeros = 1 if invented else None
    tangent = lambda: subject.tangent(rng)  # noqa: E731
    dx = tied(tangent(), x) if invented else tangent()
    if _is_smooth(subject, x, moving(rng, dx, x, alone=False, zeros=zeros), where, rng, derivative, what):
        return
    together = moving(rng, tied(tangent(), x), x, alone=False, zeros=0)
    for dx in (together, moving(rng, tangent(), x, alone=True, zeros=zeros)):
        if any(map(np.any, jax.tree.leaves(dx))):
            _is_smooth(subject, x, dx, where, rng, derivative, what)


def _is_smooth(
    subject: Subject, x: Any, dx: Any, where: str, rng: Any, derivative: Callable[[Any, Any], Any], what: str
) -> bool:
    """Whether the Taylor test passes, or nothing can be said. If not, it is right for a kink, or an AssertionError."""
    invented = where == WITH_ZEROS
    function = only_inexact(subject.op)
    try:
        found = derivative(x, dx)
    except Exception:
        if invented:
            return True
        raise
    try:
        taylor_test(function, x, dx, found, what, rtol=subject.jacobian_rtol)
    except AssertionError as error:
        if not invented and "not finite" in str(error):
            message = f"{error}{where}"
            raise AssertionError(message) from None
        slope = lambda at: derivative(at, dx)  # noqa: E731
        return not kink_test(function, slope, x, dx, found, f"{what}{where}", rng=rng, rtol=subject.jacobian_rtol)
    except Exception:
        if not invented:
            raise
    return True


@check(needs=("repeatable",), when=lambda subject: subject.has_hook("linearize"))
def check_linearize(subject: Subject) -> None:
    """``linearize(x)`` gives the value of ``apply(x)``."""
    rng = subject.rng("linearize")
    for x in (subject.first(rng), *subject.points(rng, 2)):
        value, _ = subject.op.value_and_jacobian(x)
        close(value, subject.op(x), "the value of linearize and that of apply", subject, rtol=subject.jacobian_rtol)


@check(needs=("jacobian",), when=has_jacobian)
def check_jacobian_linear(subject: Subject) -> None:
    """J(x) is linear in dx: over the reals only where declared ``real_linear``."""
    complex_scalars = not subject.is_real_linear and not _probes.has_real(inexact(subject.spec))
    scalars = (0.7 - 0.4j, -0.2 + 1.1j) if complex_scalars else (0.7, -1.3)
    if (error := _linearity(jacobian_of(subject), *scalars)) is None:
        return
    jacobian = jacobian_of(subject)
    why = "it must be"
    if complex_scalars and _linearity(jacobian, 0.7, -1.3) is None:
        dropped = without_imaginary_part(jacobian.forward(jacobian.point(subject.rng("imaginary part"))))
        dropped = dropped and not without_imaginary_part(subject.forward(subject.point(subject.rng("imaginary part"))))
        why = "it is linear over the real numbers only: declare the class with real_linear=True"
        why = DROPPED.format(at="").replace("every result", "J dx") if dropped else why
    message = (
        f"J(x) is not linear in dx: J(a u + b v) and a J u + b J v differ by {error[0]:.2e} > {error[1]:.2e}; {why}"
    )
    raise AssertionError(message)


@check(
    needs=("jacobian", "jacobian_linear"),
    when=lambda subject: has_jacobian(subject) and has_jacobian_adjoint(subject),
)
def check_jacobian_adjoint(subject: Subject) -> None:
    """<J u, v> = <u, J^H v> at a random point, up to rounding or the declared ``adjoint_rtol``."""
    test = run(jacobian_of(subject))
    where = "" if subject.given is None else " at the arrays as given"
    require(test.passed, f"A is the Jacobian{where}: {test.sentence}; {test.diagnosis}")
    for where, x in subject.special_points(subject.rng("jacobian adjoint")):
        if where == WITH_ZEROS and (again := _run_if_finite(jacobian_of(subject, x))) is not None:
            require(again.passed, f"A is the Jacobian{where}: {again.sentence}; {again.diagnosis}")


def _run_if_finite(jacobian: Subject) -> DotTest | None:
    """The dot test at a point that the user did not choose; None if it raises or is not finite, which is no mistake there."""
    try:
        test = run(jacobian, probes=2)
    except Exception:
        return None
    return test if np.isfinite(test.error) else None


@check(
    needs=("jacobian_adjoint",),
    when=lambda subject: (
        has_jacobian(subject)
        and has_jacobian_adjoint(subject)
        and _probes.all_inexact((subject.spec, subject.out))
        and is_small(subject)
    ),
    whole=ENTRIES,
)
def check_dense_jacobian_adjoint(subject: Subject) -> None:
    """The matrix of J^H is the conjugate transpose of the matrix of J, entry by entry (small sizes)."""
    compare_dense(jacobian_of(subject))


@check(
    needs=("repeatable",),
    when=lambda subject: has_jacobian_adjoint(subject) and not subject.has_forward,
)
def check_pullback(subject: Subject) -> None:
    """Reverse mode only: Re <F(x + h dx) - F(x) - h J dx, dy> falls as h^2, with <J dx, dy> = <dx, J^H dy>."""
    rng = subject.rng("pullback")

    def attempt() -> None:
        x, dy = subject.point(rng), _probes.draw_tangent(rng, subject.out)
        dx = moving(rng, subject.tangent(rng), x, alone=False, zeros=0)
        _, pull = jax.vjp(only_inexact(subject.op), x)
        (ct,) = pull([leaf.conj() for leaf in inexact(dy)])
        pairs = [
            (leaf.conj(), d)
            for leaf, d in zip(jax.tree.leaves(ct), jax.tree.leaves(dx), strict=True)
            if leaf.dtype != jax.dtypes.float0
        ]
        slope = sum(_probes.inner(a, b).real for a, b in pairs)
        rtol = _inexact_pullback(subject, slope, pairs)
        what, scale = "jacobian_adjoint is not that of the derivative", size_through(dy, subject.op(x))
        taylor_test(seen_through(dy, subject.op), x, dx, np.float64(slope), what, scale=scale, rtol=rtol)

    at_several_points(attempt)


def _inexact_pullback(subject: Subject, slope: float, pairs: list[tuple[Any, Any]]) -> float | None:
    """The declared errors, which are relative to the norms, relative to one inner product."""
    declared = [rtol for rtol in (subject.adjoint_rtol, subject.jacobian_rtol) if rtol is not None]
    if not declared:
        return None
    norms = [_probes.norm([pair[i] for pair in pairs]) for i in (0, 1)]
    return sum(declared) * norms[0] * norms[1] / max(abs(slope), 1e-300)
