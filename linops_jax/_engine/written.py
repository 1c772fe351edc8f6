"""What the trampoline calls for a hook with array fields or pytrees: a function of all its arrays in a row.

Its source is written for the structure at hand, so that tuples, dicts and operators are made as fast as Python can:
JAX's unflatten would cost more than all the rest of a small call.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from linops_jax._engine import returned
from linops_jax._model import fields
from linops_jax._model.hooks import Hook


def write_call(hook: Hook, trees: tuple[Any, ...], out_tree: Any) -> Callable[..., Any]:
    """The hook as ``call(*inputs, *outputs)`` if it fills its outputs, else as ``call(*inputs)`` with a tuple of results."""
    writer = _Writer()
    call = f"{writer.refer(hook.function)}({', '.join(map(writer.expression, trees))}"
    if hook.takes_out:
        inputs = writer.arrays
        lines = [
            f"out = {writer.expression(out_tree)}",
            f"result = {call}, out=out)",
            "if result is not None and result is not out:",
            f"    {writer.refer(_refuse_other(hook))}(result, ({writer.row(inputs)}))",
        ]
    elif jax.tree_util.treedef_is_leaf(out_tree) and not hook.rule.in_fields:
        lines = [f"return ({call}),)"]
    else:
        leaves = writer.refer(lambda result: tuple(returned.result_leaves(hook, out_tree, result)))
        lines = [f"return {leaves}({call}))"]
    return writer.function(lines, f"{__file__}, written for {hook.label}")


class _Writer:
    """Source code over arrays a0, a1, ... and whatever else it refers to."""

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
        """A pytree of the next arrays."""
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

    def function(self, lines: list[str], file: str) -> Callable[..., Any]:
        source = "\n    ".join([f"def call({self.row(0)}):", *lines])
        exec(compile(source, file, "exec"), self._names)
        return self._names.pop("call")  # no cycle: what a program owns goes with it


def _refuse_other(hook: Hook) -> Callable[[Any, tuple[Any, ...]], None]:
    """For a hook that fills its outputs and returns something: only the outputs are allowed, in any container."""

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
