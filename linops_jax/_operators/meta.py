"""OperatorMeta, the metaclass: what happens when an operator's class is defined, and after its constructor."""

from __future__ import annotations

import abc
import dataclasses
import inspect
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, dataclass_transform

from linops_jax._engine import primitives
from linops_jax._engine.convention import Convention
from linops_jax._model import declarations, fields, shapes
from linops_jax._model.hooks import Hook
from linops_jax._model.properties import NAMES, Properties
from linops_jax._model.rules import Rule
from linops_jax._operators.collect import collect_hooks
from linops_jax._operators.reserved import refuse_private_names, refuse_reserved_fields


@dataclasses.dataclass(frozen=True)
class Traits:
    """The values of the class keywords."""

    batched: bool = False
    real_linear: bool = False
    symmetric: bool = False
    positive: bool = False
    unitary: bool = False
    diagonal: bool = False
    adjoint_rtol: float | None = None
    jacobian_rtol: float | None = None
    gram_rtol: float | None = None
    deterministic: bool = False

    @property
    def properties(self) -> Properties:
        """Those of the keywords that are properties."""
        return Properties(**{name: getattr(self, name) for name in NAMES})


@dataclass_transform(eq_default=False, field_specifiers=(declarations.static, declarations.constant))
class OperatorMeta(abc.ABCMeta):
    """The metaclass: it makes a dataclass, checks the hooks, makes their primitives and registers a pytree, in this order.

    A class statement that fails leaves nothing registered. ``composite=True`` is for operators made of other operators:
    their hooks are JAX code, called without a primitive.
    """

    _traits: Traits
    _label: str
    _composite: bool
    _says_domain: bool  # whether a user's class overrides the property domain
    _hooks: dict[str, Hook]
    _primitives: dict[str, Any]
    _convention = Convention

    def __new__(mcls, name, bases, namespace, *, rules: Mapping[str, Rule] | None = None, composite=False, **traits):
        cls: Any = super().__new__(mcls, name, bases, namespace)
        cls._label = cls.__qualname__.rpartition("<locals>.")[2]  # its name in messages
        refuse_private_names(cls, namespace)
        if rules is not None:
            cls._rules, cls._reserved = rules, frozenset(dir(cls))
        cls._traits = update_traits(cls, traits)
        cls._composite = composite or getattr(cls, "_composite", False)
        cls._own_init = "__init__" in namespace or getattr(cls, "_own_init", False)
        declarations.adopt(cls)
        dataclasses.dataclass(eq=False, repr=False, init=not cls._own_init)(cls)
        declarations.free_slots(cls)
        refuse_reserved_fields(cls)
        cls._hooks = {} if cls._composite else collect_hooks(cls)
        cls._primitives = {hook.name: primitives.make_primitive(hook) for hook in cls._hooks.values()}
        owner = next(base for base in cls.__mro__ if "domain" in vars(base))
        cls._says_domain = not cls._composite and "_reserved" not in vars(owner)
        fields.register_pytree(cls)
        return cls

    @property
    def __signature__(cls) -> inspect.Signature:
        """The signature of the constructor, which inspect, help() and notebooks would not find behind ``__call__``."""
        signature = inspect.signature(cls.__init__)
        without_self = list(signature.parameters.values())[1:]
        return signature.replace(parameters=without_self, return_annotation=inspect.Signature.empty)

    if not TYPE_CHECKING:  # type checkers have to see the dataclass's constructor

        def __call__(cls, *args, **kwargs):
            op = super().__call__(*args, **kwargs)
            fields.seal(op, allow_numbers=cls._composite)
            if cls._says_domain and (domain := op.domain) is not None:
                shapes.as_specs(domain, f"{cls._label}.domain")
            if introductions:
                introduce()
            return op


# By name of a library that dispatches on types: the function that registers our classes with it.
introductions: dict[str, Callable[[], None]] = {}


def introduce() -> None:
    """Registers our classes with the libraries that are imported by now, each once. It imports none of them."""
    for name in [name for name in introductions if name in sys.modules]:
        if tell := introductions.pop(name, None):
            tell()


def update_traits(cls: Any, keywords: Mapping[str, Any]) -> Traits:
    """The traits of a class: those it inherits, changed by the keywords of its class statement."""
    known = {field.name for field in dataclasses.fields(Traits)}
    if unknown := set(keywords) - known:
        message = (
            f"class {cls._label}: unknown keyword {', '.join(sorted(unknown))}. "
            f"Operators know {', '.join(sorted(known))}."
        )
        raise TypeError(message)
    return dataclasses.replace(getattr(cls, "_traits", Traits()), **keywords)
