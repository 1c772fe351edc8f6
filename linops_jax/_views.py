"""Operators as trees: one line per part, as text and for notebooks. How the lines themselves print is in printing.py."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterator
from typing import Any

import jax

from linops_jax._model import shapes
from linops_jax._model.kinds import MISSING, REFUSED
from linops_jax._operators import constructors, printing
from linops_jax._operators.operator import Operator
from linops_jax.algebra import _parts

_INDENTED = "margin-left:0.35em;padding-left:1em;border-left:1px solid rgba(128,128,128,0.5)"
_CODE = (
    "font-family:monospace;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.5;color:inherit;background:none"
)


@dataclasses.dataclass(frozen=True, repr=False)
class TreeView:
    """An operator and its parts. Prints as a text tree; a notebook shows it as nested sections.

    name:     where it is in the operator around it, ``factors[0]``; empty at the root
    label:    its class, and those of its fields that are not operators
    spaces:   ``f32[3] -> f32[4]``, where known
    notes:    its known properties, and its hooks by kind: host, traced, or derived by JAX
    children: its parts, in the order of its fields
    """

    name: str
    label: str
    spaces: str
    notes: tuple[str, ...]
    children: tuple[TreeView, ...]

    def _line(self) -> str:
        name = f"{self.name} = " if self.name else ""
        return "  |  ".join([f"{name}{self.label}{f' : {self.spaces}' if self.spaces else ''}", *self.notes])

    def __rich__(self) -> Any:
        from rich.text import Text
        from rich.tree import Tree

        def grow(tree: Tree, view: TreeView) -> Tree:
            for child in view.children:
                grow(tree.add(Text(child._line(), no_wrap=True)), child)
            return tree

        return grow(Tree(Text(self._line(), no_wrap=True)), self)

    def __str__(self) -> str:
        from rich.console import Console

        width = max(len(view._line()) + 4 * depth for depth, view in self._walk())
        console = Console(width=width + 1, force_terminal=False, color_system=None, legacy_windows=False)
        with console.capture() as capture:
            console.print(self)
        return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return f'<div style="{_CODE}">{self._section(is_open=True)}</div>'

    def _walk(self, depth: int = 0) -> Iterator[tuple[int, TreeView]]:
        yield depth, self
        for child in self.children:
            yield from child._walk(depth + 1)

    def _section(self, is_open: bool) -> str:
        name = f'<span style="opacity:0.6">{html.escape(self.name)} = </span>' if self.name else ""
        spaces = f" : {html.escape(self.spaces)}" if self.spaces else ""
        notes = "".join(f'<span style="opacity:0.6">  |  {html.escape(note)}</span>' for note in self.notes)
        kind, bracket, fields = html.escape(self.label).partition("(")
        line = f"{name}<b>{kind}</b>{bracket}{fields}{spaces}{notes}"
        parts = "".join(child._section(is_open) for child in self.children)
        return _details(line, parts, is_open) if parts else f'<div style="padding-left:1.1em">{line}</div>'


def _details(summary: str, body: str, is_open: bool) -> str:
    opened = " open" if is_open else ""
    summary = f'<summary style="cursor:pointer">{summary}</summary>'
    return f'<details{opened}>{summary}<div style="{_INDENTED}">{body}</div></details>'


@constructors.html.define
def operator_html(op: Operator) -> str:
    """Mathematics with shapes; the tree of parts unfolds below."""
    view = tree(op)._section(is_open=True)
    return f'<div style="{_CODE}">{_details(html.escape(str(op)), view, is_open=False)}</div>'


def tree(op: Any) -> TreeView:
    """The parts of an operator, one line each: class, fields, shapes, known properties, kinds of hooks.

    ``print(lo.tree(op))`` shows a text tree; the last value of a notebook cell shows as nested sections. Shapes are there
    where the domain is known: fix it with ``op.with_domain(spec)``. Raises TypeError for what is not an operator.
    """
    if not isinstance(op, Operator):
        message = (
            f"lo.tree: expected an operator, found {type(op).__name__}. Pass a LinearOperator or a NonlinearOperator."
        )
        raise TypeError(message)
    return _view("", op, None, None)


def _view(name: str, op: Any, domain: Any, codomain: Any) -> TreeView:
    """What surrounds an operator may know its domain and codomain where it does not itself."""
    domain = domain if op.domain is None else op.domain
    if op._bare() is not op:
        return _view(name, op._bare(), domain, codomain)
    codomain = _parts.result(op, domain) if codomain is None else codomain
    values = {f.name: getattr(op, f.name) for f in dataclasses.fields(op) if f.name not in op._hidden}
    leaves = {
        f"{field}{jax.tree_util.keystr(path)}": leaf
        for field, value in values.items()
        for path, leaf in jax.tree_util.tree_leaves_with_path(value, is_leaf=_parts.is_operator)
    }
    parts = {where: part for where, part in leaves.items() if isinstance(part, Operator)}
    known = dict(zip(parts, op._spaces_of_parts(domain, codomain), strict=False))
    return TreeView(
        name,
        _label(op, values, leaves, parts),
        printing.spaces(domain, codomain),
        (*_properties(op), *_hooks(op)),
        tuple(_view(where, part, *known.get(where, (None, None))) for where, part in parts.items()),
    )


def _label(op: Any, values: dict[str, Any], leaves: dict[str, Any], parts: dict[str, Any]) -> str:
    if not parts and op._prints_itself():
        return repr(op)
    shown = dict(values)
    for field in {where for where in values if any(part.startswith(where) for part in parts)}:
        del shown[field]  # a container of operators: what else is in it is listed one by one
        shown |= {where: leaf for where, leaf in leaves.items() if where.startswith(f"{field}[") and where not in parts}
    fields = ", ".join(f"{where}={_value(value)}" for where, value in shown.items())
    return f"{type(op)._label}({fields})" if fields else type(op)._label


def _value(value: Any) -> str:
    if callable(value):
        return getattr(value, "__name__", type(value).__name__)
    is_number = shapes.is_spec(value) and value.shape == ()
    number = printing.short.scalar(value) if is_number else "a"
    return printing.value(value) if number == "a" else number  # a number that is not known has a dtype at least


def _properties(op: Any) -> Iterator[str]:
    known = dataclasses.asdict(op.properties)
    texts = [
        name if value is True else f"{name}={value}" for name, value in known.items() if value not in (False, None)
    ]
    if texts:
        yield ", ".join(texts)


def _hooks(op: Any) -> Iterator[str]:
    kinds: dict[str, list[str]] = {}
    for hook in type(op)._hooks.values():
        if hook.kind not in (MISSING, REFUSED):
            kinds.setdefault("derived" if hook.derived else hook.kind, []).append(hook.name)
    for kind, names in kinds.items():
        yield f"{kind}: {', '.join(names)}"
