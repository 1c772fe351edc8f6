"""An operator to first order at a point: ``F(x + dx) = F(x) + J(x) dx + ...``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Expansion(NamedTuple):
    """The derivative at a point, and a function that gives the value there, to be called once at most.

    One simulation gives both where a class has ``linearize``; elsewhere the value costs a call of ``apply``, which is made only
    if somebody asks for it.
    """

    jacobian: Any  # a linear operator
    value: Callable[[], Any]
