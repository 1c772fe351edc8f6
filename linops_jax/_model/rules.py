"""The table of hooks: their arguments, adjoints and derivatives.

Every rule of differentiation in the library uses this table. A hook is linear in some of its arguments, and another hook
is the adjoint of this linear map. It is differentiable in other arguments, and another hook is the derivative.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

T = "tangent"
CT = "cotangent"
STATE = "state"  # what ``linearize`` stores for the derivatives at a point


@dataclasses.dataclass(frozen=True)
class Rule:
    """The arguments and derivatives of one hook.

    Parameters
    ----------
    arguments : tuple of str
        The names of its arguments in the order of the signature, ``self`` first.
    transposed : mapping, optional
        For each argument in which the hook is linear: the hook that is the adjoint of this linear map, and its arguments.
    derivative : mapping, optional
        For each other argument: the hook that is the derivative with respect to it, and the arguments of that hook.
    reverses : bool, optional
        Whether the result is a cotangent. If the input is real, only the real part of a complex cotangent counts.
    none_is_zero : bool, optional
        Whether None in place of arrays of the result means zero, as for cotangents in ``jax.custom_vjp``.
    in_fields : bool, optional
        Whether the result is a cotangent of the fields, in the form of an operator.
    stays : bool, optional
        Whether the result is a point of the domain, like x.
    remembers : str, optional
        A hook that returns the same value together with a state. It is evaluated instead if derivatives are needed.
    with_state : bool, optional
        Whether the result is a pair of a value and a state. The state has no derivative.
    why : str, optional
        For a derivative: when it is evaluated, for the message if it is missing. Reverse mode evaluates only the
        transposes of a derivative, so the derivative may be missing if its transposes exist.
    """

    arguments: tuple[str, ...]
    transposed: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    derivative: Mapping[str, tuple[str, tuple[str, ...]]] = dataclasses.field(default_factory=dict)
    reverses: bool = False
    none_is_zero: bool = False
    in_fields: bool = False
    stays: bool = False
    remembers: str = ""
    with_state: bool = False
    why: str = ""

    @functools.cached_property
    def transposes(self) -> frozenset[str]:
        """The names of the hooks that are adjoints of this hook."""
        return frozenset(name for name, _ in self.transposed.values())

    @functools.cached_property
    def derivatives(self) -> frozenset[str]:
        """The names of the hooks that are derivatives of this hook."""
        return frozenset(name for name, _ in self.derivative.values())

    @functools.cached_property
    def operators(self) -> frozenset[str]:
        """The arguments that are operators (they hold fields or tangents of fields), and ``"result"`` if the result is one."""
        return frozenset({"self", "dself"} & set(self.arguments) | ({"result"} if self.in_fields else set()))

    @property
    def ends_in_domain(self) -> bool:
        """Whether the result has the shapes and dtypes of the input x, or of the fields."""
        return self.reverses or self.stays

    @property
    def of_domain(self) -> str:
        """What is in the operator's domain: the argument x, or else ``"result"``, as for the adjoint."""
        return "x" if "x" in self.arguments else "result"

    @property
    def is_of_fields(self) -> bool:
        """Whether the hook is a derivative with respect to the fields, in forward or reverse mode."""
        return self.operators != {"self"}


_FORWARD = "forward mode and second derivatives need it (first derivatives in reverse mode do not)"

# Users define no hook for the derivative of the adjoint with respect to the fields. Reverse mode never evaluates this
# derivative, only its transposes, which are parameter_vjp and parameter_jvp.
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
        none_is_zero=True,
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
        none_is_zero=True,
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
    "linearize": Rule(
        ("self", "x"),
        derivative={
            "x": ("jacobian_apply", ("self", "x", T)),
            "self": ("parameter_jvp", ("self", "x", T)),
        },
        with_state=True,
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
        none_is_zero=True,
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
        none_is_zero=True,
    ),
    "parameter_jvp": Rule(
        ("self", "x", "dself"), transposed={"dself": ("parameter_vjp", ("self", "x", CT))}, why=_FORWARD
    ),
    "parameter_vjp": Rule(
        ("self", "x", "dy"),
        transposed={"dy": ("parameter_jvp", ("self", "x", CT))},
        reverses=True,
        none_is_zero=True,
        in_fields=True,
    ),
}

# The derivative of a prox in its step follows from the one in x, see ``_engine/derived``, so users define no hook for it.
PROX_STEP = "derivative of prox with respect to step"

