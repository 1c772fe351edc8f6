"""All checks of an operator, run together."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any

from linops_jax._linear import LinearOperator
from linops_jax.testing import checks
from linops_jax.testing._dot_test import input_spec

_LINEAR = (
    checks.check_promises,
    checks.check_linear,
    checks.check_adjoint,
    checks.check_dense_adjoint,
    checks.check_adjoint_of_adjoint,
    checks.check_transpose,
    checks.check_jit,
    checks.check_vmap,
    checks.check_vmap_over_fields,
    checks.check_jvp,
    checks.check_vjp,
)
_FORWARD_ONLY = (
    checks.check_promises,
    checks.check_linear,
    checks.check_jit,
    checks.check_vmap,
    checks.check_vmap_over_fields,
    checks.check_jvp,
)
_NONLINEAR = (
    checks.check_promises,
    checks.check_jit,
    checks.check_vmap,
    checks.check_vmap_over_fields,
)
_NEEDS_FORWARD = (checks.check_jacobian, checks.check_jacobian_linear, checks.check_jvp)
_NEEDS_REVERSE = (checks.check_vjp,)


class CheckError(AssertionError):
    """Some checks of an operator failed; the text lists every one."""


def operator_checks(op: Any, x: Any = None) -> Iterator[tuple[str, Callable[[], None]]]:
    """Yields ``(name, check)`` for every identity that applies to ``op``; ``check()`` raises AssertionError.

    x: specs or example arrays of the input; may be left out where ``op.domain`` is known
    """
    spec = input_spec(op, x, f"operator_checks({op!r})")
    for check in _applicable(op):
        yield check.__name__.removeprefix("check_"), functools.partial(check, op, spec)


def _applicable(op: Any) -> tuple[Callable[[Any, Any], None], ...]:
    if isinstance(op, LinearOperator):
        return _LINEAR if checks._has_reverse(op) else _FORWARD_ONLY
    forward, reverse = checks._has_forward(op), checks._has_reverse(op)
    selected = _NONLINEAR + (_NEEDS_FORWARD if forward else ()) + (_NEEDS_REVERSE if reverse else ())
    return (*selected, checks.check_jacobian_adjoint) if forward and reverse else selected


def check_operator(op: Any, x: Any = None) -> None:
    """Runs every check and raises one CheckError that lists all failures, explained.

    x: specs or example arrays of the input; may be left out where ``op.domain`` is known
    """
    names, failures = [], []
    for name, check in operator_checks(op, x):
        names.append(name)
        try:
            check()
        except Exception as error:
            kind = "" if isinstance(error, AssertionError) else f"{type(error).__name__}: "
            notes = "".join(f" [{note}]" for note in getattr(error, "__notes__", ()))
            failures.append(f"  {name}: {kind}{error}{notes}")
    if failures:
        message = f"{op!r} fails {len(failures)} of {len(names)} checks:\n" + "\n".join(failures)
        raise CheckError(message)
