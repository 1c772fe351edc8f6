"""What makes a Jacobian the derivative, and a Hessian the derivative of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close, require
from linops_jax.testing._dot_test import adjoint_tolerance, run
from linops_jax.testing._subject import Subject
from linops_jax.testing._taylor import at_several_points, taylor_test
from linops_jax.testing.checks._linear import _linearity, compare_dense, is_small


def _moves(subject: Subject) -> bool:
    """Whether there is anything to differentiate."""
    return any(map(_probes.is_inexact, jax.tree.leaves(subject.spec))) and any(
        map(_probes.is_inexact, jax.tree.leaves(subject.out))
    )


def _has_jacobian(subject: Subject) -> bool:
    return not subject.is_linear and subject.has_forward and _moves(subject)


def _has_jacobian_adjoint(subject: Subject) -> bool:
    return not subject.is_linear and subject.has_reverse and _moves(subject)


def inexact(tree: Any) -> list[Any]:
    return [leaf for leaf in jax.tree.leaves(tree) if _probes.is_inexact(leaf)]


def only_inexact(function: Callable[[Any], Any]) -> Callable[[Any], list[Any]]:
    return lambda x: inexact(function(x))


@check(needs=("repeatable",), when=_has_jacobian)
def check_jacobian(subject: Subject) -> None:
    """Taylor test: |F(x + h dx) - F(x) - h J(x) dx| falls as h^2, down to rounding."""
    rng = subject.rng("jacobian")

    def attempt() -> None:
        x, dx = subject.point(rng), subject.tangent(rng)
        derivative = inexact(subject.op.jacobian(x)(dx))
        taylor_test(only_inexact(subject.op), x, dx, derivative, "jacobian_apply is not the derivative of apply")

    at_several_points(attempt)


@check(needs=("jacobian",), when=_has_jacobian)
def check_jacobian_linear(subject: Subject) -> None:
    """J(x) is linear in dx: over the reals only where declared ``real_linear``."""
    complex_scalars = not subject.is_real_linear and not _probes.has_real(inexact(subject.spec))
    scalars = (0.7 - 0.4j, -0.2 + 1.1j) if complex_scalars else (0.7, -1.3)
    if (error := _linearity(_jacobian_of(subject), *scalars)) is None:
        return
    real = complex_scalars and _linearity(_jacobian_of(subject), 0.7, -1.3) is None
    why = "it is linear over the real numbers only: declare the class with real_linear=True" if real else "it must be"
    message = (
        f"J(x) is not linear in dx: J(a u + b v) and a J u + b J v differ by {error[0]:.2e} > {error[1]:.2e}; {why}"
    )
    raise AssertionError(message)


def _jacobian_of(subject: Subject) -> Subject:
    """The derivative at a point, as a subject of its own."""
    at = subject.point(subject.rng("jacobian at"))
    jacobian = subject.op.jacobian(at)
    return _Tangents(jacobian, seed=subject.seed)


class _Tangents(Subject):
    """A Jacobian: integers of its input do not move."""

    def point(self, rng: Any) -> Any:
        return self.tangent(rng)

    def cotangent(self, rng: Any) -> Any:
        return _probes.draw_tangent(rng, self.out)

    def reverse(self, v: Any) -> Any:
        return jax.tree.map(lambda x: x if _probes.is_inexact(x) else jnp.zeros_like(x), super().reverse(v))

    @property
    def has_adjoint(self) -> bool:
        return self.has_reverse


@check(
    needs=("jacobian", "jacobian_linear"),
    when=lambda subject: _has_jacobian(subject) and _has_jacobian_adjoint(subject),
)
def check_jacobian_adjoint(subject: Subject) -> None:
    """<J u, v> = <u, J^H v> at a random point, up to rounding or the declared ``adjoint_rtol``."""
    test = run(_jacobian_of(subject))
    require(test.passed, f"A is the Jacobian: {test.sentence}; {test.diagnosis}")


@check(
    needs=("jacobian_adjoint",),
    when=lambda subject: (
        _has_jacobian(subject)
        and _has_jacobian_adjoint(subject)
        and _probes.all_inexact((subject.spec, subject.out))
        and is_small(subject)
    ),
)
def check_dense_jacobian_adjoint(subject: Subject) -> None:
    """The matrix of J^H is the conjugate transpose of the matrix of J, entry by entry (small sizes)."""
    compare_dense(_jacobian_of(subject))


@check(
    needs=("repeatable",),
    when=lambda subject: _has_jacobian_adjoint(subject) and not subject.has_forward,
)
def check_pullback(subject: Subject) -> None:
    """Reverse mode only: Re <F(x + h dx) - F(x) - h J dx, dy> falls as h^2, with <J dx, dy> = <dx, J^H dy>."""
    if subject.adjoint_rtol is not None:
        return
    rng = subject.rng("pullback")

    def attempt() -> None:
        x, dx, dy = subject.point(rng), subject.tangent(rng), _probes.draw_tangent(rng, subject.out)
        _, pull = jax.vjp(only_inexact(subject.op), x)
        (ct,) = pull([leaf.conj() for leaf in inexact(dy)])
        slope = sum(
            _probes.inner(leaf.conj(), d).real
            for leaf, d in zip(jax.tree.leaves(ct), jax.tree.leaves(dx), strict=True)
            if leaf.dtype != jax.dtypes.float0
        )
        what = "jacobian_adjoint is not that of the derivative"
        taylor_test(seen_through(dy, subject.op), x, dx, np.float64(slope), what, scale=size_through(dy, subject.op(x)))

    at_several_points(attempt)


def seen_through(dy: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Re <dy, F(x)> as a function of x."""
    return lambda x: np.float64(_probes.inner(inexact(dy), inexact(function(x))).real)


