"""The hooks of a class: those it defines, those JAX derives from them, and stand-ins for those that are missing."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from linops_jax._engine import absent, derived
from linops_jax._model import check, fields, hooks, lookup, plan, rules, state
from linops_jax._model.hooks import Hook
from linops_jax._model.kinds import MISSING, REFUSED, TRACED, is_traced
from linops_jax._model.rules import ADJOINT_PARAMETER_JVP, INFER, PROX_STEP, Rule

_ABSENT = object()


def collect_hooks(cls: Any) -> dict[str, Hook]:
    """All hooks of a class, checked. Also sets which abstract methods the class still has."""
    given = _given(cls)
    table = _table(cls, given)
    found = _written(cls, table, given)
    found |= _transposed(table, found, given)
    found |= _derived_from_apply(cls, table, found, given)
    found |= _transposed(table, found, given)
    found |= _gram(table, found)
    found |= _prox_step(table, found)
    found |= _with_state_from_point(found)
    found |= _reverse_only(cls, table, found)
    found |= _refusals(cls, found)
    cls.__abstractmethods__ = _still_abstract(cls, found, given)
    return found


def _given(cls: Any) -> dict[str, Any]:
    """What the class defines for each hook, by name: something callable, or None. Other hooks are left out."""
    names = {**{name: rule.arguments for name, rule in cls._rules.items()}, **INFER}
    given = {name: lookup.find(cls, name, _ABSENT) for name in names}
    given = {name: value for name, value in given.items() if value is not _ABSENT and not _is_abstract(value)}
    for name, value in given.items():
        check.check_hook(cls, name, names[name], value)
    if cls._traits.properties.symmetric:
        given |= {name: given[of] for name, of in rules.OF_SYMMETRIC.items() if of in given and name not in given}
    plan.check_prepare(cls, given)
    return given


def _table(cls: Any, given: Mapping[str, Any]) -> Mapping[str, Rule]:
    """The rules of the class's hooks, which depend on whether it defines ``linearize``."""
    table = rules.rules_of(cls)
    if "linearize" not in table:
        return table
    takers = state.takers(cls, given)
    if "linearize" in given:
        return rules.with_state(table, takers)
    return {name: rule for name, rule in table.items() if name != "linearize"}


def _is_abstract(value: Any) -> bool:
    return getattr(value, "__isabstractmethod__", False)


def _still_abstract(cls: Any, found: Mapping[str, Hook], given: Mapping[str, Any]) -> frozenset[str]:
    """Names of the abstract methods that the class does not define and JAX cannot derive."""
    names = {*cls._rules, *INFER}
    declared = {name for name in names if _is_abstract(inspect.getattr_static(cls, name, None))}
    known = {*given, *(name for name, hook in found.items() if hook.kind != MISSING)}
    if "apply" in found and found["apply"].is_jax:
        known |= {"infer_shape", *_derivable(cls)}
    return cls.__abstractmethods__ - names | (declared - known)  # names of other abstract methods stay


def _written(cls: Any, table: Mapping[str, Rule], given: Mapping[str, Any]) -> dict[str, Hook]:
    """The hooks that the class defines."""
    written = {name: value for name, value in given.items() if value is not None and name not in INFER}
    return {name: hooks.make_hook(cls, name, value, table[name]) for name, value in written.items()}


# ---- hooks that JAX derives ---------------------------------------------------------------------------------------------


def _derive(cls: Any, name: str, rule: Rule, function: Callable[..., Any]) -> Hook:
    return Hook(cls, name, rule, TRACED, function, derived=True)


def _transposed(table: Mapping[str, Rule], known: Mapping[str, Hook], given: Mapping[str, Any]) -> dict[str, Hook]:
    """The hooks that JAX derives by transposing a traced hook: reverse mode from forward mode, and the other way round."""
    found: dict[str, Hook] = {}
    for name, argument, other in rules.MODES:
        if name not in known or not known[name].is_jax or other not in table or other in {**given, **known}:
            continue
        if other != ADJOINT_PARAMETER_JVP or "adjoint" in known:
            function = derived.transposed(known[name], argument)
            found[other] = _derive(known[name].cls, other, table[other], function)
    return found


