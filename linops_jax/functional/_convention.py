"""How functions of the functional interface are called and what is said of them.

Other than hooks of operators, they are plain transposes of each other, and are told at each lowering where their batch axes
lie.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax

from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding
from linops_jax._engine.convention import Convention
from linops_jax._engine.names import Named
from linops_jax.functional import _calling, _layouts, _missing
from linops_jax.functional._given import Given


class FunctionConvention(Convention):
    """The convention of one binding, whose ``self`` has static fields only."""

    can_be_shared_out = False
    static_parts = ("keywords", "functions")

    def __init__(self, binding: Binding):
        super().__init__(binding)
        self.given: Given = jax.tree.unflatten(binding.trees[0], ())

    @property
    def label(self) -> str:
        return self.given.label(self.binding.hook.name)

    def conj(self, x: Any) -> Any:
        return x

    def has(self, name: str) -> bool:
        return self.given.has(name)

    def missing(self, name: str, why: str) -> NotImplementedError:
        return _missing.missing(self.given, name)

    def no_derivative(self, argument: str, moves: Sequence[bool]) -> NotImplementedError:
        derivative = self.binding.hook.rule.derivative.get(argument)
        if derivative is not None:
            return _missing.missing(self.given, derivative[0])
        return _missing.not_differentiable(self.given, argument, moves)

    def not_linear(self, arguments: Sequence[str]) -> NotImplementedError:
        return _missing.not_linear(self.given, arguments)

    def host_call(self) -> tuple[Callable[..., Any], bool]:
        return _calling.caller(self.given, self.binding), False

    def layout(self, avals_in: Sequence[Any], avals_out: Sequence[Any], batch: Batch) -> Any:
        return _layouts.layout(self.given, self.binding, avals_in, avals_out, batch)

    def refuse_misfit(self) -> None:
        """Raises for a program from elsewhere that does not fit. Its static values may be anything, too."""
        given, binding = self.given, self.binding
        _refuse_other_types(given)
        fits = (
            len(given.functions) == len(given.abstracts) == len(given._rules)
            and given.functions[0] is not None
            and type(given.can_batch) is bool
            and all(len(pair) == 2 and type(pair[0]) is str for pair in given.keywords)
            and len(set(given.fixed)) == len(given.fixed) == binding.trees[1].num_leaves
            and all(i >= 0 for i in given.fixed)
        )
        if not (fits and _layouts.is_layout(binding)):
            message = (
                f"this program calls {binding.hook.cls._label} with functions, fixed arguments or batch axes that do not fit "
                "each other. Export the program again."
            )
            raise ValueError(message)
        if given.function(binding.hook.name) is None:
            raise _missing.missing(given, binding.hook.name)


def _refuse_other_types(given: Any) -> None:
    kinds = {"functions": Named | None, "abstracts": Named | None, "fixed": int, "keywords": tuple}
    for name, kind in kinds.items():
        found = getattr(given, name)
        if type(found) is not tuple or not all(isinstance(v, kind) and type(v) is not bool for v in found):
            message = f"this program has {name}={found!r:.80} for {given._label}; expected a tuple of {kind}."
            raise TypeError(message)