def size_through(dy: Any, y: Any) -> float:
    return _probes.norm(inexact(dy)) * _probes.norm(inexact(y))


# ---- second derivatives -------------------------------------------------------------------------------------------------


def _has_hessian(subject: Subject) -> bool:
    return _has_jacobian(subject) and not subject.is_composite and subject.has_hook("hessian_apply")


def _directional(subject: Subject, dx: Any) -> Callable[[Any], list[Any]]:
    """x -> J(x) dx."""
    return lambda x: inexact(subject.op.jacobian(x)(dx))


def _hessian(subject: Subject, x: Any, dx1: Any, dx2: Any) -> list[Any]:
    """D2F(x)[dx1, dx2], from ``hessian_apply``."""
    return jax.jvp(_directional(subject, dx1), (x,), (as_tangent(dx2),))[1]


def as_tangent(dx: Any) -> Any:
    """JAX's tangents: float0 for integers."""
    return jax.tree.map(lambda d: d if _probes.is_inexact(d) else np.zeros(d.shape, jax.dtypes.float0), dx)


@check(needs=("jacobian", "jacobian_linear"), when=_has_hessian)
def check_hessian(subject: Subject) -> None:
    """Taylor test: |J(x + h dx2) dx1 - J(x) dx1 - h D2F(x)[dx1, dx2]| falls as h^2, down to rounding."""
    rng = subject.rng("hessian")

    def attempt() -> None:
        x, dx1, dx2 = subject.point(rng), subject.tangent(rng), subject.tangent(rng)
        derivative = _hessian(subject, x, dx1, dx2)
        what = "hessian_apply is not the derivative of jacobian_apply"
        taylor_test(_directional(subject, dx1), x, dx2, derivative, what)

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
        _has_jacobian_adjoint(subject)
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
        x, dx, dy = subject.point(rng), subject.tangent(rng), subject.cotangent(rng)
        pull = only_inexact(lambda x: subject.op.jacobian(x).H(dy))
        derivative = jax.jvp(pull, (x,), (as_tangent(dx),))[1]
        taylor_test(pull, x, dx, derivative, "hessian_adjoint is not the derivative of jacobian_adjoint")

    at_several_points(attempt)


def compare_pull(
    subject: Subject, pushed: Any, dy: Any, moved: Any, pulled: Any, what: str, argument: str, hook: str
) -> None:
    """<pushed, dy> = <moved, conj pulled> in real parts, where ``pulled`` is JAX's own cotangent."""
    pairs = [
        (d, ct.conj())
        for d, ct in zip(jax.tree.leaves(moved), jax.tree.leaves(pulled), strict=True)
        if ct.dtype != jax.dtypes.float0
    ]
    forward = _probes.inner(pushed, dy).real
    adjoint = _probes.inner([d for d, _ in pairs], [ct for _, ct in pairs]).real
    scale = max(
        _probes.norm(pushed) * _probes.norm(dy),
        _probes.norm([d for d, _ in pairs]) * _probes.norm([ct for _, ct in pairs]),
    )
    rtol, reason = adjoint_tolerance(subject)
    difference = abs(forward - adjoint)
    factor = f"; the second is {adjoint / forward:.6g} times the first" if forward else ""
    require(
        difference <= rtol * scale,
        f"<{what}, dy> = {forward:.6g} but <{argument}, its adjoint> = {adjoint:.6g}: error "
        f"{difference / scale if scale else difference:.2e} exceeds {rtol:.2e} ({reason}){factor}: {hook} is not its adjoint",
    )