def _derived_from_apply(
    cls: Any, table: Mapping[str, Rule], known: Mapping[str, Hook], given: Mapping[str, Any]
) -> dict[str, Hook]:
    """The hooks that JAX derives from a traced ``apply``, where the class defines neither mode of a derivative."""
    if "apply" not in known or not known["apply"].is_jax:
        return {}
    unknown = [name for name in _derivable(cls) if name not in given and not rules.other_modes(name) & set(known)]
    return {name: _derive(cls, name, table[name], derived.DERIVED[name]) for name in unknown}


def _derivable(cls: Any) -> list[str]:
    """Names of the hooks that follow from a traced ``apply``.

    Derivatives in the fields are among them only if the class defines ``adjoint`` itself, as this depends on the fields,
    too.
    """
    adjoint = inspect.getattr_static(cls, "adjoint", None)
    by_hand = adjoint is not None and not _is_abstract(adjoint) and not is_traced(adjoint)
    return [name for name in derived.DERIVED if name in cls._rules and (by_hand or not cls._rules[name].is_of_fields)]


def _gram(table: Mapping[str, Rule], known: Mapping[str, Hook]) -> dict[str, Hook]:
    """The hook ``gram``, whose derivative in the fields comes from ``apply`` and ``adjoint``."""
    if not {"gram", "adjoint"} <= set(known):
        return {}
    gram = known["gram"]
    by_others = _derive(gram.cls, gram.name, table[gram.name], derived.gram_of)
    return {gram.name: dataclasses.replace(gram, by_others=by_others)}


def _prox_step(table: Mapping[str, Rule], known: Mapping[str, Hook]) -> dict[str, Hook]:
    """The derivative of a functional's prox in the step, by its derivative in x."""
    if not {"prox", "prox_jacobian"} <= set(known):
        return {}
    return {PROX_STEP: _derive(known["prox"].cls, PROX_STEP, table[PROX_STEP], derived.prox_step_of)}


def _with_state_from_point(known: Mapping[str, Hook]) -> dict[str, Hook]:
    """The traced hooks that take a state, each with a function of the point alone that JAX can differentiate."""
    if "linearize" not in known or not known["linearize"].is_jax:
        return {}
    found = {}
    for hook in known.values():
        if hook.takes_state and hook.is_jax:
            by_others = _derive(hook.cls, hook.name, hook.rule, derived.of_point(hook, known["linearize"]))
            found[hook.name] = dataclasses.replace(hook, by_others=by_others)
    return found


# ---- hooks that are missing ----------------------------------------------------------------------------------------------


def _reverse_only(cls: Any, table: Mapping[str, Rule], known: Mapping[str, Hook]) -> dict[str, Hook]:
    """Stand-ins for derivatives that no hook evaluates, but whose transposes exist: reverse mode needs only these."""
    found: dict[str, Hook] = {}
    for name, rule in table.items():
        others = {**known, **found}
        is_asked_for = any(name in hook.rule.derivatives for hook in others.values())
        if name not in known and rule.why and is_asked_for and rule.transposes & set(others):
            found[name] = Hook(cls, name, rule, MISSING, absent.stand_in(name))
    return found


def _refusals(cls: Any, known: Mapping[str, Hook]) -> dict[str, Hook]:
    """Stand-ins for missing derivatives with respect to the fields; they raise an error that says what to define."""
    if not fields.array_fields(cls):
        return {}
    found = {}
    for hook in known.values():
        target, _ = hook.rule.derivative.get("self", ("", ()))
        has = target in known and known[target].kind != MISSING
        if not has and (target in known or not hook.is_differentiable):
            name = rules.refusal_of(hook.name)
            rule = Rule(("dself",), transposed={"dself": (hook.name, ())})
            function = absent.refusal(cls, hook.name)
            found[name] = Hook(cls, name, rule, REFUSED, function, takes_out=True)
    return found
