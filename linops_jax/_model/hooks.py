"""The description of a hook of one class."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from linops_jax._model.kinds import MISSING, TRACED, Kind, kind_of, variants_of
from linops_jax._model.lookup import find
from linops_jax._model.marks import is_in_place, takes_out, takes_plan, takes_stream
from linops_jax._model.rules import STATE, Rule


@dataclasses.dataclass(frozen=True, eq=False)
class Hook:
    """A hook of one operator class, and how it is evaluated.

    Parameters
    ----------
    cls : type
        The operator class.
    name : str
        The name of the hook.
    rule : Rule
        Its arguments and derivatives.
    kind : str
        One of the kinds in ``kinds``. A missing hook can be transposed but not evaluated.
    function : callable
        The code of the hook.
    takes_out : bool, optional
        Whether it fills the array ``out``.
    takes_plan : bool, optional
        Whether it takes what the class's ``prepare`` made, as a keyword-only argument ``plan``.
    takes_stream : bool, optional
        Whether it takes the stream of the program, as a keyword-only argument ``stream``.
    in_place : bool, optional
        Whether its last argument and its result may share memory.
    derived : bool, optional
        Whether JAX derives it from a traced hook.
    variants : mapping of str to Hook, optional
        The hook on each platform; ``"default"`` for all other platforms.
    by_others : Hook, optional
        The same map written in terms of other hooks, for JAX to differentiate.
    """

    cls: type
    name: str
    rule: Rule
    kind: Kind
    function: Callable[..., Any]
    takes_out: bool = False
    takes_plan: bool = False
    takes_stream: bool = False
    in_place: bool = False
    derived: bool = False
    variants: Mapping[str, Hook] = dataclasses.field(default_factory=dict)
    by_others: Hook | None = None

    @property
    def is_differentiable(self) -> bool:
        """Whether JAX can differentiate it: traced code does not say how a state changes with the point and the fields."""
        return self.by_others is not None or (self.is_jax and not self.takes_state)

    @property
    def takes_state(self) -> bool:
        return STATE in self.rule.arguments

    def evaluate(self, arguments: Sequence[Any], **keywords: Any) -> Any:
        """Calls the function with arguments in the order of the rule. Methods that users write get the state as a keyword."""
        if self.takes_state and not self.derived:
            named = dict(zip(self.rule.arguments, arguments, strict=True))
            keywords[STATE], arguments = named.pop(STATE), list(named.values())
        return self.function(*arguments, **keywords)

    @property
    def is_jax(self) -> bool:
        """Whether the hook is JAX code on at least one platform, so that JAX can derive missing hooks from it."""
        return self.kind == TRACED or any(variant.kind == TRACED for variant in self.variants.values())

    @functools.cached_property
    def is_foreign(self) -> bool:
        """Whether the hook is host or native code on at least one platform. Such code may raise while it runs."""
        return self.kind.is_foreign or any(variant.is_foreign for variant in self.variants.values())

    def on(self, platform: str) -> Hook | None:
        """The hook on one platform; None if it has no code for that platform."""
        return self.variants.get(platform, self.variants.get("default")) if self.variants else self

    @functools.cached_property
    def traced_variants(self) -> list[Hook]:
        """The variants that are JAX code. The hook's ``function`` is that of the first."""
        return [variant for variant in self.variants.values() if variant.kind == TRACED]

    @functools.cached_property
    def is_plain(self) -> bool:
        """Whether JAX alone defines all derivatives of a traced hook.

        It does not if the class defines a hook for one of these derivatives, or sets one to None.
        """
        if self.kind != TRACED or self.takes_state:  # JAX does not know that the state follows from the point
            return False
        if self.derived:
            return self.cls._hooks["apply"].is_plain
        todo, seen = [self.name], {self.name}
        while todo:
            rule = self.cls._rules[todo.pop()]
            for name in (rule.transposes | rule.derivatives) - seen:
                hook = self.cls._hooks.get(name)
                is_written = hook is not None and hook.kind != MISSING and not hook.derived
                if is_written or find(self.cls, name, self) is None or (hook is None and name in rule.transposes):
                    return False
                seen.add(name)
                todo += [name] if hook is not None else []
        return True

    @property
    def label(self) -> str:
        return f"{self.cls._label}.{self.name}"


def make_hook(cls: Any, name: str, value: Any, rule: Rule) -> Hook:
    """The description of a hook from its checked value in the class body."""
    variants = {platform: make_hook(cls, name, variant, rule) for platform, variant in variants_of(value).items()}
    flags = takes_out(value), takes_plan(value), takes_stream(value), is_in_place(value)
    return Hook(cls, name, rule, kind_of(value), value, *flags, variants=variants)
