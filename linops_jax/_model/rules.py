"""What the hooks of an operator mean to each other: the calculus as a table.

Every rule of differentiation in the library is an application of this table: a hook is linear in some of its
arguments (the transposed map is another hook) and differentiable in others (the derivative is another hook).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

T = "tangent"
CT = "cotangent"


@dataclasses.dataclass(frozen=True)
class Rule:
    """One hook.

    Parameters
    ----------
    arguments : tuple of str
        Names in the order of its signature, ``self`` first.
    transposed : mapping
        From an argument in which the hook is linear to (hook, its arguments): the adjoint of that linear map.
    derivative : mapping
        From another argument to (hook, its arguments): the derivative in that direction.
    reverses : bool
        Whether the result is a cotangent: of a real input only the real part of a complex result counts.
    in_fields : bool
        Whether it is that of the fields, an operator.
    why : str
        Of a derivative: what evaluates it. Reverse mode asks for its transposes only, so it may be missing where these exist.
    """

    arguments: tuple[str, ...]
    transposed: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    derivative: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    reverses: bool = False
    in_fields: bool = False
    why: str = ""

    @functools.cached_property
    def transposes(self) -> frozenset[str]:
        """The hooks of its transposed maps."""
        return frozenset(name for name, _ in self.transposed.values())

    @functools.cached_property
    def derivatives(self) -> frozenset[str]:
        """The hooks of its derivatives."""
        return frozenset(name for name, _ in self.derivative.values())

    @functools.cached_property
    def operators(self) -> frozenset[str]:
        """What is an operator of the class: the arguments that hold fields or their tangents, and perhaps the result."""
        return frozenset({"self", "dself"} & set(self.arguments) | ({"result"} if self.in_fields else set()))

    @property
    def is_of_fields(self) -> bool:
        """Whether it is a derivative in the fields, in one of its modes."""
        return self.operators != {"self"}


_FORWARD = "forward mode and second derivatives need it (first derivatives in reverse mode do not)"

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
        why=_FORWARD,
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
        why=_FORWARD,
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
        why=_FORWARD,
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
        why="forward mode over forward mode needs it",
    ),
    "hessian_adjoint": Rule(
        ("self", "x", "dx", "dy"),
        transposed={
            "dx": ("hessian_adjoint", ("self", "x", CT, "dy")),
            "dy": ("hessian_apply", ("self", "x", "dx", CT)),
        },
        reverses=True,
    ),
    "parameter_jvp": Rule(
        ("self", "x", "dself"), transposed={"dself": ("parameter_vjp", ("self", "x", CT))}, why=_FORWARD
    ),
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

# What to say of a map where a class has none of the hooks that evaluate it.
UNKNOWN: dict[tuple[str, ...], str] = {
    ("jacobian_apply", "jacobian_adjoint"): (
        "{0} has no derivative in its input: jacobian_apply and jacobian_adjoint are None. Define {0}.jacobian_apply for "
        "forward mode, {0}.jacobian_adjoint for reverse mode."
    ),
    ("hessian_apply", "hessian_adjoint"): (
        "Second derivatives of {0} are not available: it defines its Jacobian, but not how that changes with x. Define "
        "{0}.hessian_apply and {0}.hessian_adjoint."
    ),
    (ADJOINT_PARAMETER_JVP,): (
        "{0}.adjoint has no forward-mode derivative with respect to the fields of {0}: parameter_jvp and parameter_vjp give "
        "its reverse mode only."
    ),
}

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


def all_derivatives(table: Mapping[str, Rule]) -> frozenset[str]:
    """The hooks to which a table comes by a derivative, or by transposing one."""
    found: set[str] = set()
    todo = {name for rule in table.values() for name in rule.derivatives}
    while todo:
        found |= todo
        todo = {name for hook in todo & set(table) for name in table[hook].transposes} - found
    return frozenset(found)


def refusal_of(name: str) -> str:
    """The name of what stands in for the derivative of a hook with respect to the fields where there is none."""
    return f"derivative of {name} in the fields"


def other_modes(name: str) -> frozenset[str]:
    """The hooks of which this one is the transposed map."""
    return frozenset(hook for hook, _, other in MODES if other == name)
