"""Factors of a product that are made of the same operator: the pytree has this operator only once.

So its parameters stay the same in all of these factors. A factor is an operator, its base, with adjoints and domains around
it. The text ``2=0H 3=1.`` says that factor 2 is the adjoint of the base of factor 0, and that factor 3 is factor 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from linops_jax.algebra._adjoint import Adjoint
from linops_jax.algebra._composite import of_checked_parts
from linops_jax.algebra._domain import WithDomain


def base(op: Any) -> Any:
    """The operator in a factor, without adjoints and domains around it."""
    while isinstance(op, Adjoint | WithDomain):
        op = op.op
    return op


def is_adjoint(op: Any) -> bool:
    """Whether a factor is the adjoint of its base."""
    return _wrappers(op)[0].count("H") % 2 == 1


def _wrappers(op: Any) -> tuple[str, tuple[Any, ...]]:
    """What is around the base, from outside to inside, as letters (H: an adjoint, D: a domain); and the domains."""
    letters, domains = "", []
    while isinstance(op, Adjoint | WithDomain):
        letters += "H" if isinstance(op, Adjoint) else "D"
        domains += [(op.leaves, op.tree)] if isinstance(op, WithDomain) else []
        op = op.op
    return letters, tuple(domains)


def again(first: Any, letters: str, domains: Iterator[Any]) -> Any:
    """The factor with these letters around the base of an earlier factor."""
    return first if letters == "." else _wrapped(base(first), letters, domains)


def _wrapped(op: Any, letters: str, domains: Iterator[Any]) -> Any:
    """The operator with the adjoints and domains around it that the letters say."""
    own = [next(domains) for letter in letters if letter == "D"]
    for letter in reversed(letters):
        op = of_checked_parts(Adjoint, (), (op,)) if letter == "H" else of_checked_parts(WithDomain, own.pop(), (op,))
    return op


def find(factors: tuple[Any, ...], parts: tuple[int, ...], start: int = 0) -> tuple[str, tuple[Any, ...]]:
    """The fields ``repeats`` and ``repeated_domains`` of a product, for its factors from ``start`` on."""
    text, domains = "", ()
    for i in range(start, len(parts)):
        if (first := parts.index(parts[i])) < i:
            letters, own = (".", ()) if factors[i] is factors[first] else _wrappers(factors[i])
            text, domains = f"{text}{i}={first}{letters} ", domains + own
    return text, domains


def read(repeats: str) -> dict[int, tuple[int, str]]:
    """For each factor that comes again: the position of the earlier factor, and the letters."""
    return {int(i): (int(first), letters) for i, first, letters in re.findall(r"(\d+)=(\d+)([HD.]*)", repeats)}
