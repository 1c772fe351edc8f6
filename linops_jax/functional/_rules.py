"""What the functions of a bound call mean to each other, as a table.

It is in the language of ``_model.rules``; transposes are plain, without conjugation.
"""

from __future__ import annotations

import functools

from linops_jax._model.rules import CT, Rule, T

_rule = functools.partial(Rule, functional=True)
_transpose_rule = functools.partial(Rule, functional=True, reverses=True)

LINEAR = {
    "apply": _rule(("self", "fixed", "x"), {"x": ("transpose", ("self", "fixed", CT))}),
    "transpose": _transpose_rule(("self", "fixed", "dy"), {"dy": ("apply", ("self", "fixed", CT))}),
}

_POINT = ("self", "fixed", "x")
NONLINEAR = {
    "apply": _rule(_POINT, derivative={"x": ("jvp", (*_POINT, T))}),
    "jvp": _rule((*_POINT, "dx"), {"dx": ("vjp", (*_POINT, CT))}, {"x": ("hessian_apply", (*_POINT, "dx", T))}),
    "vjp": _transpose_rule(
        (*_POINT, "dy"), {"dy": ("jvp", (*_POINT, CT))}, {"x": ("hessian_transpose", (*_POINT, T, "dy"))}
    ),
    "hessian_apply": _rule(
        (*_POINT, "dx1", "dx2"),
        {"dx1": ("hessian_transpose", (*_POINT, "dx2", CT)), "dx2": ("hessian_transpose", (*_POINT, "dx1", CT))},
    ),
    "hessian_transpose": _transpose_rule(
        (*_POINT, "dx", "dy"),
        {"dx": ("hessian_transpose", (*_POINT, CT, "dy")), "dy": ("hessian_apply", (*_POINT, "dx", CT))},
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

    rules = {"apply": _rule(("self", "fixed", *x), {x[i]: transpose(i, dy=CT) for i in range(n)})}
    for i in range(n):
        name, arguments = transpose(i, dy="dy")
        transposed = {x[j]: transpose(j, **{x[i]: CT}, dy="dy") for j in range(n) if j != i}
        transposed["dy"] = ("apply", ("self", "fixed", *(CT if name == x[i] else name for name in x)))
        rules[name] = _transpose_rule(arguments, transposed)
    return rules
