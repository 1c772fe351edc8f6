"""OperatorMeta: what happens at the class statement of an operator, and after its constructor."""

from __future__ import annotations

import abc
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, dataclass_transform

from linops_jax._engine import absent, derived, primitives
from linops_jax._model import check, fields, hooks, lookup, marks, rules, shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import MISSING, REFUSED, TRACED
from linops_jax._model.properties import NAMES, Properties
from linops_jax._model.rules import ADJOINT_PARAMETER_JVP, INFER, Rule


@dataclasses.dataclass(frozen=True)
class Traits:
    """The class keywords."""

    batched: bool = False
    real_linear: bool = False
    symmetric: bool = False
    positive: bool = False
    unitary: bool = False
    diagonal: bool = False
    adjoint_rtol: float | None = None
    jacobian_rtol: float | None = None
    deterministic: bool = False

    @property
    def properties(self) -> Properties:
        return Properties(**{name: getattr(self, name) for name in NAMES})


@dataclass_transform(eq_default=False, field_specifiers=(fields.static, fields.constant))
class OperatorMeta(abc.ABCMeta):
    """Makes a dataclass, checks the hooks, makes their primitives and registers a pytree, in this order.

    A class statement that fails leaves nothing registered. ``composite=True`` is for operators made of other
    operators: their hooks are JAX code that is simply called, without a primitive.
    """

    _traits: Traits
    _label: str
    _composite: bool
    _says_domain: bool  # a class of somebody's that overrides the property
    _hooks: dict[str, Hook]
    _primitives: dict[str, Any]

    def __new__(mcls, name, bases, namespace, *, rules: Mapping[str, Rule] | None = None, composite=False, **traits):
        cls: Any = super().__new__(mcls, name, bases, namespace)
        cls._label = cls.__qualname__.rpartition("<locals>.")[2]  # how messages call it
        if rules is not None:
            cls._rules, cls._reserved = rules, frozenset(dir(cls))
        cls._traits = update_traits(cls, traits)
        cls._composite = composite or getattr(cls, "_composite", False)
        cls._own_init = "__init__" in namespace or getattr(cls, "_own_init", False)
        fields.adopt(cls)
        dataclasses.dataclass(eq=False, repr=False, init=not cls._own_init)(cls)
        fields.free_slots(cls)
        refuse_reserved_fields(cls)
        refuse_constant_fields(cls)
        cls._hooks = {} if cls._composite else collect_hooks(cls)
        cls._primitives = {hook.name: primitives.make_primitive(hook) for hook in cls._hooks.values()}
        owner = next(base for base in cls.__mro__ if "domain" in vars(base))
        cls._says_domain = not cls._composite and "_reserved" not in vars(owner)
        fields.register_pytree(cls)
        return cls

    @property
    def __signature__(cls) -> inspect.Signature:
        """That of the constructor, which ``__call__`` below would hide from inspect, help() and notebooks."""
        signature = inspect.signature(cls.__init__)
        without_self = list(signature.parameters.values())[1:]
        return signature.replace(parameters=without_self, return_annotation=inspect.Signature.empty)

    if not TYPE_CHECKING:  # type checkers are to see the dataclass's own constructor

        def __call__(cls, *args, **kwargs):
            op = super().__call__(*args, **kwargs)
            fields.seal(op, allow_numbers=cls._composite)
            if cls._says_domain and (domain := op.domain) is not None:
                shapes.as_specs(domain, f"{cls._label}.domain")
            if introductions:
                introduce()
            return op


# By module, what tells a library about our classes whose functions dispatch on types: it asks us nothing before.
introductions: dict[str, Callable[[], None]] = {}


def introduce() -> None:
    """Tells the libraries that have been imported by now, once each; imports none of them."""
    for name in [name for name in introductions if name in sys.modules]:
        if tell := introductions.pop(name, None):
            tell()


def update_traits(cls: Any, keywords: Mapping[str, Any]) -> Traits:
    known = {field.name for field in dataclasses.fields(Traits)}
    if unknown := set(keywords) - known:
        message = (
            f"class {cls._label}: unknown keyword {', '.join(sorted(unknown))}. "
            f"Operators know {', '.join(sorted(known))}."
        )
        raise TypeError(message)
    return dataclasses.replace(getattr(cls, "_traits", Traits()), **keywords)


def refuse_reserved_fields(cls: Any) -> None:
    for field in dataclasses.fields(cls):
        if field.name in getattr(cls, "_reserved", ()):
            message = f"{cls._label}.{field.name}: operators use this name themselves. Give the field another one."
            raise TypeError(message)


def refuse_constant_fields(cls: Any) -> None:
    """Of combinators, whose own code reads their fields: it is differentiated by JAX."""
    constant = [field.name for field in dataclasses.fields(cls) if fields.is_constant(field)]
    if cls._composite and constant:
        message = (
            f"{cls._label}.{constant[0]}: combinators have no constant fields. Declare the field with lo.constant() in the "
            "operators that it is made of, or use jax.lax.stop_gradient in its hooks."
        )
        raise TypeError(message)


