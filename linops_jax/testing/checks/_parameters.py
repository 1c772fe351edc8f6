"""Derivatives with respect to the operator's own array fields, where the class has hooks for them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import check
from linops_jax.testing._directions import as_tangent, inexact
from linops_jax.testing._pairings import compare_pull, seen_through, size_through
from linops_jax.testing._subject import Subject
from linops_jax.testing._taylor import at_several_points, taylor_test


def _has(*names: str) -> Any:
    def applies(subject: Subject) -> bool:
        result = any(map(_probes.is_inexact, jax.tree.leaves(subject.out)))
        return not subject.is_composite and subject.has_parameters and result and all(map(subject.has_hook, names))

    return applies


def _at(subject: Subject, x: Any) -> Any:
    """The operator's fields -> its value at x."""
    return lambda op: inexact(op(x))


def _own(subject: Subject) -> Any:
    return jax.tree.map(jnp.asarray, subject.op)


def _scaled_tangent(subject: Subject, rng: Any) -> Any:
    """A direction for the fields, each array as large as the field itself: positions and masks have a scale."""

    def scale(direction: Any, field: Any) -> Any:
        length = _probes.norm(direction)
        if not (_probes.is_inexact(field) and length):
            return direction
        return (direction * (0.3 * _probes.norm(field) / length or 1.0)).astype(direction.dtype)

    return jax.tree.map(scale, subject.field_tangent(rng), _own(subject))


@check(needs=("repeatable", "linear", "jacobian"), when=_has("parameter_jvp"))
def check_parameter_jvp(subject: Subject) -> None:
    """Taylor test: the derivative of A(x) with respect to the fields, in a random direction, is ``parameter_jvp``."""
    rng = subject.rng("parameter_jvp")

    def attempt() -> None:
        x, direction = subject.point(rng), _scaled_tangent(subject, rng)
        _, derivative = jax.jvp(_at(subject, x), (_own(subject),), (as_tangent(direction),))
        what = "parameter_jvp is not the derivative of apply with respect to the fields"
        taylor_test(_at(subject, x), _own(subject), direction, derivative, what)

    at_several_points(attempt)


@check(needs=("parameter_jvp",), when=_has("parameter_jvp", "parameter_vjp"))
def check_parameter_vjp(subject: Subject) -> None:
    """<parameter_jvp(x, dself), dy> = <dself, parameter_vjp(x, dy)> in real parts."""
    rng = subject.rng("parameter_vjp")
    for _ in range(5):
        x, direction = subject.point(rng), _scaled_tangent(subject, rng)
        dy = inexact(_probes.draw_tangent(rng, subject.out))
        _, pushed = jax.jvp(_at(subject, x), (_own(subject),), (as_tangent(direction),))
        (pulled,) = jax.vjp(_at(subject, x), _own(subject))[1]([leaf.conj() for leaf in dy])
        compare_pull(subject, pushed, dy, direction, pulled, "parameter_jvp(x, dself)", "dself", "parameter_vjp")


@check(
    needs=("repeatable", "linear", "jacobian"),
    when=lambda subject: _has("parameter_vjp")(subject) and not subject.has_hook("parameter_jvp"),
)
def check_parameter_pullback(subject: Subject) -> None:
    """Reverse mode only: ``parameter_vjp`` against differences of A(x), seen through a random dy."""
    rng = subject.rng("parameter_pullback")

    def attempt() -> None:
        x, direction = subject.point(rng), _scaled_tangent(subject, rng)
        dy = inexact(_probes.draw_tangent(rng, subject.out))
        (pulled,) = jax.vjp(_at(subject, x), _own(subject))[1]([leaf.conj() for leaf in dy])
        slope = sum(
            _probes.inner(ct.conj(), d).real
            for ct, d in zip(jax.tree.leaves(pulled), jax.tree.leaves(direction), strict=True)
            if ct.dtype != jax.dtypes.float0
        )

        what = "parameter_vjp is not the adjoint of the derivative with respect to the fields"
        seen = seen_through(dy, lambda op, x=x: op(x))
        taylor_test(seen, _own(subject), direction, np.float64(slope), what, scale=size_through(dy, subject.op(x)))

    at_several_points(attempt)
