"""How often the host is called for what is asked."""

from __future__ import annotations

from typing import Any

import jax

from linops_jax.testing import _probes
from linops_jax.testing._check import check, require
from linops_jax.testing._subject import Subject
from linops_jax.testing.checks._transforms import pullable


@check(
    needs=("jit",),
    when=lambda subject: bool(subject.host_hooks()) and _is_not_empty(subject),
    whole="it compiles the operator with its arrays as constants",
)
def check_calls(subject: Subject) -> None:
    """One host call per evaluation on each device: of ``apply`` for a value, of the adjoint for a gradient."""
    calls: dict[str, int] = {}
    twin = subject.counting(calls)
    names = {hand.name for hand in subject.host_hooks()}
    x = subject.point(subject.rng("calls"))
    value = jax.block_until_ready(jax.jit(twin)(x))
    times = len(jax.tree.leaves(value)[0].sharding.addressable_devices)  # under an ambient mesh each of them computes
    _expect(calls, {"apply": times} if "apply" in names else {}, "jit(A)(x)")
    if not pullable(subject):
        return
    y = subject.cotangent(subject.rng("calls of adjoint"))
    forward = "linearize" if subject.has_hook("linearize") else "apply"
    reverse = "adjoint" if subject.is_linear else "jacobian_adjoint"

    def value_and_pullback(x: Any, y: Any) -> Any:
        value, pull = jax.vjp(twin, x)
        return value, pull(y)

    calls.clear()
    jax.block_until_ready(jax.jit(value_and_pullback)(x, y))
    _expect(calls, {name: times for name in (forward, reverse) if name in names}, "a value and its gradient")


def _is_not_empty(subject: Subject) -> bool:
    """Whether there is anything to compute: calls without a result are not made."""
    return _probes.size(subject.spec) > 0 and _probes.size(subject.out) > 0


def _expect(calls: dict[str, int], expected: dict[str, int], what: str) -> None:
    found = {name: count for name, count in calls.items() if name in expected or count}
    require(found == expected, f"{what} called {found or 'nothing'}, expected {expected}")
