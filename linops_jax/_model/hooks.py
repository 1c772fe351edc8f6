"""A hook as one class has it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

from linops_jax._model.kinds import HOST, MISSING, NATIVE, PER_PLATFORM, REFUSED, TRACED, Native, PerPlatform
from linops_jax._model.lookup import find
from linops_jax._model.marks import is_in_place, is_traced, takes_out
from linops_jax._model.rules import Rule


@dataclasses.dataclass(frozen=True, eq=False)
class Hook:
    """A hook as one class has it."""

    cls: type
    name: str
    rule: Rule
    kind: str  # its name in kinds; one that is missing can be transposed but not evaluated
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