def collect_hooks(cls: Any) -> dict[str, Hook]:
    """The hooks of a class, checked: those it has, those JAX derives, and those that exist in reverse mode only."""
    names = {**{name: rule.arguments for name, rule in cls._rules.items()}, **INFER}
    given = {name: lookup.find(cls, name, _ABSENT) for name in names}
    given = {name: value for name, value in given.items() if value is not _ABSENT and not _is_abstract(value)}
    for name, value in given.items():
        check.check_hook(cls, name, names[name], value)
    required = {name for name in names if _is_abstract(inspect.getattr_static(cls, name, None))}
    cls.__abstractmethods__ = cls.__abstractmethods__ - set(names) | required  # a parent may have had more
    if cls._traits.properties.symmetric:
        given |= {name: given[of] for name, of in rules.OF_SYMMETRIC.items() if of in given and name not in given}
        cls.__abstractmethods__ = cls.__abstractmethods__ - set(given)

    table = rules.rules_of(cls)
    written = {name: value for name, value in given.items() if value is not None and name not in INFER}
    found = {name: hooks.make_hook(cls, name, value, table[name]) for name, value in written.items()}
    found |= _transposed(table, found, given)
    if "apply" in found and found["apply"].is_jax:
        unknown = [name for name in _derivable(cls) if name not in given and not rules.other_modes(name) & set(found)]
        found |= {name: _derive(cls, name, table[name], derived.DERIVED[name]) for name in unknown}
        cls.__abstractmethods__ = cls.__abstractmethods__ - set(_derivable(cls)) - {"infer_shape"}
    found |= _transposed(table, found, given)
    if "gram" in found and "adjoint" in found:
        by_others = _derive(cls, "gram", table["gram"], derived.gram_of)
        found["gram"] = dataclasses.replace(found["gram"], by_others=by_others)
    for name in _reverse_only(found):
        if name in table:
            found[name] = Hook(cls, name, table[name], MISSING, absent.stand_in(name))
    return found | (_refusals(cls, found) if fields.array_fields(cls) else {})


_ABSENT = object()


def _is_abstract(value: Any) -> bool:
    return getattr(value, "__isabstractmethod__", False)


def _derive(cls: Any, name: str, rule: Rule, function: Callable[..., Any]) -> Hook:
    return Hook(cls, name, rule, TRACED, function, derived=True)


def _transposed(table: Mapping[str, Rule], known: Mapping[str, Hook], given: Mapping[str, Any]) -> dict[str, Hook]:
    """What the traced hooks of one mode say about the other."""
    found: dict[str, Hook] = {}
    for name, argument, other in rules.MODES:
        if name not in known or not known[name].is_jax or other not in table or other in {**given, **known}:
            continue
        if other != ADJOINT_PARAMETER_JVP or "adjoint" in known:
            function = derived.transposed(known[name], argument)
            found[other] = _derive(known[name].cls, other, table[other], function)
    return found


def _derivable(cls: Any) -> list[str]:
    names = ["adjoint", "jacobian_apply", "jacobian_adjoint"]
    adjoint = inspect.getattr_static(cls, "adjoint", None)
    if adjoint is not None and not _is_abstract(adjoint) and not marks.is_traced(adjoint):
        names += ["parameter_jvp", "parameter_vjp"]  # an adjoint by hand depends on the fields as well
    return [name for name in names if name in cls._rules]


def _reverse_only(found: Mapping[str, Hook]) -> list[str]:
    """Maps that nobody can evaluate but whose transposes exist: all that reverse mode asks of them."""
    names = []
    if "jacobian_adjoint" in found and "jacobian_apply" not in found:
        names.append("jacobian_apply")
    if "hessian_adjoint" in found and "hessian_apply" not in found:
        names.append("hessian_apply")
    if "parameter_vjp" in found and "parameter_jvp" not in found:
        names.append("parameter_jvp")
    if {"parameter_jvp", "parameter_vjp"} & set(found) and "adjoint" in found and ADJOINT_PARAMETER_JVP not in found:
        names.append(ADJOINT_PARAMETER_JVP)
    return names


def _refusals(cls: Any, known: Mapping[str, Hook]) -> dict[str, Hook]:
    """What stands in for derivatives with respect to the fields that nobody has."""
    found = {}
    for hook in known.values():
        target, _ = hook.rule.derivative.get("self", ("", ()))
        has = target in known and known[target].kind != MISSING
        if not has and (target in known or not (hook.is_jax or hook.by_others)):
            name = rules.refusal_of(hook.name)
            rule = Rule(("dself",), transposed={"dself": (hook.name, ())})
            function = absent.refusal(cls, hook.name)
            found[name] = Hook(cls, name, rule, REFUSED, function, takes_out=True)
    return found
