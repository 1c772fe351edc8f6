"""What the hooks of an operator mean to each other: the calculus as a table, and how hooks are found on a class.

Every rule of differentiation in the library is an application of this table: a hook is linear in some of its
arguments (the transposed map is another hook) and differentiable in others (the derivative is another hook).
"""

from __future__ import annotations

import copy
import dataclasses
import functools
import inspect
import types
from collections.abc import Callable, Mapping
from typing import Any

from linops_jax import _compat
from linops_jax._model.kinds import Native, PerPlatform

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

HOST, TRACED, NATIVE, PER_PLATFORM, MISSING = "host", "traced", "native", "per platform", "missing"
REFUSED = "refused"  # a derivative that nobody has: zero for zero tangents, an error for others


@dataclasses.dataclass(frozen=True, eq=False)
class Hook:
    """A hook as one class has it."""

    cls: type
    name: str
    rule: Rule
    kind: str  # as above; one that is missing can be transposed but not evaluated
    function: Callable[..., Any]
    takes_out: bool = False
    in_place: bool = False  # its last argument and its result may be the same memory
    derived: bool = False  # by JAX, from a traced hook
    variants: Mapping[str, Hook] = dataclasses.field(default_factory=dict)  # by platform; "default" for the others
    by_others: Hook | None = None  # the same map as other hooks say it, which JAX differentiates in the fields

    @property
    def is_jax(self) -> bool:
        """Whether ``function`` is JAX code, at least for one platform: JAX can derive what is missing."""
        return self.kind == TRACED or any(variant.kind == TRACED for variant in self.variants.values())

    @functools.cached_property
    def is_foreign(self) -> bool:
        """Whether it is no JAX code, at least on one platform: it may raise while it runs."""
        return self.kind in (HOST, NATIVE, REFUSED) or any(variant.is_foreign for variant in self.variants.values())

    def on(self, platform: str) -> Hook | None:
        """The hook as it is on one platform."""
        return self.variants.get(platform, self.variants.get("default")) if self.variants else self

    @functools.cached_property
    def traced_variants(self) -> list[Hook]:
        """What is JAX code of a hook per platform; ``function`` is that of the first."""
        return [variant for variant in self.variants.values() if variant.kind == TRACED]

    @functools.cached_property
    def is_plain(self) -> bool:
        """Whether a traced hook has just the derivatives that JAX gives it: nobody wrote, or refused, a hook that the
        calculus would use for them."""
        if self.kind != TRACED:
            return False
        if self.derived:
            return self.cls._hooks["apply"].is_plain
        todo, seen = [self.name], {self.name}
        while todo:
            rule = self.cls._rules[todo.pop()]
            transposed = {name for name, _ in rule.transposed.values()}
            for name in (transposed | {name for name, _ in rule.derivative.values()}) - seen:
                hook = self.cls._hooks.get(name)
                is_written = hook is not None and hook.kind != MISSING and not hook.derived
                if is_written or find(self.cls, name, self) is None or (hook is None and name in transposed):
                    return False
                seen.add(name)
                todo += [name] if hook is not None else []
        return True

    @property
    def label(self) -> str:
        return f"{self.cls._label}.{self.name}"


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


def traced(function: Callable[..., Any]) -> Callable[..., Any]:
    """Marks a hook as JAX code: inlined by XLA on every platform, and still one primitive with the class's adjoint.

    With a traced ``apply`` the other hooks may be left out: JAX derives them. Of two hooks that are each other's adjoint
    (``jacobian_apply`` and ``jacobian_adjoint``, those of the Hessian, those in the fields) one that is traced is enough:
    JAX transposes it, and what it says is the derivative in both modes.
    """
    if not inspect.isfunction(function):
        advice = " Give several kinds with lo.per_platform." if isinstance(function, Native) else ""
        message = f"lo.traced marks a plain method, not {type(function).__name__}.{advice}"
        raise TypeError(message)
    function._linops_traced = True  # type: ignore[attr-defined]
    return function


def in_place(hook: Any) -> Any:
    """Declares that a hook may find its input and ``out`` in the same memory: ``@lo.in_place`` over a method that takes
    ``out``, or ``lo.in_place(lo.native(...))``.

    They are then the same where every leaf of the result has shape and dtype of the leaf of the input in its place: a
    compiled loop, or a program whose argument is donated, needs no second array. XLA copies an input first that somebody
    still needs, so that an eager call costs a copy more. The hook must not read an element of its input after it wrote
    there: ``np.multiply(x, 2, out=out)`` is right, ``out[1:] = x[:-1]`` after ``out[0] = 0`` is not. The input is the last
    argument: ``x`` of apply, ``y`` of adjoint, ``dx`` of jacobian_apply, ``dy`` of jacobian_adjoint.

    Raises TypeError for what does not take ``out``.
    """
    if not isinstance(hook, Native) and not (inspect.isfunction(hook) and takes_out(hook)):
        what = "traced code" if is_traced(hook) else getattr(hook, "__qualname__", type(hook).__name__)
        message = (
            f"lo.in_place marks a hook that fills out, `def apply(self, x, *, out)`, or lo.native(...), not {what}. "
            "Of traced code XLA decides itself."
        )
        raise TypeError(message)
    hook = copy.copy(hook) if isinstance(hook, Native) else hook  # which may serve another hook as well
    hook._linops_in_place = True
    return hook


