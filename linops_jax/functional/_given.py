"""What was given for a bound call: its functions by name, and the order of its arguments."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from linops_jax._engine.names import Named
from linops_jax._model.declarations import static
from linops_jax._model.rules import Rule


@dataclasses.dataclass(eq=False, repr=False)
class Given:
    """The functions of a bound call. ``functions`` and ``abstracts`` are in the order of the class's rules."""

    functions: tuple[Named | None, ...] = static()
    abstracts: tuple[Named | None, ...] = static()
    fixed: tuple[int, ...] = static()
    can_batch: bool = static()
    keywords: tuple[tuple[str, Any], ...] = static()

    _rules: ClassVar[Mapping[str, Rule]]
    _given_as: ClassVar[Callable[[str], str]]

    def function(self, name: str) -> Any:
        return self._at(self.functions, name)

    def abstract(self, name: str) -> Any:
        return self._at(self.abstracts, name)

    def _at(self, values: tuple[Named | None, ...], name: str) -> Any:
        found = values[list(self._rules).index(name)]
        return None if found is None else found.function

    @property
    def name(self) -> str:
        assert self.functions[0] is not None
        return self.functions[0].label

    def promised_by(self, name: str) -> list[str]:
        """The labels of the functions that say what a function returns."""
        names = ("apply", name) if self._rules[name].with_state else (name,)
        return [Named(self.abstract(each)).label for each in names]

    def label(self, name: str) -> str:
        found = self.functions[list(self._rules).index(name)]
        return f"{self.name} ({self.given_as(name)})" if found is None else found.label

    def given_as(self, name: str) -> str:
        """How users pass a function."""
        return type(self)._given_as(name)

    def has(self, name: str) -> bool:
        """Whether a function can be evaluated, or only transposed, as a jvp is where there is a vjp."""
        rule = self._rules[name]
        return self.function(name) is not None or bool(rule.why and any(map(self.function, rule.transposes)))

    def free(self) -> Any:
        """The positions of the arguments that are not fixed."""
        return (i for i in itertools.count() if i not in self.fixed)

    def in_place(self, fixed: Sequence[Any], others: Sequence[Any]) -> list[Any]:
        """Fixed arguments and others as the function takes them."""
        positions = [*self.fixed, *itertools.islice(self.free(), len(others))]
        values = [*fixed, *others]
        return [values[i] for i in sorted(range(len(values)), key=positions.__getitem__)]

    def in_order(self, binding: Any, operands: Sequence[Any]) -> list[Any]:
        """Operands as the function takes them: its own arguments by position, then the state, tangents and cotangents."""
        keys: list[float] = []
        for name, tree in list(zip(binding.hook.rule.arguments, binding.trees, strict=True))[1:]:
            count = tree.num_leaves
            if name == "fixed":
                keys += self.fixed
            elif name == "x":
                keys += itertools.islice(self.free(), count)
            elif name.startswith("x"):
                keys.append(next(itertools.islice(self.free(), int(name[1:]), None)))
            else:
                keys += [float("inf")] * count
        return [operands[i] for i in sorted(range(len(keys)), key=keys.__getitem__)]
