"""Every transformation of JAX does to the operator what it does to mathematics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from linops_jax.testing import _probes, _spread
from linops_jax.testing._check import check, close, conj, stack
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._linear import fixed, is_inexact

# What must hold of eager calls before it is worth asking what JAX makes of them.
BASICS = ("repeatable", "linear")
_BATCH = 3


def _has_fields(subject: Subject) -> bool:
    return bool(jax.tree.leaves(subject.op))


def derivable(subject: Subject) -> bool:
    return is_inexact(subject) and subject.has_forward


def pullable(subject: Subject) -> bool:
    return is_inexact(subject) and subject.has_reverse


@check(needs=BASICS)
def check_jit(subject: Subject) -> None:
    """jit(A)(x) = A(x), with the operator as a closure and as an argument."""
    x = subject.point(subject.rng("jit"))
    expected = subject.op(x)
    close(jitted(subject.op)(x), expected, "jit(A)(x) and A(x)", subject)
    found = jax.jit(lambda op, x: op(x))(subject.op, x)
    close(found, expected, "jit with the operator as an argument, and A(x)", subject)


def jitted(op: Any, transform: Callable[[Any], Any] = lambda op: op) -> Callable[[Any], Any]:
    """The transformed operator under ``jit``, as a closure where JAX allows it: not over parts of other processes' arrays."""
    if not _spread.any_spread(op):
        return jax.jit(lambda x: transform(op)(x))
    return lambda x: jax.jit(lambda op, x: transform(op)(x))(op, x)


@check(needs=("jit",))
def check_vmap(subject: Subject) -> None:
    """vmap(A) = a loop over A: over leading and trailing axes, nested, and under jit."""
    xs = subject.points(subject.rng("vmap"), _BATCH)
    ys = [subject.op(x) for x in xs]
    close(jax.vmap(subject.op)(stack(xs)), stack(ys), "vmap(A) and a loop", subject)
    trailing = jitted(subject.op, lambda op: jax.vmap(op, in_axes=-1))(stack(xs, -1))
    close(trailing, stack(ys), "jit(vmap(A, in_axes=-1)) and a loop", subject)
    nested = jax.vmap(jax.vmap(subject.op), in_axes=1)(stack([stack(xs), stack(xs[::-1])]))
    expected = stack([stack([y, z]) for y, z in zip(ys, ys[::-1], strict=True)])
    close(nested, expected, "vmap(vmap(A), in_axes=1) and a loop", subject)


@check(needs=("vmap", "adjoint", "adjoint_shape"), when=lambda subject: subject.has_adjoint)
def check_vmap_of_adjoint(subject: Subject) -> None:
    """vmap(A.H) = a loop over A.H."""
    rng = subject.rng("vmap of adjoint")
    ys = [subject.cotangent(rng) for _ in range(_BATCH)]
    adjoint = fixed(subject).H
    close(jax.vmap(adjoint)(stack(ys)), stack([adjoint(y) for y in ys]), "vmap(A.H) and a loop", subject)


@check(needs=("vmap",), when=_has_fields)
def check_vmap_over_fields(subject: Subject) -> None:
    """vmap over the operator's array fields, with and without the input, = a loop."""
    rng = subject.rng("vmap over fields")
    xs = subject.points(rng, 2)
    first = jax.tree.map(jnp.asarray, subject.op)
    second = _with_other_fields(first, xs[1], rng)
    ops = stack([first, second])
    found = jax.vmap(lambda op, x: op(x), in_axes=(0, None))(ops, xs[0])
    close(found, stack([first(xs[0]), second(xs[0])]), "vmap over fields and a loop", subject)
    found = jax.vmap(lambda op, x: op(x))(ops, stack(xs))
    close(found, stack([first(xs[0]), second(xs[1])]), "vmap over fields and input, and a loop", subject)


def _with_other_fields(op: Any, x: Any, rng: Any) -> Any:
    """The same operator with every floating field a little smaller: positions and masks stay in their range."""
    other = jax.tree.map(
        lambda leaf: (leaf * rng.uniform(0.9, 0.99)).astype(leaf.dtype) if _probes.is_inexact(leaf) else leaf, op
    )
    try:
        other(x)
    except Exception:  # fields that must have just these values
        return op
    return other


@check(needs=("jit",), when=derivable)
def check_jvp(subject: Subject) -> None:
    """jvp(A) = A; for a nonlinear F the derivative in direction dx is F.jacobian(x)(dx)."""
    rng = subject.rng("jvp")
    x, dx = subject.point(rng), subject.tangent(rng)
    y, dy = jax.jvp(subject.op, (x,), (dx,))
    close(y, subject.op(x), "the value of jvp and A(x)", subject, rtol=subject.jacobian_rtol)  # by linearize
    expected = subject.op(dx) if subject.is_linear else subject.op.jacobian(x)(dx)
    close(dy, expected, "jvp and the derivative", subject)


@check(needs=("jit", "adjoint", "adjoint_shape", "jacobian_adjoint", "pullback"), when=pullable)
def check_vjp(subject: Subject) -> None:
    """vjp(A) = A^T = conj A^H conj, and the vjp of the vjp is A again; for a nonlinear F, with its Jacobian."""
    rng = subject.rng("vjp")
    x, y = subject.point(rng), subject.cotangent(rng)
    jacobian = subject.op.jacobian(x)
    _, pull = jax.vjp(subject.op, x)
    close(pull(y)[0], conj(jacobian.H(conj(y))), "vjp and the transposed derivative", subject)
    if subject.has_forward:
        dx = subject.tangent(rng)
        (again,) = jax.vjp(lambda ct: pull(ct)[0], y)[1](dx)
        close(again, jacobian(dx), "the vjp of the vjp and the derivative", subject)