class AlsoOperator:
    """A hook with the name of an operator: ``Blur.gram`` and, inside of hooks, ``self.gram`` are the plain method, as is
    ``super().gram`` wherever it is called; everywhere else ``A.gram`` is the operator."""

    def __init__(self, name: str, make: Callable[[Any], Any], hook: Any = None):
        self.name, self.make, self.hook = name, make, hook

    def __get__(self, op: Any, cls: Any = None) -> Any:
        if op is None:
            return self if self.hook is None else self.hook
        by_super = inspect.getattr_static(type(op), self.name) is not self
        if self.hook is not None and (by_super or _compat.inside_hook()):
            return types.MethodType(self.hook, op)
        if by_super:
            message = (
                f"{type(op)._label}: super().{self.name} is no hook, since no class above defines one. Write "
                "self.adjoint(self.apply(x)), or what is faster."
            )
            raise AttributeError(message)
        return self.make(op)


def find(cls: type, name: str, default: Any) -> Any:
    """A hook as the class statement has it."""
    value = inspect.getattr_static(cls, name, default)
    if isinstance(value, AlsoOperator):
        return default if value.hook is None else value.hook
    return value


def make_hook(cls: Any, name: str, value: Any, rule: Rule) -> Hook:
    """The hook of a value that has been checked."""
    if isinstance(value, PerPlatform):
        variants = {platform: make_hook(cls, name, variant, rule) for platform, variant in value.variants.items()}
        function = value.traced or _no_function
        return Hook(cls, name, rule, PER_PLATFORM, function, variants=variants)
    if isinstance(value, Native):
        return Hook(cls, name, rule, NATIVE, value, takes_out=True, in_place=is_in_place(value))
    kind = TRACED if is_traced(value) else HOST
    return Hook(cls, name, rule, kind, value, takes_out=takes_out(value), in_place=is_in_place(value))


def _no_function(*arguments: Any) -> Any:
    message = "a hook per platform without traced code has no one function"
    raise TypeError(message)


def is_hook(value: Any) -> bool:
    return inspect.isfunction(value) or isinstance(value, Native | PerPlatform)


def is_traced(function: Any) -> bool:
    return getattr(function, "_linops_traced", False) or (
        isinstance(function, PerPlatform) and function.traced is not None
    )


def is_in_place(value: Any) -> bool:
    return getattr(value, "_linops_in_place", False)


def takes_out(function: Callable[..., Any]) -> bool:
    parameter = inspect.signature(function).parameters.get("out")
    return parameter is not None and parameter.kind is inspect.Parameter.KEYWORD_ONLY


def check_hook(cls: type, name: str, arguments: tuple[str, ...], value: Any) -> None:
    """Raises TypeError for a hook that could not be called as it must be."""
    where = f"{cls._label}.{name}"
    expected = ", ".join(arguments)
    if value is None:
        if name in OPTIONAL:
            return
        message = f"{where} = None is not possible: only {', '.join(sorted(OPTIONAL))} may be declared missing."
        raise TypeError(message)
    if isinstance(value, PerPlatform | Native) and name in INFER:
        message = (
            f"{where} answers while JAX traces, so it must be a plain method `def {name}({expected})`, not native."
        )
        raise TypeError(message)
    if isinstance(value, PerPlatform):
        for variant in value.variants.values():
            check_hook(cls, name, arguments, variant)
        return
    if isinstance(value, Native):
        return
    if not inspect.isfunction(value):
        message = f"{where} must be a plain method `def {name}({expected})`, not {type(value).__name__}."
        raise TypeError(message)
    signature = inspect.signature(value)
    out = signature.parameters.get("out")
    if out is not None and "out" not in arguments and out.kind is not inspect.Parameter.KEYWORD_ONLY:
        message = f"{where} takes out as a positional argument: write `def {name}({expected}, *, out)`."
        raise TypeError(message)
    keywords = {"out": None} if takes_out(value) and name not in INFER else {}
    try:
        signature.bind(*arguments, **keywords)
    except TypeError as error:
        message = f"{where} must accept ({expected}), but {where}{signature} does not: {error}."
        raise TypeError(message) from None
    if is_traced(value) and takes_out(value):
        message = f"{where} is traced: JAX arrays cannot be filled in place, so drop out and return the result."
        raise TypeError(message)
