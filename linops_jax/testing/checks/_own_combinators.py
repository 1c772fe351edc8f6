"""What combinators say of themselves as operators, for ``lo.simplify`` and ``A.inv``."""

from __future__ import annotations

from typing import Any

import linops_jax as lo
from linops_jax.testing._check import check, close
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._linear import fixed, is_inexact, small_residual


def _combinator(subject: Subject) -> Any:
    """The combinator, inside ``with_domain`` too; None for other operators."""
    op = subject.op
    op = op.op if isinstance(op, lo.algebra.WithDomain | lo.algebra.NonlinearWithDomain) else op
    return op if isinstance(op, lo.algebra.Combinator | lo.algebra.NonlinearCombinator) else None


def _says_inverse(subject: Subject) -> bool:
    op = _combinator(subject)
    return isinstance(op, lo.algebra.Combinator) and op.inverse_operator() is not None and is_inexact(subject)


@check(needs=("repeatable", "adjoint"), when=lambda subject: _combinator(subject) is not None)
def check_simplified(subject: Subject) -> None:
    """lo.simplify(A) = A by the rules of a combinator, and lo.simplify(A.H) = A.H by its adjoint_operator."""
    rng, op = subject.rng("simplified"), fixed(subject)
    x, y = subject.point(rng), subject.cotangent(rng)
    close(lo.simplify(op)(x), op(x), "lo.simplify(A)(x) and A(x)", subject)
    if subject.has_adjoint and is_inexact(subject):
        close(lo.simplify(op.H)(y), op.H(y), "lo.simplify(A.H)(y) and A.H(y)", subject, rtol=subject.adjoint_rtol)


@check(needs=("linear",), when=_says_inverse)
def check_inverse_operator(subject: Subject) -> str | None:
    """The inverse_operator of a combinator solves A x = y for y in the range of A: the residual is rounding."""
    inverse = _combinator(subject).inverse_operator()
    if inverse.properties.adjoint_rtol is not None:
        return "skipped: the inverse is declared inexact, as one by an iterative solver is"
    y = subject.forward(subject.point(subject.rng("inverse")))
    small_residual(subject, subject.forward, inverse(y), y, "A inverse_operator()(y) and y")
    return None
