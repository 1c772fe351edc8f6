"""The diagram of `internals.md`, an inline SVG in the colours of the page: the layers, and the way of one call through them."""

import html
import pathlib
import re
from collections.abc import Iterable, Iterator
from typing import Any

from docutils import nodes
from sphinx.util.docutils import SphinxDirective

LAYERS = re.compile(r"^```text\n(_compat .*?)```$", flags=re.MULTILINE | re.DOTALL)
COLORS = ["#e08a00", "#2f8f4e", "#3b7dd8", "#a455c9", "#c9485b"]  # readable on white and on black
ORDINARY, OWN = "var(--color-foreground-muted, #777)", "var(--color-foreground-primary, #111)"

WIDTH, LEFT, GAP, ROW = 740, 150, 5, 21
LETTER = 6.25  # width of a letter at 10.4 px, fixed pitch


def draw(layers: list[str], stages: dict[str, list[str]]) -> str:
    """An SVG: the layers from top to bottom, each stage as a row of modules in the order in which they are entered."""
    used = {module.split("/")[0] for modules in stages.values() for module in modules}
    colors = dict(zip([layer for layer in layers if layer in used], COLORS, strict=False))
    shapes, bottom = [], 0.0
    for stage, modules in stages.items():
        title, _, when = stage.partition(": ")
        shapes.append(_text(LEFT + 30, bottom + 15, title, "bold", OWN))
        if when:
            shapes.append(_text(LEFT + 30 + 7.2 * len(title) + 8, bottom + 15, when, "normal", ORDINARY))
        bottom += ROW + 2
        for line in _lines(modules):
            for x, module in line:
                shapes.append(_chip(x, bottom, module, colors.get(module.split("/")[0], OWN)))
            bottom += ROW + 3
        bottom += 9
    shapes += _stack(layers, colors, bottom - 9)
    label = "The layers of the package, and the modules that each stage of a call enters, in this order."
    return (
        f'<svg viewBox="0 0 {WIDTH} {bottom:.0f}" role="img" aria-label="{label}" style="width: 100%; height: auto" '
        f'font-family="var(--font-stack--monospace, monospace)">{"".join(shapes)}</svg>'
    )


def _lines(modules: list[str]) -> Iterator[list[tuple[float, str]]]:
    """Modules with the left ends of their chips, broken into lines."""
    line, x = [], LEFT + 30.0
    for module in modules:
        if x + _width(module) > WIDTH:
            yield line
            line, x = [], LEFT + 30.0
        line.append((x, module))
        x += _width(module) + GAP
    yield line


def _stack(layers: list[str], colors: dict[str, str], height: float) -> Iterator[str]:
    """All layers at the left, from top to bottom: each imports from those above it."""
    step = (height - 23) / len(layers)
    yield _text(0, 15, "layers", "bold", OWN)
    yield f'<path d="M {LEFT + 4} {height} V 30 m -4 6 l 4 -6 l 4 6" fill="none" stroke="{ORDINARY}"/>'
    yield (
        f'<text transform="translate({LEFT + 17} {(height + 23) / 2}) rotate(-90)" font-size="10.4" text-anchor="middle" '
        f'fill="{ORDINARY}">imports</text>'
    )
    for number, layer in enumerate(layers):
        yield _chip(0, 23 + number * step, layer, colors.get(layer, ORDINARY), LEFT - 8, step - 4)


def _chip(x: float, y: float, name: str, color: str, width: float | None = None, height: float = ROW) -> str:
    width = _width(name) if width is None else width
    return (
        f'<rect x="{x + 0.5:.1f}" y="{y + 0.5:.1f}" width="{width:.1f}" height="{height - 1:.1f}" rx="4" fill="{color}" '
        f'fill-opacity="0.14" stroke="{color}"/>'
        f'<text x="{x + width / 2:.1f}" y="{y + height / 2 + 3.6:.1f}" font-size="10.4" text-anchor="middle" '
        f'fill="{OWN}">{html.escape(_short(name))}</text>'
    )


def _text(x: float, y: float, text: str, weight: str, color: str) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="12" font-weight="{weight}" fill="{color}">{html.escape(text)}</text>'
    )


def _short(module: str) -> str:
    """Without the layer, which the colour says."""
    return module.partition("/")[2] or {"generated": "generated source"}.get(module, module)


def _width(module: str) -> float:
    return LETTER * len(_short(module)) + 12


def _stages(lines: Iterable[str]) -> dict[str, list[str]]:
    """What `call_path.py` has written: a line for each stage, and indented ones with its modules."""
    found: dict[str, list[str]] = {}
    for line in lines:
        if line.startswith(" "):
            found[list(found)[-1]] += line.split()
        else:
            found[line] = []
    return found


class CallPath(SphinxDirective):
    """The diagram of the stages in its content, beside the layers that the page lists."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        page = pathlib.Path(self.get_source_info()[0])
        (listed,) = LAYERS.findall(page.read_text())
        layers = [line.split()[0].rstrip("/") for line in listed.splitlines()]
        return [nodes.raw("", draw(layers, _stages(self.content)), format="html")]


def setup(app: Any) -> dict[str, bool]:
    app.add_directive("call-path", CallPath)
    return {"parallel_read_safe": True}
