"""What makes a Jacobian the derivative, and a Hessian the derivative of that."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check, close, require
from linops_jax.testing._dot_test import DotTest, adjoint_tolerance, run
from linops_jax.testing._kinks import kink_test
from linops_jax.testing._subject import WITH_ZEROS, Subject, change
from linops_jax.testing._taylor import at_several_points, taylor_test
from linops_jax.testing.checks._linear import DROPPED, _linearity, compare_dense, is_small, without_imaginary_part


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
    what, function = "jacobian_apply is not the derivative of apply", only_inexact(subject.op)

    def derivative(x: Any, dx: Any) -> list[Any]:
        return inexact(subject.op.jacobian(x)(dx))

    def attempt() -> None:
        x = subject.point(rng)
        dx = _moving(rng, subject.tangent(rng), x, alone=False, zeros=0)  # these stay zero: F may have kinks there
        taylor_test(function, x, dx, derivative(x, dx), what, rtol=subject.jacobian_rtol)

    for where, x in subject.special_points(rng):
        _at_a_special_point(subject, x, where, rng, derivative, what)
    at_several_points(attempt)


def _at_a_special_point(
    subject: Subject, x: Any, where: str, rng: Any, derivative: Callable[[Any, Any], Any], what: str
) -> None:
    """The Taylor test where F may have kinks, or not be defined. At a kink, in further directions as well: that in which
    equal numbers stay equal, and that of one element."""
    invented = where == WITH_ZEROS
    zeros = 1 if invented else None
    tangent = lambda: subject.tangent(rng)  # noqa: E731
    dx = _tied(tangent(), x) if invented else tangent()
    if _is_smooth(subject, x, _moving(rng, dx, x, alone=False, zeros=zeros), where, rng, derivative, what):
        return
    tied = _moving(rng, _tied(tangent(), x), x, alone=False, zeros=0)
    for dx in (tied, _moving(rng, tangent(), x, alone=True, zeros=zeros)):
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


def _tied(dx: Any, x: Any) -> Any:
    """``dx`` that is the same for equal elements of an array in x."""

    def leaf(d: Any, a: Any) -> Any:
        _, first, which = np.unique(np.asarray(a).ravel(), return_index=True, return_inverse=True)
        return jnp.asarray(np.asarray(d).ravel()[first[which.ravel()]].reshape(d.shape), d.dtype)

    return jax.tree.map(leaf, dx, x)


def _moving(rng: Any, dx: Any, x: Any, alone: bool, zeros: int | None) -> Any:
    """``dx``, in which only so many of the elements move that are zero in x, or only a single element moves at all."""
    leaves, tree = jax.tree.flatten(dx)
    flat = np.concatenate([np.asarray(leaf).ravel() for leaf in leaves])
    moves = flat != 0
    still = moves & (np.concatenate([np.asarray(leaf).ravel() for leaf in jax.tree.leaves(x)]) == 0)
    kept = rng.permutation(np.flatnonzero(still))[:zeros] if zeros is not None else np.zeros(0, int)
    if alone:
        kept = kept if len(kept) else rng.permutation(np.flatnonzero(moves))[:1]
    drops = moves if alone else still & (zeros is not None)
    drops[kept] = False
    parts = np.split(np.where(drops, 0, flat), np.cumsum([leaf.size for leaf in leaves])[:-1])
    return jax.tree.unflatten(
        tree,
        [
            jnp.asarray((p if _probes.is_complex(leaf) else np.real(p)).reshape(leaf.shape), leaf.dtype)
            for p, leaf in zip(parts, leaves, strict=True)
        ],
    )


@check(needs=("jacobian",), when=_has_jacobian)
def check_jacobian_linear(subject: Subject) -> None:
    """J(x) is linear in dx: over the reals only where declared ``real_linear``."""
    complex_scalars = not subject.is_real_linear and not _probes.has_real(inexact(subject.spec))
    scalars = (0.7 - 0.4j, -0.2 + 1.1j) if complex_scalars else (0.7, -1.3)
    if (error := _linearity(_jacobian_of(subject), *scalars)) is None:
        return
    jacobian = _jacobian_of(subject)
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


def _jacobian_of(subject: Subject, x: Any = None) -> Subject:
    """The derivative at a point, as a subject of its own."""
    at = subject.first(subject.rng("jacobian at")) if x is None else x
    return _Tangents(subject.op.jacobian(at), seed=subject.seed).of(subject.op, at)


class _Tangents(Subject):
    """A Jacobian: integers of its input do not move."""

    def of(self, op: Any, at: Any) -> _Tangents:
        """Notes whose derivative this is, and where."""
        self._nonlinear, self._at = op, at
        return self

    def sensitivity(self, direction: str, x: Any) -> float:
        def seen_from(at: Any) -> Any:
            return getattr(_Tangents(self._nonlinear.jacobian(at), seed=self.seed), direction)(x)

        return change(seen_from, self._at, seen_from(self._at), self.rng("sensitivity"))

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
    where = "" if subject.given is None else " at the arrays as given"
    require(test.passed, f"A is the Jacobian{where}: {test.sentence}; {test.diagnosis}")
    for where, x in subject.special_points(subject.rng("jacobian adjoint")):
        if where == WITH_ZEROS and (again := _run_if_finite(_jacobian_of(subject, x))) is not None:
            require(again.passed, f"A is the Jacobian{where}: {again.sentence}; {again.diagnosis}")


def _run_if_finite(jacobian: Subject) -> DotTest | None:
    """The dot test at a point that nobody gave: exceptions and infinities there are no mistakes."""
    try:
        test = run(jacobian, probes=2)
    except Exception:
        return None
    return test if np.isfinite(test.error) else None


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
    rng = subject.rng("pullback")

    def attempt() -> None:
        x, dy = subject.point(rng), _probes.draw_tangent(rng, subject.out)
        dx = _moving(rng, subject.tangent(rng), x, alone=False, zeros=0)
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
        function, rtol = _directional(subject, dx1), subject.jacobian_rtol
        try:
            taylor_test(function, x, dx2, derivative, what, of="jacobian_apply", rtol=rtol)
        except AssertionError:
            if all(np.all(_probes.fetch(leaf)) for leaf in jax.tree.leaves(x)):
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
        x, dy = subject.point(rng), subject.cotangent(rng)
        dx = _moving(rng, subject.tangent(rng), x, alone=False, zeros=0)
        pull = only_inexact(lambda x: subject.op.jacobian(x).H(dy))
        derivative = jax.jvp(pull, (x,), (as_tangent(dx),))[1]
        what = "hessian_adjoint is not the derivative of jacobian_adjoint"
        taylor_test(pull, x, dx, derivative, what, of="jacobian_adjoint")

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
