"""What an operator says of itself, see ``Properties``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from linops_jax.testing import _dense, _probes, _samples
from linops_jax.testing._check import check, close, require
from linops_jax.testing._dot_test import run
from linops_jax.testing._subject import Subject, cast_obstacle, describe_tree
from linops_jax.testing.checks._linear import is_inexact, is_small


def _declared(name: str) -> Callable[[Subject], bool]:
    """Whether a property is declared, also where there is no adjoint: solvers go by what is declared."""
    return lambda subject: subject.is_linear and is_inexact(subject) and getattr(subject.op.properties, name)


def _between_equals(name: str) -> Callable[[Subject], bool]:
    return lambda subject: _declared(name)(subject) and not _leads_to_complex(subject)


def _leads_to_complex(subject: Subject) -> bool:
    """Whether real numbers lead to complex ones.

    The properties are then those of an operator on complex vectors, of which this input holds the real ones.
    """
    return _probes.has_real(subject.spec) and any(map(_probes.is_complex, jax.tree.leaves(subject.out)))


def _require_one_space(subject: Subject, name: str) -> None:
    difference = cast_obstacle(subject.out, subject.spec)
    require(difference is None, f"declared {name}, but not from a space to itself: the result is {difference}")


@check(needs=("linear", "adjoint"), when=_between_equals("symmetric"))
def check_symmetric(subject: Subject) -> None:
    """A^H x = A x, where A is declared symmetric; without an adjoint, <A u, v> = <u, A v> for random u and v."""
    _require_one_space(subject, "symmetric")
    if not subject.has_adjoint:
        test = run(_OwnAdjoint(subject.op, subject.spec, seed=subject.seed))
        return require(test.passed, f"declared symmetric, A^H = A: {test.sentence}")
    x = subject.point(subject.rng("symmetric"))
    found, expected = _like(subject.forward(x), subject.spec), subject.reverse(_like(x, subject.out))
    return close(found, expected, "declared symmetric: A x and A^H x", subject, rtol=subject.adjoint_rtol)


class _OwnAdjoint(Subject):
    """A symmetric operator that has no adjoint: it is its own."""

    def reverse(self, v: Any) -> Any:
        return self.forward(_like(v, self.spec))


def _like(tree: Any, spec: Any) -> Any:
    return jax.tree.map(lambda leaf, s: leaf.astype(s.dtype), tree, spec)


@check(needs=("symmetric",), when=_between_equals("positive"))
def check_positive(subject: Subject) -> None:
    """<x, A x> >= 0, where A is declared positive; for small sizes, no eigenvalue is negative."""
    if is_small(subject) and not subject.is_spread:
        a = _dense.matrix(subject.forward, subject.spec, _probes.real_size(subject.out))
        values = np.linalg.eigvalsh((a + a.T) / 2)
        tolerance = _tolerance(subject) * np.abs(values).max()
        found = f"the smallest eigenvalue is {values.min():.6g}, below {-tolerance:.2e}"
        require(values.min() >= -tolerance, f"declared positive, but {found}; the largest is {values.max():.6g}")
        return
    for x in _samples.draws(subject.rng("positive"), subject.spec, 5):
        y = subject.forward(x)
        product, scale = _probes.inner(x, y).real, _probes.norm(x) * _probes.norm(y)
        tolerance = _tolerance(subject) * scale
        require(product >= -tolerance, f"declared positive, but <x, A x> = {product:.6g}, below {-tolerance:.2e}")


def _tolerance(subject: Subject) -> float:
    return subject.adjoint_rtol or _probes.LOOSE * _probes.eps(subject.spec, subject.out) * subject.amplification


@check(needs=("linear", "adjoint"), when=_declared("unitary"))
def check_unitary(subject: Subject) -> None:
    """A^H A x = x and A A^H y = y, where A is declared unitary; without an adjoint, |A x| = |x|."""
    rng = subject.rng("unitary")
    x, y = subject.point(rng), subject.cotangent(rng)
    rtol = subject.adjoint_rtol
    if not subject.has_adjoint:
        before, after = (jnp.asarray(_probes.norm(vector)) for vector in (x, subject.forward(x)))
        return close(after, before, "declared unitary: |A x| and |x|", subject, rtol=rtol)
    close(subject.reverse(subject.forward(x)), x, "declared unitary: A^H A x and x", subject, rtol=rtol)
    if _leads_to_complex(subject):
        return None
    require(
        _probes.size(subject.spec) == _probes.size(subject.out),
        f"declared unitary, but from {describe_tree(subject.spec)} to {describe_tree(subject.out)}: an isometry at most",
    )
    return close(subject.forward(subject.reverse(y)), y, "declared unitary: A A^H y and y", subject, rtol=rtol)


@check(needs=("linear",), when=_between_equals("diagonal"))
def check_diagonal(subject: Subject) -> None:
    """A(s x) = s A x for random signs s, where A is declared diagonal."""
    _require_one_space(subject, "diagonal")
    rng = subject.rng("diagonal")
    x = subject.point(rng)
    signs = jax.tree.map(lambda leaf: _samples.signs(rng, leaf), x)
    flipped, expected = (
        jax.tree.map(lambda s, leaf: (s * leaf).astype(leaf.dtype), signs, tree) for tree in (x, subject.forward(x))
    )
    close(subject.forward(flipped), expected, "declared diagonal: A(s x) and s A x, s random signs", subject)