FUNCTIONAL: dict[str, Rule] = {
    **NONLINEAR,
    "prox": Rule(
        ("self", "x", "step"),
        derivative={
            "x": ("prox_jacobian", ("self", "x", "step", T)),
            "step": (PROX_STEP, ("self", "x", "step", T)),
        },
        stays=True,
    ),
    "prox_jacobian": Rule(
        ("self", "x", "step", "dx"),
        transposed={
            "dx": ("prox_jacobian", ("self", "x", "step", CT))
        },  # self-adjoint: prox is the gradient of a function
        stays=True,
    ),
    PROX_STEP: Rule(("self", "x", "step", "dstep"), stays=True),
}

# Hooks that return specs. They are called while JAX traces, and never by a program.
INFER: dict[str, tuple[str, ...]] = {
    "infer_shape": ("self", "x"),
    "infer_adjoint_shape": ("self", "y"),
    "infer_state_shape": ("self", "x"),
}

# Pairs of hooks that are transposes of each other: (hook, argument in which it is linear, hook of the transposed map).
# If a class defines only the first, and it is traced, JAX derives the second.
MODES = (
    ("jacobian_apply", "dx", "jacobian_adjoint"),
    ("jacobian_adjoint", "dy", "jacobian_apply"),
    ("hessian_apply", "dx2", "hessian_adjoint"),
    ("hessian_adjoint", "dy", "hessian_apply"),
    ("parameter_jvp", "dself", "parameter_vjp"),
    ("parameter_vjp", "dy", "parameter_jvp"),
    ("parameter_jvp", "x", ADJOINT_PARAMETER_JVP),
)

# Error messages for a derivative if a class has none of the hooks that evaluate it.
_NO_PROX_JACOBIAN = (
    "{0}.prox has no derivative. Define {0}.prox_jacobian(self, x, step, dx), its derivative at x in the direction dx; the one "
    "in the step follows. Or write {0}.prox with lo.traced."
)
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
    ("prox_jacobian",): _NO_PROX_JACOBIAN,
    (PROX_STEP,): _NO_PROX_JACOBIAN,
}

# Hooks that may take the state of ``linearize``. The first two must take it.
TAKE_STATE = (
    "jacobian_apply",
    "jacobian_adjoint",
    "hessian_apply",
    "hessian_adjoint",
    "parameter_jvp",
    "parameter_vjp",
)

# Hooks that a class may set to None, to declare that it has none.
OPTIONAL = frozenset({"adjoint", "jacobian_apply", "jacobian_adjoint"})

# For a symmetric operator: the hook that is used for each of these.
OF_SYMMETRIC = {"adjoint": "apply", "inverse_adjoint": "inverse", "infer_adjoint_shape": "infer_shape"}


def rules_of(cls: Any) -> dict[str, Rule]:
    """The table of one class. For a symmetric operator, the derivative of the adjoint is the derivative of ``apply``."""
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


def with_state(table: Mapping[str, Rule], takers: frozenset[str]) -> dict[str, Rule]:
    """The table of a class with ``linearize``: the hooks in ``takers`` have the argument ``state`` after ``x``."""

    def after_point(names: tuple[str, ...]) -> tuple[str, ...]:
        first = names.index("x") + 1
        return (*names[:first], STATE, *names[first:])

    def targets(entries: Mapping[str, tuple[str, tuple[str, ...]]]) -> dict[str, tuple[str, tuple[str, ...]]]:
        return {name: (hook, after_point(args) if hook in takers else args) for name, (hook, args) in entries.items()}

    return {
        name: dataclasses.replace(
            rule,
            arguments=after_point(rule.arguments) if name in takers else rule.arguments,
            transposed=targets(rule.transposed),
            derivative=targets(rule.derivative),
            remembers="linearize" if name == "apply" else "",
        )
        for name, rule in table.items()
    }


def all_derivatives(table: Mapping[str, Rule]) -> frozenset[str]:
    """The names of all hooks of a table that are derivatives, or transposes of derivatives."""
    found: set[str] = set()
    todo = {name for rule in table.values() for name in rule.derivatives}
    while todo:
        found |= todo
        todo = {name for hook in todo & set(table) for name in table[hook].transposes} - found
    return frozenset(found)


def refusal_of(name: str) -> str:
    """The name of the internal hook that replaces a missing derivative of a hook with respect to the fields."""
    return f"derivative of {name} in the fields"


def other_modes(name: str) -> frozenset[str]:
    """The names of the hooks whose transposed map is this hook."""
    return frozenset(hook for hook, _, other in MODES if other == name)
