"""Generated functions that call hooks with array fields or pytrees, and all device hooks.

Such a function takes all arrays as separate arguments. Its source code is generated for the tree structures of a call, so
that it builds tuples, dicts and operators directly. ``jax.tree.unflatten`` would take longer than everything else in a
small call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from linops_jax._engine import returned
from linops_jax._model import fields
from linops_jax._model.hooks import Hook
from linops_jax._model.marks import STREAM
from linops_jax._model.plan import PLAN
from linops_jax._model.rules import STATE


def write_call(hook: Hook, trees: tuple[Any, ...], out_tree: Any) -> Callable[..., Any]:
    """The hook as a function of arrays.

    It is ``call(*inputs, *outputs)`` if the hook takes ``out``, otherwise ``call(*inputs)``, which returns an array or a tuple.
    The last arguments are the plan and the stream of the program, if the hook takes them.
    """
    writer = _Writer()
    written = dict(zip(hook.rule.arguments, map(writer.expression, trees), strict=True))
    last = [f"{STATE}={written.pop(STATE)}"] if hook.takes_state else []
    extra = [name for name, takes in ((PLAN, hook.takes_plan), (STREAM, hook.takes_stream)) if takes]
    last += [f"{name}={name}" for name in extra]
    call = f"{writer.refer(hook.function)}({', '.join([*written.values(), *last])}"
    if hook.takes_out:
        inputs = writer.arrays
        lines = [
            f"out = {writer.expression(out_tree)}",
            f"result = {call}, out=out)",
            "if result is not None and result is not out:",
            f"    {writer.refer(_refuse_other(hook))}(result, ({writer.row(inputs)}))",
        ]
    elif returns_array(hook, out_tree):
        lines = [f"return {call})"]
    else:
        leaves = writer.refer(lambda result: tuple(returned.result_leaves(hook, out_tree, result)))
        lines = [f"return {leaves}({call}))"]
    return writer.function(lines, ", ".join(extra), f"{__file__}, written for {hook.label}")


def returns_array(hook: Hook, out_tree: Any) -> bool:
    """Whether the function of ``write_call`` returns what the hook returns, one array."""
    return jax.tree_util.treedef_is_leaf(out_tree) and not hook.rule.in_fields and not hook.takes_out


class _Writer:
    """Source code with the arrays ``a0``, ``a1``, ... and other objects ``v0``, ``v1``, ... as variables."""

    def __init__(self) -> None:
        self.arrays = 0
        self._names: dict[str, Any] = {}

    def refer(self, value: Any) -> str:
        name = f"v{len(self._names)}"
        self._names[name] = value
        return name

    def row(self, first: int) -> str:
        return "".join(f"a{i}, " for i in range(first, self.arrays))

    def expression(self, tree: Any) -> str:
        """The source code of a pytree with the next arrays as leaves."""
        node = tree.node_data()
        if node is None:
            self.arrays += 1
            return f"a{self.arrays - 1}"
        kind, aux = node
        if kind is type(None):
            return "None"
        if kind not in (tuple, list, dict) and not fields.is_operator_class(kind):
            first = self.arrays
            self.arrays += tree.num_leaves
            return f"{self.refer(jax.tree.unflatten)}({self.refer(tree)}, ({self.row(first)}))"
        if tree.num_leaves == 0 and fields.is_operator_class(kind):
            return self.refer(jax.tree.unflatten(tree, ()))  # it is the same in every call
        children = list(map(self.expression, tree.children()))
        if kind is tuple:
            return f"({''.join(f'{child}, ' for child in children)})"
        if kind is list:
            return f"[{', '.join(children)}]"
        if kind is dict:
            return f"{{{', '.join(f'{self.refer(key)}: {child}' for key, child in zip(aux, children, strict=True))}}}"
        values = [f"{name!r}: {child}" for name, child in zip(fields.array_fields(kind), children, strict=True)]
        fixed = fields.fixed_values(kind, aux)
        return f"{self.refer(fields.from_values)}({self.refer(kind)}, {{**{self.refer(fixed)}, {', '.join(values)}}})"

    def function(self, lines: list[str], extra: str, file: str) -> Callable[..., Any]:
        source = "\n    ".join([f"def call({self.row(0)}{extra}):", *lines])
        exec(compile(source, file, "exec"), self._names)
        return self._names.pop("call")  # avoids a reference cycle, so that the function is freed with its program


def _refuse_other(hook: Hook) -> Callable[[Any, tuple[Any, ...]], None]:
    """A function that raises TypeError if a hook that takes ``out`` returns anything but its outputs."""

    def refuse(result: Any, outputs: tuple[Any, ...]) -> None:
        leaves = jax.tree.leaves(result)
        if len(leaves) == len(outputs) and all(a is b for a, b in zip(leaves, outputs, strict=True)):
            return
        message = (
            f"{hook.label} takes out=, so it must fill it and return None or out itself, but it returned "
            f"{returned.describe(result)}. Write into out, or drop the parameter and return the result."
        )
        raise TypeError(message)

    return refuse
