"""Maps seen through a cotangent: real parts of inner products with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from linops_jax.testing import _probes
from linops_jax.testing._check import require
from linops_jax.testing._directions import inexact
from linops_jax.testing._dot_test import adjoint_tolerance
from linops_jax.testing._subject import Subject


def seen_through(dy: Any, function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Re <dy, F(x)> as a function of x."""
    return lambda x: np.float64(_probes.inner(inexact(dy), inexact(function(x))).real)


def size_through(dy: Any, y: Any) -> float:
    """The largest size that their inner product can have."""
    return _probes.norm(inexact(dy)) * _probes.norm(inexact(y))


def compare_pull(
    subject: Subject, pushed: Any, dy: Any, moved: Any, pulled: Any, what: str, argument: str, hook: str
) -> None:
    """Raises AssertionError unless <pushed, dy> = <moved, conj pulled> in real parts; ``pulled`` is JAX's own cotangent."""
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
