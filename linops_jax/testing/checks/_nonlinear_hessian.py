"""What makes a Hessian the derivative of a Jacobian."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close
from linops_jax.testing._directions import as_tangent, inexact, moving, only_inexact
from linops_jax.testing._kinks import kink_test
from linops_jax.testing._pairings import compare_pull
from linops_jax.testing._subject import Subject
from linops_jax.testing._taylor import at_several_points, taylor_test
from linops_jax.testing.checks._nonlinear import has_jacobian, has_jacobian_adjoint


def _has_hessian(subject: Subject) -> bool:
    return has_jacobian(subject) and not subject.is_composite and subject.has_hook("hessian_apply")


def _directional(subject: Subject, dx: Any) -> Callable[[Any], list[Any]]:
    """J(x) dx as a function of x."""
    return lambda x: inexact(subject.op.jacobian(x)(dx))


def _hessian(subject: Subject, x: Any, dx1: Any, dx2: Any) -> list[Any]:
    """D2F(x)[dx1, dx2], from ``hessian_apply``."""
    return jax.jvp(_directional(subject, dx1), (x,), (as_tangent(dx2),))[1]


@check(needs=("jacobian", "jacobian_linear"), when=_has_hessian)
def check_hessian(subject: Subject) -> None:
    """Taylor test: |J(x + h dx2) dx1 - J(x) dx1 - h D2F(x)[dx1, dx2]| falls as h^2, down to rounding."""
    rng = subject.rng("hessian")

    def attempt() -> None:
        x, dx1, dx2 = subject.point(rng), subject.tangent(rng), subject.tangent(rng)
        derivative = _hessian(subject, x, dx1, dx2)
        what = "hessian_apply is not the derivative of jacobian_apply"
        function, rtol = _directional(subject, dx1), subject.jacobian_rtol
        try:
            taylor_test(function, x, dx2, derivative, what, of="jacobian_apply", rtol=rtol)
        except AssertionError:
            if subject.is_spread or all(np.all(np.asarray(leaf)) for leaf in jax.tree.leaves(x)):
                raise
            slope = lambda at: _hessian(subject, at, dx1, dx2)  # noqa: E731
            kink_test(function, slope, x, dx2, derivative, what, rng=rng, rtol=rtol)

    at_several_points(attempt)


@check(needs=("hessian",), when=_has_hessian)
def check_hessian_symmetric(subject: Subject) -> None:
    """D2F(x)[dx1, dx2] = D2F(x)[dx2, dx1]."""
    rng = subject.rng("hessian symmetric")
    x, dx1, dx2 = subject.point(rng), subject.tangent(rng), subject.tangent(rng)
    close(
        _hessian(subject, x, dx1, dx2), _hessian(subject, x, dx2, dx1), "D2F(x)[dx1, dx2] and D2F(x)[dx2, dx1]", subject
    )


@check(
    needs=("hessian", "jacobian_adjoint"),
    when=lambda subject: _has_hessian(subject) and subject.has_hook("hessian_adjoint") and subject.has_reverse,
)
def check_hessian_adjoint(subject: Subject) -> None:
    """<D2F(x)[dx1, dx2], dy> = <dx2, D2F(x)[dx1, .]^H dy>, up to rounding or the declared ``adjoint_rtol``."""
    rng = subject.rng("hessian adjoint")
    for _ in range(5):
        x, dx1, dx2 = subject.point(rng), subject.tangent(rng), subject.tangent(rng)
        dy = inexact(_probes.draw_tangent(rng, subject.out))
        pushed = _hessian(subject, x, dx1, dx2)
        pulled = jax.vjp(_directional(subject, dx1), x)[1]([leaf.conj() for leaf in dy])[0]
        compare_pull(subject, pushed, dy, dx2, pulled, "D2F(x)[dx1, dx2]", "dx2", "hessian_adjoint")


def _has_hessian_adjoint_alone(subject: Subject) -> bool:
    return (
        has_jacobian_adjoint(subject)
        and not subject.is_composite
        and subject.has_hook("hessian_adjoint")
        and not _has_hessian(subject)
        and subject.adjoint_rtol is None
    )


@check(needs=("jacobian_adjoint", "pullback"), when=_has_hessian_adjoint_alone)
def check_hessian_pullback(subject: Subject) -> None:
    """Without hessian_apply: |J(x + h dx)^H dy - J(x)^H dy - h D2F(x)[dx, .]^H dy| falls as h^2, down to rounding."""
    rng = subject.rng("hessian pullback")

    def attempt() -> None:
        x, dy = subject.point(rng), subject.cotangent(rng)
        dx = moving(rng, subject.tangent(rng), x, alone=False, zeros=0)
        pull = only_inexact(lambda x: subject.op.jacobian(x).H(dy))
        derivative = jax.jvp(pull, (x,), (as_tangent(dx),))[1]
        what = "hessian_adjoint is not the derivative of jacobian_adjoint"
        taylor_test(pull, x, dx, derivative, what, of="jacobian_adjoint")

    at_several_points(attempt)
