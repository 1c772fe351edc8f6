"""What the functions of a bound call mean to each other, as a table.

It is in the language of ``_model.rules``; transposes are plain, without conjugation.
"""

from __future__ import annotations

import dataclasses

from linops_jax._model.rules import CT, Rule, T, with_state

_FORWARD = "forward mode needs it"

LINEAR = {
    "apply": Rule(("self", "fixed", "x"), {"x": ("transpose", ("self", "fixed", CT))}),
    "transpose": Rule(("self", "fixed", "dy"), {"dy": ("apply", ("self", "fixed", CT))}, reverses=True),
}

_POINT = ("self", "fixed", "x")
NONLINEAR = {
    "apply": Rule(_POINT, derivative={"x": ("jvp", (*_POINT, T))}),
    "jvp": Rule(
        (*_POINT, "dx"),
        {"dx": ("vjp", (*_POINT, CT))},
        {"x": ("hessian_apply", (*_POINT, "dx", T))},
        why=_FORWARD,
    ),
    "vjp": Rule(
        (*_POINT, "dy"),
        {"dy": ("jvp", (*_POINT, CT))},
        {"x": ("hessian_transpose", (*_POINT, T, "dy"))},
        reverses=True,
    ),
    "hessian_apply": Rule(
        (*_POINT, "dx1", "dx2"),
        {"dx1": ("hessian_transpose", (*_POINT, "dx2", CT)), "dx2": ("hessian_transpose", (*_POINT, "dx1", CT))},
        why=_FORWARD,
    ),
    "hessian_transpose": Rule(
        (*_POINT, "dx", "dy"),
        {"dx": ("hessian_transpose", (*_POINT, CT, "dy")), "dy": ("hessian_apply", (*_POINT, "dx", CT))},
        reverses=True,
    ),
}

# Where ``linearize`` is given, all derivatives take its state: functions of plain arguments cannot say whether they do.
LINEARIZED = with_state(
    {**NONLINEAR, "linearize": dataclasses.replace(NONLINEAR["apply"], with_state=True)},
    frozenset(NONLINEAR) - {"apply"},
)

# What to say where none of these functions is given.
UNKNOWN = {
    ("hessian_apply", "hessian_transpose"): (
        "Second derivatives of {0} are not available: its jvp and vjp do not say how they change with the arguments. Pass "
        "hessian=(hessian_apply, hessian_transpose) to get_nonlinear_call."
    ),
}


def multilinear(n: int) -> dict[str, Rule]:
    """The rules of a function that is linear in each of n arguments.

    Its transpose in one argument is multilinear itself: in the other arguments and in the cotangent.
    """
    x = [f"x{i}" for i in range(n)]

    def transpose(i: int, **values: str) -> tuple[str, tuple[str, ...]]:
        """The transpose in argument i, and what stands for the arguments of f and for the cotangent."""
        others = [values.get(name, name) for name in x if name != x[i]]
        return f"transpose{i}", ("self", "fixed", *others, values["dy"])

    rules = {"apply": Rule(("self", "fixed", *x), {x[i]: transpose(i, dy=CT) for i in range(n)})}
    for i in range(n):
        name, arguments = transpose(i, dy="dy")
        transposed = {x[j]: transpose(j, **{x[i]: CT}, dy="dy") for j in range(n) if j != i}
        transposed["dy"] = ("apply", ("self", "fixed", *(CT if name == x[i] else name for name in x)))
        rules[name] = Rule(arguments, transposed, reverses=True)
    return rules
