"""An operator to first order at a point: ``F(x + dx) = F(x) + J(x) dx + ...``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple


class Expansion(NamedTuple):
    """The derivative at a point, and a function that gives the value there; this may be called only once.

    If the class has ``linearize``, one simulation gives both. Otherwise the value costs a call of ``apply``, which is made
    only if the function is called.
    """

    jacobian: Any  # a linear operator
    value: Callable[[], Any]
