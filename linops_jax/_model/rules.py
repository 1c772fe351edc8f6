"""What the hooks of an operator mean to each other: the calculus as a table.

Every rule of differentiation in the library is an application of this table: a hook is linear in some of its
arguments (the transposed map is another hook) and differentiable in others (the derivative is another hook).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

T = "tangent"
CT = "cotangent"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One hook.

    arguments:   names in the order of its signature, ``self`` first
    transposed:  argument in which the hook is linear -> (hook, its arguments): the adjoint of that linear map
    derivative:  other argument -> (hook, its arguments): the derivative in that direction
    reverses:    the result is a cotangent: of a real input only the real part of a complex result counts
    in_fields:   that of the fields, an operator
    functional:  a function of functional.py: its transposed maps are plain transposes, and its operator says what the
                 trampoline calls, how it lays out batch axes, and what is missing
    """

    arguments: tuple[str, ...]
    transposed: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    derivative: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    reverses: bool = False
    in_fields: bool = False
    functional: bool = False


# The adjoint's own derivative with respect to the fields has no hook, but in reverse mode it is never evaluated:
# its transposes are parameter_vjp and parameter_jvp.
ADJOINT_PARAMETER_JVP = "derivative of adjoint with respect to the fields"

LINEAR: dict[str, Rule] = {
    "apply": Rule(
        ("self", "x"),
        transposed={"x": ("adjoint", ("self", CT))},
        derivative={"self": ("parameter_jvp", ("self", "x", T))},
    ),
    "adjoint": Rule(
        ("self", "y"),
        transposed={"y": ("apply", ("self", CT))},
        derivative={"self": (ADJOINT_PARAMETER_JVP, ("self", "y", T))},
        reverses=True,
    ),
    "gram": Rule(("self", "x"), transposed={"x": ("gram", ("self", CT))}, reverses=True),
    "inverse": Rule(("self", "y"), transposed={"y": ("inverse_adjoint", ("self", CT))}, reverses=True),
    "inverse_adjoint": Rule(("self", "x"), transposed={"x": ("inverse", ("self", CT))}),
    "parameter_jvp": Rule(
        ("self", "x", "dself"),
        transposed={
            "x": (ADJOINT_PARAMETER_JVP, ("self", CT, "dself")),
            "dself": ("parameter_vjp", ("self", "x", CT)),
        },
    ),
    "parameter_vjp": Rule(
        ("self", "x", "dy"),
        transposed={
            "x": (ADJOINT_PARAMETER_JVP, ("self", "dy", CT)),
            "dy": ("parameter_jvp", ("self", "x", CT)),
        },
        reverses=True,
        in_fields=True,
    ),
    ADJOINT_PARAMETER_JVP: Rule(
        ("self", "y", "dself"),
        transposed={
            "y": ("parameter_jvp", ("self", CT, "dself")),
            "dself": ("parameter_vjp", ("self", CT, "y")),
        },
        reverses=True,
    ),
}

NONLINEAR: dict[str, Rule] = {
    "apply": Rule(
        ("self", "x"),
        derivative={
            "x": ("jacobian_apply", ("self", "x", T)),
            "self": ("parameter_jvp", ("self", "x", T)),
        },
    ),
    "jacobian_apply": Rule(
        ("self", "x", "dx"),
        transposed={"dx": ("jacobian_adjoint", ("self", "x", CT))},
        derivative={"x": ("hessian_apply", ("self", "x", "dx", T))},
    ),
    "jacobian_adjoint": Rule(
        ("self", "x", "dy"),
        transposed={"dy": ("jacobian_apply", ("self", "x", CT))},
        derivative={"x": ("hessian_adjoint", ("self", "x", T, "dy"))},
        reverses=True,
    ),
    "hessian_apply": Rule(
        ("self", "x", "dx1", "dx2"),
        transposed={
            "dx1": ("hessian_adjoint", ("self", "x", "dx2", CT)),
            "dx2": ("hessian_adjoint", ("self", "x", "dx1", CT)),
        },
    ),
    "hessian_adjoint": Rule(
        ("self", "x", "dx", "dy"),
        transposed={
            "dx": ("hessian_adjoint", ("self", "x", CT, "dy")),
            "dy": ("hessian_apply", ("self", "x", "dx", CT)),
        },
        reverses=True,
    ),
    "parameter_jvp": Rule(("self", "x", "dself"), transposed={"dself": ("parameter_vjp", ("self", "x", CT))}),
    "parameter_vjp": Rule(
        ("self", "x", "dy"), transposed={"dy": ("parameter_jvp", ("self", "x", CT))}, reverses=True, in_fields=True
    ),
}

# Hooks that answer with specs: called while JAX traces, never inside a program.
INFER: dict[str, tuple[str, ...]] = {"infer_shape": ("self", "x"), "infer_adjoint_shape": ("self", "y")}

# One linear map in its two modes, as (hook, argument in which it is linear, hook of the transposed map): where JAX can
# transpose what was given, it says the other one.
MODES = (
    ("jacobian_apply", "dx", "jacobian_adjoint"),
    ("jacobian_adjoint", "dy", "jacobian_apply"),
    ("hessian_apply", "dx2", "hessian_adjoint"),
    ("hessian_adjoint", "dy", "hessian_apply"),
    ("parameter_jvp", "dself", "parameter_vjp"),
    ("parameter_vjp", "dy", "parameter_jvp"),
    ("parameter_jvp", "x", ADJOINT_PARAMETER_JVP),
)

# Hooks whose answers are cotangents: None in the place of arrays is zero, as in jax.custom_vjp.
PULLS_BACK = frozenset({"adjoint", "jacobian_adjoint", "hessian_adjoint", "parameter_vjp"})

# `hook = None` says that there is none on purpose.
OPTIONAL = frozenset({"adjoint", "jacobian_apply", "jacobian_adjoint"})

# The adjoint of a symmetric operator is the operator.
OF_SYMMETRIC = {"adjoint": "apply", "inverse_adjoint": "inverse", "infer_adjoint_shape": "infer_shape"}


def rules_of(cls: Any) -> dict[str, Rule]:
    """The table as it is for one class: where the adjoint is the operator, so is its derivative."""
    if not cls._traits.properties.symmetric:
        return dict(cls._rules)

    def of_symmetric(table: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, tuple[str, ...]]]:
        known = {ADJOINT_PARAMETER_JVP: "parameter_jvp"}
        return {argument: (known.get(name, name), arguments) for argument, (name, arguments) in table.items()}

    return {
        name: dataclasses.replace(
            rule, transposed=of_symmetric(rule.transposed), derivative=of_symmetric(rule.derivative)
        )
        for name, rule in cls._rules.items()
        if name != ADJOINT_PARAMETER_JVP
    }


def refusal_of(name: str) -> str:
    """The name of what stands in for the derivative of a hook with respect to the fields where there is none."""
    return f"derivative of {name} in the fields"


def other_modes(name: str) -> frozenset[str]:
    """The hooks of which this one is the transposed map."""
    return frozenset(hook for hook, _, other in MODES if other == name)
