"""The convention by which hooks are called and transposed, and the errors of what is not there.

Operators have this one, the functional interface has its own (``functional/_convention``). The engine asks and knows neither.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from linops_jax._engine import absent, written
from linops_jax._engine.batch import Batch
from linops_jax._engine.binding import Binding


class Convention:
    """That of one binding. A class says which one its hooks follow, as ``_convention``."""

    can_be_shared_out: ClassVar[bool] = True  # each device may be given its part of a sharded batch
    static_parts: ClassVar[tuple[str, str]] = ("static fields", "class")  # of a key: values, what is found by its name

    def __init__(self, binding: Binding):
        self.binding = binding

    @property
    def label(self) -> str:
        """How messages call the hook."""
        return self.binding.hook.label

    def conj(self, x: Any) -> Any:
        """What turns the adjoint into the transpose, before and after it."""
        return jnp.conj(x)

    # ---- what is there, and the errors of what is not ---------------------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether another hook can be bound: one that is missing can be, too, where its transposes exist."""
        cls: Any = self.binding.hook.cls
        return name in cls._hooks

    def missing(self, name: str, why: str) -> NotImplementedError:
        return absent.missing(self.binding.hook.cls, name, why)

    def no_derivative(self, argument: str, moves: Sequence[bool]) -> NotImplementedError:
        """``moves`` says which arrays of the argument have a tangent."""
        return absent.no_derivative(self.binding, argument, moves)

    def not_linear(self, arguments: Sequence[str]) -> NotImplementedError:
        message = f"{self.label} is not linear in ({', '.join(arguments)}) together."
        return NotImplementedError(message)

    # ---- foreign code -----------------------------------------------------------------------------------------------

    def host_call(self) -> tuple[Callable[..., Any], bool]:
        """What the trampoline calls, and whether that is the hook itself: arrays in, one array out."""
        binding, hook = self.binding, self.binding.hook
        direct = binding.trees[0].num_leaves == 0 and not any(binding.ignored)
        if direct and all(map(jax.tree_util.treedef_is_leaf, (*binding.trees[1:], binding.out_tree))):
            return types.MethodType(hook.function, jax.tree.unflatten(binding.trees[0], ())), True
        return written.write_call(hook, binding.trees, binding.out_tree), False  # not the binding: it owns the target

    def layout(self, avals_in: Sequence[Any], avals_out: Sequence[Any], batch: Batch) -> Any:
        """Where a host hook finds its batch axes, at every lowering; None: the trampoline loops over them, or it knows."""
        return None

    def refuse_misfit(self) -> None:
        """For a binding from elsewhere. Raises TypeError or ValueError for a layout that the hook does not take."""
        if self.binding.layout is not None:
            message = (
                f"this program has batch axes for {self.label}, which does not take them. Export the program again."
            )
            raise ValueError(message)
