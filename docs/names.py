"""Names as links: `lo.solve` leads to the reference, `jnp.roll` to the documents of JAX, wherever a text has them as code."""

import re
from typing import Any

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.transforms.post_transforms import SphinxPostTransform

ALIASES = {"lo": "linops_jax", "np": "numpy", "jnp": "jax.numpy"}
NAME = re.compile(r"@?((?:lo|linops_jax|np|numpy|jnp|jax|scipy)\.[\w.]*\w)(?:\(.*\))?", flags=re.DOTALL)
ELSEWHERE = (nodes.reference, nodes.title, pending_xref)  # within these, code stays as it is


def full_name(code: str) -> str | None:
    """The name that a piece of code is, or that it calls: `linops_jax.solve` for `lo.solve(A, y)`."""
    found = NAME.fullmatch(code)
    if not found:
        return None
    first, _, rest = found[1].partition(".")
    return f"{ALIASES.get(first, first)}.{rest}"


class Links(SphinxPostTransform):
    """Makes a cross-reference of each name; Sphinx and intersphinx resolve it, or leave it as it is."""

    default_priority = 5  # before they do

    def run(self, **_: Any) -> None:
        for literal in list(self.document.findall(nodes.literal)):
            name = full_name(literal.astext())
            if name and not _is_within(literal, ELSEWHERE):
                options = {"refdomain": "py", "reftype": "obj", "reftarget": name, "refwarn": False}
                literal.replace_self(pending_xref("", literal.deepcopy(), refdoc=self.env.docname, **options))


def _is_within(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    return node.parent is not None and (isinstance(node.parent, kinds) or _is_within(node.parent, kinds))


def setup(app: Any) -> dict[str, bool]:
    app.add_post_transform(Links)
    return {"parallel_read_safe": True}
