"""The convention by which hooks of operators are called and transposed, and the errors for missing hooks.

The functional interface has a convention of its own, in ``functional/_convention``.
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
    """The calling convention of one binding. Each class has the convention of its hooks as ``_convention``."""

    can_be_shared_out: ClassVar[bool] = True  # whether each device may compute its part of a sharded batch
    # For messages: what the values in a key are, and what is found by its name.
    static_parts: ClassVar[tuple[str, str]] = ("static fields", "class")

    def __init__(self, binding: Binding):
        self.binding = binding

    @property
    def label(self) -> str:
        """The name of the hook in messages."""
        return self.binding.hook.label

    def conj(self, x: Any) -> Any:
        """The conjugate. It is taken before and after the adjoint, which makes it the transpose."""
        return jnp.conj(x)

    # ---- which hooks exist, and the errors for those that do not ----------------------------------------------------

    def has(self, name: str) -> bool:
        """Whether another hook of the class can be bound. A missing hook can be, too, if its transposes exist."""
        cls: Any = self.binding.hook.cls
        return name in cls._hooks

    def missing(self, name: str, why: str) -> NotImplementedError:
        return absent.missing(self.binding.hook.cls, name, why)

    def no_derivative(self, argument: str, moves: Sequence[bool]) -> NotImplementedError:
        """The error for a missing derivative; ``moves`` says which arrays of the argument have a tangent."""
        return absent.no_derivative(self.binding, argument, moves)

    def not_linear(self, arguments: Sequence[str]) -> NotImplementedError:
        message = f"{self.label} is not linear in ({', '.join(arguments)}) together."
        return NotImplementedError(message)

    # ---- foreign code -----------------------------------------------------------------------------------------------

    def host_call(self) -> tuple[Callable[..., Any], bool]:
        """The function that the trampoline calls, and whether it is called as a hook of arrays: it returns one, not a tuple."""
        binding, hook = self.binding, self.binding.hook
        takes_more = hook.takes_state or hook.takes_plan
        direct = binding.trees[0].num_leaves == 0 and not any(binding.ignored) and not takes_more
        if direct and all(map(jax.tree_util.treedef_is_leaf, (*binding.trees[1:], binding.out_tree))):
            return types.MethodType(hook.function, jax.tree.unflatten(binding.trees[0], ())), True
        # The function must not refer to the binding, which owns the target and with it the function.
        call = written.write_call(hook, binding.trees, binding.out_tree)
        return call, written.returns_array(hook, binding.out_tree)

    def layout(self, avals_in: Sequence[Any], avals_out: Sequence[Any], batch: Batch) -> Any:
        """How a host hook finds its batch axes, determined at each lowering.

        None if the trampoline loops over them, or if the hook knows them.
        """
        return None

    def refuse_misfit(self) -> None:
        """Raises TypeError or ValueError if a binding from another process has a layout that the hook does not accept."""
        if self.binding.layout is not None:
            message = (
                f"this program has batch axes for {self.label}, which does not take them. Export the program again."
            )
            raise ValueError(message)
